"""Erasure coding: n fragments of a chunk, any k of which give it back.

Systematic Reed-Solomon over GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1. Fragments 0 to k-1 are the data cut into k
equal pieces (zero-padded at the end); fragment i >= k is sum_j 1/(i xor j) * data_j, a Cauchy matrix, every square
part of which is invertible (Blömer et al., "An XOR-Based Erasure-Resilient Coding Scheme", ICSI TR-95-048, 1995).
k = 1 is plain replication and k = n has no parity. Same data, same fragments.

The arithmetic is Intel's ISA-L. The wheel of `pyeclib` carries it; where the library is found there, it works on
our buffers in place. Else the same code is reached through pyeclib's own interface, which copies more. pyeclib's
80-byte fragment header is never stored: it is not authenticated, and it is made anew for each call.

Erasure coding is not a check: a changed fragment gives changed data. Fragments are compared with their signed
hashes before they come here, and what comes out is authenticated ciphertext. Fragments of data that is not
encrypted are plaintext.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from medveil.crypto import isal
from medveil.errors import InputError, LimitError, TamperedError, UnrecoverableError

Buffer = bytes | bytearray | memoryview

MAX_FRAGMENTS: Final = 32
"""Most fragments of one chunk."""
MAX_LENGTH: Final = 1 << 28
"""Longest data that is coded at once, in bytes; a stream is coded chunk by chunk."""


class Erasure:
    """A code with n fragments, any k of which suffice. Holds no data; safe to use from several threads.

    Raises InputError unless 1 <= k <= n <= 32.
    """

    __slots__ = ("_kernel", "k", "n")

    def __init__(self, k: int, n: int, *, kernel: isal.Kernel | None = None) -> None:
        if not 1 <= k <= n <= MAX_FRAGMENTS:
            raise InputError(f"there is no code with {k} of {n} fragments: 1 <= k <= n <= {MAX_FRAGMENTS}")
        self.k = k
        self.n = n
        self._kernel = kernel or isal.best_kernel()

    def fragment_length(self, length: int) -> int:
        """Return the length of each fragment of `length` bytes of data: length / k, rounded up.

        Raises InputError for a negative length and LimitError for one above 256 MiB.
        """
        if length < 0:
            raise InputError(f"data of {length} bytes cannot be coded")
        if length > MAX_LENGTH:
            raise LimitError(f"data of {length} bytes is coded in pieces of at most {MAX_LENGTH}")
        return -(-length // self.k)

    def encode(self, data: Buffer) -> tuple[bytes, ...]:
        """Return the n fragments of `data`, each `fragment_length(len(data))` bytes."""
        view = memoryview(data).cast("B")
        pieces = [bytes(piece) for piece in self._pieces(view)]
        if self.n == self.k or not view.nbytes:
            return (*pieces, *[b""] * (self.n - self.k))
        if self.k == 1:
            return (pieces[0],) * self.n
        return (*pieces, *self._kernel.parity(self.k, self.n, view, pieces))

    def encode_into(self, data: Buffer, out: Sequence[memoryview | bytearray]) -> None:
        """Write the n fragments of `data` to n writable buffers of exactly `fragment_length(len(data))` bytes.

        Reusing buffers is several times faster than fresh memory. `out` must not overlap `data`, except that
        out[j] may be the very place of piece j. Raises InputError for other buffers.
        """
        view = memoryview(data).cast("B")
        pieces = self._pieces(view)
        targets = [_writable(buffer, len(pieces[0])) for buffer in out]
        if len(targets) != self.n:
            raise InputError(f"{self.n} fragments do not fit {len(targets)} buffers")
        for target, piece in zip(targets, pieces, strict=False):
            target[:] = piece
        if self.k == 1:
            for target in targets[1:]:
                target[:] = pieces[0]
        elif self.n > self.k and view.nbytes:
            self._kernel.parity_into(self.k, self.n, view, targets[: self.k], targets[self.k :])

    def decode(self, fragments: Mapping[int, Buffer], length: int) -> bytes:
        """Return the `length` bytes of data from a mapping of fragment number (0-based) to fragment.

        The data's own fragments are used where they are there, then the parity with the lowest numbers.
        Raises UnrecoverableError for fewer than k fragments, TamperedError where a fragment has another length,
        InputError for a number outside 0 to n - 1.
        """
        size = self.fragment_length(length)
        chosen = self._choose(fragments, size)
        missing = [row for row in range(self.k) if row not in chosen]
        if not size:
            return b""
        if self.k == 1:
            return bytes(next(iter(chosen.values())))
        made = dict(zip(missing, self._make(chosen, missing, size), strict=True)) if missing else {}
        rows: list[Buffer] = [made[row] if row in made else chosen[row] for row in range(self.k)]
        return _joined(rows, size, length)

    def decode_into(self, fragments: Mapping[int, Buffer], length: int, out: memoryview | bytearray) -> memoryview:
        """Write the data to the start of `out` (at least k * fragment_length(length) bytes); return its part.

        `out` must not overlap the fragments, and holds padding after the data. Raises as `decode`.
        """
        size = self.fragment_length(length)
        chosen = self._choose(fragments, size)
        target = _writable(out, None)
        if target.nbytes < self.k * size:
            raise InputError(f"an output buffer of {target.nbytes} bytes cannot take {self.k * size}")
        places = [target[row * size : (row + 1) * size] for row in range(self.k)]
        missing = [row for row in range(self.k) if row not in chosen]
        for row in range(self.k):
            if row in chosen:
                places[row][:] = chosen[row]
        if size and self.k == 1 and missing:
            places[0][:] = next(iter(chosen.values()))
        elif size and missing:
            self._kernel.make_into(self.k, self.n, chosen, missing, [places[row] for row in missing])
        return target[:length]

    def rebuild(self, fragments: Mapping[int, Buffer], wanted: int) -> bytes:
        """Return fragment `wanted` (0-based) from any k others; the same bytes as `encode` gave.

        Raises as `decode`; the fragments must all have one length.
        """
        if not 0 <= wanted < self.n:
            raise InputError(f"there is no fragment {wanted}: a code of {self.n} counts from 0")
        lengths = [memoryview(fragment).nbytes for fragment in fragments.values()]
        chosen = self._choose(fragments, lengths[0] if lengths else 0)
        if wanted in chosen:
            return bytes(chosen[wanted])
        if not lengths[0]:
            return b""
        if self.k == 1:
            return bytes(next(iter(chosen.values())))
        return self._make(chosen, [wanted], lengths[0])[0]

    def _make(self, chosen: dict[int, Buffer], wanted: list[int], size: int) -> list[bytes]:
        return self._kernel.make(self.k, self.n, chosen, wanted, size)

    def _pieces(self, view: memoryview) -> list[Buffer]:
        """Return the data as k pieces of equal length; only pieces that reach past the end are copies."""
        size = self.fragment_length(view.nbytes)
        pieces: list[Buffer] = []
        for row in range(self.k):
            piece = view[row * size : (row + 1) * size]
            pieces.append(piece if piece.nbytes == size else bytes(piece) + bytes(size - piece.nbytes))
        return pieces

    def _choose(self, fragments: Mapping[int, Buffer], size: int) -> dict[int, Buffer]:
        """Return k of the fragments, the lowest numbers first, all checked."""
        checked: dict[int, Buffer] = {}
        for number in sorted(fragments):
            fragment = fragments[number]
            checked[number] = fragment = fragment.cast("B") if isinstance(fragment, memoryview) else fragment
            if not 0 <= number < self.n:
                raise InputError(f"there is no fragment {number}: a code of {self.n} counts from 0")
            if len(fragment) != size:
                raise TamperedError(f"fragment {number} has {len(fragment)} bytes where {size} belong: it was altered")
        if len(checked) < self.k:
            raise UnrecoverableError(f"{len(checked)} fragments are there and {self.k} are needed: find more parts")
        return {number: checked[number] for number in list(checked)[: self.k]}


@lru_cache(maxsize=64)
def erasure(k: int, n: int) -> Erasure:
    """Return the code with k of n, made once. Raises as `Erasure`."""
    return Erasure(k, n)


def _joined(rows: Sequence[Buffer], size: int, length: int) -> bytes:
    """Return the pieces in a row without the padding."""
    if length == size * len(rows):
        return b"".join(rows)
    cut = [memoryview(row)[: max(0, length - size * number)] for number, row in enumerate(rows)]
    return b"".join(cut)


def _writable(buffer: memoryview | bytearray, size: int | None) -> memoryview:
    view = memoryview(buffer).cast("B")
    if view.readonly or (size is not None and view.nbytes != size):
        raise InputError(f"an output buffer of {view.nbytes} bytes has the wrong length or cannot be written")
    return view
