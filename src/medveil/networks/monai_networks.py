"""DenseNet-121 and ResNet-18 from MONAI, in the two-dimensional form of their papers."""

from __future__ import annotations

from typing import Any


def densenet121(classes: int, channels: int) -> Any:
    """Return DenseNet-121 (Huang et al. 2017, table 1: growth 32, blocks of 6, 12, 24 and 16)."""
    from monai.networks.nets.densenet import DenseNet121

    return DenseNet121(spatial_dims=2, in_channels=channels, out_channels=classes)


def resnet18(classes: int, channels: int) -> Any:
    """Return ResNet-18 (He et al. 2016, table 1): 11,689,512 parameters at 3 channels and 1000 classes.

    MONAI's default is made for volumes; stride 2 in the stem and projections without bias give the original.
    """
    from monai.networks.nets.resnet import resnet18 as build

    return build(
        spatial_dims=2, n_input_channels=channels, num_classes=classes, conv1_t_stride=2, bias_downsample=False
    )
