"""The chaotic maps as paper 003 prints them, in floating point. FOR REPRODUCING THE PAPER ONLY.

Nothing in this package encrypts with them. They are neither portable (two mathematics libraries give different
streams, so another machine cannot decrypt) nor random (short cycles, fixed points); docs/schemes/roi-watermark.md has
the numbers. Equation 9 is read with its bracket closed as in equation 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Scalar = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class FloatKey:
    """Equations 5 and 6 as printed: u may be 0.5212882, x0 is a multiple of 1e-14."""

    u: float
    k: int
    skipped: int
    x0: float

    @classmethod
    def from_half(cls, half: bytes) -> FloatKey:
        """Read 8 bytes, bit h_1 first."""
        value = int.from_bytes(half, "big")
        u, k, skipped, x0 = value >> 61, (value >> 57) & 15, (value >> 45) & 4095, value & ((1 << 45) - 1)
        return cls(
            u if u else 0.5212882,
            k if k >= 8 else k + 12,
            skipped if skipped >= 3000 else skipped + 1000,
            x0 * 1e-14,
        )


def sine_orbit(key: FloatKey, steps: int, sin: Scalar = math.sin) -> npt.NDArray[np.float64]:
    """Return x_1 .. x_steps of equation 7, with the sine of the caller's choice."""
    scale, x, out = key.u * 2.0**key.k, key.x0, np.empty(steps)
    for i in range(steps):
        y = scale * sin(math.pi * x)
        x = y - math.floor(y)
        out[i] = x
    return out


def chebyshev_orbit(
    key: FloatKey, steps: int, cos: Scalar = math.cos, acos: Scalar = math.acos
) -> npt.NDArray[np.float64]:
    """Return x_1 .. x_steps of equation 9, with the cosine and arc cosine of the caller's choice."""
    scale, x, out = 2.0**key.k, key.x0, np.empty(steps)
    for i in range(steps):
        y = cos((key.u + 1) * acos(x)) * scale
        x = y - math.floor(y)
        out[i] = x
    return out


@njit(cache=True, nogil=True)
def _orbit_into(chebyshev: bool, u: float, k: int, x: float, out: npt.NDArray[np.float64]) -> None:
    scale = 2.0**k
    for i in range(out.size):
        y = math.cos((u + 1) * math.acos(x)) * scale if chebyshev else u * math.sin(math.pi * x) * scale
        x = y - math.floor(y)
        out[i] = x


def orbit(key: FloatKey, steps: int, *, chebyshev: bool) -> npt.NDArray[np.float64]:
    """Return x_1 .. x_steps with the compiler's own mathematics library, fast."""
    out = np.empty(steps)
    _orbit_into(chebyshev, key.u, key.k, key.x0, out)
    return out


def to_bytes(x: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return equation 8 with the floor it needs: floor(|x| 10^14) mod 256."""
    scaled: npt.NDArray[np.int64] = np.floor((np.abs(x) - np.floor(np.abs(x))) * 1e14).astype(np.int64)
    return (scaled & 255).astype(np.uint8)


def stream(key: FloatKey, count: int, *, chebyshev: bool) -> npt.NDArray[np.uint8]:
    """Return the bytes of steps N0 + 1 .. N0 + count."""
    return to_bytes(orbit(key, key.skipped + count, chebyshev=chebyshev)[key.skipped :])
