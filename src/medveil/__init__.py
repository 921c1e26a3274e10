"""medveil: send medical images to clouds you do not trust, and still store, verify, search, train and diagnose.

::

    import medveil as mv
    image = mv.read("chest.dcm")
    parts, secret = mv.protect(image, scheme="sealed", threshold=(2, 4))
    restored = mv.restore(parts[:2], secret)          # .image, .findings, .tamper_map
    vault = mv.Vault.open("vault.toml", owner)        # directories, buckets, servers
    with mv.mpc.connect("cluster.toml") as servers:   # three servers train on shares
        run = servers.train(model, images, labels, epochs=15, lr=0.02)

Names are imported when they are first used, so that `import medveil` is quick and loads no optional package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medveil import mpc
    from medveil.crypto.keyfile import OwnerKey
    from medveil.errors import MedveilError
    from medveil.imaging.image import MedicalImage
    from medveil.imaging.reader import read
    from medveil.imaging.roi import Rectangle
    from medveil.schemes.base import Finding
    from medveil.schemes.registry import protect, restore, verify
    from medveil.vault import Vault

__all__ = [
    "Finding",
    "MedicalImage",
    "MedveilError",
    "OwnerKey",
    "Rectangle",
    "Vault",
    "mpc",
    "protect",
    "read",
    "restore",
    "verify",
]

_HOMES = {
    "Finding": "medveil.schemes.base",
    "MedicalImage": "medveil.imaging.image",
    "MedveilError": "medveil.errors",
    "OwnerKey": "medveil.crypto.keyfile",
    "Rectangle": "medveil.imaging.roi",
    "Vault": "medveil.vault",
    "mpc": "medveil.mpc",
    "protect": "medveil.schemes.registry",
    "read": "medveil.imaging.reader",
    "restore": "medveil.schemes.registry",
    "verify": "medveil.schemes.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the room it lives in."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'medveil' has no attribute {name!r}")
    value = import_module(home) if home.endswith(f".{name}") else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
