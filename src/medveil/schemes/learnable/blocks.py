"""Pictures as blocks and back; edge blocks are filled by repeating the last row and column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError

Array = npt.NDArray[Any]


def check_block(block: int, rows: int, columns: int) -> None:
    """Refuse a block side that is none or larger than the picture. Raises InputError."""
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise InputError(f"a block of side {block!r}: give a whole number of pixels, at least 1")
    if block > min(rows, columns):
        raise InputError(
            f"a block of side {block} is larger than the image of {rows} x {columns}: choose a smaller one"
        )


def split(pixels: Array, block: int) -> Array:
    """Return (rows, columns, channels) as blocks (down, across, block, block, channels), padded to whole ones."""
    rows, columns, channels = pixels.shape
    check_block(block, rows, columns)
    down, across = -(-rows // block), -(-columns // block)
    padded = np.pad(pixels, ((0, down * block - rows), (0, across * block - columns), (0, 0)), mode="edge")
    cut = padded.reshape(down, block, across, block, channels)
    return np.ascontiguousarray(cut.transpose(0, 2, 1, 3, 4))


def join(blocks: Array) -> Array:
    """Return blocks (down, across, block, block, channels) as one picture (rows, columns, channels)."""
    down, across, block, _, channels = blocks.shape
    picture = blocks.transpose(0, 2, 1, 3, 4).reshape(down * block, across * block, channels)
    return np.ascontiguousarray(picture)


def to_halves(values: Array, bits: int) -> Array:
    """Return samples (n, k) as their upper and lower halves (n, 2 k): all upper ones first.

    Raises InputError for an odd number of bits.
    """
    if bits % 2:
        raise InputError(f"{bits} bits cannot be halved: schemes that shuffle half samples take even depths")
    half = values.dtype.type(bits // 2)
    low = values.dtype.type((1 << (bits // 2)) - 1)
    return np.concatenate([values >> half, values & low], axis=1)


def from_halves(halves: Array, bits: int) -> Array:
    """Return the inverse of `to_halves`."""
    k = halves.shape[1] // 2
    return np.asarray((halves[:, :k] << halves.dtype.type(bits // 2)) | halves[:, k:])
