"""Decoding by regression from windows: what a cipher computes from a neighbourhood is learnt from a few known pairs.

Each square of the original is predicted from the window of the protected picture around it, by ridge regression on the
window's samples and on random rectified features of them (Rahimi and Recht, "Random features for large-scale kernel
machines", 2007). A second round sees the first round's picture as well, and its mean and spread, which is how a
normalisation over the whole picture is undone. Where squares lie, how far windows reach and how much is shrunk is
decided on known pairs that were held out; the first round's pictures of known pairs come from folds that left them
out, so the second learns to correct what the first gets wrong on pictures that it has not seen.

No gradient descent: seconds for 64 pairs of 64 x 64 pixels. Whatever is convolutional or works on blocks gives way, the
deep-learning ciphers of paper 004 among it; noise gives nothing, and the second round is then left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Folds = npt.NDArray[np.int64]

GEOMETRIES: Final = ((4, 8), (8, 4))
"""Sides of the squares, and how far windows reach beyond them, in pixels."""
_FEATURES: Final = 768
_SHRINK: Final = (1e-3, 1e-2, 1e-1)
_FOLDS: Final = 4
_DRAWS: Final = 3
_REACH: Final = 4  # of the second round's windows
_GAIN: Final = 0.8  # of the mean picture's error: what the first round must reach for a second (1 dB)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """Pictures in [0, 1], float32 (N, rows, columns). known: of the known pairs, each decoded without its own pair."""

    seen: Floats
    known: Floats | None


def decode(known: Bytes, plain: Bytes, seen: Bytes, rng: np.random.Generator, *, both: bool = False) -> Decoded:
    """Learn from pairs and decode the others; the known ones too where `both`.

    known, plain: protected pictures and their originals, uint8 (N, rows, columns); seen: protected pictures to decode.
    """
    rows, columns = plain.shape[1:]
    side = max(period for period, _ in GEOMETRIES)
    pads = ((0, 0), (0, -rows % side), (0, -columns % side))
    known, plain, seen = (np.pad(p, pads, mode="edge") for p in (known, plain, seen))
    wanted = np.asarray(plain, np.float32) / np.float32(255)
    folds = np.arange(len(known)) % _FOLDS
    period, fit = min(
        ((period, _first(known, wanted, period, reach, folds, rng)) for period, reach in GEOMETRIES),
        key=lambda found: found[1].error,
    )
    found = fit.pictures(seen, period)
    apart: Floats | None = None
    again = len(known) >= _FOLDS and fit.error < _GAIN * _blind(wanted, folds)
    if again or both:
        apart = fit.held_out(period)
    if again and apart is not None:
        found, apart = _second(known, wanted, seen, (found, apart), folds, rng, both=both)
    cut = (slice(None), slice(rows), slice(columns))
    return Decoded(np.clip(found[cut], 0, 1), None if apart is None else np.clip(apart[cut], 0, 1))


def _blind(wanted: Floats, folds: Folds) -> float:
    """Return the error of the mean picture of the other folds on the first."""
    return float(np.square(wanted[folds == 0] - wanted[folds != 0].mean(axis=0)).mean())


def _first(known: Bytes, wanted: Floats, period: int, reach: int, folds: Folds, rng: np.random.Generator) -> _Fit:
    lift = _lift(rng, (period + 2 * reach) ** 2, _scaled(known))

    def features(at: int, among: Bytes) -> Floats:
        return lift(_windows(_scaled(among[at]), period, reach))

    return _Fit(features, known, [_squares(w, period) for w in wanted], folds)


def _second(
    known: Bytes, wanted: Floats, seen: Bytes, before: tuple[Floats, Floats], folds: Folds, rng: np.random.Generator,
    *, both: bool,
) -> tuple[Floats, Floats | None]:  # fmt: skip
    """Correct what the first round made of `seen` and of `known`; the mean of a few draws of random features."""
    period = GEOMETRIES[0][0]
    made, apart = (np.clip(p, 0, 1) for p in before)
    left = [_squares(w - p, period) for w, p in zip(wanted, apart, strict=True)]
    seen_out: list[Floats] = []
    known_out: list[Floats] = []
    shrink: float | None = None
    for _ in range(_DRAWS):
        lift = _lift(rng, 2 * (period + 2 * _REACH) ** 2 + 4, _scaled(known))

        def features(at: int, among: Bytes, lift: Callable[[Floats], Floats] = lift) -> Floats:
            guess = (apart if among is known else made)[at]
            cipher = _scaled(among[at])
            whole = np.array([guess.mean(), guess.std(), cipher.mean(), cipher.std()], np.float32)
            near = [_windows(p, period, _REACH) for p in (cipher, guess - np.float32(0.5))]
            return lift(np.concatenate([*near, np.broadcast_to(whole, (len(near[0]), 4))], axis=1))

        fit = _Fit(features, known, left, folds, shrink)
        shrink = fit.shrink
        seen_out.append(fit.pictures(seen, period))
        if both:
            known_out.append(fit.held_out(period))
    corrected = apart + np.asarray(np.mean(known_out, axis=0), np.float32) if both else None
    return made + np.asarray(np.mean(seen_out, axis=0), np.float32), corrected


class _Fit:
    """Ridge regression from features of a picture's windows to its squares, picture by picture.

    How much is shrunk is decided by the error on the first fold, in `error`, unless `shrink` says it.
    """

    def __init__(
        self,
        features: Callable[[int, Bytes], Floats],
        known: Bytes,
        wanted: list[Floats],
        folds: Folds,
        shrink: float | None = None,
    ) -> None:
        self._features, self._known, self._folds = features, known, folds
        wide, high = features(0, known).shape[1], wanted[0].shape[1]
        self._grams, self._sides = np.zeros((_FOLDS, wide, wide)), np.zeros((_FOLDS, wide, high))
        for at, fold in enumerate(folds.tolist()):
            x = features(at, known)
            self._grams[fold] += x.T @ x
            self._sides[fold] += x.T @ wanted[at]
        self._gram, self._side = self._grams.sum(axis=0), self._sides.sum(axis=0)
        self.error, self.shrink = np.inf, _SHRINK[-1] if shrink is None else shrink
        apart = np.flatnonzero(folds == 0).tolist()
        for candidate in _SHRINK if shrink is None and len(known) > 1 else ():
            weights = self._without(0, candidate)
            error = float(np.mean([np.square(features(at, known) @ weights - wanted[at]).mean() for at in apart]))
            if error < self.error:
                self.error, self.shrink = error, candidate

    def _without(self, fold: int, shrink: float) -> Floats:
        return _solved(self._gram - self._grams[fold], self._side - self._sides[fold], shrink)

    def pictures(self, among: Bytes, period: int) -> Floats:
        """Return what all pairs make of pictures."""
        weights = _solved(self._gram, self._side, self.shrink)
        made = [_joined(self._features(at, among) @ weights, period, among.shape[1:]) for at in range(len(among))]
        return np.stack(made)

    def held_out(self, period: int) -> Floats:
        """Return what the other folds make of each known picture; of a single one, what it makes of itself."""
        several = len(self._known) > 1
        weights = {
            fold: self._without(fold, self.shrink) if several else _solved(self._gram, self._side, self.shrink)
            for fold in sorted(set(self._folds.tolist()))
        }
        shape = self._known.shape[1:]
        made = [self._features(at, self._known) @ weights[fold] for at, fold in enumerate(self._folds.tolist())]
        return np.stack([_joined(squares, period, shape) for squares in made])


def _solved(gram: Doubles, side: Doubles, shrink: float) -> Floats:
    """Return the weights; the last feature is 1 and is not shrunk."""
    penalty = np.full(len(gram), shrink * np.trace(gram) / len(gram) + 1e-9)
    penalty[-1] = 1e-9
    return np.asarray(np.linalg.solve(gram + np.diag(penalty), side), np.float32)


def _lift(rng: np.random.Generator, inputs: int, pictures: Floats) -> Callable[[Floats], Floats]:
    """Return what makes features of windows (n, inputs): the samples, random rectified sums of them, and 1."""
    spread = float(pictures.std()) or 1.0
    weights = (rng.standard_normal((inputs, _FEATURES)) / np.sqrt(inputs)).astype(np.float32)
    offsets = rng.uniform(-1, 1, _FEATURES).astype(np.float32)

    def lifted(windows: Floats) -> Floats:
        given = windows / np.float32(spread)
        ones = np.ones((len(given), 1), np.float32)
        return np.concatenate([given, np.maximum(given @ weights + offsets, 0), ones], axis=1)

    return lifted


def _scaled(pictures: Bytes) -> Floats:
    return np.asarray(pictures, np.float32) / np.float32(255) - np.float32(0.5)


def _windows(picture: Floats, period: int, reach: int) -> Floats:
    """Return the windows around the squares of a picture, (squares, samples)."""
    padded = np.pad(picture, reach, mode="symmetric")
    side = period + 2 * reach
    cut = np.lib.stride_tricks.sliding_window_view(padded, (side, side))[::period, ::period]
    return np.ascontiguousarray(cut).reshape(-1, side * side)


def _squares(picture: Floats, period: int) -> Floats:
    down, across = picture.shape[0] // period, picture.shape[1] // period
    return picture.reshape(down, period, across, period).transpose(0, 2, 1, 3).reshape(-1, period * period)


def _joined(squares: Floats, period: int, shape: tuple[int, ...]) -> Floats:
    down, across = shape[0] // period, shape[1] // period
    return squares.reshape(down, across, period, period).transpose(0, 2, 1, 3).reshape(shape)
