"""Weights are carried over whole or for the first groups; model files carry no code; foreign ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medveil.errors import InputError, OutputExistsError
from medveil.networks.architectures import architecture
from medveil.recognition import models
from medveil.recognition.models import ModelCard

CARD = ModelCard("small-cnn", ("a", "b"), 1, (32, 32), "plain", (0.5,), (0.25,))


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], keys: list[str]) -> list[bool]:
    return [torch.equal(a[k], b[k]) for k in keys]


@pytest.mark.parametrize("name", ["densenet121", "small-cnn"])
def test_transfer_carries_all_but_the_head(name: str) -> None:
    torch.manual_seed(1)
    source, target = models.build(name, 5, 1), models.build(name, 3, 1)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    carried = models.transfer(target, name, source.state_dict())
    after, head = target.state_dict(), architecture(name).head
    assert all(_same(after, source.state_dict(), list(carried)))
    assert all(_same(after, before, [f"{head}.weight", f"{head}.bias"]))
    assert {k for k in after if not k.startswith(head)} == set(carried)


def test_transfusion_carries_the_first_groups_only() -> None:
    torch.manual_seed(1)
    source, target = models.build("resnet18", 5, 1), models.build("resnet18", 3, 1)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    carried = models.transfer(target, "resnet18", source.state_dict(), groups=2)
    assert carried
    assert all(k.startswith(("conv1.", "bn1.", "layer1.")) for k in carried)
    after = target.state_dict()
    assert torch.equal(after["layer1.0.conv1.weight"], source.state_dict()["layer1.0.conv1.weight"])
    assert torch.equal(after["layer2.0.conv1.weight"], before["layer2.0.conv1.weight"])
    assert models.transfer(target, "resnet18", source.state_dict(), groups=0) == ()


def test_a_first_layer_for_other_channels_is_adapted() -> None:
    source, target = models.build("small-cnn", 2, 3), models.build("small-cnn", 2, 1)
    models.transfer(target, "small-cnn", source.state_dict())
    first = "blocks.0.0.weight"
    torch.testing.assert_close(target.state_dict()[first], source.state_dict()[first].sum(dim=1, keepdim=True))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    target = models.build("resnet18", 3, 1)
    with pytest.raises(InputError, match="another network than resnet18"):
        models.transfer(target, "resnet18", models.build("small-cnn", 3, 1).state_dict())
    path = tmp_path / "foreign.pt"
    path.write_bytes(b"\x80\x04 not weights")
    with pytest.raises(InputError, match="no weights that can be read safely"):
        models.read_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="no state dict"):
        models.read_weights(path)


def test_names_of_torchvisions_densenet_are_understood(tmp_path: Path) -> None:
    own = models.build("densenet121", 2, 3).state_dict()
    theirs = {k.replace(".layers.", "."): v for k, v in own.items()}
    torch.save(theirs, tmp_path / "densenet.pth")
    assert set(models.read_weights(tmp_path / "densenet.pth")) == set(own)


def test_a_model_file_goes_there_and_back(tmp_path: Path) -> None:
    network = models.build("small-cnn", 2, 1).eval()
    path = tmp_path / "model.safetensors"
    models.save(network, CARD, path)
    loaded, card = models.load(path)
    assert card == CARD
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(loaded(x), network(x))
    with pytest.raises(OutputExistsError):
        models.save(network, CARD, path)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="not a model that medveil train wrote"):
        models.load(path)
    save_file({"w": torch.zeros(2)}, str(path))
    with pytest.raises(InputError, match="not a model that medveil train wrote"):
        models.load(path)
    models.save(models.build("small-cnn", 3, 1), CARD, path, force=True)
    with pytest.raises(InputError, match="another network: head"):
        models.load(path)
