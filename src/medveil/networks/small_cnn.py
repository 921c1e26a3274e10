"""A small CNN: four times 3 x 3 convolution, batch norm, ReLU and pooling; 16, 32, 64, 128 channels.

Small enough to train on a thousand 64 x 64 images in about a second and a half an epoch on one
core, so it serves quick comparisons of many schemes; the papers' networks serve the papers' tables.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)


class SmallCnn(nn.Module):
    """(N, channels, H, W) to (N, classes) logits; H and W of 16 at least."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        blocks = []
        here = channels
        for wide in WIDTHS:
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(here, wide, 3, padding=1, bias=False),
                    nn.BatchNorm2d(wide),
                    nn.ReLU(inplace=True),
                    nn.MaxPool2d(2),
                )
            )
            here = wide
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(here, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        pooled = self.blocks(x).mean(dim=(2, 3))  # (N, 128)
        return self.head(self.dropout(pooled))  # type: ignore[no-any-return]


def small_cnn(classes: int, channels: int) -> SmallCnn:
    """Return a fresh small CNN."""
    return SmallCnn(classes, channels)
