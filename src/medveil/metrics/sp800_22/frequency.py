"""Sections 2.1 to 2.4: ones, ones in blocks, runs, and the longest run in a block."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import erfc, sqrt
from typing import Any, Final

import numpy as np
from numba import njit

from medveil.errors import InputError
from medveil.metrics.significance import igamc
from medveil.metrics.sp800_22.bits import Bits, Constants, Outcome, check, chi_square

# Block length, first class, probabilities of the classes of the longest run as published (sections 2.4.4 and 3.4).
_LONGEST: Final = (
    (8, 1, (0.2148, 0.3672, 0.2305, 0.1875)),
    (128, 4, (0.1174, 0.2430, 0.2493, 0.1752, 0.1027, 0.1124)),
    (10_000, 10, (0.0882, 0.2092, 0.2483, 0.1933, 0.1208, 0.0675, 0.0727)),
)


def monobit(bits: Bits) -> Outcome:
    """Section 2.1: as many ones as zeros. Raises InputError for no bits."""
    n = check(bits, 1, "frequency")
    statistic = abs(2 * int(bits.sum()) - n) / sqrt(n)
    return Outcome("frequency", {"p": erfc(statistic / sqrt(2))}, statistic, enough=n >= 100)


def block_frequency(bits: Bits, block: int = 128) -> Outcome:
    """Section 2.2: as many ones as zeros in each block of `block` bits. Raises InputError for less than a block."""
    n = check(bits, block, "block frequency")
    blocks = n // block
    shares = bits[: blocks * block].reshape(blocks, block).mean(axis=1)
    statistic = float(4 * block * ((shares - 0.5) ** 2).sum())
    # Section 2.2.7 also asks for less than 100 blocks, and NIST's own results for a million bits have 7812: the
    # chi-square holds all the same.
    return Outcome(
        "block frequency", {"p": igamc(blocks / 2, statistic / 2)}, statistic, enough=n >= 100 and block >= 20
    )


def runs(bits: Bits) -> Outcome:
    """Section 2.3: the number of runs; p = 0 where the frequency test fails already, as the section says."""
    n = check(bits, 2, "runs")
    share = float(bits.mean())
    if abs(share - 0.5) >= 2 / sqrt(n):
        return Outcome("runs", {"p": 0.0}, enough=n >= 100)
    count = 1 + int(np.count_nonzero(bits[1:] != bits[:-1]))
    spread = 2 * sqrt(2 * n) * share * (1 - share)
    return Outcome("runs", {"p": erfc(abs(count - 2 * n * share * (1 - share)) / spread)}, count, enough=n >= 100)


@njit(nogil=True, cache=True)
def _longest_runs(bits: Any, block: int) -> Any:
    blocks = len(bits) // block
    longest = np.zeros(blocks, np.int64)
    for b in range(blocks):
        run = 0
        for i in range(b * block, (b + 1) * block):
            run = run + 1 if bits[i] else 0
            longest[b] = max(longest[b], run)
    return longest


@cache
def longest_run_probabilities(block: int, first: int, classes: int) -> tuple[float, ...]:
    """Return the probabilities that the longest run of ones in `block` random bits is at most `first`, `first` + 1, ...

    The last class is open. By recursion: a block without a run of more than k ones ends in 0 to k ones after a zero.
    """

    def at_most(k: int) -> float:
        q = [1.0]  # of a block of each length; index -1 stands for the empty beginning
        for length in range(1, block + 1):
            total = sum(q[length - 1 - j] * 0.5 ** (j + 1) for j in range(min(k, length - 1) + 1))
            q.append(total + (0.5**length if length <= k else 0.0))
        return q[block]

    below = [at_most(first + i) for i in range(classes - 1)]
    return (below[0], *(b - a for a, b in pairwise(below)), 1 - below[-1])


def longest_run(bits: Bits, constants: Constants = "exact") -> Outcome:
    """Section 2.4: the longest run of ones in blocks of 8, 128 or 10000 bits, by the sequence's length."""
    n = check(bits, 128, "longest run")
    block, first, published = _LONGEST[0 if n < 6272 else 1 if n < 750_000 else 2]
    count = len(published)
    expected = published if constants == "published" else longest_run_probabilities(block, first, count)
    counts = np.bincount(np.clip(_longest_runs(bits, block) - first, 0, count - 1), minlength=count)
    statistic, p = chi_square(counts, expected, n // block)
    return Outcome("longest run", {"p": p}, statistic)


def check_block(value: int, low: int, high: int, what: str) -> None:
    """Raise InputError where a parameter of a test lies outside its range."""
    if not low <= value <= high:
        raise InputError(f"{what} {value}: give {low} to {high}")
