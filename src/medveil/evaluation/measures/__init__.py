"""What is measured: each module here that defines ``MEASURE``. A measure takes a `Bench` and gives a `Measured`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from medveil.errors import UsageError
from medveil.evaluation.measures.bench import Measure


@cache
def _found() -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for module in pkgutil.iter_modules(__path__):
        measure = getattr(importlib.import_module(f"{__name__}.{module.name}"), "MEASURE", None)
        if measure is not None:
            found[measure.name] = measure
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Return the names of all measures."""
    return tuple(_found())


def load(name: str) -> Measure:
    """Return the measure of that name. Raises UsageError for an unknown one."""
    if name not in _found():
        raise UsageError(f"there is no metric {name!r}: choose one of {', '.join(names())}")
    return _found()[name]
