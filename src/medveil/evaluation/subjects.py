"""The rows of an evaluation: every scheme of the registry with its variants, the floors, and three-server learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from medveil.evaluation.floors import FLOORS
from medveil.evaluation.three_servers import ThreeServerShares
from medveil.schemes import registry
from medveil.schemes.base import Claim, Scheme

_ORDER: Final = ("sealed", "roi-watermark", "visual", "learnable", "deep")  # others, third parties', come after


@dataclass(frozen=True, slots=True)
class Subject:
    """One row: a scheme with options, under a label that is its name in tables and file names."""

    label: str
    scheme: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type[Scheme]:
        """Return the scheme's class. Raises UsageError for an unknown one."""
        return load(self.scheme)

    def make(self, **more: Any) -> Scheme:
        """Return an instance for tests and measurements (a scheme with trained keys takes its public sample)."""
        return self.load().for_evaluation(**dict(self.options), **more)

    def claim(self) -> Claim:
        """Return what the scheme promises with these options."""
        return self.make().claim

    @property
    def slug(self) -> str:
        """The label as a file name."""
        kept = "".join(c if c.isalnum() else "-" for c in self.label.lower())
        return "-".join(piece for piece in kept.split("-") if piece)


def known() -> tuple[str, ...]:
    """Return every name that a plan may give as a scheme."""
    ours = sorted(
        registry.names(), key=lambda n: next((i for i, p in enumerate(_ORDER) if n.startswith(p)), len(_ORDER))
    )
    return (*(cls.name for cls in FLOORS), *ours, ThreeServerShares.name)


def load(name: str) -> type[Scheme]:
    """Return the class of a row: a registered scheme, a floor or three-server shares.

    Raises UsageError for an unknown name.
    """
    beside: dict[str, type[Scheme]] = {cls.name: cls for cls in FLOORS}
    beside[ThreeServerShares.name] = ThreeServerShares
    return beside[name] if name in beside else registry.load(name)


def variants_of(name: str) -> Iterable[Subject]:
    """Return the rows of one name: one for each variant that the scheme declares."""
    return [Subject(f"{name} {suffix}".strip(), name, dict(options)) for suffix, options in load(name).variants.items()]


def every() -> tuple[Subject, ...]:
    """Return all rows: the floors first, then the registry's, three-server learning last."""
    return tuple(subject for name in known() for subject in variants_of(name))
