"""Finds schemes: the modules of this folder, then entry points of the group ``medveil.schemes``.

A scheme of ours is a module or package here that defines one `Scheme` subclass named by its ``SCHEME`` variable.
A package with a module ``family`` holds several: ``family.MEMBERS`` lists their modules, and their names are the
package's and the member's (``learnable-smoothed``). A third party's scheme is an entry point whose object is the
class itself. No scheme is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import medveil.schemes as package
from medveil.errors import UsageError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes.base import Finding, Part, Restored, Scheme, Secret

_NOT_SCHEMES = {"base", "bundle", "registry", "tamper_pictures"}
ENTRY_POINT_GROUP = "medveil.schemes"


def _members(room: str, folder: str) -> tuple[str, ...]:
    if not any(m.name == "family" for m in pkgutil.iter_modules([folder])):
        return ()
    return tuple(importlib.import_module(f"medveil.schemes.{room}.family").MEMBERS)


@cache
def _ours() -> dict[str, str]:
    """Return the modules of our schemes by name."""
    found: dict[str, str] = {}
    for module in pkgutil.iter_modules(package.__path__):
        if module.name in _NOT_SCHEMES:
            continue
        path = f"{package.__name__}.{module.name}"
        label = module.name.replace("_", "-")
        members = _members(module.name, f"{package.__path__[0]}/{module.name}") if module.ispkg else ()
        found |= {f"{label}-{m.replace('_', '-')}": f"{path}.{m}" for m in members} or {label: path}
    return found


def names() -> tuple[str, ...]:
    """Return the names of all schemes, ours first, without importing any of them."""
    ours = _ours()
    theirs = [e.name for e in entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(sorted(ours)) + tuple(sorted(n for n in theirs if n not in ours))


def load(name: str) -> type[Scheme]:
    """Return the scheme class of that name.

    Raises UsageError for an unknown name, and whatever importing a third party's module raises.
    """
    ours = _ours()
    if name in ours:
        found = importlib.import_module(ours[name]).SCHEME
    else:
        points = [e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == name]
        if not points:
            raise UsageError(f"there is no scheme {name!r}: choose one of {', '.join(names())}")
        found = points[0].load()
    if not (isinstance(found, type) and issubclass(found, Scheme)):
        raise UsageError(f"scheme {name!r} is not a subclass of medveil.schemes.base.Scheme")
    return found


def protect(
    image: MedicalImage | OpaqueFile, scheme: str = "sealed", *, roi: ROI = (), **options: Any
) -> tuple[tuple[Part, ...], Secret]:
    """Protect an image with the named scheme; `options` are the scheme's constructor keywords.

    Returns the parts, one for each cloud, and the secret that the owner keeps. Raises UsageError for an unknown
    scheme or option, and what `Scheme.protect` raises.
    """
    cls = load(scheme)
    try:
        instance = cls(**options)
    except TypeError as error:
        raise UsageError(f"scheme {scheme!r} does not take these options: {error}") from None
    protected = instance.protect(image, roi=roi)
    return protected.parts, protected.secret


def restore(parts: Sequence[Part | bytes], secret: Secret) -> Restored:
    """Verify the parts and give back the image, what was noticed, and where (see `Scheme.restore`)."""
    return load(secret.scheme)().restore(parts, secret)


def verify(parts: Sequence[Part | bytes], secret: Secret) -> tuple[Finding, ...]:
    """Say what is wrong with the parts; empty where all is well (see `Scheme.verify`)."""
    return load(secret.scheme)().verify(parts, secret)
