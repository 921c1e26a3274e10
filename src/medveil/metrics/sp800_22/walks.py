"""Sections 2.13 to 2.15: the random walk of the bits taken as steps of +1 and -1."""

from __future__ import annotations

from math import erfc, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from medveil.metrics.sp800_22.bits import Bits, Outcome, check, chi_square

_STATES = (-4, -3, -2, -1, 1, 2, 3, 4)
_LEAST_CYCLES = 500


def cumulative_sums(bits: Bits) -> Outcome:
    """Section 2.13: how far the walk goes from its start, forwards and backwards. Raises InputError for no bits."""
    n = check(bits, 1, "cumulative sums")
    walk = np.cumsum(2 * bits.astype(np.int64) - 1)
    reach = {"forward": int(np.abs(walk).max()), "backward": int(np.abs(walk[-1] - np.append(0, walk[:-1])).max())}
    return Outcome("cumulative sums", {k: _reach_p(z, n) for k, z in reach.items()}, reach["forward"], enough=n >= 100)


def _reach_p(z: int, n: int) -> float:
    phi = NormalDist().cdf
    # int() cuts towards zero, as NIST's program does; the section writes the bounds without rounding
    first = sum(
        phi((4 * k + 1) * z / sqrt(n)) - phi((4 * k - 1) * z / sqrt(n))
        for k in range(int((-n / z + 1) / 4), int((n / z - 1) / 4) + 1)
    )
    second = sum(
        phi((4 * k + 3) * z / sqrt(n)) - phi((4 * k + 1) * z / sqrt(n))
        for k in range(int((-n / z - 3) / 4), int((n / z - 1) / 4) + 1)
    )
    return min(1.0, max(0.0, 1 - first + second))


def _walk(bits: Bits) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return the walk, the cycle that each step belongs to, and the number of cycles (the last may be cut)."""
    walk = np.cumsum(2 * bits.astype(np.int64) - 1)
    home = walk == 0
    cycle = np.cumsum(home) - home
    return walk, cycle, int(home.sum()) + int(walk[-1] != 0)


def excursion_probabilities(state: int) -> list[float]:
    """Return the probabilities of 0, 1, ..., 4 and at least 5 visits of a state in a cycle (section 3.14)."""
    stay = 1 - 1 / (2 * abs(state))
    return [stay, *((1 - stay) ** 2 * stay ** (k - 1) for k in range(1, 5)), (1 - stay) * stay**4]


def random_excursions(bits: Bits) -> Outcome:
    """Section 2.14: visits of the states -4 to 4 in each cycle of the walk; `enough` is False below 500 cycles."""
    n = check(bits, 1, "random excursions")
    walk, cycle, cycles = _walk(bits)
    found: dict[str, float] = {}
    worst = 0.0
    for state in _STATES:
        visits = np.bincount(cycle[walk == state], minlength=cycles)
        counts = np.bincount(np.minimum(visits, 5), minlength=6)
        statistic, found[f"{state:+d}"] = chi_square(counts, excursion_probabilities(state), cycles)
        worst = max(worst, statistic)
    return Outcome("random excursions", found, worst, enough=cycles >= max(0.005 * sqrt(n), _LEAST_CYCLES))


def random_excursions_variant(bits: Bits) -> Outcome:
    """Section 2.15: visits of the states -9 to 9 in the whole walk; `enough` is False below 500 cycles."""
    n = check(bits, 1, "random excursions variant")
    walk, _, cycles = _walk(bits)
    found: dict[str, float] = {}
    worst = 0.0
    for state in (*range(-9, 0), *range(1, 10)):
        distance = abs(int((walk == state).sum()) - cycles) / sqrt(2 * cycles * (4 * abs(state) - 2))
        found[f"{state:+d}"] = erfc(distance)
        worst = max(worst, distance)
    enough = cycles >= max(0.005 * sqrt(n), _LEAST_CYCLES)
    return Outcome("random excursions variant", found, worst, enough=enough)
