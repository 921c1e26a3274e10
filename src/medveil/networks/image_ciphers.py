"""Networks of deep-learning image encryption (paper 004): encoders, decoders, critics and a ROI network, in torch.

Every encoder maps pictures (N, 1, S, S) in [0, 1] to codes in [0, 1]; its decoder maps codes back. None holds batch
statistics, so a picture's result does not depend on what else is in the batch. Imported only where torch is there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + two 3 x 3 convolutions with instance normalisation (He et al. 2016, as Cycle-GAN's generators use it)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W) for the same."""
        out: Tensor = x + self.body(x)
        return out


def generator(channels: int, blocks: int) -> nn.Sequential:
    """Return Cycle-GAN's generator: two halvings, `blocks` residual blocks, two doublings (Zhu et al. 2017, 7.2)."""
    wide = channels
    layers: list[nn.Module] = [nn.Conv2d(1, wide, 7, padding=3, padding_mode="reflect"), nn.InstanceNorm2d(wide)]
    layers.append(nn.ReLU())
    for _ in range(2):
        layers += [nn.Conv2d(wide, 2 * wide, 3, stride=2, padding=1), nn.InstanceNorm2d(2 * wide), nn.ReLU()]
        wide *= 2
    layers += [ResidualBlock(wide) for _ in range(blocks)]
    for _ in range(2):
        layers += [nn.ConvTranspose2d(wide, wide // 2, 3, stride=2, padding=1, output_padding=1)]
        layers += [nn.InstanceNorm2d(wide // 2), nn.ReLU()]
        wide //= 2
    layers += [nn.Conv2d(wide, 1, 7, padding=3, padding_mode="reflect"), nn.Sigmoid()]
    return nn.Sequential(*layers)


def patch_critic(channels: int) -> nn.Sequential:
    """Return PatchGAN's discriminator with three layers: one score for each 22 x 22 pixels (Isola et al. 2017)."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * channels, 1, 4, padding=1),
    )


def bottleneck_encoder(block: int, codes: int) -> nn.Sequential:
    """Return one hidden sigmoid layer over each block x block pixels: (N, codes, S / block, S / block)."""
    return nn.Sequential(nn.PixelUnshuffle(block), nn.Conv2d(block * block, codes, 1), nn.Sigmoid())


def bottleneck_decoder(block: int, codes: int) -> nn.Sequential:
    """Return the output layer that turns a block's codes into its pixels."""
    return nn.Sequential(nn.Conv2d(codes, block * block, 1), nn.Sigmoid(), nn.PixelShuffle(block))


def scrambler(channels: int, blocks: int) -> nn.Sequential:
    """Return an image-to-image network over 4 x 4 pixels a position; both halves of the scrambling autoencoder."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(16, channels, 3, padding=1), nn.LeakyReLU(0.2)]
    for _ in range(blocks):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(channels, 16, 3, padding=1), nn.Sigmoid(), nn.PixelShuffle(4)]
    return nn.Sequential(*layers)


def roi_network(channels: int) -> nn.Sequential:
    """Return the network that segments a region of interest from a ciphertext: logits (N, 1, S, S)."""
    wide = 2 * channels
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, wide, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(wide, wide, 3, padding=2, dilation=2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(wide, wide, 3, padding=4, dilation=4),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(wide, channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(channels, 1, 3, padding=1),
    )


class UNet(nn.Module):
    """A U-Net of three levels for pictures of one size and kind (Ronneberger et al. 2015), an adversary's tool."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.down1 = _twice(inputs, channels)
        self.down2 = _twice(channels, 2 * channels)
        self.bottom = _twice(2 * channels, 4 * channels)
        self.up2 = _twice(6 * channels, 2 * channels)
        self.up1 = _twice(3 * channels, channels)
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) in [0, 1] for (N, inputs, H, W), sides multiples of 4."""
        pool = nn.functional.max_pool2d
        first = self.down1(x)
        second = self.down2(pool(first, 2))
        third = self.bottom(pool(second, 2))
        wide = nn.functional.interpolate(third, scale_factor=2)
        wide = self.up2(torch.cat([wide, second], 1))
        wide = nn.functional.interpolate(wide, scale_factor=2)
        out: Tensor = torch.sigmoid(self.last(self.up1(torch.cat([wide, first], 1))))
        return out


def _twice(inputs: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.LeakyReLU(0.2),
    )
