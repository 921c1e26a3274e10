"""The (k, n) schemes of optimal contrast, as data: how many columns of each weight white and black pixels choose from.

A pixel's n share bits are one column, drawn uniformly from a multiset of `columns` columns, one multiset for white
and one for black secret pixels; both hold all columns of a weight (number of white bits) equally often. The table
columns.json is made by the linear program in benchmarks/visual/optimal_columns.py; everything here is exact.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from itertools import combinations
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import UnsupportedError

LARGEST: Final = 8
"""Most shares of a visual scheme."""


@dataclass(frozen=True, slots=True)
class Columns:
    """One (k, n) scheme. white, black: copies of each column of weight 0 .. n among the `total` columns."""

    k: int
    n: int
    total: int
    white: tuple[int, ...]
    black: tuple[int, ...]

    def light(self, shares: int, *, white: bool) -> Fraction:
        """Return the probability that `shares` given shares stacked let light through, for one colour of secret."""
        counts = self.white if white else self.black
        passing = sum(c * comb(self.n - shares, w - shares) for w, c in enumerate(counts) if w >= shares)
        return Fraction(passing, self.total)

    def contrast(self, shares: int | None = None) -> Fraction:
        """Return (Tw - Tb) / (1 + Tb) of `shares` (by default k) stacked shares."""
        count = self.k if shares is None else shares
        white, black = self.light(count, white=True), self.light(count, white=False)
        return (white - black) / (1 + black)

    def counts(self, shares: int, *, white: bool) -> tuple[Fraction, ...]:
        """Return the probabilities that 0 .. `shares` of that many given shares are white, for one colour of secret."""
        copies = self.white if white else self.black
        rest = self.n - shares
        return tuple(
            Fraction(comb(shares, j) * sum(c * comb(rest, w - j) for w, c in enumerate(copies) if w >= j), self.total)
            for j in range(shares + 1)
        )

    def estimate(self, shares: int) -> tuple[Fraction, ...]:
        """Return what 0 .. `shares` white bits say of the secret bit: the estimate without bias of least variance.

        On average 1 over white and 0 over black secret pixels, both colours weighed alike. With all n shares it is
        exactly 0 or 1, since no column serves both colours.
        """
        light, dark = self.counts(shares, white=True), self.counts(shares, white=False)
        lean = [(w - b) / (w + b) if w + b else Fraction(0) for w, b in zip(light, dark, strict=True)]
        mean = sum((w * d for w, d in zip(light, lean, strict=True)), Fraction(0))
        return tuple(Fraction(1, 2) + d / (2 * mean) for d in lean)

    def expanded(self) -> npt.NDArray[np.uint8]:
        """Return uint8 (2, total): for black (row 0) and white (row 1) all columns; bit i is share i + 1's, 1 white."""
        rows = []
        for counts in (self.black, self.white):
            row: list[int] = []
            for weight, copies in enumerate(counts):
                if copies:
                    masks = [sum(1 << i for i in places) for places in combinations(range(self.n), weight)]
                    row += masks * copies
            rows.append(row)
        return np.array(rows, np.uint8)


@lru_cache(maxsize=1)
def _table() -> dict[tuple[int, int], dict[str, Any]]:
    loaded = json.loads((Path(__file__).parent / "columns.json").read_text(encoding="ascii"))
    return {(entry["k"], entry["n"]): entry for entry in loaded["schemes"]}


def thresholds() -> tuple[tuple[int, int], ...]:
    """Return every (k, n) that there is a scheme for."""
    return tuple(_table())


@cache
def columns(k: int, n: int) -> Columns:
    """Return the scheme of best contrast. Raises UnsupportedError unless 2 <= k <= n <= 8."""
    entry = _table().get((k, n))
    if entry is None:
        raise UnsupportedError(f"there is no visual scheme {k} of {n}: choose 2 <= k <= n <= {LARGEST}")
    return Columns(k, n, entry["columns"], tuple(entry["white"]), tuple(entry["black"]))
