"""All fifteen tests at once, and what NIST asks of their results over many sequences (section 4.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from medveil.errors import InputError
from medveil.metrics.significance import igamc
from medveil.metrics.sp800_22 import frequency, structure, templates, walks
from medveil.metrics.sp800_22.bits import Bits, Constants, Outcome

TESTS: Final = (
    "frequency",
    "block frequency",
    "runs",
    "longest run",
    "matrix rank",
    "spectral",
    "non-overlapping template",
    "overlapping template",
    "universal",
    "linear complexity",
    "serial",
    "approximate entropy",
    "cumulative sums",
    "random excursions",
    "random excursions variant",
)
_UNIFORM: Final = 0.0001  # of section 4.2.2
_BINS: Final = 10


def run(bits: Bits, constants: Constants = "exact") -> dict[str, Outcome]:
    """Run the fifteen tests with NIST's parameters; a test that the sequence is too short for has no p-values.

    bits: uint8 zeros and ones; a million of them lets every test be made. Raises InputError for anything else.
    """
    calls: dict[str, Callable[[], Outcome]] = {
        "frequency": lambda: frequency.monobit(bits),
        "block frequency": lambda: frequency.block_frequency(bits),
        "runs": lambda: frequency.runs(bits),
        "longest run": lambda: frequency.longest_run(bits, constants),
        "matrix rank": lambda: structure.matrix_rank(bits),
        "spectral": lambda: structure.spectral(bits),
        "non-overlapping template": lambda: templates.non_overlapping(bits),
        "overlapping template": lambda: templates.overlapping(bits, constants=constants),
        "universal": lambda: structure.universal(bits),
        "linear complexity": lambda: structure.linear_complexity(bits, constants=constants),
        "serial": lambda: templates.serial(bits),
        "approximate entropy": lambda: templates.approximate_entropy(bits),
        "cumulative sums": lambda: walks.cumulative_sums(bits),
        "random excursions": lambda: walks.random_excursions(bits),
        "random excursions variant": lambda: walks.random_excursions_variant(bits),
    }
    calls["frequency"]()  # says what is wrong with the input, if anything
    return {name: _made(name, call) for name, call in calls.items()}


def _made(name: str, call: Callable[[], Outcome]) -> Outcome:
    try:
        return call()
    except InputError:
        return Outcome(name, {}, enough=False)


@dataclass(frozen=True, slots=True)
class Assessment:
    """Whether many p-values of one test are what random sequences give.

    passing: share at or above alpha. bounds: within which it lies for random sequences (section 4.2.1, three standard
    deviations). uniform: p-value of the chi-square of the p-values over ten bins (section 4.2.2).
    """

    count: int
    passing: float
    bounds: tuple[float, float]
    uniform: float

    @property
    def random(self) -> bool:
        """Whether both say so."""
        return self.bounds[0] <= self.passing <= self.bounds[1] and self.uniform >= _UNIFORM


def assess(p_values: Sequence[float], alpha: float = 0.01) -> Assessment:
    """Judge the p-values of one test over many sequences. Raises InputError for none, or alpha outside (0, 1)."""
    p = np.asarray(p_values, np.float64)
    if p.size == 0 or not 0 < alpha < 1:
        raise InputError(f"{p.size} p-values at level {alpha}: nothing to judge")
    reach = 3 * sqrt(alpha * (1 - alpha) / p.size)
    bounds = (max(0.0, 1 - alpha - reach), min(1.0, 1 - alpha + reach))
    counts = np.bincount(np.minimum((p * _BINS).astype(np.int64), _BINS - 1), minlength=_BINS)
    statistic = float((((counts - p.size / _BINS) ** 2) / (p.size / _BINS)).sum())
    return Assessment(int(p.size), float((p >= alpha).mean()), bounds, igamc((_BINS - 1) / 2, statistic / 2))
