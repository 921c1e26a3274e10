"""Fingerprints: numbers of a protected picture that its original has too, computed without any key or training.

Each scheme leaves something: SKK the fold of every sample, smoothing the depth of the fold in a block, half-sample
schemes the folds of halves in a block, block scramblers the same up to the blocks' order (so blocks are sorted). For
schemes that this module does not know, means of 8 x 8 squares are compared, in the picture and in its fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.attacks.folding import block_means, deepest, fold, plain_fold
from medveil.attacks.views import grey

Array = npt.NDArray[Any]
_CELL: Final = 4
_UNKNOWN_CELL: Final = 8


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """How a scheme's pictures are compared with originals.

    of_protected, of_plain: a uint8 picture to float64 (layers, down, across), layers being compared apart. Where
    `places` is not kept, blocks are sorted. either_sign: a negative correlation counts as much as a positive one.
    cell: side in pixels of what one number stands for.
    """

    of_protected: Callable[[Array], Array]
    of_plain: Callable[[Array], Array]
    cell: int
    places: bool = True
    either_sign: bool = False


def fingerprint(scheme: str, options: Mapping[str, Any]) -> Fingerprint:
    """Return what is known of a scheme; options: its public ones, defaults where they are missing."""
    block = int(options.get("block", {"learnable-etc": 16, "learnable-patchwise": 16}.get(scheme, 4)))
    if scheme == "learnable-smoothed" and block > 1:
        return Fingerprint(lambda e: deepest(e)[None, ::block, ::block], _means_of_fold(block), block)
    if scheme in ("learnable-skk", "learnable-smoothed"):
        return Fingerprint(_means_of_fold(_CELL), _means_of_fold(_CELL), _CELL)
    if scheme in ("learnable-tanaka", "learnable-ele"):
        halves = _means_of_halves(block)
        return Fingerprint(halves, halves, block, places=scheme == "learnable-tanaka")
    if scheme in ("learnable-etc", "learnable-patchwise"):
        kept = _means_and_spread(block)
        places = scheme == "learnable-patchwise" and options.get("places") is False
        return Fingerprint(kept, kept, block, places=places)
    return Fingerprint(_unknown, _unknown, _UNKNOWN_CELL, either_sign=True)


def _means_of_fold(block: int) -> Callable[[Array], Array]:
    return lambda picture: block_means(plain_fold(picture), block)[None]


def _means_of_halves(block: int) -> Callable[[Array], Array]:
    def of(picture: Array) -> Array:
        folded = [np.minimum(half, 15 - half).astype(np.float64) for half in (picture >> 4, picture & 15)]
        mean = (folded[0] + folded[1]) / 2
        return block_means(mean.mean(axis=2) if mean.ndim == 3 else mean, block)[None]

    return of


def _means_and_spread(block: int) -> Callable[[Array], Array]:
    def of(picture: Array) -> Array:
        folded = plain_fold(picture)
        mean = block_means(folded, block)
        square = fold(picture).astype(np.float64) ** 2
        power = block_means(square.mean(axis=2) if square.ndim == 3 else square, block)
        return np.stack([mean, np.sqrt(np.maximum(power - mean * mean, 0))])

    return of


def _unknown(picture: Array) -> Array:
    cell = _UNKNOWN_CELL
    return np.stack([block_means(grey(picture).astype(np.float64), cell), block_means(plain_fold(picture), cell)])


def likeness_matrix(print_: Fingerprint, protected: Sequence[Array], gallery: Sequence[Array]) -> Array:
    """Return how alike each protected picture is to each of the gallery, float64 (protected, gallery).

    Correlations where places are kept, of unknown schemes the larger of the layers' absolute ones; negative distances
    of sorted blocks elsewhere. Pictures whose fingerprints have another size are minus infinity.
    """
    left = [print_.of_protected(p) for p in protected]
    right = [print_.of_plain(p) for p in gallery]
    out = np.full((len(left), len(right)), -np.inf)
    for shape in {x.shape for x in left}:
        rows = [i for i, x in enumerate(left) if x.shape == shape]
        columns = [j for j, x in enumerate(right) if x.shape == shape]
        if not columns:
            continue
        a, b = np.stack([left[i] for i in rows]), np.stack([right[j] for j in columns])
        out[np.ix_(rows, columns)] = _correlations(a, b, print_) if print_.places else _sorted_distances(a, b)
    return out


def _correlations(a: Array, b: Array, print_: Fingerprint) -> Array:
    layers = []
    for layer in range(a.shape[1]):
        x, y = (_standard(v[:, layer].reshape(len(v), -1)) for v in (a, b))
        found = x @ y.T
        layers.append(np.abs(found) if print_.either_sign else found)
    return np.asarray(np.max(layers, axis=0))


def _standard(values: Array) -> Array:
    centred = values - values.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12))


def _sorted_distances(a: Array, b: Array) -> Array:
    x, y = (np.sort(v.reshape(len(v), v.shape[1], -1), axis=2).reshape(len(v), -1) for v in (a, b))
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1)[None] - 2 * x @ y.T
    return np.asarray(-np.sqrt(np.maximum(squares, 0)))
