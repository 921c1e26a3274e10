"""Which store gets which part: never two parts at one provider, spread evenly, the same for everyone.

Rendezvous hashing: each object ranks all stores by a hash of both, so that objects spread over more stores than n
without any table, and a store that is added or lost moves only what it must. Readers do not depend on it: a share
is known by its hash wherever it lies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from medveil.crypto.hashing import tagged


def ranked(object_id: bytes, stores: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of all stores in the object's order; `stores` maps name -> provider."""
    return tuple(sorted(stores, key=lambda name: tagged("vault placement", object_id, name.encode())))


def place(object_id: bytes, stores: Mapping[str, str], n: int) -> tuple[str, ...]:
    """Return the stores of parts 1 ... n: the first of each provider in the object's order; fewer where too few."""
    chosen: dict[str, str] = {}
    for name in ranked(object_id, stores):
        chosen.setdefault(stores[name], name)
    return tuple(chosen.values())[:n]


def spares(object_id: bytes, stores: Mapping[str, str], used: Iterable[str], failed: Collection[str]) -> list[str]:
    """Return stores, best first, that could take one more part: not failed, and of a provider that has none.

    used: stores that hold a part of the version already.
    """
    taken = {stores[name] for name in used if name in stores}
    return [name for name in ranked(object_id, stores) if stores[name] not in taken and name not in failed]
