"""Compiled loops of the hardened profile: pixels, tags and free bits into containers and back.

A word of `2 * half` bits (half = 4 or 8) is cut into its high and low half v. With b one watermark bit and r
`half - 1` free bits, the containers are::

    high:  v << half | r << 1 | b            (8-bit images: 16 v + 2 r + b)
    low:   r << (half + 1) | v << 1 | b      (8-bit images: 32 r + 2 v + b)

b is bit i of the block's 128-bit tag in its first 128 pixels (pixel i, byte i // 8, bit i % 8) and 0 in the others.
The 256 r of a block are its *field* of 32 * (half - 1) bytes, least significant bits first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def form(
    blocks: Array,  # (N, 256) words
    mask: Array,  # (N, 256) bool: where the S-box applies
    tags: Array,  # (N, 16) uint8
    high_fields: Array,  # (N, 32 * (half - 1)) uint8
    low_fields: Array,
    sbox: Array,  # (256,) uint8
    half: int,
    high: Array,  # out, (N, 256) words
    low: Array,
) -> None:
    """Form both containers of every block."""
    free = half - 1
    few = np.uint32((1 << free) - 1)
    low_mask = np.uint32((1 << half) - 1)
    for n in range(blocks.shape[0]):
        acc_high, acc_low = np.uint32(0), np.uint32(0)
        have, at = 0, 0
        for p in range(256):
            v = np.uint32(blocks[n, p])
            if mask[n, p]:
                if half == 4:
                    v = np.uint32(sbox[v])
                else:
                    v = (np.uint32(sbox[v >> 8]) << np.uint32(8)) | np.uint32(sbox[v & 255])
            b = np.uint32(0)
            if p < 128:
                b = (np.uint32(tags[n, p >> 3]) >> np.uint32(p & 7)) & np.uint32(1)
            if have < free:
                acc_high |= np.uint32(high_fields[n, at]) << np.uint32(have)
                acc_low |= np.uint32(low_fields[n, at]) << np.uint32(have)
                have += 8
                at += 1
            high[n, p] = ((v >> np.uint32(half)) << np.uint32(half)) | ((acc_high & few) << np.uint32(1)) | b
            low[n, p] = ((acc_low & few) << np.uint32(half + 1)) | ((v & low_mask) << np.uint32(1)) | b
            acc_high >>= np.uint32(free)
            acc_low >>= np.uint32(free)
            have -= free


@njit(cache=True, nogil=True)
def part(
    high: Array,  # (N, 256) words
    low: Array,
    mask: Array,  # (N, 256) bool
    inverse_sbox: Array,  # (256,) uint8
    half: int,
    blocks: Array,  # out, (N, 256) words
    high_tags: Array,  # out, (N, 16) uint8, zeroed
    low_tags: Array,
    high_fields: Array,  # out, (N, 32 * (half - 1)) uint8, zeroed
    low_fields: Array,
    redundant: Array,  # out, (N,) bool: whether the other 128 watermark bits are zero in both containers
) -> None:
    """Undo `form`: pixels, both copies of the tags, both fields, and the redundancy check."""
    free = half - 1
    few = np.uint32((1 << free) - 1)
    low_mask = np.uint32((1 << half) - 1)
    for n in range(high.shape[0]):
        acc_high, acc_low = np.uint32(0), np.uint32(0)
        have, at = 0, 0
        extra = np.uint32(0)
        for p in range(256):
            a, c = np.uint32(high[n, p]), np.uint32(low[n, p])
            v = ((a >> np.uint32(half)) << np.uint32(half)) | ((c >> np.uint32(1)) & low_mask)
            if mask[n, p]:
                if half == 4:
                    v = np.uint32(inverse_sbox[v])
                else:
                    v = (np.uint32(inverse_sbox[v >> 8]) << np.uint32(8)) | np.uint32(inverse_sbox[v & 255])
            blocks[n, p] = v
            if p < 128:
                high_tags[n, p >> 3] |= (a & np.uint32(1)) << np.uint32(p & 7)
                low_tags[n, p >> 3] |= (c & np.uint32(1)) << np.uint32(p & 7)
            else:
                extra |= (a | c) & np.uint32(1)
            acc_high |= ((a >> np.uint32(1)) & few) << np.uint32(have)
            acc_low |= (c >> np.uint32(half + 1)) << np.uint32(have)
            have += free
            if have >= 8:
                high_fields[n, at] = acc_high & np.uint32(255)
                low_fields[n, at] = acc_low & np.uint32(255)
                acc_high >>= np.uint32(8)
                acc_low >>= np.uint32(8)
                have -= 8
                at += 1
        redundant[n] = extra == 0


def field_bits(half: int, count: int, *, high: bool) -> Array:
    """Return the (256,) word mask of the container bits that hold the first `count` bits of a block's field."""
    free = half - 1
    shift = 1 if high else half + 1
    start = np.arange(256) * free
    bits = np.clip(count - start, 0, free)
    return (((1 << bits) - 1) << shift).astype(np.uint8 if half == 4 else np.uint16)


def spread_tags(tags: Array, half: int, *, high: bool) -> Array:
    """Return (N, 256) words with `tags` ((N, 16) uint8) at the start of each block's field and zeros elsewhere."""
    free = half - 1
    bits = np.unpackbits(tags, axis=1, bitorder="little")  # (N, 128)
    pixels = -(-128 // free)
    whole = np.zeros((tags.shape[0], pixels * free), np.uint16)
    whole[:, :128] = bits
    words = (whole.reshape(-1, pixels, free) << np.arange(free, dtype=np.uint16)).sum(axis=2, dtype=np.uint16)
    out = np.zeros((tags.shape[0], 256), np.uint8 if half == 4 else np.uint16)
    out[:, :pixels] = words << (1 if high else half + 1)
    return out
