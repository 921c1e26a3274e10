"""Leading bit attack: give every sample the same leading bit, and the picture is back in grey.

Chang, Case, "Attacks on Image Encryption Schemes for Privacy-Preserving Deep Neural Networks", arXiv:2004.13263, 2020;
Algorithm 2 of paper 001. What comes out is min(v, 255 - v) for bit 0 (or its negative for bit 1): the original wherever
it is darker than middle grey.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress
from medveil.attacks.folding import fold
from medveil.attacks.pictures import best_guess

Array = npt.NDArray[Any]


def leading_bit(protected: Array, bit: int) -> Array:
    """Return Algorithm 2's picture: samples of a uint8 picture whose leading bit is not `bit` are negated."""
    folded = fold(protected)
    return folded if bit == 0 else 255 - folded


class LeadingBit(Attack):
    """Both bits are tried on every picture; the one that fits the originals better over all counts."""

    name: ClassVar[str] = "leading-bit"
    title: ClassVar[str] = "Leading bit"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Attack every protected picture."""
        guesses = {f"bit {b}": [leading_bit(p, b) for p in material.protected] for b in (0, 1)}
        progress(1, 1)
        return best_guess(material, guesses, rng)


ATTACK = LeadingBit
