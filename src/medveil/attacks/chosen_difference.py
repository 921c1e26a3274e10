"""Chosen plaintext: pairs of pictures that differ in one bit, and a look at how far apart they come out.

Differential cryptanalysis in its simplest form (Biham and Shamir, 1991). The adversary has small random pictures and
their twins, one pixel's lowest bit changed, encrypted under the key that he attacks. Of a good cipher the two
ciphertexts are strangers. Where a pair comes out closer than strangers ever do, the difference has passed through, and
the cipher is told from noise; what passes often is where the recovery of a key begins.

A few pictures of 32 x 32 show a cipher in which a change stays where it is. Then the smallest that a scheme takes are
tried, since what mixes with its neighbours has none there. A scheme that encrypts the same picture to something new
each time offers nothing to compare, and is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.base import Array, Attack, Material, Outcome, Progress, Score, measured
from medveil.attacks.views import side_by_side
from medveil.errors import InputError, MedveilError, UnsupportedError

SIDES: Final = (4, 8, 16, 32, 64)
_ORDINARY: Final = 32
_BATCH: Final = 64
_LEVEL: Final = 1e-9  # of one pair; of all together it stays below 1e-5 for ten thousand
_SAME: Final = 0.5  # share of equal bytes from which on a scheme counts as repeating itself
_ZOOM: Final = 64


class ChosenDifference(Attack):
    """Compares encryptions of up to `trials` pairs, and stops when a few have passed through.

    The headline is the share of pairs that came out closer than chance explains at 1e-9; `closest` the share of equal
    bytes of the closest pair, with that of the closest strangers as chance.
    """

    name: ClassVar[str] = "chosen-difference"
    title: ClassVar[str] = "Chosen plaintext: one changed bit followed through"
    needs: ClassVar[frozenset[str]] = frozenset({"oracle"})

    def __init__(self, *, trials: int = 2048, enough: int = 3) -> None:
        if min(trials, enough) < 1:
            raise InputError("trials and enough are at least 1")
        self.trials, self.enough = trials, enough

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        """Encrypt pairs in batches until enough of them are told from strangers."""
        oracle = material.oracle
        if oracle is None:
            raise UnsupportedError("there is nobody to encrypt chosen pictures: give an oracle")
        side = _smallest(oracle, rng)
        if not _repeats(oracle, rng):
            progress(1, 1)
            nothing = {"passed": Score(0.0, 0.0, 0.0, _LEVEL, 1)}
            return Outcome(nothing, broken=False, note="the same picture is encrypted to something new each time")
        pairs: list[_Pair] = []
        if side < _ORDINARY:
            pairs = [_pair(oracle, _ORDINARY, rng) for _ in range(_BATCH)]
        if not pairs or not _compared(pairs).passed.any():
            pairs = []
            while len(pairs) < self.trials and (not pairs or _compared(pairs).passed.sum() < self.enough):
                pairs += [_pair(oracle, side, rng) for _ in range(min(_BATCH, self.trials - len(pairs)))]
                progress(len(pairs), self.trials)
        else:
            side = _ORDINARY
        found = _compared(pairs)
        equal, strangers, passed = found.equal, found.strangers, found.passed
        progress(self.trials, self.trials)
        best = int(equal.sum(axis=1).argmax())
        closest, apart = float(equal.mean(axis=1).max()), float(strangers.mean(axis=1).max())
        scores = {
            "passed": measured(passed, _LEVEL, seed=int(rng.integers(1 << 31))),
            "closest": Score(closest, closest, closest, apart, len(pairs)),
        }
        size = equal.shape[1]
        note = (
            f"of {len(pairs)} pairs of {side} x {side} pictures that differ in one bit, {int(passed.sum())} pass "
            f"through: up to {round(closest * size)} of {size} bytes come out equal (strangers: {round(apart * size)})"
        )
        shown = [np.kron(p, np.ones((max(1, _ZOOM // side),) * 2, np.uint8)) for p in pairs[best]]
        pictures = {"two pictures, their ciphertexts": side_by_side(shown[:2], shown[2:])}
        return Outcome(scores, pictures, bool(passed.any()), note)


_Pair = tuple[Array, Array, Array, Array]


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """Which bytes of twins, and of strangers, are equal, bool (pairs, bytes); which pairs are closer than strangers."""

    equal: Array
    strangers: Array
    passed: npt.NDArray[np.bool_]


def _compared(pairs: list[_Pair]) -> _Compared:
    ciphers = np.stack([c.reshape(-1) for _, _, c, _ in pairs])
    equal = ciphers == np.stack([c.reshape(-1) for *_, c in pairs])
    strangers = ciphers == np.roll(ciphers, 1, axis=0)
    return _Compared(equal, strangers, equal.sum(axis=1) >= _bound(strangers.mean(axis=0), len(pairs)))


def _pair(oracle: Callable[[Array], Array], side: int, rng: np.random.Generator) -> _Pair:
    """Return a random picture, its twin with one lowest bit changed, and what becomes of both."""
    picture = rng.integers(0, 256, (side, side)).astype(np.uint8)
    twin = picture.copy()
    twin[int(rng.integers(side)), int(rng.integers(side))] ^= 1
    return picture, twin, _flat(oracle(picture)), _flat(oracle(twin))


def _flat(cipher: Array) -> Array:
    """Return a ciphertext as a grey picture; of colours the first."""
    return np.ascontiguousarray(cipher if cipher.ndim == 2 else cipher[..., 0])


def _smallest(oracle: Callable[[Array], Array], rng: np.random.Generator) -> int:
    """Return the side of the smallest picture that is taken. Raises UnsupportedError where none is."""
    for side in SIDES:
        try:
            oracle(rng.integers(0, 256, (side, side)).astype(np.uint8))
        except MedveilError:
            continue
        return side
    raise UnsupportedError(f"no picture of up to {SIDES[-1]} x {SIDES[-1]} is taken: nothing to choose")


def _repeats(oracle: Callable[[Array], Array], rng: np.random.Generator) -> bool:
    """Whether equal pictures come out equal; looked at in a large one, where framing counts for little."""
    picture = rng.integers(0, 256, (SIDES[-1],) * 2).astype(np.uint8)
    one, other = _flat(oracle(picture)), _flat(oracle(picture))
    return one.shape == other.shape and float((one == other).mean()) > _SAME


def _bound(chances: npt.NDArray[np.float64], trials: int) -> int:
    """Return how many equal bytes a pair of strangers reaches with a probability of 1e-9 at most, plus one.

    chances: how often strangers agree in each byte, (bytes,); a byte that never does counts as one that does once more.
    """
    smooth = np.minimum((chances * trials + 1) / (trials + 1), 1)
    distribution: Any = np.ones(1)
    for chance in smooth:
        distribution = np.convolve(distribution, (1 - chance, chance))
    tail = distribution[::-1].cumsum()[::-1]
    return int((tail > _LEVEL).sum())


ATTACK = ChosenDifference
