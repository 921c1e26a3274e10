"""From a statistic to its p-value: the chi-square distribution's upper tail, by scipy."""

from __future__ import annotations

from medveil.errors import InputError, MissingExtraError


def igamc(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function Q(a, x). Raises MissingExtraError without scipy."""
    try:
        from scipy.special import gammaincc
    except ImportError:
        raise MissingExtraError("p-values", "evaluate") from None
    return float(gammaincc(a, x))


def chi_square_p(statistic: float, freedom: int) -> float:
    """Return the probability of a chi-square at least this large, with `freedom` degrees of freedom.

    Raises InputError for a negative statistic or no freedom, MissingExtraError without scipy.
    """
    if statistic < 0 or freedom < 1:
        raise InputError(f"a chi-square of {statistic} with {freedom} degrees of freedom does not exist")
    return igamc(freedom / 2, statistic / 2)
