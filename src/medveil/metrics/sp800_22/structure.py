"""Sections 2.5, 2.6, 2.9 and 2.10: matrix rank, spectrum, Maurer's universal test, linear complexity."""

from __future__ import annotations

from math import erfc, exp, log, sqrt
from typing import Any, Final

import numpy as np
from numba import njit

from medveil.errors import InputError
from medveil.metrics.sp800_22.bits import Bits, Constants, Outcome, check, chi_square
from medveil.metrics.sp800_22.frequency import check_block

# Expected value and variance of the universal statistic by word length L (section 2.9.4, after Maurer's table I).
_UNIVERSAL: Final = {
    1: (0.7326495, 0.690),
    2: (1.5374383, 1.338),
    3: (2.4016068, 1.901),
    4: (3.3112247, 2.358),
    5: (4.2534266, 2.705),
    6: (5.2177052, 2.954),
    7: (6.1962507, 3.125),
    8: (7.1836656, 3.238),
    9: (8.1764248, 3.311),
    10: (9.1723243, 3.356),
    11: (10.170032, 3.384),
    12: (11.168765, 3.401),
    13: (12.168070, 3.410),
    14: (13.167693, 3.416),
    15: (14.167488, 3.419),
    16: (15.167379, 3.421),
}
_UNIVERSAL_LEAST: Final = {  # bits from which section 2.9.7 takes this L
    6: 387_840, 7: 904_960, 8: 2_068_480, 9: 4_654_080, 10: 10_342_400, 11: 22_753_280,
    12: 49_643_520, 13: 107_560_960, 14: 231_669_760, 15: 496_435_200, 16: 1_059_061_760,
}  # fmt: skip
# Classes of T of the linear complexity test: by section 3.10, and as NIST computed its results (a digit is missing).
_COMPLEXITY: Final = (1 / 96, 1 / 32, 1 / 8, 1 / 2, 1 / 4, 1 / 16, 1 / 48)
_COMPLEXITY_PUBLISHED: Final = (0.01047, 0.03125, 0.125, 0.5, 0.25, 0.0625, 0.020833)


@njit(nogil=True, cache=True)
def _ranks(bits: Any, rows: int, columns: int) -> Any:
    size = rows * columns
    count = len(bits) // size
    ranks = np.zeros(count, np.int64)
    for m in range(count):
        matrix = bits[m * size : (m + 1) * size].reshape(rows, columns).copy()
        rank = 0
        for c in range(columns):
            pivot = -1
            for r in range(rank, rows):
                if matrix[r, c]:
                    pivot = r
                    break
            if pivot < 0:
                continue
            for k in range(columns):
                held = matrix[rank, k]
                matrix[rank, k] = matrix[pivot, k]
                matrix[pivot, k] = held
            for r in range(rank + 1, rows):
                if matrix[r, c]:
                    for k in range(c, columns):
                        matrix[r, k] ^= matrix[rank, k]
            rank += 1
            if rank == rows:
                break
        ranks[m] = rank
    return ranks


def rank_probability(rank: int, rows: int, columns: int) -> float:
    """Return the probability that a random binary matrix has this rank (section 3.5)."""
    product = 1.0
    for i in range(rank):
        product *= (1 - 2.0 ** (i - columns)) * (1 - 2.0 ** (i - rows)) / (1 - 2.0 ** (i - rank))
    return float(2.0 ** (rank * (columns + rows - rank) - rows * columns) * product)


def matrix_rank(bits: Bits, side: int = 32) -> Outcome:
    """Section 2.5: the rank of `side` x `side` binary matrices. Raises InputError for less than one matrix."""
    n = check(bits, side * side, "matrix rank")
    ranks = _ranks(bits, side, side)
    full, less = rank_probability(side, side, side), rank_probability(side - 1, side, side)
    counts = (int((ranks == side).sum()), int((ranks == side - 1).sum()), int((ranks < side - 1).sum()))
    statistic, _ = chi_square(counts, (full, less, 1 - full - less), len(ranks))
    return Outcome("matrix rank", {"p": exp(-statistic / 2)}, statistic, enough=n >= 38 * side * side)


def spectral(bits: Bits) -> Outcome:
    """Section 2.6: as many peaks of the discrete Fourier transform above the 95 % threshold as expected."""
    n = check(bits, 2, "spectral")
    peaks = np.abs(np.fft.rfft(2.0 * bits - 1))[: n // 2]
    below = int((peaks < sqrt(log(1 / 0.05) * n)).sum())
    statistic = (below - 0.95 * n / 2) / sqrt(n * 0.95 * 0.05 / 4)
    return Outcome("spectral", {"p": erfc(abs(statistic) / sqrt(2))}, statistic, enough=n >= 1000)


@njit(nogil=True, cache=True)
def _distances(bits: Any, width: int, start: int, steps: int) -> float:
    last = np.zeros(1 << width, np.int64)
    total = 0.0
    for block in range(start + steps):
        word = 0
        for i in range(block * width, (block + 1) * width):
            word = (word << 1) | bits[i]
        if block >= start:
            total += np.log2(block + 1 - last[word])
        last[word] = block + 1
    return total


def universal(bits: Bits, width: int | None = None, start: int | None = None) -> Outcome:
    """Section 2.9: Maurer's test of compressibility. width: L, start: Q; chosen by the length where None.

    Raises InputError for fewer bits than Q + 1 words, and where no L is given below 387,840 bits.
    """
    n = check(bits, 1, "universal")
    if width is None:
        fitting = [w for w, least in _UNIVERSAL_LEAST.items() if n >= least]
        if not fitting:
            raise InputError(f"{n} bits: the universal test needs at least {_UNIVERSAL_LEAST[6]}")
        width = fitting[-1]
    check_block(width, 1, 16, "word length")
    first = 10 << width if start is None else start
    steps = n // width - first
    if steps < 1 or first < 1:
        raise InputError(f"{n} bits: no word of {width} bits is left after {first} to begin with")
    statistic = _distances(bits, width, first, steps) / steps
    mean, variance = _UNIVERSAL[width]
    shrink = 0.7 - 0.8 / width + (4 + 32 / width) * steps ** (-3 / width) / 15
    deviation = shrink * sqrt(variance / steps)
    p = erfc(abs(statistic - mean) / (sqrt(2) * deviation))
    enough = n >= _UNIVERSAL_LEAST.get(width, 1 << 62)
    return Outcome("universal", {"p": p}, statistic, enough=enough)


@njit(nogil=True, cache=True)
def _complexities(bits: Any, block: int) -> Any:
    """Return the linear complexity of each block by Berlekamp and Massey."""
    count = len(bits) // block
    found = np.zeros(count, np.int64)
    c, b, kept = np.zeros(block + 1, np.uint8), np.zeros(block + 1, np.uint8), np.zeros(block + 1, np.uint8)
    for number in range(count):
        s = bits[number * block : (number + 1) * block]
        c[:], b[:] = 0, 0
        c[0], b[0] = 1, 1
        length, since = 0, 1
        for n in range(block):
            d = s[n]
            for i in range(1, length + 1):
                d ^= c[i] & s[n - i]
            if d == 0:
                since += 1
                continue
            grows = 2 * length <= n
            if grows:
                kept[:] = c
            for i in range(block + 1 - since):
                c[i + since] ^= b[i]
            if grows:
                b[:] = kept
                length, since = n + 1 - length, 1
            else:
                since += 1
        found[number] = length
    return found


def linear_complexity(bits: Bits, block: int = 500, constants: Constants = "exact") -> Outcome:
    """Section 2.10: the length of the shortest feedback register of blocks. Raises InputError for less than one."""
    n = check(bits, block, "linear complexity")
    sign = -1.0 if block % 2 else 1.0
    mean = block / 2 + (9 - sign) / 36 - (block / 3 + 2 / 9) / 2.0**block
    t = sign * (_complexities(bits, block) - mean) + 2 / 9
    counts = np.bincount(np.clip(np.ceil(t + 2.5), 0, 6).astype(np.int64), minlength=7)
    expected = _COMPLEXITY_PUBLISHED if constants == "published" else _COMPLEXITY
    statistic, p = chi_square(counts, expected, len(t))
    return Outcome("linear complexity", {"p": p}, statistic, enough=n >= 1_000_000 and 500 <= block <= 5000)


def complexity_of(bits: Bits) -> int:
    """Return the linear complexity of the whole sequence: the length of its shortest feedback register."""
    n = check(bits, 1, "linear complexity")
    return int(_complexities(bits, n)[0])
