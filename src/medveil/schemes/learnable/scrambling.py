"""The per-pixel step that `skk` and `smoothed` share: negative-positive transformation and colour shuffling."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.schemes.learnable import kernels
from medveil.schemes.learnable.keystream import Stream

Array = npt.NDArray[Any]

# Table 1 of paper 001: for each value of the shuffling key, which channel comes first, second and third.
ORDERS: Final = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def scramble_pixels(pixels: Array, key: bytes, bits: int) -> Array:
    """Return (rows, columns, 1 or 3) with each channel negated by a coin and each pixel's three channels shuffled.

    Algorithm 1 of paper 001, lines 1-21: p_c xor (2^bits - 1) where the coin says so, then the order of Table 1, all
    independent from pixel to pixel.
    """
    flat = np.ascontiguousarray(pixels).reshape(-1)
    out = np.empty_like(flat)
    mask = pixels.dtype.type((1 << bits) - 1)
    stream = Stream(key, "negation and shuffling")
    if pixels.shape[2] == 1:
        kernels.negate(flat, out, stream.bytes(flat.size), mask)
    else:
        kernels.shuffle_negate(flat, out, stream.bytes(flat.size // 3 * 4).view("<u4"), mask)
    return out.reshape(pixels.shape)
