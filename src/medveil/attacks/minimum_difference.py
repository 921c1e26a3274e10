"""Minimum difference attack: of the 48 forms of a pixel, take the one nearest to its decrypted left neighbour.

Chang, Case, arXiv:2004.13263, 2020; Algorithm 3 of paper 001. Rows are independent: all rows of a column are attacked
at once. The 48 options are 6 orders with the nearer form of each channel. The first column starts from the leading bit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks import difference_kernels
from medveil.attacks.base import Attack, Material, Outcome, Progress
from medveil.attacks.leading_bit import leading_bit
from medveil.attacks.pictures import best_guess

Array = npt.NDArray[Any]


def minimum_difference(protected: Array, bit: int = 0) -> Array:
    """Return Algorithm 3's picture of a uint8 picture (rows, columns[, 3]); `bit`: the first column's leading bit."""
    if protected.ndim == 2:
        planes = np.ascontiguousarray(protected.T)
        planes[0] = leading_bit(planes[0], bit)
        difference_kernels.grey_columns(planes)
        return np.ascontiguousarray(planes.T)
    planes = np.ascontiguousarray(protected.transpose(2, 1, 0))
    planes[:, 0] = leading_bit(planes[:, 0], bit)
    difference_kernels.colour_columns(planes)
    return np.ascontiguousarray(planes.transpose(2, 1, 0))


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
