"""What statistics say over many keys: the worst key, sensitivity to key and plaintext, and cycles of a keystream.

A table of one key says little: of a thousand keys a weak scheme shows its weak ones. All functions take the cipher as
a callable over arrays, so they serve every scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.metrics.cipher_statistics import Against, PairVerdict, chi_square, judge_pair
from medveil.metrics.significance import chi_square_p

Array = npt.NDArray[Any]
Key = TypeVar("Key")
State = TypeVar("State", bound=Hashable)


@dataclass(frozen=True, slots=True)
class OverKeys:
    """A measure over many keys: the worst with its place, and the quantiles 0.05, 0.5, 0.95."""

    keys: int
    worst: float
    worst_at: int
    low: float
    median: float
    high: float


def over_keys(
    measure: Callable[[Key], float], keys: Sequence[Key], *, worst: Callable[..., Any] = np.argmin
) -> OverKeys:
    """Measure each key (a thousand, say) and return the worst: the smallest value, or what `worst` picks (argmax).

    Raises InputError for no keys, or a measure that is not finite.
    """
    values = np.array([measure(key) for key in keys], np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise InputError(f"{values.size} keys: give at least one, and a measure that is finite for each")
    at = int(worst(values))
    low, median, high = (float(q) for q in np.quantile(values, [0.05, 0.5, 0.95]))
    return OverKeys(values.size, float(values[at]), at, low, median, high)


def chi_square_p_values(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float64]:
    """Return the p-value of the histogram of each 8-bit image against the uniform distribution (255 degrees).

    Over many keys they are uniform in (0, 1) for noise; all near 1 is as telling as all near 0. Raises InputError for
    other types, MissingExtraError without scipy.
    """
    return np.array([chi_square_p(chi_square(image), 255) for image in images])


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How often two images that differ little come out as independent ones would.

    share_random: of trials whose NPCR and UACI are both random; about 1 - 2 alpha for noise. below, above: shares of
    trials with either below, or suspiciously above. npcr, uaci: means. worst: the trial with the lowest NPCR.
    """

    trials: int
    share_random: float
    below: float
    above: float
    npcr: float
    uaci: float
    worst: PairVerdict

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        names = ("trials", "share_random", "below", "above", "npcr", "uaci")
        return {name: getattr(self, name) for name in names} | {"worst": self.worst.as_dict()}


def summarise(verdicts: Sequence[PairVerdict]) -> Sensitivity:
    """Gather trials. Raises InputError for none."""
    if not verdicts:
        raise InputError("no trials: nothing to say")

    def share(says: Against) -> float:
        return float(np.mean([says in (v.npcr_says, v.uaci_says) for v in verdicts]))

    return Sensitivity(
        len(verdicts),
        float(np.mean([v.random for v in verdicts])),
        share(Against.BELOW),
        share(Against.ABOVE),
        float(np.mean([v.npcr for v in verdicts])),
        float(np.mean([v.uaci for v in verdicts])),
        min(verdicts, key=lambda v: v.npcr),
    )


def key_sensitivity(
    encrypt: Callable[[bytes], Array], key: bytes, *, bits: Sequence[int] | None = None, alpha: float = 0.05
) -> Sensitivity:
    """Compare the cipher image of a key with those of keys that differ in one bit each.

    bits: which bits, 0 the first byte's highest; all where None. Raises InputError for an empty key, a bit outside it,
    or images that do not fit each other.
    """
    chosen = range(8 * len(key)) if bits is None else bits
    if not key or any(not 0 <= b < 8 * len(key) for b in chosen):
        raise InputError(f"bits {list(chosen)[:4]} of a key of {len(key)} bytes: give bits that it has")
    first = encrypt(key)
    return summarise([judge_pair(first, encrypt(_flipped(key, b)), alpha) for b in chosen])


def _flipped(key: bytes, bit: int) -> bytes:
    changed = bytearray(key)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class PlaintextSensitivity:
    """One changed pixel, inside a region of interest and outside, told apart: a scheme may spread only the former."""

    inside: Sensitivity | None
    outside: Sensitivity | None


def plaintext_sensitivity(
    encrypt: Callable[[Array], Array],
    image: Array,
    inside: npt.NDArray[np.bool_],
    trials: int,
    rng: np.random.Generator,
    *,
    alpha: float = 0.05,
) -> PlaintextSensitivity:
    """Change one pixel by one level, `trials` times inside and outside a region, under one key, and compare.

    encrypt: deterministic, under one key. image: unsigned (rows, columns[, channels]); inside: bool (rows, columns).
    A side without pixels gives None. Raises InputError for a region of another shape.
    """
    if inside.shape != image.shape[:2] or trials < 1:
        raise InputError(f"a region of {inside.shape} for an image of {image.shape}: give one of its rows and columns")
    first = encrypt(image)

    def side(where: npt.NDArray[np.bool_]) -> Sensitivity | None:
        places = np.argwhere(where)
        if not len(places):
            return None
        verdicts = []
        for row, column in places[rng.integers(0, len(places), trials)]:
            changed = image.copy()
            changed[row, column] = np.where(image[row, column] > 0, image[row, column] - 1, 1)
            verdicts.append(judge_pair(first, encrypt(changed), alpha))
        return summarise(verdicts)

    return PlaintextSensitivity(side(inside), side(~inside))


@dataclass(frozen=True, slots=True)
class Cycle:
    """A sequence repeats with period `length` after `tail` steps."""

    tail: int
    length: int


def cycle_of_states(step: Callable[[State], State], start: State, limit: int) -> Cycle | None:
    """Find the cycle that repeated steps from a state fall into (Brent, BIT 20, 1980); None within `limit` steps.

    A keystream generator of b bits of state should not cycle before about 2^(b/2) steps.
    Raises InputError for no limit.
    """
    if limit < 1:
        raise InputError("looking for a cycle within no steps: give a limit")
    power = length = 1
    tortoise, hare, taken = start, step(start), 1
    while tortoise != hare:
        if taken >= limit:
            return None
        if power == length:
            tortoise, power, length = hare, power * 2, 0
        hare, length, taken = step(hare), length + 1, taken + 1
    tortoise = hare = start
    for _ in range(length):
        hare = step(hare)
    tail = 0
    while tortoise != hare:
        tortoise, hare, tail = step(tortoise), step(hare), tail + 1
    return Cycle(tail, length)


def cycle_of_output(values: Array, *, repeats: int = 2) -> Cycle | None:
    """Find the shortest period of the end of a sequence, seen at least `repeats` times; None where there is none.

    values: (n,), any dtype. By the prefix function of the reversed sequence, so in O(n). Raises InputError for an
    empty sequence or fewer than two repeats.
    """
    if values.ndim != 1 or values.size == 0 or repeats < 2:
        raise InputError(f"values of shape {values.shape}, {repeats} repeats: give a sequence and at least two")
    backward = values[::-1]
    best: Cycle | None = None
    border = np.zeros(values.size, np.int64)
    k = 0
    items = backward.tolist()
    for i in range(1, len(items)):
        while k and items[i] != items[k]:
            k = int(border[k - 1])
        k += items[i] == items[k]
        border[i] = k
        period = i + 1 - k
        if k and (i + 1) >= repeats * period and (best is None or i + 1 > len(items) - best.tail):
            best = Cycle(len(items) - i - 1, period)
    return best
