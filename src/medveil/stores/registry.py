"""Finds stores: the modules of this folder, then entry points of the group ``medveil.stores``.

A store of ours is a module here that names its class in ``STORE``; a third party's is an entry point whose object
is the class itself. The class has a pydantic model of its table in ``Config`` (a `medveil.stores.settings.StoreConfig`)
and a class method ``from_config``. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

import medveil.stores as package
from medveil.errors import ConfigError
from medveil.stores.base import Store
from medveil.stores.settings import StoreConfig

_NOT_STORES = {
    "base",
    "config",
    "faulty",
    "fetched",
    "http",
    "multistatus",
    "raw_data",
    "registry",
    "retry",
    "settings",
}
ENTRY_POINT_GROUP = "medveil.stores"


class StoreType(Protocol):
    """What a registered class offers."""

    Config: type[StoreConfig]

    def from_config(self, config: Any) -> Store:
        """Open the store that the table describes."""


def names() -> tuple[str, ...]:
    """Return the types of all stores, ours first, without importing any of them."""
    ours = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in _NOT_STORES)
    theirs = sorted(e.name for e in entry_points(group=ENTRY_POINT_GROUP) if e.name not in ours)
    return tuple(ours) + tuple(theirs)


def load(kind: str) -> StoreType:
    """Return the store class of that type.

    Raises ConfigError for an unknown type, and whatever importing a third party's module raises.
    """
    ours = {m.name for m in pkgutil.iter_modules(package.__path__)} - _NOT_STORES
    found: object
    if kind in ours:
        found = importlib.import_module(f"medveil.stores.{kind}").STORE
    else:
        points = [e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == kind]
        if not points:
            raise ConfigError(f"there is no store of type {kind!r}: choose one of {', '.join(names())}")
        found = points[0].load()
    if not (isinstance(found, type) and issubclass(found, Store) and hasattr(found, "from_config")):
        raise ConfigError(f"store type {kind!r} is not a subclass of Store with Config and from_config")
    return cast(StoreType, found)
