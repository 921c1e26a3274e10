"""Known plaintext against patch-wise encryption: a few known pictures give shuffle, negation and places.

Inside a patch the multiset of folds min(v, 255 - v) survives (`schemes.learnable.patchwise`), so each known patch is
found again in its encrypted picture wherever it went, unless another is like it. Over the pairs, every place of a plain
patch equals, or is the negative of, one place of the encrypted one. Where patches went is the same in all pictures of
one size; places that held like patches (background) in all known pictures stay open and are filled as they come.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, likeness, measured
from medveil.attacks.folding import fold
from medveil.attacks.pictures import examples
from medveil.attacks.views import alike, colour
from medveil.errors import InputError, UnsupportedError
from medveil.schemes.learnable import blocks

Array = npt.NDArray[Any]


class PatchwiseKnownPlaintext(Attack):
    """Recovers the key from all known pairs and decrypts the protected pictures, which must have their size."""

    name: ClassVar[str] = "patchwise-known-plaintext"
    title: ClassVar[str] = "Known plaintext on patch-wise encryption"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals", "known"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Recover the key, decrypt every protected picture and count samples that are exact."""
        if material.scheme != "learnable-patchwise" or material.options.get("per") == "image":
            raise UnsupportedError("this attack is on learnable-patchwise with one key for the data set")
        block = int(material.options.get("block", 16))
        pairs = [_patches(plain, cipher, block) for plain, cipher in material.known]
        if len({plain.shape for plain, _ in pairs}) > 1:
            raise InputError("known pictures differ in size: give pairs of one size")
        places = _where(pairs)
        known = [(plain[at], cipher[place]) for plain, cipher in pairs for at, place in _matches(plain, cipher)]
        if not known:
            raise InputError("no known patch is unlike all others: give another known picture")
        order, negated = _within(np.stack([p for p, _ in known]), np.stack([c for _, c in known]))
        found = []
        for original, protected in zip(material.originals, material.protected, strict=True):
            opened = _decrypt(protected, block, places, order, negated)
            found.append(alike(original, opened[..., 0] if protected.ndim == 2 else opened)[1])
            progress(len(found), len(material.protected))
        exact = [float((a == b).mean()) for a, b in zip(material.originals, found, strict=True)]
        others = zip(material.originals[1:] + material.originals[:1], found, strict=True)
        strangers = [float((a == b).mean()) for a, b in others if a.shape == b.shape]
        seed = int(rng.integers(1 << 31))
        chance = float(np.mean(strangers)) if len(found) > 1 and strangers else None
        scores = {"exact": measured(exact, chance, seed=seed, groups=material.groups)}
        scores |= likeness(material.originals, found, seed=seed, groups=material.groups)
        note = (
            f"{len(pairs)} known pictures decrypt {scores['exact'].value:.1%} of the samples of all others exactly; "
            f"{len(known)} patches served"
        )
        return Outcome(scores, examples(material, found), scores["exact"].low > (chance or 0) + 0.1, note)


def _patches(plain: Array, cipher: Array, block: int) -> tuple[Array, Array]:
    stacked = cipher if cipher.ndim == 3 else cipher[..., None]
    whole = colour(plain) if stacked.shape[2] == 3 else plain.reshape(*plain.shape[:2], 1)
    cut = [blocks.split(p, block) for p in (whole, stacked)]
    if cut[0].shape != cut[1].shape:
        raise InputError(f"a known pair of {plain.shape} and {cipher.shape} does not fit patches of {block}")
    first, second = (c.reshape(c.shape[0] * c.shape[1], -1) for c in cut)
    return first, second


def _signatures(patches: Array) -> list[bytes]:
    return [row.tobytes() for row in np.sort(fold(patches), axis=1)]


def _matches(plain: Array, cipher: Array) -> list[tuple[int, int]]:
    """Return which plain patch is at which encrypted place, for patches that no other is like."""
    before, after = _signatures(plain), _signatures(cipher)
    once = {s for s, n in Counter(before).items() if n == 1} & {s for s, n in Counter(after).items() if n == 1}
    place = {s: i for i, s in enumerate(after) if s in once}
    return [(at, place[s]) for at, s in enumerate(before) if s in once]


def _where(pairs: list[tuple[Array, Array]]) -> Array:
    """Return for each plain patch its encrypted place; those that stay open take what is left, in order."""
    count = len(pairs[0][0])
    out = np.full(count, -1, np.int64)
    for plain, cipher in pairs:
        for at, place in _matches(plain, cipher):
            out[at] = place
    open_, free = np.flatnonzero(out < 0), np.setdiff1d(np.arange(count), out)
    out[open_] = np.resize(free, len(open_)) if len(free) else 0
    return out


def _within(plain: Array, cipher: Array) -> tuple[Array, Array]:
    """Return for each place in a plain patch the place in the encrypted one, and whether it is negated there."""
    p, c = plain.astype(np.int32), cipher.astype(np.int32)
    straight = np.stack([np.abs(c - p[:, [at]]).sum(axis=0) for at in range(p.shape[1])])
    turned = np.stack([np.abs(255 - c - p[:, [at]]).sum(axis=0) for at in range(p.shape[1])])
    place = np.minimum(straight, turned).argmin(axis=1)
    rows = np.arange(len(place))
    return place, turned[rows, place] < straight[rows, place]


def _decrypt(cipher: Array, block: int, places: Array, order: Array, negated: Array) -> Array:
    cut = blocks.split(cipher if cipher.ndim == 3 else cipher[..., None], block)
    patches = cut.reshape(cut.shape[0] * cut.shape[1], -1)
    if len(patches) != len(places):
        raise InputError("a protected picture has another size than the known ones: give known pairs of its size")
    moved = patches[places][:, order]
    return blocks.join(np.where(negated[None], 255 - moved, moved).astype(np.uint8).reshape(cut.shape))


ATTACK = PatchwiseKnownPlaintext
