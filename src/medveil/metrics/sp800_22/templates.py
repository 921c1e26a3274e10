"""Sections 2.7, 2.8, 2.11 and 2.12: templates with and without overlap, serial, approximate entropy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb, exp, factorial, log
from typing import Any

import numpy as np
from numba import njit

from medveil.errors import InputError
from medveil.metrics.significance import igamc
from medveil.metrics.sp800_22.bits import Bits, Constants, Outcome, check, chi_square, words
from medveil.metrics.sp800_22.frequency import check_block


def aperiodic_templates(width: int) -> tuple[int, ...]:
    """Return the words of `width` bits that no shift of themselves overlaps (148 of 9 bits, section 2.7)."""
    check_block(width, 2, 16, "template length")

    def aperiodic(word: int) -> bool:
        return all(word >> s != word & ((1 << (width - s)) - 1) for s in range(1, width))

    return tuple(w for w in range(1 << width) if aperiodic(w))


@njit(nogil=True, cache=True)
def _count_apart(found: Any, index: Any, blocks: int, block: int, width: int, templates: int) -> Any:
    """Count templates in blocks without overlap: after a match the search goes on behind it."""
    counts = np.zeros((templates, blocks), np.int64)
    for b in range(blocks):
        free = np.zeros(templates, np.int64)
        for at in range(block - width + 1):
            t = index[found[b * block + at]]
            if t >= 0 and at >= free[t]:
                counts[t, b] += 1
                free[t] = at + width
    return counts


def non_overlapping(bits: Bits, templates: Sequence[str] | None = None, *, width: int = 9, blocks: int = 8) -> Outcome:
    """Section 2.7: how often each template occurs in each of `blocks` blocks, without overlap.

    templates: as texts of zeros and ones of one length; all aperiodic ones of `width` bits where None.
    Raises InputError for templates of different lengths and for fewer bits than a template in each block.
    """
    if templates is not None:
        lengths = {len(t) for t in templates}
        if len(lengths) != 1:
            raise InputError("templates of one length are needed, and at least one")
        width = lengths.pop()
        check_block(width, 2, 16, "template length")
        chosen = [int(t, 2) for t in templates]
    else:
        chosen = list(aperiodic_templates(width))
    n = check(bits, blocks * width, "template")
    block = n // blocks
    index = np.full(1 << width, -1, np.int64)
    index[chosen] = np.arange(len(chosen))
    counts = _count_apart(words(bits, width, circular=False), index, blocks, block, width, len(chosen))
    mean = (block - width + 1) / 2**width
    variance = block * (1 / 2**width - (2 * width - 1) / 2 ** (2 * width))
    statistics = ((counts - mean) ** 2 / variance).sum(axis=1)
    p = {f"{t:0{width}b}": igamc(blocks / 2, float(s) / 2) for t, s in zip(chosen, statistics, strict=True)}
    return Outcome("non-overlapping template", p, float(statistics.max()), enough=mean >= 10)


def approximate_matches(eta: float, classes: int = 6) -> tuple[float, ...]:
    """Return the published approximation of 0, 1, ... matches of a template of ones, overlaps counted (section 3.8)."""
    p = [exp(-eta)]
    for u in range(1, classes - 1):
        inner = sum(comb(u - 1, k - 1) * eta**k / factorial(k) for k in range(1, u + 1))
        p.append(exp(-eta) / 2**u * inner)
    return (*p, 1 - sum(p))


@cache
def exact_matches(width: int, block: int, classes: int = 6) -> tuple[float, ...]:
    """Return the probabilities of 0, 1, ... matches of `width` ones in `block` random bits, overlaps counted.

    By walking the bits: the state is the run of ones at the end (at most `width`) and the matches so far.
    For 9 and 1032 these are Hamano and Kaneko's values (2007), which section 3.8 quotes.
    """
    state = np.zeros((width + 1, classes))
    state[0, 0] = 1
    for _ in range(block):
        after = np.zeros_like(state)
        after[0] = state.sum(axis=0) / 2
        after[1:width] = state[: width - 1] / 2
        hit = (state[width - 1] + state[width]) / 2
        after[width, 1:] = hit[:-1]
        after[width, -1] += hit[-1]
        state = after
    return tuple(float(v) for v in state.sum(axis=0))


def overlapping(bits: Bits, width: int = 9, block: int = 1032, constants: Constants = "exact") -> Outcome:
    """Section 2.8: how often `width` ones occur in blocks of `block` bits, overlaps counted.

    Raises InputError for less than one block.
    """
    check_block(width, 2, 16, "template length")
    n = check(bits, block, "overlapping template")
    count = n // block
    hits = np.ones((count, block - width + 1), np.bool_)
    table = bits[: count * block].reshape(count, block).astype(np.bool_)
    for i in range(width):
        hits &= table[:, i : i + block - width + 1]
    if constants == "published":
        expected = approximate_matches((block - width + 1) / 2**width / 2)
    else:
        expected = exact_matches(width, block)
    counts = np.bincount(np.minimum(hits.sum(axis=1), 5), minlength=6)
    statistic, p = chi_square(counts, expected, count)
    return Outcome("overlapping template", {"p": p}, statistic, enough=count * min(expected) >= 5)


def _psi_square(bits: Bits, width: int) -> float:
    if width < 1:
        return 0.0
    counts = np.bincount(words(bits, width, circular=True), minlength=1 << width)
    return float((1 << width) / len(bits) * (counts.astype(np.float64) ** 2).sum() - len(bits))


def serial(bits: Bits, width: int = 16) -> Outcome:
    """Section 2.11: all overlapping words of `width` bits equally often; two p-values.

    Raises InputError for no bits and for a width outside 2 to 24.
    """
    check_block(width, 2, 24, "word length")
    n = check(bits, width, "serial")
    psi = [_psi_square(bits, width - i) for i in range(3)]
    first, second = psi[0] - psi[1], psi[0] - 2 * psi[1] + psi[2]
    p = {"p1": igamc(2.0 ** (width - 2), first / 2), "p2": igamc(2.0 ** (width - 3), second / 2)}
    return Outcome("serial", p, first, enough=width < int(np.log2(n)) - 2)


def approximate_entropy(bits: Bits, width: int = 10) -> Outcome:
    """Section 2.12: words of `width` and `width` + 1 bits compared. Raises InputError for no bits, or a wrong width."""
    check_block(width, 1, 23, "word length")
    n = check(bits, width + 1, "approximate entropy")
    phi = []
    for w in (width, width + 1):
        shares = np.bincount(words(bits, w, circular=True), minlength=1 << w) / n
        shares = shares[shares > 0]
        phi.append(float((shares * np.log(shares)).sum()))
    statistic = 2 * n * (log(2) - (phi[0] - phi[1]))
    p = igamc(2.0 ** (width - 1), statistic / 2)
    return Outcome("approximate entropy", {"p": p}, statistic, enough=width < int(np.log2(n)) - 5)
