"""Compiled loops of the block codec: a 16x16 block into a short record of bits and back.

A sample of `bits` bits, its sign bit flipped where samples are signed, loses its `dropped` lowest bits and is
predicted by the median edge detector (ISO/IEC 14495-1, A.3) from its left, upper and upper-left neighbours in the
block. The residual, wrapped to the sample's range and folded to z >= 0, is Golomb-Rice coded with a parameter taken
from the residuals around it: s = 2 z_left + 2 z_up + z_upleft + z_upright (what is absent repeats the left or upper
one), k = the smallest k with 6 * 2^k > s. A quotient of `LONGEST` or more is written as `LONGEST` ones, then z in
full. Bits fill bytes from the least significant one. A record ends with the last code that is not all zeros: what
follows is read as zeros, so that an even block takes a byte or two.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

LONGEST: Final = 14
"""Ones that mark a residual written in full."""
LONGEST_RECORD: Final = 1024
"""Bytes that no record reaches: 256 samples of 14 + 16 bits."""


@njit(cache=True, nogil=True, inline="always")
def _predict(x: Array, p: int) -> int:
    if p == 0:
        return 0
    if p < 16:
        return int(x[p - 1])
    up = int(x[p - 16])
    if p & 15 == 0:
        return up
    left, corner = int(x[p - 1]), int(x[p - 17])
    if corner >= max(left, up):
        return min(left, up)
    if corner <= min(left, up):
        return max(left, up)
    return left + up - corner


@njit(cache=True, nogil=True, inline="always")
def _parameter(z: Array, p: int, bits: int) -> int:
    if p == 0:
        return max(0, bits - 2)
    row, column = p >> 4, p & 15
    if row == 0:
        s = 6 * int(z[p - 1])
    elif column == 0:
        s = 4 * int(z[p - 16]) + 2 * int(z[p - 15])
    else:
        up = int(z[p - 16])
        s = 2 * int(z[p - 1]) + 2 * up + int(z[p - 17]) + (int(z[p - 15]) if column < 15 else up)
    k = 0
    while (6 << k) <= s:
        k += 1
    return min(k, bits)


@njit(cache=True, nogil=True)
def _encode(block: Array, bits: int, flip: int, dropped: int, x: Array, z: Array, out: Array) -> int:
    """Encode one block; return the number of bytes, which `out` holds unless it is shorter than `LONGEST_RECORD`."""
    write = out.size >= LONGEST_RECORD
    kept = bits - dropped
    limit = 1 << kept
    total, last, acc, have, at = 0, 0, np.uint64(0), 0, 0
    for p in range(256):
        value = (int(block[p]) ^ flip) >> dropped
        x[p] = value
        error = (value - _predict(x, p)) & (limit - 1)
        if error >= limit >> 1:
            error -= limit
        folded = 2 * error if error >= 0 else -2 * error - 1
        z[p] = folded
        k = _parameter(z, p, kept)
        quotient = folded >> k
        if quotient >= LONGEST:
            length = LONGEST + kept
            code = np.uint64((1 << LONGEST) - 1) | (np.uint64(folded) << np.uint64(LONGEST))
        else:
            length = quotient + 1 + k
            code = np.uint64((1 << quotient) - 1) | (np.uint64(folded & ((1 << k) - 1)) << np.uint64(quotient + 1))
        total += length
        if code != 0:
            last = total
        if write:
            acc |= code << np.uint64(have)
            have += length
            while have >= 8:
                out[at] = acc & np.uint64(255)
                acc >>= np.uint64(8)
                have -= 8
                at += 1
    if write and have:
        out[at] = acc & np.uint64(255)
    return (last + 7) >> 3


@njit(cache=True, nogil=True)
def measure(blocks: Array, chosen: Array, bits: int, flip: int, dropped: int, sizes: Array) -> None:
    """Write the length in bytes of each chosen block's record at `dropped` to `sizes`."""
    x, z, out = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(1, np.uint8)
    for i in range(chosen.shape[0]):
        sizes[i] = _encode(blocks[chosen[i]], bits, flip, dropped, x, z, out)


@njit(cache=True, nogil=True)
def write_stream(
    blocks: Array, chosen: Array, bits: int, flip: int, dropped: Array, starts: Array, sizes: Array, stream: Array
) -> None:
    """Write the records, each after its two bytes `dropped << 12 | length` (little endian), at `starts`."""
    x, z, out = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(LONGEST_RECORD, np.uint8)
    for i in range(chosen.shape[0]):
        size = _encode(blocks[chosen[i]], bits, flip, int(dropped[i]), x, z, out)
        at = starts[i]
        word = (int(dropped[i]) << 12) | size
        stream[at] = word & 255
        stream[at + 1] = word >> 8
        for j in range(sizes[i]):
            stream[at + 2 + j] = out[j]


@njit(cache=True, nogil=True)
def write_all(blocks: Array, bits: int, flip: int, sizes: Array, stream: Array) -> int:
    """Write the exact records of all blocks back to back, as `write_stream` does, as long as they fit.

    Writes every record's length to `sizes` and returns what the whole stream takes.
    """
    x, z, out = np.zeros(256, np.int64), np.zeros(256, np.int64), np.zeros(LONGEST_RECORD, np.uint8)
    at = 0
    for i in range(blocks.shape[0]):
        size = _encode(blocks[i], bits, flip, 0, x, z, out)
        sizes[i] = size
        if at + 2 + size <= stream.size:
            stream[at] = size & 255
            stream[at + 1] = size >> 8
            for j in range(size):
                stream[at + 2 + j] = out[j]
        at += 2 + size
    return at


@njit(cache=True, nogil=True)
def decode(record: Array, bits: int, flip: int, dropped: int, block: Array) -> None:
    """Decode a record into `block` ((256,) words); dropped bits come back as the middle of their range."""
    kept = bits - dropped
    limit = 1 << kept
    x, z = np.zeros(256, np.int64), np.zeros(256, np.int64)
    at, have, acc = 0, 0, np.uint64(0)
    for p in range(256):
        while have <= 40:
            if at < record.shape[0]:
                acc |= np.uint64(record[at]) << np.uint64(have)
            at += 1
            have += 8
        k = _parameter(z, p, kept)
        quotient = 0
        while quotient < LONGEST and (acc >> np.uint64(quotient)) & np.uint64(1):
            quotient += 1
        if quotient == LONGEST:
            used = LONGEST + kept
            folded = np.int64((acc >> np.uint64(LONGEST)) & np.uint64(limit - 1))
        else:
            used = quotient + 1 + k
            folded = np.int64(quotient << k) | np.int64((acc >> np.uint64(quotient + 1)) & np.uint64((1 << k) - 1))
        acc >>= np.uint64(used)
        have -= used
        z[p] = folded
        error = folded >> 1 if folded & 1 == 0 else -((folded + 1) >> 1)
        value = (_predict(x, p) + error) & (limit - 1)
        x[p] = value
        middle = (1 << dropped) >> 1
        block[p] = ((value << dropped) | middle) ^ flip
