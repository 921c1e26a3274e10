"""Minimum difference attack: of the 48 forms of a pixel, take the one nearest to its decrypted left neighbour.

Chang, Case, arXiv:2004.13263, 2020; Algorithm 3 of paper 001. Rows are independent: all rows of a column are attacked
at once. The nearer of v and 255 - v always has the neighbour's leading bit (`difference_kernels`), so what is left of
the 48 options is 6 orders, and a grey picture gives what the leading bit gives. The first column has a leading bit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks import difference_kernels
from medveil.attacks.base import Attack, Material, Outcome, Progress
from medveil.attacks.folding import fold
from medveil.attacks.pictures import best_guess

Array = npt.NDArray[Any]


def minimum_difference(protected: Array, bit: int = 0) -> Array:
    """Return Algorithm 3's picture of a uint8 picture (rows, columns[, 3]); `bit`: the first column's leading bit."""
    folded = fold(protected)
    if protected.ndim == 3:
        planes = np.ascontiguousarray(folded.transpose(2, 1, 0))
        difference_kernels.ordered_columns(planes)
        folded = np.ascontiguousarray(planes.transpose(2, 1, 0))
    return folded if bit == 0 else 255 - folded


class MinimumDifference(Attack):
    """Both leading bits of the first column are tried; the one that fits better over all counts."""

    name: ClassVar[str] = "minimum-difference"
    title: ClassVar[str] = "Minimum difference"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Attack every protected picture."""
        guesses: dict[str, list[Array]] = {"bit 0": [], "bit 1": []}
        for done, picture in enumerate(material.protected, start=1):
            for bit, found in enumerate(guesses.values()):
                found.append(minimum_difference(picture, bit))
            progress(done, len(material.protected))
        return best_guess(material, guesses, rng)


ATTACK = MinimumDifference
