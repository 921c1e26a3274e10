"""The recognition networks as data: builder, ordered groups of layers, head, and the layer that Grad-CAM looks at.

The groups are what weighted transfusion counts (paper 000: only the weights of the first consecutive layers are
carried over) and what a transfer replaces (the head). Names are those of the torch module's parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from medveil.errors import InputError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network.

    groups: (name, prefixes of parameter names), from the input to the last layer before the head.
    head: name of the last linear layer. cam: name of the layer whose output Grad-CAM weighs.
    smallest: least rows and columns that leave at least one pixel to the last layer.
    """

    name: str
    title: str
    source: str
    builder: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    head: str
    cam: str
    smallest: int

    def build(self, classes: int, channels: int = 3) -> Any:
        """Return a fresh torch module: (N, channels, H, W) float in, (N, classes) logits out.

        Raises InputError for no class or channel, MissingExtraError where torch or MONAI is not installed.
        """
        if classes < 2 or channels < 1:
            raise InputError(f"a network needs two classes and one channel at least, not {classes} and {channels}")
        module, _, function = self.builder.partition(":")
        try:
            return getattr(import_module(module), function)(classes, channels)
        except ImportError as e:
            raise MissingExtraError(f"the network {self.name}", "learn") from e

    def carried(self, first: int) -> tuple[str, ...]:
        """Return the prefixes of the parameters in the first groups. Raises InputError where there are not so many."""
        if not 0 <= first <= len(self.groups):
            names = ", ".join(name for name, _ in self.groups)
            raise InputError(f"{self.name} has {len(self.groups)} groups of layers ({names}), not {first}")
        return tuple(prefix for _, prefixes in self.groups[:first] for prefix in prefixes)


def _dense_groups() -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: list[tuple[str, tuple[str, ...]]] = [("stem", ("features.conv0.", "features.norm0."))]
    for i in range(1, 5):
        groups.append((f"denseblock{i}", (f"features.denseblock{i}.",)))
        last = f"features.transition{i}." if i < 4 else "features.norm5."
        groups.append((f"transition{i}" if i < 4 else "norm5", (last,)))
    return tuple(groups)


ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture(
            "densenet121",
            "DenseNet-121",
            "Huang et al., CVPR 2017; MONAI's module",
            "medveil.networks.monai_networks:densenet121",
            _dense_groups(),
            "class_layers.out",
            "class_layers.relu",
            32,
        ),
        Architecture(
            "resnet18",
            "ResNet-18",
            "He et al., CVPR 2016; MONAI's module, with the original's stride and projections",
            "medveil.networks.monai_networks:resnet18",
            (
                ("stem", ("conv1.", "bn1.")),
                *((f"layer{i}", (f"layer{i}.",)) for i in range(1, 5)),
            ),
            "fc",
            "layer4",
            32,
        ),
        Architecture(
            "xception",
            "Xception",
            "Chollet, CVPR 2017",
            "medveil.networks.xception:xception",
            (
                ("stem", ("stem.",)),
                *((f"entry{i}", (f"entry.{i - 1}.",)) for i in range(1, 4)),
                *((f"middle{i}", (f"middle.{i - 1}.",)) for i in range(1, 9)),
                ("exit", ("exit.", "tail.")),
            ),
            "head",
            "tail",
            38,
        ),
        Architecture(
            "small-cnn",
            "small CNN",
            "ours: four 3 x 3 convolutions with batch norm and pooling, for quick runs",
            "medveil.networks.small_cnn:small_cnn",
            tuple((f"block{i}", (f"blocks.{i - 1}.",)) for i in range(1, 5)),
            "head",
            "blocks",
            16,
        ),
    )
}
"""Every recognition network by name."""


def architecture(name: str) -> Architecture:
    """Return the network of that name. Raises InputError for an unknown one."""
    if name not in ARCHITECTURES:
        raise InputError(f"there is no network {name!r}: choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]
