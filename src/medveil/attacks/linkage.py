"""Training-free linkage: which of these public pictures is the encrypted one?

No key, no training, one correlation: for `smoothed`, -max_c |E - 127.5| of each block against the block's mean of
min(v, 255 - v) in each candidate; other schemes by what they keep (`attacks.fingerprints`). An encrypted data set whose
images, or images of whose patients, are anywhere public says by this who is in it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, ranked
from medveil.attacks.fingerprints import fingerprint, likeness_matrix
from medveil.attacks.pictures import SHOWN
from medveil.attacks.views import side_by_side
from medveil.errors import InputError

Array = npt.NDArray[Any]


def ranks_of(likeness: Array, truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the place of the true candidate of each row, 0 the first; ties count against the attacker."""
    own = likeness[np.arange(len(truth)), truth]
    return np.asarray((likeness >= own[:, None]).sum(axis=1) - 1)


class Linkage(Attack):
    """Top-1 and top-5 of finding each protected picture's source in the gallery."""

    name: ClassVar[str] = "linkage"
    title: ClassVar[str] = "Training-free linkage"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "gallery", "gallery_index"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Search the gallery for every protected picture whose source is in it."""
        inside = [i for i, at in enumerate(material.gallery_index) if at >= 0]
        if not inside or max(material.gallery_index) >= len(material.gallery):
            raise InputError("no protected picture has its source in the gallery: nothing can be scored")
        print_ = fingerprint(material.scheme, material.options)
        likeness = likeness_matrix(print_, [material.protected[i] for i in inside], material.gallery)
        progress(1, 1)
        truth = np.array([material.gallery_index[i] for i in inside])
        ranks = ranks_of(likeness, truth)
        groups = [material.groups[i] for i in inside] if material.groups else None
        scores = ranked([int(r) for r in ranks], len(material.gallery), seed=int(rng.integers(1 << 31)), groups=groups)
        shown = inside[:SHOWN]
        best = [material.gallery[int(j)] for j in likeness[: len(shown)].argmax(axis=1)]
        rows = [[material.protected[i] for i in shown], best]
        pictures = {"protected, what the attacker takes it for": side_by_side(*rows)}
        top1 = scores["top1"]
        note = f"{top1.value:.0%} of {top1.n} encrypted pictures are found among {len(material.gallery)} candidates"
        return Outcome(scores, pictures, top1.above_chance, note)


ATTACK = Linkage
