"""Division, roots, exponentials: on shares and in the clear, within the stated errors, over the stated ranges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.mpc.three_parties import run, share64

from medveil.mpc import functions
from medveil.mpc.protocols.cleartext import Cleartext
from medveil.mpc.protocols.costs import COSTS
from medveil.mpc.protocols.rep3 import exponential
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


@pytest.mark.parametrize("form", ["low_byte", "low_round"])
def test_exp(form: str) -> None:
    x = exact(np.concatenate([RNG.uniform(-40, 8.9, 700), [0.0, -11.5, -11.6, 8.99, -100.0]]))
    want = np.exp(np.maximum(x, -11.5))
    check(functions.exp, want, want * 2**-13 + 2 * UNIT, x, form=form)


def test_exp2_has_the_declared_cost() -> None:
    t = RNG.uniform(-17, 12.99, 500)
    out = run(lambda s, x: exponential.exp2_a(s, x), share64(np.rint(t * 65536)))
    want = np.exp2(np.rint(t * 65536) / 65536)
    assert np.all(np.abs(Cleartext().fixed.decode(out.opened) - want) <= want * 2**-17 + 2 * UNIT)
    assert (out.rounds, out.bytes_sent) == (COSTS["exp2_a"].rounds, COSTS["exp2_a"].bytes_sent(500))


def test_divide() -> None:
    a = exact(RNG.uniform(-8, 8, 800))
    b = exact(np.exp2(RNG.uniform(-5.9, 13.9, 800)))
    bound = np.abs(a / b) * 2**-13 + 6.2 * UNIT + 8 * UNIT / b  # as divide states it
    check(functions.divide, a / b, bound, a, b)


def test_rsqrt() -> None:
    x = exact(np.exp2(RNG.uniform(-11.8, 13.9, 800)))
    check(functions.rsqrt, x**-0.5, x**-0.5 * 2**-10 + 3 * UNIT, x)


def test_log() -> None:
    x = exact(np.exp2(RNG.uniform(-15, 13.9, 500)))
    check(functions.log, np.log(x), 2**-11, x)


def test_sigmoid() -> None:
    x = exact(np.concatenate([RNG.uniform(-30, 30, 500), [0.0, UNIT, -UNIT]]))
    check(functions.sigmoid, 1 / (1 + np.exp(-x)), 2**-12, x)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_softmax(classes: int) -> None:
    z = exact(RNG.uniform(-9, 9, (60, classes)))
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    check(functions.softmax, powers / powers.sum(axis=1, keepdims=True), 2**-11, z)


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
