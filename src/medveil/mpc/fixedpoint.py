"""Fixed point: a real v is the ring element round(v 2^f), two's complement.

The engine's range is |v| < 2^14 at f = 16, as the wrap bit of `rep3.truncation` needs 30 bits and a sign.
Values outside are refused where they enter, with the range; nothing is clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.errors import InputError


@dataclass(frozen=True)
class FixedPoint:
    """How reals are written in the ring: `fraction` bits behind the point, |v| < 2^`whole` in front."""

    fraction: int = 16
    whole: int = 14

    def __post_init__(self) -> None:
        if not (4 <= self.fraction <= 24 and self.whole >= 1 and self.fraction + self.whole <= 30):
            raise InputError("fixed point needs 4 to 24 fraction bits and at most 30 bits in all: choose f = 16")

    @property
    def one(self) -> int:
        """Return the ring element of 1.0."""
        return 1 << self.fraction

    def encode(self, values: ArrayLike, dtype: Any = np.uint64) -> NDArray[Any]:
        """Return ring elements of real values; refuses NaN, infinities and anything outside the range."""
        reals = np.asarray(values, dtype=np.float64)
        if reals.size and not bool(np.all(np.abs(reals) < 2.0**self.whole)):
            raise InputError(
                f"values outside the fixed-point range -{2**self.whole} to {2**self.whole} (or not numbers): "
                "scale the data first, for images to 0..1"
            )
        whole: NDArray[Any] = np.rint(reals * self.one).astype(np.int64).view(np.uint64).astype(dtype)
        return whole

    def decode(self, words: NDArray[Any], fraction: int | None = None) -> NDArray[np.float64]:
        """Return the reals of ring elements, read as two's complement of their own width."""
        signed = words.view(np.int32) if words.dtype == np.uint32 else words.view(np.int64)
        return signed.astype(np.float64) / float(1 << (self.fraction if fraction is None else fraction))
