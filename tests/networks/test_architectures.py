"""The networks have the size of their papers, take any channels, and name their layers as the data say."""

from __future__ import annotations

import pytest
import torch

from medveil.errors import InputError
from medveil.networks.architectures import ARCHITECTURES, architecture

PARAMETERS = {"densenet121": 7_978_856, "resnet18": 11_689_512, "xception": 22_855_952}


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_at_1000_classes_are_the_papers(name: str, count: int) -> None:
    network = architecture(name).build(1000)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_groups_and_head_cover_every_parameter_once(name: str) -> None:
    plan = architecture(name)
    network = plan.build(3, 1)
    whole = plan.carried(len(plan.groups))
    for key, _ in network.named_parameters():
        owners = [p for p in (*whole, plan.head + ".") if key.startswith(p)]
        assert len(owners) == 1, key
    network.get_submodule(plan.cam)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_smallest_images_pass_through(name: str) -> None:
    plan = architecture(name)
    network = plan.build(4, 1).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, plan.smallest, plan.smallest)).shape == (1, 4)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="there is no network"):
        architecture("vgg16")
    with pytest.raises(InputError, match="two classes"):
        architecture("small-cnn").build(1)
    with pytest.raises(InputError, match="has 5 groups of layers"):
        architecture("resnet18").carried(6)
