"""Multi-encryption attack: one image encrypted several times with fresh randomness is averaged back.

The random choices of a scheme average out; what is left is the image. Of n encryptions, the fold of a sample
(`attacks.folding`) is sorted over the encryptions and low values are averaged: where blocks are filled by a maximum or
minimum, those are the fold of the original, which is the original where it is dark and its negative where it is
bright. A plain mean is tried too, for schemes whose noise is additive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, measured
from medveil.attacks.folding import deepest
from medveil.attacks.pictures import counts, examples
from medveil.attacks.views import alike, grey
from medveil.errors import InputError
from medveil.metrics.image_quality import ssim

Array = npt.NDArray[Any]


def _lowest(stack: Array, part: float) -> Array:
    taken = np.sort(stack, axis=0)[: max(1, round(len(stack) * part))]
    return np.asarray(np.rint(taken.mean(axis=0)).astype(np.uint8))


def low_folds(encryptions: Sequence[Array]) -> Array:
    """Return the mean of the lower half of folds over encryptions, uint8 (rows, columns)."""
    return _lowest(np.stack([deepest(e) for e in encryptions]), 0.5)


def least_folds(encryptions: Sequence[Array]) -> Array:
    """Return the mean of the lowest quarter of folds over encryptions, uint8 (rows, columns)."""
    return _lowest(np.stack([deepest(e) for e in encryptions]), 0.25)


def plain_mean(encryptions: Sequence[Array]) -> Array:
    """Return the mean of the encryptions in grey, uint8 (rows, columns)."""
    return np.asarray(np.rint(np.mean([grey(e) for e in encryptions], axis=0)).astype(np.uint8))


_GUESSES: Final[dict[str, Callable[[Sequence[Array]], Array]]] = {
    "lower half of folds": low_folds,
    "lowest quarter of folds": least_folds,
    "lower half of folds, bright": lambda encryptions: 255 - low_folds(encryptions),
    "mean": plain_mean,
}


class MultiEncryption(Attack):
    """Scores the best of four averages over all encryptions of an image, and over 1, 2, 4, ... of them."""

    name: ClassVar[str] = "multi-encryption"
    title: ClassVar[str] = "Several encryptions of one image"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals", "again"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Attack the images that were encrypted again."""
        count = len(material.again)
        most = 1 + min(len(more) for more in material.again)
        if count > len(material.protected) or most < 2:
            raise InputError("give at least one further encryption of each image that was encrypted again")
        steps = sorted({min(most, 1 << k) for k in range(most.bit_length() + 1)})
        stacks = [[material.protected[i], *material.again[i]] for i in range(count)]
        small = Material(
            material.scheme,
            originals=material.originals[:count],
            protected=material.protected[:count],
            groups=material.groups[:count],
        )
        seed = int(rng.integers(1 << 31))
        by_count, best, scores = {}, [small.protected[0]], {}
        for done, n in enumerate(steps, start=1):
            guesses = {name: [guess(stack[:n]) for stack in stacks] for name, guess in _GUESSES.items()}
            fits = {name: _fits(small.originals, found) for name, found in guesses.items()}
            chosen = max(fits, key=lambda name: float(np.mean(fits[name])))
            best, values = guesses[chosen], fits[chosen]
            strangers = _fits(small.originals[1:] + small.originals[:1], best) if count > 1 else None
            chance = None if strangers is None else float(np.mean(strangers))
            by_count[n] = measured(values, chance, seed=seed, groups=small.groups)
            progress(done, len(steps))
        scores = {"ssim": by_count[most], **{f"ssim of {n}": by_count[n] for n in steps[:-1]}}
        gain = by_count[most].value - by_count[steps[0]].value
        note = f"{most} encryptions raise SSIM from {by_count[steps[0]].value:.2f} to {by_count[most].value:.2f}"
        return Outcome(scores, examples(small, best), counts(scores) and gain > 0, note)


def _fits(originals: Sequence[Array], attacked: Sequence[Array]) -> list[float]:
    return [
        ssim(*alike(original, found))
        for original, found in zip(originals, attacked, strict=True)
        if found.shape[0] >= original.shape[0] and found.shape[1] >= original.shape[1]
    ]


ATTACK = MultiEncryption
