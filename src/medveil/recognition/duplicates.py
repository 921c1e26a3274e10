"""Images that occur more than once: exactly (hash) or nearly (correlation at 32 x 32), and what a split must not cut.

A duplicate on both sides of a split makes a result too good; every split is checked. Clusters join duplicates, the
dataset's own groups (patients) and, in an encrypted dataset, equal digests of the plain images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.imaging.resampling import triangle_weights
from medveil.recognition.datasets import Dataset

SIDE = 32
"""Rows and columns at which images are correlated."""
NEAR = 0.985
"""Pearson correlation above which two images count as near-duplicates."""
_ROWS = 1024


@dataclass(frozen=True)
class Duplicates:
    """Pairs (i, j) with i < j. conflicting: duplicates with different labels."""

    exact: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]
    conflicting: tuple[tuple[int, int], ...] = ()

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return both kinds."""
        return self.exact + self.near


@dataclass(frozen=True)
class Leakage:
    """What stands on both sides of a split: pairs of (training, test) indices by cause."""

    exact: tuple[tuple[int, int], ...] = ()
    near: tuple[tuple[int, int], ...] = ()
    group: tuple[tuple[int, int], ...] = ()
    source: tuple[tuple[int, int], ...] = ()
    names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len({pair for kind in (self.exact, self.near, self.group, self.source) for pair in kind})

    def as_dict(self) -> dict[str, int]:
        """Return counts."""
        return {name: len(getattr(self, name)) for name in ("exact", "near", "group", "source")}


def find(dataset: Dataset, near: float = NEAR) -> Duplicates:
    """Return duplicates among a dataset's images. near: correlation above which a pair counts, in (0, 1]."""
    if not 0 < near <= 1:
        raise InputError(f"a correlation of {near} as limit: give one above 0 and up to 1")
    by_hash: dict[bytes, list[int]] = {}
    for i, image in enumerate(dataset.images):
        by_hash.setdefault(blake2b(image.tobytes(), digest_size=16).digest(), []).append(i)
    exact = [(same[0], j) for same in by_hash.values() for j in same[1:]]
    seen = set(exact)
    close = [pair for pair in _correlated(dataset.images, near) if pair not in seen]
    labels = dataset.labels
    conflicting = tuple((i, j) for i, j in [*exact, *close] if labels[i] != labels[j])
    return Duplicates(tuple(exact), tuple(close), conflicting)


def _thumbnails(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return (N, 32 * 32) grey thumbnails of zero mean and unit length; constant ones are zero."""
    grey = images.astype(np.float32).mean(axis=3)
    rows, columns = (min(SIDE, n) for n in grey.shape[1:])
    small = triangle_weights(grey.shape[1], rows) @ grey @ triangle_weights(grey.shape[2], columns).T
    flat = small.reshape(len(images), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, length, out=np.zeros_like(flat), where=length > 1e-6), np.float32)


def _correlated(images: npt.NDArray[np.uint8], near: float) -> list[tuple[int, int]]:
    small = _thumbnails(images)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(small), _ROWS):
        block = small[start : start + _ROWS] @ small[start:].T
        rows, columns = np.nonzero(block > near)
        pairs += [(start + int(i), start + int(j)) for i, j in zip(rows, columns, strict=True) if i < j]
    return pairs


def clusters(dataset: Dataset, duplicates: Duplicates | None = None) -> npt.NDArray[np.int64]:
    """Return for each image the number of its cluster, (N,): duplicates, groups and equal sources joined.

    Clusters are numbered by their last image, so equal clusters have equal numbers however they were found.
    """
    parent = np.arange(len(dataset))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    pairs = list((find(dataset) if duplicates is None else duplicates).pairs())
    for names in (dataset.groups, dataset.sources):
        first: dict[str, int] = {}
        pairs += [(first.setdefault(name, i), i) for i, name in enumerate(names) if name]
    for i, j in pairs:
        parent[root(i)] = root(j)
    last = {root(i): i for i in range(len(dataset))}
    return np.unique([last[root(i)] for i in range(len(dataset))], return_inverse=True)[1].astype(np.int64)


def leakage(
    dataset: Dataset,
    train: Sequence[int] | npt.NDArray[Any],
    test: Sequence[int] | npt.NDArray[Any],
    near: float = NEAR,
    duplicates: Duplicates | None = None,
) -> Leakage:
    """Return what training and test indices share: images, near-duplicates, groups, sources."""
    left, right = {int(i) for i in train}, {int(i) for i in test}
    found = find(dataset, near) if duplicates is None else duplicates

    def across(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        turned = [(i, j) if i in left else (j, i) for i, j in pairs]
        return tuple((i, j) for i, j in turned if i in left and j in right)

    same = tuple((i, i) for i in sorted(left & right))
    return Leakage(
        exact=same + across(found.exact),
        near=across(found.near),
        group=_sharing(dataset.groups, left, right),
        source=_sharing(dataset.sources, left, right),
        names=dataset.names,
    )


def _sharing(names: tuple[str, ...], left: set[int], right: set[int]) -> tuple[tuple[int, int], ...]:
    if not names:
        return ()
    first: dict[str, int] = {}
    for i in sorted(left):
        first.setdefault(names[i], i)
    return tuple((first[names[j]], j) for j in sorted(right) if names[j] and names[j] in first)


def refuse_leakage(found: Leakage) -> None:
    """Raise InputError where a split shares images, near-duplicates, patients or sources with its other side."""
    if not len(found):
        return
    counts = ", ".join(f"{n} by {name}" for name, n in found.as_dict().items() if n)
    i, j = next(pair for kind in (found.exact, found.near, found.group, found.source) for pair in kind)
    raise InputError(
        f"{len(found)} test images have a twin in training ({counts}), first {found.names[i]} and {found.names[j]}: "
        "split by groups, or allow leakage and say so in the result"
    )
