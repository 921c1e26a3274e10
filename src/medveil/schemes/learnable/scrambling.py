"""The per-pixel step that `skk` and `smoothed` share: negative-positive transformation and colour shuffling."""

from __future__ import annotations

from collections.abc import Sequence
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
    return np.asarray(scramble_stack(pixels[None], [key], bits)[0])


def scramble_stack(stack: Array, keys: Sequence[bytes], bits: int) -> Array:
    """Do as `scramble_pixels` for pictures (N, rows, columns, 1 or 3), each under its own key."""
    flat = np.ascontiguousarray(stack).reshape(len(stack), -1)
    out = np.empty_like(flat)
    mask = stack.dtype.type((1 << bits) - 1)
    size = flat.shape[1]
    for source, target, key in zip(flat, out, keys, strict=True):
        stream = Stream(key, "negation and shuffling")
        if stack.shape[3] == 1:
            kernels.negate(source, target, stream.bytes(size), mask)
        else:
            kernels.shuffle_negate(source, target, stream.bytes(size // 3 * 4).view("<u4"), mask)
    return out.reshape(stack.shape)
