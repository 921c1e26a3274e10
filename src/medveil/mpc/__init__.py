"""Three servers train and run a CNN on replicated shares, and learn nothing (paper 002, docs/mpc.md).

::

    with mv.mpc.connect("cluster.toml") as servers:      # or mv.mpc.local(): three processes on this machine
        run = servers.train(model, images, labels, epochs=15, lr=0.02, momentum=0.9)
        run.wait()
        probabilities = run.predict(new_images)

`local` starts three processes on this machine, `connect` reaches three servers that run `medveil mpc party`. Both are
imported when they are first used; torch is loaded when a module is read.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medveil.mpc.client import connect
    from medveil.mpc.local_servers import local

__all__ = ["connect", "local"]
_HOMES = {"connect": "medveil.mpc.client", "local": "medveil.mpc.local_servers"}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'medveil.mpc' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
