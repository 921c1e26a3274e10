"""Bits as the tests take them, and the two functions that turn statistics into p-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.metrics.significance import igamc

Bits = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Constants = Literal["exact", "published"]
"""``published``: the class probabilities that NIST's document and program use, some rounded, one with a digit missing
and one an approximation; ``exact``: ours, computed. Only with the former do NIST's worked examples come out."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one test says of one sequence.

    p: p-values by label (one for most tests, 148 for the templates). enough: False where the sequence is shorter than
    the section's recommendation (or has too few cycles): the p-values are then approximate. statistic: the test's.
    """

    test: str
    p: dict[str, float]
    statistic: float = float("nan")
    enough: bool = True

    @property
    def lowest(self) -> float:
        """The smallest p-value; NaN where the test could not be made."""
        return min(self.p.values(), default=float("nan"))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"test": self.test, "p": dict(self.p), "statistic": self.statistic, "enough": self.enough}


def from_bytes(data: bytes) -> Bits:
    """Return the bits of bytes, most significant first, as uint8 zeros and ones."""
    return np.unpackbits(np.frombuffer(data, np.uint8))


def from_text(text: str) -> Bits:
    """Return the bits of a text of zeros and ones; blanks are skipped. Raises InputError for anything else."""
    digits = "".join(text.split())
    if set(digits) - {"0", "1"}:
        raise InputError("bits are written with 0 and 1 only")
    return np.frombuffer(digits.encode("ascii"), np.uint8) - np.uint8(48)


def check(bits: Bits, least: int, what: str) -> int:
    """Return the number of bits. Raises InputError where they are no bits, or fewer than the test can be made with."""
    if bits.dtype != np.uint8 or bits.ndim != 1 or (bits.size and int(bits.max()) > 1):
        raise InputError(f"bits of {bits.dtype} {bits.shape}: give uint8 zeros and ones in one dimension")
    if bits.size < least:
        raise InputError(f"{bits.size} bits: the {what} test needs at least {least}")
    return int(bits.size)


def chi_square(counts: npt.ArrayLike, expected: Sequence[float], trials: int) -> tuple[float, float]:
    """Return Pearson's statistic of counts against probabilities, and its p-value."""
    mean = trials * np.asarray(expected, np.float64)
    statistic = float((((np.asarray(counts) - mean) ** 2) / mean).sum())
    return statistic, igamc((len(expected) - 1) / 2, statistic / 2)


def words(bits: Bits, width: int, *, circular: bool) -> npt.NDArray[np.int64]:
    """Return the overlapping words of `width` bits as integers: n of them where circular, else n - width + 1."""
    whole = np.concatenate([bits, bits[: width - 1]]) if circular and width > 1 else bits
    count = len(whole) - width + 1
    found = np.zeros(count, np.int64)
    for i in range(width):
        found = (found << 1) | whole[i : i + count]
    return found
