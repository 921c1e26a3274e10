"""Finds providers of hardware evidence: the modules of this folder, then a third party's entry points.

A provider of ours is a module here that names its class in ``PROVIDER``; a third party's is an entry point of the
group ``medveil.attestation_providers`` whose object is the class itself, opened without arguments. The simulated
provider is not among them: it is only made by its own class, from a platform. Nothing a provider says of itself
counts: what verifies its evidence is the policy's root.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Final

import medveil.attestation.providers as package
from medveil.attestation.providers.base import Provider
from medveil.errors import InputError

ENTRY_POINT_GROUP: Final = "medveil.attestation_providers"
"""Group of third parties' entry points."""

_NOT_HARDWARE: Final = {"base", "registry", "simulated", "simulated_pki"}


def names() -> tuple[str, ...]:
    """Return the names of all hardware providers, ours first, without importing any of them."""
    ours = _ours()
    return tuple(ours) + tuple(sorted(e.name for e in entry_points(group=ENTRY_POINT_GROUP) if e.name not in ours))


def open_provider(name: str) -> Provider:
    """Return the hardware provider `name` at its standard place.

    Raises InputError for an unknown name and for an entry point that is no provider; `simulated` needs its platform
    (`providers.simulated.SimulatedProvider`).
    """
    found: object = None
    if name in _ours():
        found = importlib.import_module(f"{package.__name__}.{name}").PROVIDER
    elif name != "simulated":
        found = next((e.load() for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == name), None)
    if found is None:
        raise InputError(f"there is no hardware provider {name!r}: choose one of {', '.join(names())}")
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise InputError(f"the provider {name!r} is not a subclass of Provider: its package is wrong")
    return found()


def _ours() -> list[str]:
    return sorted({m.name for m in pkgutil.iter_modules(package.__path__)} - _NOT_HARDWARE)
