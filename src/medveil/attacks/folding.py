"""What negation and shuffling leave in clear: min(v, 255 - v), the *fold* of a sample, and what blocks keep of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def fold(picture: Array) -> Array:
    """Return min(v, 255 - v) of a uint8 picture, uint8 of the same shape: the same for v and its negative."""
    return np.asarray(np.minimum(picture, 255 - picture))


def deepest(picture: Array) -> Array:
    """Return 127.5 - max_c |E_c - 127.5| of a uint8 picture (rows, columns[, channels]), float64 (rows, columns).

    Where a block was filled by its maximum or minimum this is near the fold of the original; means fall short of it.
    """
    folded = fold(picture).astype(np.float64)
    return folded.min(axis=2) if folded.ndim == 3 else folded


def plain_fold(picture: Array) -> Array:
    """Return the mean over channels of the fold of an original picture, float64 (rows, columns)."""
    folded = fold(picture).astype(np.float64)
    return folded.mean(axis=2) if folded.ndim == 3 else folded


def block_means(values: Array, block: int) -> Array:
    """Return the means of block x block squares of (rows, columns), float64 (down, across); edges by repetition."""
    rows, columns = values.shape
    down, across = -(-rows // block), -(-columns // block)
    padded = np.pad(values, ((0, down * block - rows), (0, across * block - columns)), mode="edge")
    return np.asarray(padded.reshape(down, block, across, block).mean(axis=(1, 3), dtype=np.float64))
