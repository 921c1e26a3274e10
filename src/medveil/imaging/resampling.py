"""Another size for a picture: separable triangle filter, widened by the reduction so that nothing aliases.

Enlarging is bilinear interpolation; reducing averages over the area that a target pixel covers, with triangle weights.
Pixel centres lie at half-integers, so both ends are treated alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError


@lru_cache(maxsize=64)
def triangle_weights(old: int, new: int) -> npt.NDArray[np.float32]:
    """Return the (new, old) matrix that resamples one axis; each row sums to 1."""
    if old < 1 or new < 1:
        raise InputError(f"a picture cannot go from {old} to {new} pixels: both are at least 1")
    scale = old / new
    support = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old)[None, :] + 0.5 - centres[:, None]) / support
    weights = np.clip(1.0 - distance, 0.0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resize(picture: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """Return a picture (H, W[, C]), uint8 or uint16, in rows x columns, rounded, of the same dtype, C-contiguous.

    Raises InputError for another dtype or shape.
    """
    if picture.dtype not in (np.uint8, np.uint16) or picture.ndim not in (2, 3):
        raise InputError(f"resizing takes uint8 or uint16 (H, W[, C]), not {picture.dtype} {picture.shape}")
    if picture.shape[:2] == (rows, columns):
        return picture
    top = np.iinfo(picture.dtype).max
    down, across = triangle_weights(picture.shape[0], rows), triangle_weights(picture.shape[1], columns)
    work = picture.astype(np.float32)
    out = np.tensordot(down, work, axes=(1, 0))  # (rows, W[, C])
    out = np.moveaxis(np.tensordot(out, across, axes=(1, 1)), -1, 1)  # (rows, columns[, C])
    return np.clip(np.rint(out), 0, top).astype(picture.dtype, order="C")
