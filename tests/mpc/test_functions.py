"""Division, roots, exponentials: on shares and in the clear, within the stated errors, over the stated ranges."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.mpc.three_parties import run, share64

from medveil.mpc import functions
from medveil.mpc.protocols.cleartext import Cleartext
from medveil.mpc.protocols.costs import COSTS, markdown_table
from medveil.mpc.protocols.rep3.engine import Rep3

RNG = np.random.default_rng(3)
UNIT = 2.0**-16


def on_both(function: Callable, *inputs: np.ndarray, form: str = "low_byte") -> tuple[np.ndarray, np.ndarray]:
    words = [np.rint(x * 65536).astype(np.int64) for x in inputs]
    clear = Cleartext()
    out = run(lambda s, *x: function(Rep3(s), *x), *[share64(w) for w in words], comparison=form)
    plain = function(clear, *[w.view(np.uint64) for w in words])
    return clear.fixed.decode(out.opened), clear.fixed.decode(plain)


def exact(x: np.ndarray) -> np.ndarray:
    return np.rint(x * 65536) / 65536


def check(function: Callable, want: np.ndarray, bound: np.ndarray | float, *inputs: np.ndarray, **kw: str) -> None:
    for got in on_both(function, *inputs, **kw):
        assert np.all(np.abs(got - want) <= bound)


def spread(low: int, high: int, count: int = 500) -> np.ndarray:
    """Random reals in [2^low, 2^high), every power of two among them with its neighbours, both ends included."""
    powers = 2.0 ** np.arange(low, high + 1)
    drawn = np.concatenate([powers, powers - UNIT, powers + UNIT, np.exp2(RNG.uniform(low, high, count))])
    return exact(np.clip(drawn, 2.0**low, 2.0**high - UNIT))


def test_every_function_is_tested() -> None:
    own = inspect.getmembers(functions, inspect.isfunction)
    public = {name for name, f in own if f.__module__ == functions.__name__ and not name.startswith("_")}
    text = Path(__file__).read_text("utf-8")
    assert all(f"functions.{name}" in text for name in public), public


@pytest.mark.parametrize("form", ["low_byte", "low_round"])
def test_exp(form: str) -> None:
    ends = [0.0, -11.5, -11.5 - UNIT, -11.5 + UNIT, -11.6, 8.99, 9 - UNIT, -100.0, -16383.0]
    x = exact(np.concatenate([RNG.uniform(-40, 8.9, 700), ends]))
    want = np.exp(np.maximum(x, -11.5))
    check(functions.exp, want, want * 2**-13 + 2 * UNIT, x, form=form)


def test_divide() -> None:
    b = spread(-6, 14)
    bound = 6.2 * UNIT + 8 * UNIT / b  # as divide states it
    greatest = np.minimum(15000.0, 16383 / b)
    sign = np.where(RNG.random(b.size) < 0.5, -1.0, 1.0)
    for a in (
        exact(RNG.uniform(-8, 8, b.size)),
        np.trunc(sign * greatest * b * 65536) / 65536,
        exact(RNG.uniform(-1, 1, b.size) * greatest * b),
        np.full(b.size, UNIT),
        np.zeros(b.size),
    ):
        check(functions.divide, a / b, np.abs(a / b) * 2**-13 + bound, a, b)


@pytest.mark.parametrize("high", [1, 2, 5, 13])
def test_reciprocal_above_one(high: int) -> None:
    b = np.append(spread(0, high), 2.0**high)
    check(lambda e, x: functions.reciprocal_above_one(e, x, high), 1 / b, 2**-13, b)


def test_normalise_finds_the_power_of_two_below() -> None:
    x = spread(-6, 14, 200)
    exponent = np.floor(np.log2(x))
    for got in on_both(lambda e, v: functions.normalise(e, v, -6, 13)[0], x):
        assert np.array_equal(got / 65536, 2.0 ** -(exponent + 1))
    for got in on_both(lambda e, v: functions.powers_below(e, v, -6, 13), x):
        assert np.array_equal(got * 65536, x >= 2.0 ** np.arange(-5, 14)[:, None])


def test_rsqrt() -> None:
    x = spread(-12, 14, 800)
    check(functions.rsqrt, x**-0.5, x**-0.5 * 2**-10 + 3 * UNIT, x)


def test_log() -> None:
    x = spread(-16, 14)
    check(functions.log, np.log(x), 2**-11, x)


def test_sigmoid() -> None:
    x = exact(np.concatenate([RNG.uniform(-30, 30, 500), [0.0, UNIT, -UNIT, 11.5, -11.5, 16383.0, -16383.0]]))
    with np.errstate(over="ignore"):
        check(functions.sigmoid, 1 / (1 + np.exp(-x)), 2**-12, x)


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 100])
def test_softmax(classes: int) -> None:
    z = exact(RNG.uniform(-9, 9, (60, classes)))
    z[0], z[1], z[2], z[3] = 16383, -16383, -16383, 0
    z[2, 0], z[3, -1] = 16383, UNIT
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    bound = 2**-11 + max(0, classes - 32) * UNIT
    check(functions.softmax, powers / powers.sum(axis=1, keepdims=True), bound, z)


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_maxima_and_sizes_are_exact(width: int) -> None:
    x = exact(RNG.uniform(-16383, 16383, (40, width)))
    x[0], x[1] = 16383, -16383
    x[1, width // 2] = 16383
    check(lambda e, v: functions.maximum_of(e, e.slim(v)), x.max(axis=1, keepdims=True), 0, x)
    check(lambda e, v: functions.absolute(e, v)[0], np.abs(x), 0, x)
    for got in on_both(lambda e, v: e.number(functions.absolute(e, v)[1]), x):
        assert np.array_equal(got * 65536, x >= 0)


@pytest.mark.parametrize("size", [600, 6002])
def test_functions_cost_what_they_declare(size: int) -> None:
    markdown_table()  # imports them all
    x = share64(np.full(size, 3 << 16))
    declared = {name: cost for name, cost in COSTS.items() if cost.composite}
    assert set(declared) == {"divide", "exp", "log", "rsqrt", "sigmoid", "softmax"}
    for name, cost in declared.items():

        def program(session, v, name=name):
            if name == "softmax":
                v = v.reshape(-1, 2)
            return getattr(functions, name)(Rep3(session), *([v, v] if name == "divide" else [v]))

        out = run(program, x)
        assert (out.rounds, out.bytes_sent) == (cost.rounds, cost.bytes_sent(size)), name


def test_the_engines_agree_on_every_operation() -> None:
    x, y = RNG.uniform(-30, 30, 300), RNG.uniform(-30, 30, 300)

    def several(engine, a, b):
        narrow = engine.slim(a)
        best, bit = engine.maximum(narrow, engine.slim(b))
        chosen = engine.choose(engine.flip(bit), narrow)
        total = engine.add(engine.extend(engine.add(best, chosen)), engine.mul(a, b))
        counted = engine.times(engine.extend(engine.number(engine.negative(a))), engine.fixed.one)
        return engine.join([engine.trunc(engine.times(total, 3), 1), counted, engine.extend(engine.scale(a, 0.37))])

    shared, plain = on_both(several, x, y)
    assert np.abs(shared - plain).max() <= 6 * UNIT
    x, y = exact(x), exact(y)
    want = (np.maximum(x, y) + np.where(x < y, x, 0) + x * y) * 1.5
    assert np.abs(plain[:300] - want).max() <= 3 * UNIT
    assert np.array_equal(shared[300:600], (x < 0).astype(float))
