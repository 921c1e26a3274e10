"""Finds schemes: the modules of this folder, then entry points of the group ``medveil.schemes``.

A scheme of ours is a module or package here that defines one `Scheme` subclass named by its ``SCHEME`` variable;
a third party's is an entry point whose object is the class itself. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points

import medveil.schemes as package
from medveil.errors import UsageError
from medveil.schemes.base import Scheme

_NOT_SCHEMES = {"base", "registry"}
ENTRY_POINT_GROUP = "medveil.schemes"


def names() -> tuple[str, ...]:
    """Return the names of all schemes, ours first, without importing any of them."""
    ours = [m.name.replace("_", "-") for m in pkgutil.iter_modules(package.__path__) if m.name not in _NOT_SCHEMES]
    theirs = [e.name for e in entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(sorted(ours)) + tuple(sorted(n for n in theirs if n not in ours))


def load(name: str) -> type[Scheme]:
    """Return the scheme class of that name.

    Raises UsageError for an unknown name, and whatever importing a third party's module raises.
    """
    module_name = name.replace("-", "_")
    ours = {m.name for m in pkgutil.iter_modules(package.__path__)} - _NOT_SCHEMES
    if module_name in ours:
        found = importlib.import_module(f"medveil.schemes.{module_name}").SCHEME
    else:
        points = [e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == name]
        if not points:
            raise UsageError(f"there is no scheme {name!r}: choose one of {', '.join(names())}")
        found = points[0].load()
    if not (isinstance(found, type) and issubclass(found, Scheme)):
        raise UsageError(f"scheme {name!r} is not a subclass of medveil.schemes.base.Scheme")
    return found
