"""Same-patient re-identification: is another, earlier picture of this patient in the gallery?

Harder than linkage, and closer to life: the gallery holds no copy of the encrypted picture, only other pictures of the
same people. Fingerprints are pooled to a coarse grid, which survives another posture, and compared by correlation.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, measured
from medveil.attacks.fingerprints import Fingerprint, fingerprint, likeness_matrix
from medveil.attacks.folding import block_means
from medveil.attacks.pictures import SHOWN
from medveil.attacks.views import side_by_side
from medveil.errors import InputError

Array = npt.NDArray[Any]
_COARSE: Final = 8


def _pooled(print_: Fingerprint) -> Fingerprint:
    """Return the fingerprint on a grid of cells of at least `_COARSE` pixels, where places are kept."""
    by = max(1, _COARSE // print_.cell)
    if by == 1 or not print_.places:
        return print_

    def pool(layers: Array) -> Array:
        return np.stack([block_means(layer, by) for layer in layers])

    return Fingerprint(
        lambda p: pool(print_.of_protected(p)),
        lambda p: pool(print_.of_plain(p)),
        print_.cell * by,
        places=True,
        either_sign=print_.either_sign,
    )


class SamePatient(Attack):
    """Top-1 and top-5 of finding another picture of the same patient among all other pictures of the gallery."""

    name: ClassVar[str] = "same-patient"
    title: ClassVar[str] = "Same patient, another picture"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "groups", "gallery", "gallery_groups"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Search the gallery, less the picture itself, for each patient who has another picture in it."""
        if len(material.gallery_groups) != len(material.gallery) or len(material.groups) != len(material.protected):
            raise InputError("groups do not pair with pictures: name the patient of every one")
        owners = np.array(material.gallery_groups)
        print_ = _pooled(fingerprint(material.scheme, material.options))
        likeness = likeness_matrix(print_, material.protected, material.gallery)
        progress(1, 1)
        hits: dict[int, list[float]] = {1: [], 5: []}
        chances: dict[int, list[float]] = {1: [], 5: []}
        who: list[str] = []
        shown: list[tuple[Array, Array, Array]] = []
        for i, patient in enumerate(material.groups):
            allowed = np.ones(len(owners), np.bool_)
            if material.gallery_index and material.gallery_index[i] >= 0:
                allowed[material.gallery_index[i]] = False
            own = np.flatnonzero(allowed & (owners == patient))
            others = np.flatnonzero(allowed & (owners != patient))
            if own.size == 0 or others.size == 0:
                continue
            rank = int((likeness[i, others] >= likeness[i, own].max()).sum())
            who.append(patient)
            for k, found in hits.items():
                found.append(float(rank < k))
                chances[k].append(_chance(own.size, others.size, k))
            if len(shown) < SHOWN:
                at = np.flatnonzero(allowed)[likeness[i, allowed].argmax()]
                best = own[likeness[i, own].argmax()]
                shown.append((material.protected[i], material.gallery[int(at)], material.gallery[int(best)]))
        if not who:
            raise InputError("no patient has another picture in the gallery: nothing can be scored")
        seed = int(rng.integers(1 << 31))
        scores = {f"top{k}": measured(hits[k], float(np.mean(chances[k])), seed=seed, groups=who) for k in sorted(hits)}
        top1 = scores["top1"]
        note = f"another picture of the patient comes first for {top1.value:.0%} of {top1.n} (chance {top1.chance:.1%})"
        rows = [list(row) for row in zip(*shown, strict=True)]
        pictures = {"protected, what the attacker takes, the patient's other picture": side_by_side(*rows)}
        return Outcome(scores, pictures, top1.above_chance, note)


def _chance(own: int, others: int, k: int) -> float:
    """Return the probability that one of `own` is among the first k of own + others in random order."""
    miss = 1.0
    for i in range(k):
        miss *= max(0, others - i) / (own + others - i) if own + others > i else 0.0
    return 1.0 - miss


ATTACK = SamePatient
