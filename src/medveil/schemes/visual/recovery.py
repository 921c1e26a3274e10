"""Seeing the secret again: stacking (AND), XOR, counting, and descreening.

Stacked transparencies let light through where every share is white, which is AND on bits with 1 for white (the paper,
3.2.3 (4)). XOR works for all n shares of an (n, n) scheme and gives the halftone back exactly. A computer can do
better than a stack: it counts the white bits of a pixel. Since no column of the optimal schemes serves both colours,
the count over all n shares is the halftone, exactly, for every (k, n); over fewer it is the estimate of least variance.
Descreening is a Gaussian low-pass (sigma 1.5 pixels unless said otherwise) of that estimate; it is what an eye does
from a distance and makes a picture of 256 levels. All of these are approximate pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnrecoverableError
from medveil.metrics.image_quality import gaussian
from medveil.schemes.visual.columns import columns

SIGMA: Final = 1.5
"""Standard deviation of the low-pass, in pixels."""
MAX_SIGMA: Final = 32.0
"""Largest standard deviation that is taken, in pixels."""
METHODS: Final = ("stack", "xor", "count", "descreen")
"""Ways to recover a picture."""

Bits = npt.NDArray[np.uint8]


def check_method(method: str, k: int, n: int) -> None:
    """Raise InputError for a method that is not in `METHODS`, or xor unless k is n."""
    if method not in METHODS:
        raise InputError(f"there is no recovery {method!r}: choose one of {', '.join(METHODS)}")
    if method == "xor" and k != n:
        raise InputError(f"XOR gives the halftone back from all shares of an (n, n) scheme: take count for {k} of {n}")


def stack(shares: Sequence[npt.NDArray[Any]]) -> Bits:
    """Return the AND of share bits (packed or not, all of one shape). Raises UnrecoverableError for none."""
    if not shares:
        raise UnrecoverableError("no shares were given: give at least as many as the threshold")
    return np.asarray(np.bitwise_and.reduce(np.asarray(shares, np.uint8)), np.uint8)


def xor(shares: Sequence[Bits]) -> Bits:
    """Return the halftone from the bits (0 or 1, unpacked) of all n shares of an (n, n) scheme, exactly.

    Raises UnrecoverableError for fewer than two.
    """
    if len(shares) < 2:
        raise UnrecoverableError("XOR needs all shares of the set: bring more")
    black = np.bitwise_xor.reduce(np.asarray(shares, np.uint8) ^ np.uint8(1))
    return np.asarray(black ^ np.uint8(1), np.uint8)


def count(shares: Sequence[Bits], k: int, n: int) -> npt.NDArray[np.float64]:
    """Return what the number of white bits says of each secret bit, float64 of the shares' shape.

    Exactly the halftone (0.0 and 1.0) where all n shares are there; else without bias, and noisy.
    Raises UnrecoverableError for fewer than k.
    """
    if len(shares) < k:
        raise UnrecoverableError(f"{len(shares)} of {k} needed shares are there: bring more")
    said = np.array([float(value) for value in columns(k, n).estimate(len(shares))])
    whites = np.add.reduce(np.asarray(shares, np.uint8), dtype=np.uint8)
    return np.asarray(said[whites], np.float64)


def recover(shares: Sequence[Bits], k: int, n: int, method: str = "descreen", sigma: float = SIGMA) -> Bits:
    """Return a picture, uint8 0 to 255 of the shape of the shares' bits (rows, columns[, channels]).

    shares: bits 0 or 1, unpacked, of at least k different shares. method: stack (0 and 255), xor (all n of an
    (n, n) scheme; 0 and 255), count (0 and 255: the halftone where all n shares are there, else the likelier colour)
    or descreen (256 levels, low-passed by `sigma` pixels). Raises UnrecoverableError for too few shares, InputError
    for a method or sigma that does not fit.
    """
    check_method(method, k, n)
    if not 0.0 < sigma <= MAX_SIGMA:
        raise InputError(f"a low-pass of sigma {sigma} makes no picture: choose more than 0, at most {MAX_SIGMA:g}")
    if len(shares) < k:
        raise UnrecoverableError(f"{len(shares)} of {k} needed shares are there: bring more")
    if method == "stack":
        return stack(shares) * np.uint8(255)
    if method == "xor":
        if len(shares) < n:
            raise InputError(f"XOR needs all {n} shares and {len(shares)} are there: bring the others")
        return xor(shares) * np.uint8(255)
    estimate = count(shares, k, n)
    if method == "count":
        return np.asarray(estimate > 0.5).astype(np.uint8) * np.uint8(255)
    return descreen(estimate, 0.0, 1.0, sigma)


def descreen(bits: npt.NDArray[Any], dark: float, light: float, sigma: float = SIGMA) -> Bits:
    """Return bits (or values 0 to 1) as a picture of 256 levels: [dark, light] stretched to [0, 1], low-passed."""
    stretched = (bits.astype(np.float64) - dark) / (light - dark)
    return np.rint(np.clip(gaussian(stretched, sigma), 0.0, 1.0) * 255.0).astype(np.uint8)
