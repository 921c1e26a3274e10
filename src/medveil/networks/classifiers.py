"""Classification networks as data: lists of layers that recognition builds in torch and mpc runs on shares."""

from __future__ import annotations

from typing import Any

from medveil.errors import MissingExtraError

PAPER_CHANNELS = (32, 64, 128, 128)
"""Paper 002: four Conv2D, three MaxPooling2D, one Dense (figure 4), 3 x 3 kernels without padding."""


def paper_cnn(channels: int = 3, size: int = 50, classes: int = 2) -> Any:
    """Return the paper's network as a torch.nn.Sequential for (N, channels, size, size) images, logits out.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        from torch import nn
    except ImportError as e:
        raise MissingExtraError("building a network", "mpc") from e
    layers: list[Any] = []
    here, width = channels, size
    for i, wide in enumerate(PAPER_CHANNELS):
        layers += [nn.Conv2d(here, wide, 3), nn.ReLU()]
        here, width = wide, width - 2
        if i < len(PAPER_CHANNELS) - 1:
            layers.append(nn.MaxPool2d(2))
            width //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(here * width * width, classes))
