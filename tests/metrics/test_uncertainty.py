"""Bootstrap intervals cover what they should, and exact proportions equal the textbook's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from medveil.errors import InputError
from medveil.metrics.uncertainty import Interval, bootstrap, mean, proportion


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        found = bootstrap(rng.normal(3.0, 2.0, 40), seed=seed, resamples=400)
        hits += found.low <= 3.0 <= found.high
    assert 175 <= hits <= 199


def test_same_seed_same_interval_and_the_two_ways_agree() -> None:
    sample = np.random.default_rng(1).gamma(2.0, 1.0, 60)
    assert bootstrap(sample, seed=4) == bootstrap(sample, seed=4) != bootstrap(sample, seed=5)
    quick, slow = bootstrap(sample), bootstrap(sample, lambda v: float(np.mean(v)))
    assert quick.value == slow.value
    assert np.allclose(quick, slow, atol=0.03)


def test_groups_widen_the_interval() -> None:
    patients = np.repeat(np.arange(8), 10)
    values = np.random.default_rng(2).normal(0, 1, 8)[patients]
    alone, grouped = bootstrap(values), bootstrap(values, groups=patients)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_other_statistics() -> None:
    sample = np.arange(101.0)
    found = bootstrap(sample, lambda v: float(np.median(v)))
    assert found.value == 50
    assert found.low < 50 < found.high
    assert bootstrap([7.0]) == Interval(7.0, 7.0, 7.0)
    assert mean(sample) == 50


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (20, 20), (7, 30), (1, 1)])
def test_proportions_are_exact(successes: int, trials: int) -> None:
    theirs = binomtest(successes, trials).proportion_ci(method="exact")
    found = proportion(successes, trials)
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_refusals() -> None:
    for call in (
        lambda: bootstrap([]),
        lambda: bootstrap([1.0, 2.0], level=1.0),
        lambda: bootstrap([1.0, 2.0], groups=[1]),
        lambda: proportion(3, 2),
        lambda: proportion(0, 0),
    ):
        with pytest.raises(InputError):
            call()
