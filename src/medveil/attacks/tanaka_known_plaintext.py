"""Known plaintext against Tanaka's scheme: 64 known blocks of 4 x 4 give the whole key.

The key is one permutation and one negation of half samples for all blocks of all images (`schemes.learnable.tanaka`).
Over a set of known blocks every place of a plain block equals, or is the negative of, one place of the encrypted block;
comparing all pairs of places finds it. Places that are equal in all known blocks stay open: the first is taken, which
shows as an error only where other blocks differ there.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Attack, Material, Outcome, Progress, likeness, measured
from medveil.attacks.pictures import examples
from medveil.attacks.views import alike, colour
from medveil.errors import InputError, UnsupportedError
from medveil.schemes.learnable import blocks

Array = npt.NDArray[Any]
_LARGEST: Final = 15  # of a half sample of 8-bit pictures
_CANDIDATES: Final = 1024


def telling(plain: Array, count: int) -> Array:
    """Return which blocks to use: those in which places differ that were alike in all blocks chosen so far.

    plain: half samples, uint8 (blocks, places). Places that are equal, or each other's negatives, in all chosen blocks
    cannot be told apart. Only the `_CANDIDATES` blocks with most detail are looked at.
    """
    candidates = np.argsort(-plain.astype(np.float64).var(axis=1), kind="stable")[: max(count, _CANDIDATES)]
    p = plain[candidates].astype(np.int16)
    upper = np.triu_indices(p.shape[1], 1)
    apart = (p[:, upper[0]] != p[:, upper[1]]) & (p[:, upper[0]] + p[:, upper[1]] != _LARGEST)  # (blocks, pairs)
    chosen: list[int] = []
    seen = np.zeros(apart.shape[1], np.float64)
    for _ in range(min(count, len(candidates))):
        gain = apart @ 0.25**seen  # a pair that is told apart often counts little
        gain[chosen] = -1
        at = int(gain.argmax())
        chosen.append(at)
        seen += apart[at]
    return candidates[chosen]


def recover(plain: Array, cipher: Array) -> tuple[Array, Array]:
    """Return, for each place of a plain block, the encrypted place that holds it and whether it is negated there.

    plain, cipher: half samples of the same blocks, uint8 (blocks, places).
    """
    p, c = plain.astype(np.int16), cipher.astype(np.int16)
    straight = np.stack([np.abs(c - p[:, [at]]).sum(axis=0) for at in range(p.shape[1])])
    turned = np.stack([np.abs(_LARGEST - c - p[:, [at]]).sum(axis=0) for at in range(p.shape[1])])
    place = np.minimum(straight, turned).argmin(axis=1)
    rows = np.arange(len(place))
    return place, turned[rows, place] < straight[rows, place]


def decrypt(cipher: Array, block: int, place: Array, negated: Array) -> Array:
    """Return a picture (rows, columns, channels) decrypted with a recovered key."""
    cut = blocks.split(cipher, block)
    halves = blocks.to_halves(cut.reshape(cut.shape[0] * cut.shape[1], -1), 8)[:, place]
    plain = np.where(negated[None], _LARGEST - halves, halves).astype(np.uint8)
    return blocks.join(blocks.from_halves(plain, 8).reshape(cut.shape))


class TanakaKnownPlaintext(Attack):
    """Recovers the key from `known_blocks` blocks of the known pairs, the most telling ones, and decrypts the rest."""

    name: ClassVar[str] = "tanaka-known-plaintext"
    title: ClassVar[str] = "Known plaintext on Tanaka's scheme"
    needs: ClassVar[frozenset[str]] = frozenset({"protected", "originals", "known"})

    def __init__(self, *, known_blocks: int = 64) -> None:
        if known_blocks < 1:
            raise InputError(f"{known_blocks} known blocks: give at least one")
        self.known_blocks = known_blocks

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Recover the key, decrypt every protected picture and count samples that are exact."""
        if material.scheme != "learnable-tanaka" or material.options.get("per") == "image":
            raise UnsupportedError("this attack is on learnable-tanaka with one key for the data set")
        block = int(material.options.get("block", 4))
        pairs = [self._halves(plain, cipher, block) for plain, cipher in material.known]
        plain, cipher = (np.concatenate([pair[i] for pair in pairs]) for i in (0, 1))
        detail = telling(plain, self.known_blocks)
        place, negated = recover(plain[detail], cipher[detail])
        found = []
        for original, protected in zip(material.originals, material.protected, strict=True):
            opened = decrypt(self._stacked(protected), block, place, negated)
            found.append(alike(original, opened[..., 0] if protected.ndim == 2 else opened)[1])
            progress(len(found), len(material.protected))
        exact = [float((a == b).mean()) for a, b in zip(material.originals, found, strict=True)]
        strangers = [
            float((a == b).mean())
            for a, b in zip(material.originals[1:] + material.originals[:1], found, strict=True)
            if a.shape == b.shape
        ]
        seed = int(rng.integers(1 << 31))
        chance = float(np.mean(strangers)) if len(found) > 1 and strangers else None
        scores = {"exact": measured(exact, chance, seed=seed, groups=material.groups)}
        scores |= likeness(material.originals, found, seed=seed, groups=material.groups)
        value = scores["exact"].value
        note = f"{len(detail)} known blocks of {block} x {block} decrypt {value:.2%} of all other samples exactly"
        return Outcome(scores, examples(material, found), scores["exact"].low > 0.9, note)

    @staticmethod
    def _stacked(picture: Array) -> Array:
        return picture if picture.ndim == 3 else picture[..., None]

    def _halves(self, plain: Array, cipher: Array, block: int) -> tuple[Array, Array]:
        stacked = self._stacked(cipher)
        whole = colour(plain) if stacked.shape[2] == 3 else self._stacked(plain)
        cut = [blocks.split(p, block) for p in (whole, stacked)]
        if cut[0].shape != cut[1].shape:
            raise InputError(f"a known pair of {plain.shape} and {cipher.shape} does not fit blocks of {block}")
        plain_halves, cipher_halves = (blocks.to_halves(c.reshape(c.shape[0] * c.shape[1], -1), 8) for c in cut)
        return plain_halves, cipher_halves


ATTACK = TanakaKnownPlaintext
