"""Statistics of encrypted images: NPCR, UACI with critical values, entropy, chi-square, correlation.

Passing all of them says that a picture looks like noise, not that it is encrypted well: keystream reuse, guessed keys
and unseen tampering change none of them (docs/schemes/roi-watermark.md shows it).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError

Array = npt.NDArray[Any]
Direction = Literal["horizontal", "vertical", "diagonal"]
_STEPS: dict[str, tuple[int, int]] = {"horizontal": (0, 1), "vertical": (1, 0), "diagonal": (1, 1)}


def _pair(a: Array, b: Array) -> int:
    """Return the largest value of the type of two images of one shape and unsigned type."""
    if a.shape != b.shape or a.dtype != b.dtype or a.dtype.kind != "u" or a.size == 0:
        raise InputError(f"{a.dtype} {a.shape} and {b.dtype} {b.shape}: give two unsigned images of one shape and type")
    return int(np.iinfo(a.dtype).max)


def npcr(a: Array, b: Array) -> float:
    """Return the share of pixels that differ, 0 to 1 (equation 11 of paper 003).

    a, b: unsigned integers of one shape. Raises InputError for anything else.
    """
    _pair(a, b)
    return float(np.count_nonzero(a != b)) / a.size


def uaci(a: Array, b: Array) -> float:
    """Return the mean absolute difference over the largest value, 0 to 1 (equation 11 of paper 003).

    a, b: unsigned integers of one shape. Raises InputError for anything else.
    """
    most = _pair(a, b)
    return float(np.abs(a.astype(np.int64) - b.astype(np.int64)).mean()) / most


@dataclass(frozen=True, slots=True)
class CriticalValues:
    """Bounds of a test at significance alpha for two independent uniform images: refuse below `npcr`, outside `uaci`.

    Wu, Noonan, Agaian, "NPCR and UACI randomness tests for image encryption", 2011, equations 18 and 26.
    npcr_high: the mirrored bound, which the source does not have: independent images lie above it as rarely as below
    `npcr`, and a scheme that adds a constant to the keystream does so always.
    """

    alpha: float
    npcr: float
    uaci: tuple[float, float]
    npcr_high: float = 1.0


def critical_values(pixels: int, alpha: float, *, largest: int = 255) -> CriticalValues:
    """Return the critical values for images of `pixels` pixels with values 0..`largest`.

    Raises InputError where alpha is not in (0, 1) or there is no pixel.
    """
    if not 0 < alpha < 1 or pixels < 1 or largest < 1:
        raise InputError(f"alpha {alpha} over {pixels} pixels: give 0 < alpha < 1 and at least one pixel")
    f = largest
    z = NormalDist().inv_cdf
    lowest = (f + z(alpha) * sqrt(f / pixels)) / (f + 1)
    highest = (f - z(alpha) * sqrt(f / pixels)) / (f + 1)
    mean = (f + 2) / (3 * f + 3)
    deviation = sqrt((f + 2) * (f * f + 2 * f + 3) / (18 * (f + 1) ** 2 * f * pixels))
    reach = -z(alpha / 2) * deviation
    return CriticalValues(alpha, lowest, (mean - reach, mean + reach), highest)


class Against(StrEnum):
    """How a measure stands to what independent uniform images give."""

    BELOW = "below random"
    RANDOM = "random"
    ABOVE = "suspiciously above random"


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """NPCR and UACI of two images, and how each stands to independent uniform ones."""

    npcr: float
    uaci: float
    npcr_says: Against
    uaci_says: Against
    bounds: CriticalValues

    @property
    def random(self) -> bool:
        """Whether both lie where independent uniform images do."""
        return self.npcr_says is Against.RANDOM and self.uaci_says is Against.RANDOM

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "npcr": self.npcr,
            "uaci": self.uaci,
            "npcr_says": self.npcr_says.value,
            "uaci_says": self.uaci_says.value,
            "npcr_bounds": [self.bounds.npcr, self.bounds.npcr_high],
            "uaci_bounds": list(self.bounds.uaci),
            "alpha": self.bounds.alpha,
        }


def judge_pair(a: Array, b: Array, alpha: float = 0.05) -> PairVerdict:
    """Return NPCR and UACI of two encrypted images and whether they are what independent ones give, neither less nor
    more: values above random are no better, they show a structure.

    a, b: unsigned integers of one shape. Raises InputError for anything else.
    """
    bounds = critical_values(a.size, alpha, largest=_pair(a, b))
    n, u = npcr(a, b), uaci(a, b)
    return PairVerdict(n, u, _stands(n, bounds.npcr, bounds.npcr_high), _stands(u, *bounds.uaci), bounds)


def _stands(value: float, low: float, high: float) -> Against:
    return Against.BELOW if value < low else Against.ABOVE if value > high else Against.RANDOM


def entropy(image: Array) -> float:
    """Return Shannon's entropy of the values in bits; 8 at most for 8-bit images. Raises InputError for no pixels."""
    if image.size == 0:
        raise InputError("an image without pixels has no entropy")
    _, counts = np.unique(image, return_counts=True)
    p = counts / image.size
    return float(-(p * np.log2(p)).sum())


def chi_square(image: npt.NDArray[np.uint8]) -> float:
    """Return Pearson's statistic of an 8-bit image against the uniform distribution, 255 degrees of freedom.

    A uniform image stays below 293.25 with probability 0.95 and below 310.46 with 0.99. Raises InputError for other
    types and for no pixels.
    """
    if image.dtype != np.uint8 or image.size == 0:
        raise InputError(f"chi-square over {image.dtype} {image.shape}: give 8-bit pixels")
    counts = np.bincount(image.reshape(-1), minlength=256)
    expected = image.size / 256
    return float(((counts - expected) ** 2).sum() / expected)


def adjacent_correlation(
    image: Array, direction: Direction, *, pairs: int | None = None, rng: np.random.Generator | None = None
) -> float:
    """Return the correlation of neighbouring pixels (equation 12 of paper 003), 0 where one side is constant.

    image: (rows, columns). pairs: as many pairs drawn with `rng`, as the paper does with 16384; all where None.
    Raises InputError where there are no neighbours.
    """
    down, right = _STEPS[direction]
    if image.ndim != 2 or image.shape[0] <= down or image.shape[1] <= right:
        raise InputError(f"an image of shape {image.shape} has no {direction} neighbours")
    rows, columns = image.shape[0] - down, image.shape[1] - right
    x = image[:rows, :columns].astype(np.float64).reshape(-1)
    y = image[down:, right:].astype(np.float64).reshape(-1)
    if pairs is not None:
        if rng is None:
            raise InputError("drawing pairs needs a generator: give rng")
        chosen = rng.integers(0, x.size, pairs)
        x, y = x[chosen], y[chosen]
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 0.0
