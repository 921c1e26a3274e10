"""Xception (Chollet, CVPR 2017, figure 5): depthwise separable convolutions with residual connections.

22,855,952 parameters at 3 channels and 1000 classes. As in the original the two first convolutions have no padding
and every separable convolution is depthwise, then pointwise, without a nonlinearity between, with batch norm after.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-3  # of batch norm, and its momentum, as the original was trained
_MOMENTUM = 0.01


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPS, momentum=_MOMENTUM)


class Separable(nn.Module):
    """Depthwise 3 x 3, pointwise 1 x 1, batch norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return cast(Tensor, self.norm(self.pointwise(self.depthwise(x))))


class Down(nn.Module):
    """Two separable convolutions and pooling by 2, beside a strided projection."""

    def __init__(self, inputs: int, between: int, outputs: int, *, first: bool = False) -> None:
        super().__init__()
        self.first = first  # the first block of the entry flow starts without ReLU
        self.one = Separable(inputs, between)
        self.two = Separable(between, outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.skip_norm = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H / 2), ceil(W / 2))."""
        out = self.one(x if self.first else F.relu(x))
        out = self.two(F.relu(out))
        out = F.max_pool2d(out, 3, stride=2, padding=1)
        return cast(Tensor, out + self.skip_norm(self.skip(x)))


class Middle(nn.Module):
    """Three separable convolutions of 728 channels, added to their input."""

    def __init__(self, channels: int = 728) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Separable(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 728, H, W) to the same."""
        out = x
        for layer in self.layers:
            out = layer(F.relu(out))
        return out + x


class Tail(nn.Module):
    """The last two separable convolutions: 1536 and 2048 channels, each with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.one = Separable(1024, 1536)
        self.two = Separable(1536, 2048)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1024, H, W) to (N, 2048, H, W)."""
        return F.relu(self.two(F.relu(self.one(x))))


class Xception(nn.Module):
    """(N, channels, H, W) to (N, classes) logits; H and W of 38 at least."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, bias=False),
            _norm(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, bias=False),
            _norm(64),
            nn.ReLU(),
        )
        self.entry = nn.ModuleList([Down(64, 128, 128, first=True), Down(128, 256, 256), Down(256, 728, 728)])
        self.middle = nn.ModuleList(Middle() for _ in range(8))
        self.exit = Down(728, 728, 1024)
        self.tail = Tail()
        self.head = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.stem(x)
        for block in self.entry:
            x = block(x)
        for block in self.middle:
            x = block(x)
        x = self.tail(self.exit(x))
        return cast(Tensor, self.head(torch.mean(x, dim=(2, 3))))


def xception(classes: int, channels: int) -> Xception:
    """Return a fresh Xception."""
    return Xception(classes, channels)
