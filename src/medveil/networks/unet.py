"""A small U-Net for pictures, as a torch module: encoder and decoder with skips, of any width and depth.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, with group
normalisation (batches are small) and bilinear upsampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medveil.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from torch import nn


def unet(inputs: int, outputs: int, *, width: int = 32, depth: int = 3) -> nn.Module:
    """Return a U-Net from (N, inputs, H, W) to (N, outputs, H, W), any H and W of at least 2 ** (depth - 1).

    width: channels of the first level, doubled at each of the `depth` levels, at least 8 and a multiple of 8.
    Raises InputError for other sizes, MissingExtraError without torch.
    """
    if inputs < 1 or outputs < 1 or width < 8 or width % 8 or not 1 <= depth <= 6:
        raise InputError(f"a U-Net of width {width} and depth {depth}: give a multiple of 8, and 1 to 6 levels")
    try:
        import torch
        from torch import nn
        from torch.nn import functional as F
    except ImportError:
        raise MissingExtraError("a U-Net", "learn") from None

    def block(before: int, after: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [nn.Conv2d(channels, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width << level for level in range(depth)]
            self.down = nn.ModuleList(block(inputs if i == 0 else widths[i - 1], w) for i, w in enumerate(widths))
            self.up = nn.ModuleList(block(widths[i] + widths[i - 1], widths[i - 1]) for i in range(depth - 1, 0, -1))
            self.last = nn.Conv2d(width, outputs, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Return (N, outputs, H, W) for (N, inputs, H, W)."""
            skips = []
            for level, layer in enumerate(self.down):
                x = layer(x if level == 0 else F.avg_pool2d(x, 2))  # (N, width << level, H >> level, W >> level)
                skips.append(x)
            for layer, skip in zip(self.up, skips[-2::-1], strict=True):
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
                x = layer(torch.cat([x, skip], dim=1))
            found: torch.Tensor = self.last(x)
            return found

    return UNet()
