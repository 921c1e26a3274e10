"""What attacks that give pictures share: which guess is the better one, whether it counts, and what to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Material, Outcome, Score, likeness
from medveil.attacks.views import alike, side_by_side
from medveil.errors import InputError
from medveil.metrics.image_quality import ssim

Array = npt.NDArray[Any]

MARGIN: Final = 0.1
"""A reconstruction counts where its SSIM lies surely this much above that of another image's original."""
SHOWN: Final = 4
"""How many examples the pictures of a result show."""


def counts(scores: Mapping[str, Score]) -> bool:
    """Whether reconstructions look like their own originals: SSIM's interval above chance by `MARGIN`."""
    found = scores["ssim"]
    return found.low > (found.chance or 0.0) + MARGIN


def examples(material: Material, attacked: Sequence[Array]) -> dict[str, Array]:
    """Return one picture: columns of examples; rows original, protected, attacked."""
    chosen = range(min(SHOWN, len(attacked)))
    rows = [[pictures[i] for i in chosen] for pictures in (material.originals, material.protected, attacked)]
    return {"original, protected, attacked": side_by_side(*rows)}


def best_guess(
    material: Material, guesses: Mapping[str, Sequence[Array]], rng: np.random.Generator, *, note: str = ""
) -> Outcome:
    """Score the guess whose pictures fit best over all; an adversary who looks at both sees which it is.

    Raises InputError where originals and protected pictures do not pair.
    """
    if len(material.originals) != len(material.protected):
        raise InputError(f"{len(material.protected)} protected pictures for {len(material.originals)} originals")
    sample = range(min(16, len(material.originals)))

    def fit(name: str) -> float:
        pairs = [alike(material.originals[i], guesses[name][i]) for i in sample]
        return float(np.mean([ssim(a, b) for a, b in pairs]))

    best = max(guesses, key=fit)
    seed = int(rng.integers(1 << 31))
    scores = likeness(material.originals, guesses[best], seed=seed, groups=material.groups)
    said = f"the best guess is {best}" if len(guesses) > 1 else ""
    return Outcome(
        scores, examples(material, guesses[best]), counts(scores), "; ".join(part for part in (said, note) if part)
    )
