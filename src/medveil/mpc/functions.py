"""Division, roots, exponentials and the losses' functions, written once for every engine.

Paper 002 section 4.3 (Goldschmidt 1964; initial approximation after Catrina and Saxena, FC 2010): the divisor is
normalised into [1/2, 1) by comparing it with the powers of two, w = 2.9142 - 2 b is within 8.6 % of 1 / b, and each
step squares the error while its two products travel together. Tensors are at f = 16 fraction bits; the
errors stated are absolute, in reals, and tested. Costs are declared for the default ranges on `rep3`.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from medveil.mpc.protocols.costs import COSTS, costs, sent_by
from medveil.mpc.protocols.engine import Bit, Engine, Tensor

_STEPS = 3
EXP_LOWEST = -11.5


def _products(count: int) -> int:
    """Return the bytes of products that are extended again."""
    return sent_by(mul_narrow=count, extend_a=count)


def _batched_mul(engine: Engine, pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Return several wide products for the rounds of one."""
    shapes = [engine.shape(x) for x, _ in pairs]
    sizes = [int(np.prod(s, dtype=np.int64)) for s in shapes]
    flat = [engine.join([engine.reshape(pair[k], -1) for pair in pairs]) for k in (0, 1)]
    product = engine.mul(flat[0], flat[1])
    cuts = np.cumsum([0, *sizes])
    return [
        engine.reshape(engine.cut(product, slice(a, b)), *shape)
        for (a, b), shape in zip(itertools.pairwise(cuts), shapes, strict=True)
    ]


def powers_below(engine: Engine, x: Tensor, low: int, high: int) -> Tensor:
    """Return bits x >= 2^j for j = low + 1 .. high as narrow 0/1 integers, on a new first axis."""
    narrow = engine.slim(x)
    exponents = range(low + 1, high + 1)
    stacked = engine.join([engine.cut(engine.shift_by(narrow, -(2.0**j)), None) for j in exponents])
    return engine.number(engine.flip(engine.negative(stacked)))


def normalise(engine: Engine, x: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Return 2^-(k + 1), wide at 2 f fraction bits, and the bits of `powers_below`, for 2^k <= x < 2^(k + 1).

    x must lie in [2^low, 2^(high + 1)).
    """
    bits = powers_below(engine, x, low, high)
    fraction = 2 * engine.fixed.fraction
    wide = engine.extend(bits)
    start = 1 << (fraction - low - 1)
    steps = np.array([(1 << (fraction - j - 1)) - (1 << (fraction - j)) for j in range(low + 1, high + 1)], np.int64)
    changes = engine.times(wide, steps.reshape(-1, *(1 for _ in engine.shape(x))))
    total = engine.total(changes, 0)
    return engine.add(total, engine.broadcast(engine.public(start, fraction=0), engine.shape(x))), bits


def _goldschmidt(engine: Engine, numerator: Tensor, unit: Tensor) -> Tensor:
    """Return numerator / unit for a wide unit in [1/2, 1]."""
    guess = engine.sub(engine.broadcast(engine.public(2.9142), engine.shape(unit)), engine.times(unit, 2))
    quotient, near = _batched_mul(engine, [(numerator, guess), (unit, guess)])
    error = engine.sub(engine.broadcast(engine.public(1.0), engine.shape(unit)), near)
    for step in range(_STEPS):
        if step == _STEPS - 1:
            return engine.add(quotient, engine.mul(quotient, error))
        gain, squared = _batched_mul(engine, [(quotient, error), (error, error)])
        quotient, error = engine.add(quotient, gain), squared
    return quotient


@costs(
    rounds=23,
    bytes_sent=lambda n: sent_by(less_than_zero=19 * n, c2a=19 * n, extend_a=19 * n) + _products(9 * n),
    note="2^-6 <= b < 2^14, quotient within +-15000; relative error 2^-13 and units, see its text",
    composite=True,
)
def divide(engine: Engine, a: Tensor, b: Tensor, *, low: int = -6, high: int = 13) -> Tensor:
    """Return a / b, wide, for b in [2^low, 2^(high + 1)) and |a / b| <= 15000.

    The first quotient may be 6.2 % too great, hence that bound. Relative error at most 2^-13, absolute 6.2 units and
    8 units / b more. Each truncation is off by at most a unit: the numerator's is doubled (1 / unit <= 2), that of the
    first product grows by 1.095, and three more are added.
    """
    b = engine.wide(b)
    factor, _ = normalise(engine, b, low, high)
    shift = 2 * engine.fixed.fraction
    both = [engine.cut(t, None) for t in (b, engine.wide(a))]
    scaled = engine.mul_narrow(engine.join(both), engine.join([engine.cut(factor, None)] * 2), shift)
    scaled = engine.extend(scaled)
    return _goldschmidt(engine, engine.cut(scaled, 1), engine.cut(scaled, 0))


def reciprocal_above_one(engine: Engine, b: Tensor, high: int) -> Tensor:
    """Return 1 / b, wide, for 1 <= b <= 2^high; absolute error at most 2^-13."""
    fraction = engine.fixed.fraction
    if high == 1:
        half = engine.extend(engine.narrow(engine.times(engine.wide(b), 1 << (fraction - 1)), fraction))
        return _goldschmidt(engine, engine.broadcast(engine.public(0.5), engine.shape(b)), half)
    factor, _ = normalise(engine, b, 0, high)
    unit = engine.extend(engine.mul_narrow(engine.wide(b), factor, 2 * fraction))
    return _goldschmidt(engine, engine.trunc(factor, fraction), unit)


@costs(
    rounds=11,
    bytes_sent=lambda n: sent_by(relu_a=n, extend_a=n, exp2_a=n),
    note="x < 9; relative error 2^-13 and two units",
    composite=True,
)
def exp(engine: Engine, x: Tensor) -> Tensor:
    """Return e^x, wide, for x < 9; below -11.5 it is e^-11.5, which is less than a unit in the last place.

    Relative error at most 2^-13 (the exponent is rounded to 2^-16) and two units.
    """
    lifted, _ = engine.relu(engine.shift_by(engine.slim(x), -EXP_LOWEST))
    wide = engine.shift_by(engine.extend(lifted), EXP_LOWEST)
    log2e = round(math.log2(math.e) * engine.fixed.one)
    return engine.exp2(engine.narrow(engine.times(wide, log2e), engine.fixed.fraction))


@costs(
    rounds=33,
    bytes_sent=lambda n: (
        sent_by(maximum_aa=n // 2, extend_a=n // 2) + COSTS["exp"].bytes_sent(n) + _products(7 * (n // 2) + n)
    ),
    note="rows of two logits; error at most 2^-11",
    composite=True,
)
def softmax(engine: Engine, x: Tensor) -> Tensor:
    """Return the softmax of (rows, classes) logits over their last axis, wide.

    Absolute error at most 2^-11, and a unit more a class beyond 32, as no power is less than e^-11.5.
    """
    rows, classes = engine.shape(x)
    narrow = engine.slim(x)
    top = maximum_of(engine, narrow)
    powers = exp(engine, engine.sub(narrow, engine.broadcast(top, (rows, classes))))
    total = engine.total(powers, 1, keep=True)
    inverse = reciprocal_above_one(engine, total, max(1, math.ceil(math.log2(classes))))
    return engine.mul(powers, engine.broadcast(inverse, (rows, classes)))


def maximum_of(engine: Engine, x: Tensor) -> Tensor:
    """Return the narrow maximum over the last axis, kept as an axis of one."""
    while (width := engine.shape(x)[-1]) > 1:
        half = width // 2
        left = engine.cut(x, ..., slice(half))
        right = engine.cut(x, ..., slice(half, 2 * half))
        best, _ = engine.maximum(left, right)
        rest = engine.cut(x, ..., slice(2 * half, None))
        x = engine.join([best, rest], axis=-1) if width % 2 else best
    return x


def absolute(engine: Engine, x: Tensor) -> tuple[Tensor, Bit]:
    """Return the narrow |x| and the bit x >= 0."""
    positive, bit = engine.relu(engine.slim(x))
    return engine.sub(engine.times(positive, 2), engine.slim(x)), bit


@costs(
    rounds=32,
    bytes_sent=lambda n: sent_by(relu_a=n, extend_a=n, select_ca=n) + COSTS["exp"].bytes_sent(n) + _products(7 * n),
    note="error at most 2^-12",
    composite=True,
)
def sigmoid(engine: Engine, x: Tensor) -> Tensor:
    """Return 1 / (1 + e^-x), narrow; absolute error at most 2^-12."""
    size, bit = absolute(engine, x)
    powers = exp(engine, engine.times(size, -1))
    above = engine.slim(reciprocal_above_one(engine, engine.shift_by(powers, 1.0), 1))
    # s(x) = above for x >= 0, else 1 - above
    twice = engine.shift_by(engine.times(above, 2), -1.0)
    return engine.add(engine.shift_by(engine.times(above, -1), 1.0), engine.choose(bit, twice))


@costs(
    rounds=43,
    bytes_sent=lambda n: sent_by(less_than_zero=12 * n, c2a=12 * n, extend_a=13 * n) + _products(11 * n),
    note="2^-12 <= x < 2^14; relative error 2^-10 and three units",
    composite=True,
)
def rsqrt(engine: Engine, x: Tensor, *, low: int = -12, high: int = 13) -> Tensor:
    """Return x^-1/2, wide, for x in [2^low, 2^(high + 1)), low and high + 1 even.

    Relative error at most 2^-10 and three units. The argument is brought into [1/4, 1) by a power of four; three
    Newton steps y (3 - m y^2) / 2 follow.
    """
    x = engine.wide(x)
    fraction = engine.fixed.fraction
    narrow = engine.slim(x)
    exponents = list(range(low + 2, high + 1, 2))
    stacked = engine.join([engine.cut(engine.shift_by(narrow, -(2.0**j)), None) for j in exponents])
    bits = engine.extend(engine.number(engine.flip(engine.negative(stacked))))
    axes = (1,) * len(engine.shape(x))

    def stepped(values: list[int]) -> Tensor:
        steps = [after - before for before, after in itertools.pairwise(values)]
        changes = np.array(steps, np.int64).reshape(-1, *axes)
        total = engine.total(engine.times(bits, changes), 0)
        return engine.add(total, engine.broadcast(engine.public(values[0], fraction=0), engine.shape(x)))

    tops = [low + 2, *[j + 2 for j in exponents]]
    squared = stepped([1 << (2 * fraction - top) for top in tops])
    root = stepped([1 << (fraction - top // 2) for top in tops])
    unit = engine.extend(engine.mul_narrow(x, squared, 2 * fraction))
    y = engine.sub(
        engine.broadcast(engine.public(2.213), engine.shape(x)),
        engine.extend(engine.narrow(engine.times(unit, round(1.26 * engine.fixed.one)), fraction)),
    )
    for _ in range(_STEPS):
        inner = engine.mul(unit, engine.mul(y, y))
        rest = engine.sub(engine.broadcast(engine.public(3.0), engine.shape(x)), inner)
        y = engine.extend(engine.mul_narrow(y, rest, fraction + 1))
    return engine.mul(y, root)


@costs(
    rounds=31,
    bytes_sent=lambda n: sent_by(less_than_zero=29 * n, c2a=29 * n, extend_a=30 * n) + _products(7 * n),
    note="2^-16 <= x < 2^14; error at most 2^-10",
    composite=True,
)
def log(engine: Engine, x: Tensor, *, low: int = -16, high: int = 13) -> Tensor:
    """Return ln x, wide, for x in [2^low, 2^(high + 1)); absolute error at most 2^-10.

    x = m 2^(k + 1) with m in [1/2, 1); ln m by a polynomial of degree 6 fitted on that interval.
    """
    factor, bits = normalise(engine, x, low, high)
    unit = engine.extend(engine.mul_narrow(engine.wide(x), factor, 2 * engine.fixed.fraction))
    count = engine.extend(engine.total(bits, 0))
    exponent = engine.times(count, round(math.log(2) * engine.fixed.one))
    nodes = 0.75 + 0.25 * np.cos(np.pi * (np.arange(40) + 0.5) / 40)
    coefficients = np.polynomial.polynomial.polyfit(4 * nodes - 3, np.log(nodes), 6)
    t = engine.shift_by(engine.times(unit, 4), -3.0)
    value = engine.broadcast(engine.public(float(coefficients[-1])), engine.shape(x))
    for c in coefficients[-2::-1]:
        value = engine.shift_by(engine.mul(value, t), float(c))
    return engine.shift_by(engine.add(value, exponent), (low + 1) * math.log(2))
