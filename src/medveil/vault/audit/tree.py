"""The Merkle tree of a log: RFC 6962 with SHA-256, as C2SP's tlog formats use it, from stored nodes.

A node of level l at index i covers the leaves from i 2^l to (i + 1) 2^l - 1. Only nodes whose leaves are all there are
stored, so nothing stored ever changes; roots and proofs of any size take about log2(size) of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.hazmat.primitives import constant_time

from medveil.errors import InputError, TamperedError

HASH: Final = 32
"""Length of a hash, in bytes."""
EMPTY: Final = hashlib.sha256(b"").digest()
"""Root of no entries."""

Node = Callable[[int, int], bytes]
"""node(level, index): the hash of a complete node."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two nodes side by side."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed(index: int, leaf: bytes, node: Node) -> list[tuple[int, int, bytes]]:
    """Return (level, index, hash) of the nodes that a leaf at `index` completes, itself first."""
    found = [(0, index, leaf)]
    level, top = 0, leaf
    while index & 1:
        top = node_hash(node(level, index - 1), top)
        level, index = level + 1, index >> 1
        found.append((level, index, top))
    return found


def root(size: int, node: Node) -> bytes:
    """Return the root over the first `size` entries."""
    return EMPTY if size == 0 else _range(0, size, node)


def _range(start: int, end: int, node: Node) -> bytes:
    """Return the hash of a subtree: the leaves start to end - 1, where `start` is a multiple of its width."""
    count = end - start
    level = count.bit_length() - 1
    if count == 1 << level:
        return node(level, start >> level)
    middle = start + (1 << level)
    return node_hash(_range(start, middle, node), _range(middle, end, node))


def _half(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, node: Node) -> tuple[bytes, ...]:
    """Return the audit path of an entry in the tree of `size`, bottom up (RFC 6962, 2.1.1). Raises InputError."""
    if not 0 <= index < size:
        raise InputError(f"there is no entry {index} in a log of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _half(end - start)
        if index < middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start = middle
    return tuple(reversed(path))


def consistency_proof(old: int, size: int, node: Node) -> tuple[bytes, ...]:
    """Return the proof that the tree of `size` continues that of `old` entries (RFC 6962, 2.1.2). Raises InputError."""
    if not 0 <= old <= size:
        raise InputError(f"a log of {size} entries does not continue one of {old}")
    if old in (0, size):
        return ()
    path: list[bytes] = []
    start, end, whole = 0, size, True
    while old != end:
        middle = start + _half(end - start)
        if old <= middle:
            path.append(_range(middle, end, node))
            end = middle
        else:
            path.append(_range(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(_range(start, end, node))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """Check that a leaf is entry `index` of the tree with this root (RFC 9162, 2.1.3.2). Raises TamperedError."""
    refusal = TamperedError(f"the proof does not show entry {index} in the log: it was changed, moved or left out")
    if not 0 <= index < size:
        raise refusal
    top, at, last = leaf, index, size - 1
    for step in proof:
        if last == 0 or len(step) != HASH:
            raise refusal
        if at & 1 or at == last:
            top = node_hash(step, top)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            top = node_hash(top, step)
        at, last = at >> 1, last >> 1
    if last or not constant_time.bytes_eq(top, expected):
        raise refusal


def verify_consistency(old: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree continues an older one (RFC 9162, 2.1.4.2). Raises TamperedError."""
    refusal = TamperedError(f"the log of {size} entries does not continue the one of {old}: entries were changed")
    if not 0 <= old <= size or any(len(step) != HASH for step in proof):
        raise refusal
    if old in (0, size):
        if proof or (old == size and not constant_time.bytes_eq(old_root, new_root)):
            raise refusal
        return
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        raise refusal
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise refusal
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    if last or not (constant_time.bytes_eq(first, old_root) and constant_time.bytes_eq(second, new_root)):
        raise refusal
