"""Grad-CAM follows the network: a network that looks at one corner has its map there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medveil.errors import InputError
from medveil.imaging.reader import read
from medveil.recognition import loop, models
from medveil.recognition.datasets import Dataset
from medveil.recognition.explain import grad_cam, overlay, side_by_side
from medveil.recognition.training import TrainingPlan


def test_the_map_lies_where_the_evidence_is(xrays: Dataset) -> None:
    marked = xrays.images.copy()
    marked[xrays.labels == 1, 2:10, 2:10] = 255  # a label in the corner, as films have them
    marked[xrays.labels == 0, 2:10, 2:10] = 0
    data = xrays.with_images(marked, "marked")
    fitted = loop.fit(data, TrainingPlan(model="small-cnn", epochs=8, step=6, lr=0.05, shift=0, flip=False))
    some = data.take(np.flatnonzero(data.labels == 1)[:12])
    found = grad_cam(fitted.network, fitted.card, some.images, target=1)
    assert found.maps.shape == (12, 32, 32)
    assert found.maps.min() == 0
    assert found.maps.max() == 1
    assert found.maps[:, :16, :16].mean() > 1.5 * found.maps[:, 16:, 16:].mean()
    assert (found.probabilities.argmax(axis=1) == 1).mean() > 0.8


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "xception"])
def test_every_network_has_a_layer_to_look_at(name: str, xrays: Dataset) -> None:
    torch.manual_seed(0)
    images = np.repeat(np.repeat(xrays.images[:1], 2, axis=1), 2, axis=2)
    card = models.ModelCard(name, ("a", "b"), 1, (64, 64), "plain", (0.5,), (0.3,))
    assert grad_cam(models.build(name, 2, 1), card, images).maps.shape == (1, 64, 64)


def test_models_stand_side_by_side(xrays: Dataset, tmp_path: Path) -> None:
    fitted = loop.fit(xrays.take(range(0, 120, 4)), TrainingPlan(model="small-cnn", epochs=1, step=1))
    images = xrays.images[:3]
    found = grad_cam(fitted.network, fitted.card, images)
    path = tmp_path / "cam.png"
    side_by_side([("plain", images, found), ("negative", 255 - images, found)], path)
    assert read(path).pixels.shape[3] in (3, 4)
    assert overlay(images[0], found.maps[0]).shape == (32, 32, 3)
    with pytest.raises(InputError, match="the same pictures"):
        side_by_side([("a", images, found), ("b", images[:1], found)], tmp_path / "no.png")
    with pytest.raises(InputError, match="class 5 of 2"):
        grad_cam(fitted.network, fitted.card, images, target=5)
    with pytest.raises(InputError, match="the model takes"):
        grad_cam(fitted.network, fitted.card, images[:, :16])
