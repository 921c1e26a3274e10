"""Finds attacks: the modules of this folder that define ``ATTACK``, then entry points of ``medveil.attacks``.

An attack of ours is a module here whose ``ATTACK`` names its `Attack` subclass; the attack's name is the module's with
dashes. Modules import what is heavy (torch) only when they run.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

import medveil.attacks as package
from medveil.attacks.base import Attack
from medveil.errors import UsageError

ENTRY_POINT_GROUP = "medveil.attacks"


@cache
def _ours() -> dict[str, type[Attack]]:
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        attack = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "ATTACK", None)
        if attack is not None:
            found[attack.name] = attack
    return found


def names() -> tuple[str, ...]:
    """Return the names of all attacks, ours first."""
    ours = _ours()
    theirs = [e.name for e in entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(sorted(ours)) + tuple(sorted(n for n in theirs if n not in ours))


def load(name: str) -> type[Attack]:
    """Return the attack class of that name.

    Raises UsageError for an unknown name, and whatever importing a third party's module raises.
    """
    ours = _ours()
    if name in ours:
        return ours[name]
    points = [e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == name]
    if not points:
        raise UsageError(f"there is no attack {name!r}: choose one of {', '.join(names())}")
    found = points[0].load()
    if not (isinstance(found, type) and issubclass(found, Attack)):
        raise UsageError(f"attack {name!r} is not a subclass of medveil.attacks.base.Attack")
    return found
