"""Domain-separated BLAKE3 and the Merkle tree of RFC 6962's shape.

Every hash names what it is a hash of (`tag`), and every part is preceded by its length, so no two different
inputs of this program ever meet in one hash. The tree hashes leaves and nodes under different prefixes and
binds the number of leaves by its shape; it is RFC 6962, 2.1, with BLAKE3 in the place of SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives import constant_time

from medveil.errors import InputError, TamperedError

Buffer = bytes | bytearray | memoryview

HASH_SIZE: Final = 32
"""Length of every hash, in bytes."""

_CONTEXT: Final = "medveil v1 "
_TREE_KEY: Final = blake3(b"", derive_key_context=_CONTEXT + "merkle tree").digest()
_JOINED: Final = 1 << 16  # parts of so many bytes together are hashed in one call, which is quicker
_LEAF, _NODE = b"\x00", b"\x01"


def tagged(tag: str, *parts: Buffer) -> bytes:
    """Return the 32-byte BLAKE3 hash of `parts`, each preceded by its length (8 bytes, big endian), under `tag`.

    `tag` is a constant of the program that says what is hashed (BLAKE3's derive-key context); never user input.
    """
    hasher = blake3(derive_key_context=_CONTEXT + tag)
    _feed(hasher, parts)
    return hasher.digest()


def keyed(key: bytes, *parts: Buffer) -> bytes:
    """Return the 32-byte keyed BLAKE3 hash (a MAC and PRF) of `parts`, each preceded by its length.

    Raises InputError where `key` is not 32 bytes.
    """
    if len(key) != HASH_SIZE:
        raise InputError(f"a hash key has {len(key)} bytes where {HASH_SIZE} are needed")
    hasher = blake3(key=key)
    _feed(hasher, parts)
    return hasher.digest()


def _feed(hasher: blake3, parts: Iterable[Buffer]) -> None:
    pieces: list[Buffer] = []
    for part in parts:
        data = part.cast("B") if isinstance(part, memoryview) else part
        pieces += (len(data).to_bytes(8, "big"), data)
    if sum(map(len, pieces)) <= _JOINED:
        pieces = [b"".join(pieces)]
    for piece in pieces:
        hasher.update(piece)


class MerkleTree:
    """A Merkle tree built leaf by leaf; keeps log2(count) hashes, whatever the number of leaves."""

    __slots__ = ("_peaks", "count")

    def __init__(self) -> None:
        self.count = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, root) of complete subtrees, left to right

    def add(self, leaf: Buffer) -> None:
        """Append a leaf."""
        height, top = 0, _leaf(leaf)
        while self._peaks and self._peaks[-1][0] == height:
            top = _node(self._peaks.pop()[1], top)
            height += 1
        self._peaks.append((height, top))
        self.count += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far; of no leaves, the tree hash of nothing."""
        if not self._peaks:
            return blake3(b"", key=_TREE_KEY).digest()
        top = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            top = _node(left, top)
        return top


def merkle_root(leaves: Iterable[Buffer]) -> bytes:
    """Return the 32-byte Merkle root of `leaves` (bytes of any length, usually hashes) in their order."""
    tree = MerkleTree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def merkle_proof(leaves: Sequence[Buffer], index: int) -> tuple[bytes, ...]:
    """Return the audit path of the leaf at `index` (0-based), from the bottom up (RFC 6962, 2.1.1).

    Raises InputError where there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise InputError(f"there is no leaf {index} among {len(leaves)}")
    level = [_leaf(leaf) for leaf in leaves]
    path = []
    while len(level) > 1:
        if index ^ 1 < len(level):
            path.append(level[index ^ 1])
        above = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = above + level[len(level) & ~1 :]
        index >>= 1
    return tuple(path)


def verify_proof(root: bytes, leaf: Buffer, index: int, count: int, proof: Sequence[bytes]) -> None:
    """Check that `leaf` is the leaf at `index` of the tree of `count` leaves with this `root`.

    Raises TamperedError where it is not, or where the proof has not the form that (index, count) demands.
    """
    refusal = TamperedError(f"the proof of piece {index} does not lead to the signed root: it was changed or swapped")
    if not 0 <= index < count:
        raise refusal
    top, last, steps = _leaf(leaf), count - 1, iter(proof)
    used = 0
    while last:
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None or len(sibling) != HASH_SIZE:
                raise refusal
            used += 1
            top = _node(sibling, top) if index & 1 else _node(top, sibling)
        index, last = index >> 1, last >> 1
    if used != len(proof) or not constant_time.bytes_eq(top, bytes(root)):
        raise refusal


def _leaf(data: Buffer) -> bytes:
    return blake3(_LEAF, key=_TREE_KEY).update(data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return blake3(_NODE + left + right, key=_TREE_KEY).digest()
