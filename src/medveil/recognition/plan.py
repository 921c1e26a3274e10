"""How to train: every setting of a run, checked, in one frozen record that a results file repeats.

The defaults are paper 001's, section III-B: SGD with momentum 0.9, batches of 35, learning rate 0.1 divided by 10
every 10 epochs down to 1e-5, width and height shifts and horizontal flips of the (encrypted) pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from medveil.errors import ConfigError, InputError
from medveil.networks.architectures import architecture
from medveil.recognition.models import INPUTS

PRECISIONS = ("fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainingPlan:
    """One training run.

    model: a network of `medveil.networks`. batch: images a step over all processes. step, factor, floor: the
    learning rate is multiplied by `factor` every `step` epochs, never below `floor`. shift: largest shift, as a share
    of the side. rescramble: take SKK's steps once more in every epoch, of pictures that a scheme encrypted with them
    (see `augmentation.rescramble`). input: "plain", "fold" or "fold-max" (see `models.scale`). precision: fp32, or
    bf16 for the forward pass. validate: epochs between measurements on the test part (0: only at the end). weights: a
    file to carry weights from; groups: only of the first so many groups of layers. freeze: the carried layers are not
    trained further.
    """

    model: str = "densenet121"
    epochs: int = 100
    batch: int = 35
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    step: int = 10
    factor: float = 0.1
    floor: float = 1e-5
    shift: float = 0.1
    flip: bool = True
    rescramble: bool = False
    input: str = "plain"
    precision: str = "fp32"
    device: str = "auto"
    balance: bool = False
    validate: int = 1
    weights: str | None = None
    groups: int | None = None
    freeze: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that make no run."""
        plan = architecture(self.model)
        for name, low, high in (
            ("epochs", 1, 100_000), ("batch", 2, 65_536), ("step", 1, 100_000), ("validate", 0, 100_000),
            ("lr", 1e-12, 1e3), ("momentum", 0, 0.9999), ("weight_decay", 0, 10), ("factor", 1e-6, 1),
            ("floor", 0, 1e3), ("shift", 0, 0.5), ("seed", 0, (1 << 63) - 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"{name} = {value!r}: give a number from {low} to {high}")
        for name, choices in (("input", INPUTS), ("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} = {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        if self.groups is not None:
            plan.carried(self.groups)
            if self.weights is None:
                raise InputError("groups of layers are carried over from weights: name their file")
        if self.freeze and self.weights is None:
            raise InputError("only carried layers can be frozen: name a file of weights")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return max(self.lr * self.factor ** (epoch // self.step), min(self.floor, self.lr))

    def as_dict(self) -> dict[str, Any]:
        """Return every setting."""
        return asdict(self)


def plan_from(values: Mapping[str, Any]) -> TrainingPlan:
    """Return a plan from settings by name. Raises ConfigError for a setting that a plan does not have."""
    known = {f.name for f in fields(TrainingPlan)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"a training plan has no setting {unknown[0]!r}: it has {', '.join(sorted(known))}")
    return TrainingPlan(**values)
