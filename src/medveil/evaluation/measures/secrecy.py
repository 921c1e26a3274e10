"""What one part shows alone: likeness to the original, uneven bytes, repetition, pieces of the file in clear."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from medveil.attacks.views import alike, view
from medveil.evaluation.measures.bench import Bench, Measure, Measured, Pixels, contents, interval, protect_all
from medveil.metrics import image_quality
from medveil.metrics.cipher_statistics import chi_square
from medveil.metrics.significance import chi_square_p
from medveil.metrics.uncertainty import bootstrap, proportion
from medveil.schemes.base import Protected

_LEVEL = 1e-6  # of all tests together, before it is divided by their number
_PIECE = 12
_LARGE = 6  # encryptions of a large picture, for the evenness of bytes


def take(bench: Bench) -> Measured:
    """Look at each part of many pictures, and of one large picture protected several times, without the secret."""
    pictures = list(bench.corpus.images[: bench.effort.images])
    scheme = bench.subject.make()
    protected = protect_all(scheme, pictures)
    likeness, strangers = _likeness(pictures, protected)
    large = protect_all(scheme, [bench.sizeable()] * _LARGE)
    p = [chi_square_p(chi_square(held), 255) for one in large for held in map(contents, one.parts)]
    twice = max(_same(a, b) for a, b in pairwise(large))
    clear = sum(_in_clear(picture, one) for picture, one in zip(pictures, protected, strict=True))
    found = bootstrap(likeness, seed=bench.seed, groups=list(bench.corpus.groups[: len(pictures)]))
    level = _LEVEL / len(p)
    out = Measured()
    out.values |= {
        "likeness": interval(found, len(likeness), chance=float(np.mean(strangers))),
        "looks_alike": found.low > float(np.quantile(strangers, 0.975)),
        "uneven_parts": interval(proportion(sum(v < level for v in p), len(p)), len(p)),
        "lowest_p": min(p),
        "same_bytes_when_protected_twice": twice,
        "pictures_with_pieces_in_clear": clear,
    }
    out.values["shows_nothing"] = bool(
        not out.values["looks_alike"] and min(p) >= level and twice < 0.05 and clear == 0
    )
    return out


def _likeness(pictures: list[Pixels], protected: list[Protected]) -> tuple[list[float], list[float]]:
    """Return for each picture the strongest |correlation| of a part with it, and with another's original."""
    own, other = [], []
    for i, one in enumerate(protected):
        views = [view(part, pictures[i].shape) for part in one.parts]
        own.append(max(_ncc(pictures[i], seen) for seen in views))
        other.append(max(_ncc(pictures[i - 1], seen) for seen in views))
    return own, other


def _ncc(picture: Pixels, seen: Pixels) -> float:
    if seen.shape[0] < picture.shape[0] or seen.shape[1] < picture.shape[1]:
        seen = np.resize(seen.reshape(-1), picture.shape)
    return abs(image_quality.ncc(*alike(picture, seen)))


def _same(one: Protected, other: Protected) -> float:
    """Return the largest share of equal bytes in two parts of one picture, above what chance gives its alphabet."""
    worst = 0.0
    for a, b in zip(one.parts, other.parts, strict=True):
        x, y = contents(a), contents(b)
        size = min(len(x), len(y))
        if size:
            p = np.bincount(x[:size], minlength=256) / size
            q = np.bincount(y[:size], minlength=256) / size
            chance = float((p * q).sum())
            worst = max(worst, float((x[:size] == y[:size]).mean()) - chance)
    return worst


def _in_clear(picture: Pixels, one: Protected) -> bool:
    """Whether a part holds a row's piece of the picture as it is."""
    data = picture.tobytes()
    pieces = {data[at : at + _PIECE] for at in range(0, len(data) - _PIECE, 61)}
    pieces = {piece for piece in pieces if len(set(piece)) > 4}
    held = [part.data for part in one.parts] + [contents(part).tobytes() for part in one.parts]
    return any(piece in data for piece in pieces for data in held)


MEASURE = Measure(
    "secrecy",
    "What one part shows",
    "A necessary condition only: a part that shows nothing here may still give way to an attack.",
    take,
)
