"""How sure a measured number is: percentile bootstrap intervals, and exact intervals of proportions.

Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7(1), 1979; Clopper and Pearson,
"The use of confidence or fiducial limits", Biometrika 26(4), 1934.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError

Array = npt.NDArray[Any]
Statistic = Callable[[Array], float]


class Interval(NamedTuple):
    """A measured value and the ends of its interval."""

    value: float
    low: float
    high: float


def mean(values: Array) -> float:
    """Return the arithmetic mean."""
    return float(np.mean(values))


def bootstrap(
    values: npt.ArrayLike,
    statistic: Statistic = mean,
    seed: int = 0,
    level: float = 0.95,
    *,
    groups: npt.ArrayLike | None = None,
    resamples: int = 2000,
) -> Interval:
    """Return a statistic of a sample with its percentile bootstrap interval.

    values: (n,) or (n, ...): resampled along the first axis. groups: (n,): labels of what belongs together (a
    patient's images), resampled as wholes. Where the statistic is the mean, resampling is done in one pass; other
    statistics are called `resamples` times. One value, or one group, gives the statistic with itself as both ends.
    Raises InputError for an empty sample, a level outside (0, 1), or groups of another length.
    """
    sample = np.asarray(values)
    if sample.ndim == 0 or len(sample) == 0:
        raise InputError("a bootstrap over no values: give at least one")
    if not 0 < level < 1 or resamples < 1:
        raise InputError(f"level {level} with {resamples} resamples: give a level between 0 and 1 and some resamples")
    value = float(statistic(sample))
    rng = np.random.default_rng(seed)
    drawn = (
        _drawn(sample, statistic, rng, resamples)
        if groups is None
        else _drawn_by_group(sample, np.asarray(groups), statistic, rng, resamples)
    )
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def _drawn(sample: Array, statistic: Statistic, rng: np.random.Generator, resamples: int) -> Array:
    n = len(sample)
    if statistic is mean and sample.ndim == 1:
        counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
        return np.asarray(counts @ sample.astype(np.float64) / n)
    return np.array([statistic(sample[rng.integers(0, n, n)]) for _ in range(resamples)])


def _drawn_by_group(
    sample: Array, groups: Array, statistic: Statistic, rng: np.random.Generator, resamples: int
) -> Array:
    if groups.shape != (len(sample),):
        raise InputError(f"{groups.shape} groups for {len(sample)} values: give one label each")
    _, label = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(label == g) for g in range(int(label.max()) + 1)]
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(0, len(members), len(members))
        drawn.append(statistic(sample[np.concatenate([members[g] for g in chosen])]))
    return np.array(drawn)


def proportion(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return successes / trials with its exact (Clopper-Pearson) interval; says something at 0 of n too.

    Raises InputError for counts that are none, MissingExtraError without scipy.
    """
    if not 0 <= successes <= trials or trials < 1 or not 0 < level < 1:
        raise InputError(f"{successes} of {trials} at level {level}: no proportion")
    try:
        from scipy.special import betaincinv
    except ImportError:
        raise MissingExtraError("an exact interval of a proportion", "evaluate") from None
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - tail))
    return Interval(successes / trials, low, high)
