"""Every operation with a declared cost, and every one of an engine: value, error and cost, to the range's ends.

The tables below must name all of them; a new operation without a row fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.mpc.three_parties import run, share32, share64

from medveil.errors import ProtocolError
from medveil.mpc import ring
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.protocols.cleartext import Cleartext
from medveil.mpc.protocols.costs import COSTS, markdown_table
from medveil.mpc.protocols.engine import Engine
from medveil.mpc.protocols.rep3 import arithmetic, boolean, comparison, conversion, exponential, truncation
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.protocols.rep3.layout import parts
from medveil.mpc.shares import Share, join

RNG = np.random.default_rng(11)
SHAPES = [(1,), (7, 13), (3, 1, 67), (2600,)]
MASK = np.uint64(0x00FF00FF00FF00FF)


def integers(shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Random integers in [-2^bits, 2^bits), of every magnitude, with the ends, ones and zero among them."""
    size = int(np.prod(shape))
    drawn = RNG.integers(-(2**bits), 2**bits - 1, size, dtype=np.int64, endpoint=True)
    drawn >>= RNG.integers(0, bits, size)
    edges = np.array([-(2**bits), 2**bits - 1, 0, -1, 1, 1 - 2**bits, 2 ** (bits - 1), -(2 ** (bits - 1))], np.int64)
    drawn[: min(size, 8)] = edges[RNG.permutation(8)[: min(size, 8)]]
    return RNG.permutation(drawn).reshape(shape)


def signed(words: np.ndarray) -> np.ndarray:
    return words.view(np.int32 if words.dtype == np.uint32 else np.int64).astype(np.int64)


@dataclass
class Case:
    """`program(session, *shares)` against `want(*integers)`; operands are (ring's bits, bits of the range)."""

    program: Callable[..., Any]
    want: Callable[..., Any]
    operands: tuple[tuple[int, int], ...]
    below: float = 0.0
    above: float = 0.0
    prepare: Callable[..., Any] | None = None  # what happens before the cost counts
    units: Callable[[tuple[int, ...]], int] = lambda shape: int(np.prod(shape))


def square(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) ** 2


def column(x: Share) -> Share:
    return x.map(lambda w: w.reshape(-1, 1))


def outer(session: Any, x: Share, y: Share) -> Share:
    return arithmetic.matmul_aa(session, column(x), y.map(lambda w: w.reshape(1, -1)))


def dense(session: Any, x: Share, y: Share) -> Share:
    return arithmetic.linear_narrow(session, ring.plan_matmul(x.size, 1, y.size), x, y)


def bits_of(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).view(np.uint64)


WIDE, NARROW = (64, 63), (32, 31)
CASES = {
    "add_aa": Case(lambda s, x, y: arithmetic.add_aa(x, y), lambda x, y: x + y, (WIDE, WIDE)),
    "sub_aa": Case(lambda s, x, y: arithmetic.sub_aa(x, y), lambda x, y: x - y, (WIDE, WIDE)),
    "add_ap": Case(
        lambda s, x: arithmetic.add_ap(s, x, np.full(x.shape, 2**63 + 5, np.uint64)),
        lambda x: x - 2**62 - 2**62 + 5,
        (WIDE,),
    ),
    "mul_ap": Case(lambda s, x: arithmetic.mul_ap(x, np.int64(-(2**40) - 1)), lambda x: x * -(2**40) - x, (WIDE,)),
    "share_public": Case(
        lambda s, x: arithmetic.share_public(s, np.full(x.shape, 2**63, np.uint64)),
        lambda x: np.full_like(x, -(2**63)),
        (WIDE,),
    ),
    "mul_aa": Case(arithmetic.mul_aa, lambda x, y: x * y, (WIDE, WIDE)),
    "matmul_aa": Case(outer, np.multiply.outer, (WIDE, WIDE), units=square),
    "mul_narrow": Case(arithmetic.mul_narrow, lambda x, y: x * y / 65536, ((64, 30), (64, 16)), below=1.5, above=1.5),
    "linear_narrow": Case(
        dense, lambda x, y: np.multiply.outer(x, y) / 65536, ((64, 30), (64, 16)), 1.5, 1.5, None, square
    ),
    "narrow_a": Case(lambda s, x: truncation.narrow_a(s, x, 16), lambda x: x / 65536, ((64, 46),), 1.5, 1.5),
    "extend_a": Case(truncation.extend_a, lambda x: x, ((32, 30),)),
    "trunc_a": Case(truncation.trunc_a, lambda x: x / 65536, ((64, 62),), 1.0, 1.0),
    # Its large errors are another test's: within 2^20 they have a chance of 2^-44 each.
    "trunc_a_fast": Case(truncation.trunc_a_fast, lambda x: x / 65536, ((64, 20),), 1.0, 1.0),
    "less_than_zero": Case(comparison.less_than_zero, lambda x: x < 0, (NARROW,)),
    "relu_a": Case(lambda s, x: comparison.relu_a(s, x)[0], lambda x: np.maximum(x, 0), (NARROW,)),
    "maximum_aa": Case(lambda s, x, y: comparison.maximum_aa(s, x, y)[0], np.maximum, ((32, 30), (32, 30))),
    "select_ca": Case(
        lambda s, bit, x, y: comparison.select_ca(s, bit, y),
        lambda x, y: np.where(x < 0, y, 0),
        (NARROW, NARROW),
        prepare=lambda s, x, y: comparison.less_than_zero(s, x),
    ),
    "c2a": Case(
        lambda s, bit, x: comparison.c2a(s, bit),
        lambda x: (x < 0).astype(int),
        (NARROW,),
        prepare=comparison.less_than_zero,
    ),
    "exp2_a": Case(
        exponential.exp2_a,
        lambda t: np.exp2(np.clip(t / 65536, -17, 13 - 2**-16)) * 65536,
        ((32, 20),),
        below=1.0,
        above=1.0,
    ),
    "a2b": Case(conversion.a2b, lambda x: x, (WIDE,)),
    "bit2a": Case(conversion.bit2a, lambda x: x & 1, (WIDE,), prepare=None),
    "and_bb": Case(boolean.and_bb, lambda x, y: x & y, (WIDE, WIDE)),
    "and_bp": Case(lambda s, x: boolean.and_bp(x, MASK), lambda x: (bits_of(x) & MASK).view(np.int64), (WIDE,)),
    "xor_bb": Case(lambda s, x, y: boolean.xor_bb(x, y), lambda x, y: x ^ y, (WIDE, WIDE)),
    "shift_left_b": Case(lambda s, x: boolean.shift_left_b(x, 13), lambda x: x << 13, (WIDE,)),
    "shift_right_b": Case(
        lambda s, x: boolean.shift_right_b(x, 13), lambda x: (bits_of(x) >> np.uint64(13)).view(np.int64), (WIDE,)
    ),
    "reveal_to_all": Case(arithmetic.reveal_to_all, lambda x: x, (WIDE,)),
    "reveal_words_to_all": Case(boolean.reveal_words_to_all, lambda x: x, (WIDE,)),
    "verify_replicas": Case(arithmetic.verify_replicas, lambda x: None, (WIDE,)),
}
BOOLEAN_IN = {"bit2a", "and_bb", "and_bp", "xor_bb", "shift_left_b", "shift_right_b", "reveal_words_to_all"}
BOOLEAN_OUT = BOOLEAN_IN - {"bit2a", "reveal_words_to_all"} | {"a2b"}


def xor_split(words: np.ndarray) -> tuple[Share, Share, Share]:
    a, b = (RNG.integers(0, 2**64, words.shape, dtype=np.uint64) for _ in range(2))
    c = words ^ a ^ b
    return Share(a, b), Share(b, c), Share(c, a)


def operand(name: str, width: int, values: np.ndarray) -> Any:
    if name in BOOLEAN_IN:
        return xor_split(bits_of(values))
    return share32(values) if width == 32 else share64(values)


def opened(name: str, results: tuple[Any, Any, Any]) -> np.ndarray | None:
    first = results[0]
    if first is None:
        return None
    if isinstance(first, comparison.ChoiceBit):
        return None  # c2a opens it
    if isinstance(first, np.ndarray):
        assert all(np.array_equal(first, r) for r in results)
        return signed(first)
    if name in BOOLEAN_OUT:
        assert np.array_equal(results[0].second, results[1].first)
        return signed(results[0].first ^ results[1].first ^ results[2].first)
    return signed(join(results))


def test_every_declared_operation_has_a_case() -> None:
    markdown_table()  # imports them all
    assert set(CASES) == {name for name, cost in COSTS.items() if not cost.composite}  # those: test_functions.py


@pytest.mark.parametrize("name", CASES)
def test_value_error_and_cost_are_as_declared(name: str) -> None:
    case = CASES[name]
    for shape in SHAPES if case.units is not square else [(1,), (9,), (40,)]:
        plain = [integers(shape, bits) for _, bits in case.operands]
        if name == "exp2_a":
            plain = [np.clip(plain[0], -17 * 65536, 13 * 65536 - 1)]

        def program(session: Any, *shares: Share) -> Any:
            first = () if case.prepare is None else (case.prepare(session, *shares),)
            session.transport.reset()
            return case.program(session, *first, *shares)

        out = run(program, *[operand(name, w, v) for (w, _), v in zip(case.operands, plain, strict=True)])
        assert out.bytes_sent == COSTS[name].bytes_sent(case.units(shape))
        # In a small tensor one party deals everything, and does not wait for itself between two operations.
        assert out.rounds == COSTS[name].rounds or (
            out.rounds < COSTS[name].rounds and len(parts(case.units(shape))) == 1
        )
        got = opened(name, out.results)
        if got is None:
            continue
        with np.errstate(over="ignore"):
            want = case.want(*plain)
        slack = want * 2.0**-18 if name == "exp2_a" else 0.0
        error = got - want if case.above else (got - want).astype(np.int64)
        assert np.all(error >= -case.below - slack)
        assert np.all(error <= case.above + slack)


def test_replicas_that_disagree_are_noticed() -> None:
    a, b, c = share64(np.arange(5))
    with pytest.raises(ProtocolError, match="old state"):
        run(arithmetic.verify_replicas, [a, b, Share(c.first, c.second + np.uint64(1))])


F = FixedPoint()
UNIT = 1 / F.one
Real = np.ndarray


def reals(*shape: int, top: float = 16383.0) -> Real:
    """Random reals of every magnitude in (-top, top), the ends, a unit and zero among them, exact in fixed point."""
    size = int(np.prod(shape))
    drawn = RNG.uniform(-top, top, size) * np.exp2(-RNG.uniform(0, 20, size))
    drawn[:6] = [top, -top, 0.0, UNIT, -UNIT, 1.0]
    return np.rint(RNG.permutation(drawn) * F.one).reshape(shape) / F.one


def dense_plan(engine: Engine, x: Any, y: Any, bias: Any) -> Any:
    return engine.linear(ring.plan_matmul(6, 4, 5), engine.reshape(x, 6, 4), engine.reshape(y, 4, 5), bias)


# name -> program on an engine, what it means in reals, its operands, and the error in units in the last place
OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Real, ...], float]] = {
    "add": (lambda e, x, y: e.add(x, y), np.add, (reals(60, top=8191), reals(60, top=8191)), 0),
    "sub": (lambda e, x, y: e.sub(e.slim(x), e.slim(y)), np.subtract, (reals(60), reals(60)), 0),
    "times": (lambda e, x: e.times(x, -3), lambda x: -3 * x, (reals(60),), 0),
    "public": (lambda e, x: e.add(x, e.public(np.arange(60) / 7)), lambda x: x + np.arange(60) / 7,
               (reals(60, top=9000),), 0.5),
    "linear": (
        dense_plan, lambda x, y, b: x.reshape(6, 4) @ y.reshape(4, 5) + b[:, None],
        (reals(24, top=60), reals(20, top=60), reals(6, top=900)), 1.5,
    ),
    "mul_narrow": (lambda e, x, y: e.mul_narrow(x, y), np.multiply, (reals(90), np.sign(reals(90)) * 1.875), 1.5),
    "mul": (lambda e, x, y: e.mul(x, e.slim(y)), np.multiply, (reals(60, top=120), reals(60, top=120)), 1.5),
    "narrow": (lambda e, x: e.narrow(e.times(x, 1 << 12), 12), lambda x: x, (reals(60),), 1.5),
    "slim": (lambda e, x: e.slim(x), lambda x: x, (reals(60),), 0),
    "wide": (lambda e, x: e.wide(e.slim(x)), lambda x: x, (reals(60),), 0),
    "extend": (lambda e, x: e.extend(e.narrow(x)), lambda x: x, (reals(60),), 0),
    "trunc": (lambda e, x: e.trunc(e.times(x, 1 << 20), 20), lambda x: x, (reals(60),), 1),
    "negative": (lambda e, x: e.number(e.negative(x)), lambda x: (x < 0) * UNIT, (reals(60),), 0),
    "flip": (lambda e, x: e.number(e.flip(e.negative(e.slim(x)))), lambda x: (x >= 0) * UNIT, (reals(60),), 0),
    "number": (lambda e, x: e.extend(e.number(e.relu(e.slim(x))[1])), lambda x: (x >= 0) * UNIT, (reals(60),), 0),
    "relu": (lambda e, x: e.relu(e.slim(x))[0], lambda x: np.maximum(x, 0), (reals(60),), 0),
    "choose": (
        lambda e, x, y: e.choose(e.negative(x), e.slim(y)), lambda x, y: np.where(x < 0, y, 0),
        (reals(60), reals(60)), 0,
    ),
    "maximum": (lambda e, x, y: e.maximum(e.slim(x), e.slim(y))[0], np.maximum, (reals(60), reals(60)), 0),
    "exp2": (lambda e, x: e.exp2(x), np.exp2, (np.append(reals(60, top=12.9), [-17, 13 - UNIT]),), 2),
    "scale": (lambda e, x: e.scale(x, -0.375), lambda x: x * -0.375, (reals(60),), 1.5),
    "broadcast": (lambda e, x: e.broadcast(x, (3, 60)), lambda x: np.broadcast_to(x, (3, 60)), (reals(60),), 0),
    "cut": (lambda e, x: e.cut(x, slice(3, None, 2)), lambda x: x[3::2], (reals(60),), 0),
    "total": (lambda e, x: e.total(e.reshape(x, 6, 10), 1, keep=True),
              lambda x: x.reshape(6, 10).sum(1, keepdims=True), (reals(60),), 0),
    "reshape": (lambda e, x: e.reshape(x, 5, -1), lambda x: x.reshape(5, -1), (reals(60),), 0),
    "shift_by": (lambda e, x: e.shift_by(e.slim(x), -0.5), lambda x: x - 0.5, (reals(60),), 0),
    "map": (lambda e, x: e.map(x, lambda w: w[::-1]), lambda x: x[::-1], (reals(60),), 0),
    "join": (lambda e, x: e.join([x, x], axis=0), lambda x: np.concatenate([x, x]), (reals(60),), 0),
}  # fmt: skip
PUBLIC = {"shape", "is_wide", "public_permutation", "public_mask"}


def test_every_operation_of_an_engine_has_a_row() -> None:
    declared = {name for name, _ in inspect.getmembers(Engine, inspect.isfunction) if not name.startswith("_")}
    assert declared == set(OPERATIONS) | PUBLIC


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_engines_compute_what_it_means(name: str) -> None:
    program, meaning, operands, units = OPERATIONS[name]
    words = [np.rint(x * F.one).astype(np.int64) for x in operands]
    want = meaning(*operands)
    out = run(lambda s, *x: program(Rep3(s), *x), *[share64(w) for w in words])
    clear = program(Cleartext(), *[w.view(np.uint64) for w in words])
    slack = want * 2.0**-18 if name == "exp2" else 0.0
    for got in (out.opened, clear):
        assert got.shape == want.shape
        assert np.all(np.abs(F.decode(got) - want) <= units * UNIT + slack)
    assert Cleartext().is_wide(clear) == (out.opened.dtype == np.uint64)


@pytest.mark.parametrize("fraction", [14, 20])
def test_other_formats_mean_the_same(fraction: int) -> None:
    """The engines take other numbers of fraction bits: the same program, the same error in units."""
    fixed = FixedPoint(fraction, 30 - fraction)
    x, y = (np.rint(v * fixed.one).astype(np.int64) for v in (reals(80, top=20), reals(80, top=3)))

    def program(engine: Engine, a: Any, b: Any) -> Any:
        best, bit = engine.maximum(engine.slim(a), engine.slim(b))
        return engine.join([engine.mul(a, b), engine.extend(engine.choose(bit, best)), engine.exp2(engine.slim(b))])

    out = run(lambda s, a, b: program(Rep3(s), a, b), share64(x), share64(y), fixed=fixed)
    clear = program(Cleartext(fixed), x.view(np.uint64), y.view(np.uint64))
    p, q = x / fixed.one, y / fixed.one
    want = np.concatenate([p * q, np.where(p >= q, p, 0), np.exp2(q)])
    for got in (out.opened, clear):
        assert np.all(np.abs(fixed.decode(got) - want) <= 2.5 / fixed.one + np.abs(want) * 2.0**-18)


def test_public_draws_are_common_and_random() -> None:
    def program(session: Any) -> tuple[np.ndarray, np.ndarray]:
        engine = Rep3(session)
        return engine.public_permutation(500), engine.public_mask((100, 100), 0.3)

    for (order, mask), *others in (
        run(program).results,
        [(Cleartext().public_permutation(500), Cleartext().public_mask((100, 100), 0.3))],
    ):
        assert np.array_equal(np.sort(order), np.arange(500))
        assert abs(mask.mean() - 0.3) < 0.03
        assert set(np.unique(mask)) == {0, 1}
        for again, same in others:
            assert np.array_equal(order, again)
            assert np.array_equal(mask, same)
    assert not np.array_equal(run(program).results[0][0], order)
