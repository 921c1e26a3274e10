"""Every operation on shares against plain integers, over sizes, signs and extreme values; cost as declared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mpc.three_parties import run, share32, share64

from medveil.errors import InputError
from medveil.mpc import ring
from medveil.mpc.protocols.costs import COSTS
from medveil.mpc.protocols.rep3 import arithmetic, comparison, truncation
from medveil.mpc.session import Link, Session
from medveil.mpc.shares import Share, join

RNG = np.random.default_rng(7)
SIZES = [1, 64, 65, 191, 192, 193, 4096, 40001]
FORMS = ["low_byte", "low_round"]


def signed(words: np.ndarray) -> np.ndarray:
    return words.view(np.int32 if words.dtype == np.uint32 else np.int64).astype(np.int64)


def values(size: int, bits: int) -> np.ndarray:
    drawn = RNG.integers(-(2**bits), 2**bits, size)
    edges = np.array([0, 1, -1, 2**bits - 1, -(2**bits), 2 ** (bits - 1), -(2 ** (bits - 1))])
    drawn[: min(size, 7)] = edges[: min(size, 7)]
    return drawn


@pytest.mark.parametrize("size", SIZES)
def test_extend_is_exact(size: int) -> None:
    v = values(size, 30)
    out = run(truncation.extend_a, share32(v))
    assert np.array_equal(signed(out.opened), v)
    assert (out.rounds, out.bytes_sent) == (COSTS["extend_a"].rounds, COSTS["extend_a"].bytes_sent(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shift", [1, 16, 32])
def test_truncation_is_off_by_less_than_a_unit(size: int, shift: int) -> None:
    v = values(size, 62)
    out = run(lambda s, x: truncation.trunc_a(s, x, shift), share64(v))
    assert set(np.unique(signed(out.opened) - (v >> shift))) <= {0, 1}
    assert (out.rounds, out.bytes_sent) == (COSTS["trunc_a"].rounds, COSTS["trunc_a"].bytes_sent(size))


def test_truncation_is_unbiased() -> None:
    v = np.full(60000, 3 * 65536 + 16384)
    out = signed(run(truncation.trunc_a, share64(v)).opened)
    assert abs(out.mean() - 3.25) < 0.01


def test_truncation_of_shares_whose_dropped_bits_are_zero_is_exact() -> None:
    v = values(5000, 30)

    def lift_and_drop(session: Session, x: Share) -> Share:
        return truncation.trunc_a(session, Share(x.first << np.uint64(24), x.second << np.uint64(24)), 24)

    assert np.array_equal(signed(run(lift_and_drop, share64(v)).opened), v)


def test_fast_truncation_has_its_stated_cost_and_probability() -> None:
    v = values(5000, 20)
    out = run(truncation.trunc_a_fast, share64(v))
    assert np.abs(signed(out.opened) - v / 65536).max() <= 1
    assert (out.rounds, out.bytes_sent) == (1, COSTS["trunc_a_fast"].bytes_sent(5000))
    assert truncation.fast_failure_probability(1, 62) == pytest.approx(0.25)
    assert truncation.fast_failure_probability(10**6, 40) == pytest.approx(0.0579, abs=1e-3)


def test_fast_truncation_does_fail_where_it_says_so() -> None:
    v = np.full(2000, 2**61)
    out = signed(run(truncation.trunc_a_fast, share64(v)).opened)
    wrecked = np.abs(out - (v >> 16)) > 1
    assert 0.09 < wrecked.mean() < 0.16  # 2^(61 - 64)


@pytest.mark.parametrize("shift", [0, 16])
def test_narrowing_never_has_a_large_error(shift: int) -> None:
    v = values(20000, 31 + shift)
    error = signed(run(lambda s, x: truncation.narrow_a(s, x, shift), share64(v)).opened) - (v >> shift)
    wrapped = (error + 2**31) % 2**32 - 2**31
    assert set(np.unique(wrapped)) <= ({0} if shift == 0 else {-1, 0, 1, 2})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_relu_is_exact(size: int, form: str) -> None:
    v = values(size, 31)
    out = run(lambda s, x: comparison.relu_a(s, x)[0], share32(v), comparison=form)
    assert np.array_equal(signed(out.opened), np.maximum(v, 0))
    assert out.bytes_sent == comparison.compare_bytes(size, 32, form, chosen=True)
    assert out.rounds == comparison.compare_rounds(32, form) + 1


@pytest.mark.parametrize("size", [1, 65, 700, 13000])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [32, 64])
def test_sign_on_the_whole_ring(size: int, form: str, width: int) -> None:
    v = values(size, width - 1) if width == 32 else RNG.integers(-(2**63), 2**63 - 1, size)
    shares = share32(v) if width == 32 else share64(v)
    out = run(comparison.less_than_zero, shares, comparison=form)
    assert out.bytes_sent == comparison.compare_bytes(size, width, form)
    assert out.rounds == comparison.compare_rounds(width, form)
    out = run(lambda s, x: comparison.c2a(s, comparison.less_than_zero(s, x)), shares, comparison=form)
    assert np.array_equal(signed(out.opened), v < 0)


def test_a_comparison_serves_again_in_the_backward_pass() -> None:
    v, g, h = values(3000, 30), values(3000, 30), values(3000, 31)

    def program(session, x, first, second):
        _, bit = comparison.relu_a(session, x)
        once = comparison.select_ca(session, bit, first)
        return arithmetic.add_aa(once, comparison.select_ca(session, bit.flipped(session), second))

    out = run(program, share32(v), share32(g), share32(h))
    want = np.where(v >= 0, g, h)
    assert np.array_equal(signed(out.opened), want)


def test_maximum() -> None:
    v, w = values(3000, 30), values(3000, 30)[::-1].copy()
    out = run(lambda s, x, y: comparison.maximum_aa(s, x, y)[0], share32(v), share32(w))
    assert np.array_equal(signed(out.opened), np.maximum(v, w))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=70), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=15, deadline=None)
def test_products_are_those_of_the_ring(numbers: list[int], factor: int) -> None:
    v = np.array(numbers, dtype=np.int64)
    w = np.full_like(v, factor)
    out = run(arithmetic.mul_aa, share64(v), share64(w))
    assert np.array_equal(out.opened, v.view(np.uint64) * w.view(np.uint64))
    assert (out.rounds, out.bytes_sent) == (COSTS["mul_aa"].rounds, COSTS["mul_aa"].bytes_sent(v.size))


def test_matmul_is_exact_modulo_the_ring() -> None:
    a, b = RNG.integers(0, 2**64, (5, 9), dtype=np.uint64), RNG.integers(0, 2**64, (9, 4), dtype=np.uint64)
    out = run(arithmetic.matmul_aa, share64(a), share64(b))
    assert np.array_equal(out.opened, np.asarray(a.astype(object) @ b.astype(object) % 2**64, dtype=np.uint64))
    assert out.bytes_sent == COSTS["matmul_aa"].bytes_sent(20)


def test_linear_layer_error_is_within_one_and_a_half_units() -> None:
    x, w = RNG.uniform(-4, 4, (40, 300)), RNG.uniform(-1, 1, (300, 60))
    bias = RNG.uniform(-2, 2, 40)
    encode = [np.rint(t * 65536).astype(np.int64) for t in (x, w, bias)]
    plan = ring.plan_matmul(40, 300, 60)
    out = run(
        lambda s, a, b, c: arithmetic.linear_narrow(s, plan, a, b, c),
        *[share64(t) for t in encode],
    )
    exact = (encode[0] @ encode[1] + (encode[2] << 16)[:, None]) / 65536
    error = signed(out.opened) - exact
    assert np.abs(error).max() <= 1.5
    assert abs(error.mean()) < 0.05
    assert (out.rounds, out.bytes_sent) == (1, COSTS["linear_narrow"].bytes_sent(40 * 60))


def test_opening_and_public_operands() -> None:
    v = values(500, 40)

    def program(session, x):
        shifted = arithmetic.add_ap(session, arithmetic.mul_ap(x, np.uint64(3)), np.uint64(5))
        arithmetic.verify_replicas(session, shifted)
        return arithmetic.reveal_to_all(session, arithmetic.sub_aa(shifted, x))

    out = run(program, share64(v))
    for words in out.results:
        assert np.array_equal(signed(words), 2 * v + 5)


def test_rings_and_shapes_are_not_mixed() -> None:
    v = values(5, 20)
    with pytest.raises(InputError, match="different rings"):
        run(arithmetic.mul_aa, share64(v), share32(v))
    with pytest.raises(InputError, match="not defined"):
        run(arithmetic.mul_aa, share64(v), share64(v[:4]))
    with pytest.raises(InputError, match="narrow"):
        run(comparison.relu_a, share64(v))
    with pytest.raises(InputError, match="Z_2\\^32"):
        run(truncation.extend_a, share64(v))


def test_bits_and_back() -> None:
    from medveil.mpc.protocols.rep3 import boolean, conversion

    v = RNG.integers(-(2**63), 2**63 - 1, 300)

    def program(session, x):
        bits = conversion.a2b(session, x)
        session.transport.reset()
        opened = boolean.reveal_words_to_all(session, bits)
        sign = conversion.bit2a(session, boolean.shift_right_b(bits, 63))
        masked = boolean.and_bp(boolean.xor_bb(bits, boolean.shift_left_b(bits, 1)), np.uint64(1))
        return opened, sign, boolean.reveal_words_to_all(session, masked)

    out = run(program, share64(v))
    assert all(np.array_equal(words.view(np.int64), v) for words, _, _ in out.results)
    assert np.array_equal(signed(join(tuple(sign for _, sign, _ in out.results))), v < 0)
    assert all(np.array_equal(words, (v & 1).astype(np.uint64)) for _, _, words in out.results)


@pytest.mark.parametrize("size", [1, 100])
def test_conversions_cost_what_they_declare(size: int) -> None:
    from medveil.mpc.protocols.rep3 import boolean, conversion

    v = share64(np.arange(size))
    for name, program in (("a2b", conversion.a2b), ("bit2a", conversion.bit2a)):
        out = run(program, v)
        assert (out.rounds, out.bytes_sent) == (COSTS[name].rounds, COSTS[name].bytes_sent(size))
    out = run(lambda s, x: boolean.and_bb(s, x, x), v)
    assert (out.rounds, out.bytes_sent) == (COSTS["and_bb"].rounds, COSTS["and_bb"].bytes_sent(size))
    out = run(lambda s, x: arithmetic.mul_narrow(s, x, x), v)
    assert (out.rounds, out.bytes_sent) == (COSTS["mul_narrow"].rounds, COSTS["mul_narrow"].bytes_sent(size))


@pytest.mark.parametrize("size", [1, 64, 1000, 30000])
def test_every_declared_comparison_cost_is_measured(size: int) -> None:
    x = share32(values(size, 30))
    programs = {
        "less_than_zero": comparison.less_than_zero,
        "relu_a": comparison.relu_a,
        "maximum_aa": lambda s, a: comparison.maximum_aa(s, a, a),
    }
    for name, program in programs.items():
        out = run(program, x)
        assert (out.rounds, out.bytes_sent) == (COSTS[name].rounds, COSTS[name].bytes_sent(size)), name

    def reused(name):
        def program(session, a):
            bit = comparison.less_than_zero(session, a)
            session.transport.reset()
            return comparison.select_ca(session, bit, a) if name == "select_ca" else comparison.c2a(session, bit)

        return program

    for name in ("select_ca", "c2a"):
        out = run(reused(name), x)
        assert out.bytes_sent == COSTS[name].bytes_sent(size)
        assert out.rounds == COSTS[name].rounds


def test_parties_measure_one_link_and_choose_by_size() -> None:
    links = run(lambda s: s.measure_link()).results
    assert links[0] == links[1] == links[2]
    assert links[0].latency > 0

    def forms(session):
        session.link = Link(0.044, 27.5e6)  # a wide-area network
        return [comparison.choose_form(session, size, 32) for size in (1, 30_000, 2_000_000)]

    assert run(forms).results == (["low_round", "low_round", "low_byte"],) * 3


def test_a_measured_session_compares_as_it_chose() -> None:
    v = values(30_000, 31)

    def program(session, x):
        session.link = Link(0.044, 27.5e6)
        return comparison.relu_a(session, x)[0]

    out = run(program, share32(v))
    assert np.array_equal(signed(out.opened), np.maximum(v, 0))
    assert out.rounds == COSTS["relu_a"].rounds - 1
