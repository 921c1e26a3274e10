"""Seeing the secret again: stacking (AND), XOR, and descreening.

Stacked transparencies let light through where every share is white, which is AND on bits with 1 for white (the paper,
3.2.3 (4)). XOR works for all n shares of an (n, n) scheme and gives the halftone back exactly. Descreening is a
Gaussian low-pass of sigma 1.5 pixels after stretching the light that passes, [Tb, Tw], to black and white; it is what
an eye does from a distance and makes a picture of 256 levels. All of these are approximate pictures.
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
METHODS: Final = ("stack", "xor", "descreen")
"""Ways to recover a picture."""

Bits = npt.NDArray[np.uint8]


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


def recover(shares: Sequence[Bits], k: int, n: int, method: str = "descreen") -> Bits:
    """Return a picture, uint8 0 to 255 of the shape of the shares' bits (rows, columns[, channels]).

    shares: bits 0 or 1, unpacked, of at least k different shares. method: stack (0 and 255), xor (all n of an
    (n, n) scheme; 0 and 255) or descreen (256 levels; from the XOR where that is possible).
    Raises UnrecoverableError for too few, InputError for a method that does not fit.
    """
    scheme = columns(k, n)
    if len(shares) < k:
        raise UnrecoverableError(f"{len(shares)} of {k} needed shares are there: bring more")
    exact = k == n and len(shares) == n
    if method == "stack":
        return stack(shares) * np.uint8(255)
    if method == "xor":
        if not exact:
            raise InputError(f"XOR gives the halftone back only with all shares of an (n, n) scheme, not {k} of {n}")
        return xor(shares) * np.uint8(255)
    if method != "descreen":
        raise InputError(f"there is no recovery {method!r}: choose one of {', '.join(METHODS)}")
    if exact:
        return descreen(xor(shares), 0.0, 1.0)
    count = len(shares)
    return descreen(stack(shares), float(scheme.light(count, white=False)), float(scheme.light(count, white=True)))


def descreen(bits: npt.NDArray[Any], dark: float, light: float) -> Bits:
    """Return bits (or values 0 to 1) as a picture of 256 levels: [dark, light] stretched to [0, 1], low-passed."""
    stretched = (bits.astype(np.float64) - dark) / (light - dark)
    return np.rint(np.clip(gaussian(stretched, SIGMA), 0.0, 1.0) * 255.0).astype(np.uint8)
