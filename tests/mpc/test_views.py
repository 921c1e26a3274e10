"""What a party receives: uniform bytes, whatever the input, for every protocol."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats
from tests.mpc.three_parties import run, share32, share64

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import RandomnessError
from medveil.mpc import ring
from medveil.mpc.protocols.rep3 import arithmetic, comparison, truncation
from medveil.mpc.session import Session
from medveil.mpc.transport.memory import connect_memory

SIZE = 6000
PLAN = ring.plan_matmul(60, 100, 100)


def choose(session, x):
    bit = comparison.less_than_zero(session, x)
    return comparison.select_ca(session, bit, x)


PROTOCOLS = {
    "mul_aa": (arithmetic.mul_aa, (share64, share64)),
    "matmul_aa": (lambda s, x, y: arithmetic.matmul_aa(s, x.reshape(60, 100), y.reshape(100, 60)), (share64, share64)),
    "linear_narrow": (
        lambda s, x, y: arithmetic.linear_narrow(s, ring.plan_matmul(60, 100, 60), x, y),
        (share64, share64),
    ),
    "extend_a": (truncation.extend_a, (share32,)),
    "trunc_a": (truncation.trunc_a, (share64,)),
    "trunc_a_fast": (truncation.trunc_a_fast, (share64,)),
    "relu_a": (comparison.relu_a, (share32,)),
    "maximum_aa": (comparison.maximum_aa, (share32, share32)),
    "less_than_zero_64": (comparison.less_than_zero, (share64,)),
    "select_ca": (choose, (share32,)),
}
INPUTS = {
    "zero": np.zeros(SIZE, np.int64),
    "minus one": np.full(SIZE, -1, np.int64),
    "great": np.full(SIZE, 2**30 - 1, np.int64),
    "mixed": np.where(np.arange(SIZE) % 2 == 0, 2**29, -(2**29)),
}


def histogram(view: list[tuple[int, bytes]]) -> np.ndarray:
    counts: Counter[int] = Counter()
    for _, message in view:
        counts.update(message)
    return np.array([counts[b] for b in range(256)])


@pytest.mark.parametrize("form", ["low_byte", "low_round"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_views_are_uniform_and_independent_of_the_input(name: str, form: str) -> None:
    program, kinds = PROTOCOLS[name]
    tables: dict[tuple[str, int], np.ndarray] = {}
    sizes: dict[int, set[tuple[tuple[int, int], ...]]] = {0: set(), 1: set(), 2: set()}
    for label, plain in INPUTS.items():
        out = run(program, *[kind(plain) for kind in kinds], record=True, comparison=form)
        for party, view in enumerate(out.views):
            tables[label, party] = histogram(view)
            sizes[party].add(tuple((sender, len(message)) for sender, message in view))
            bits = np.unpackbits(np.frombuffer(b"".join(m for _, m in view), np.uint8))
            ones = stats.binomtest(int(bits.sum()), bits.size, 0.5).pvalue
            assert ones > 1e-7, f"{name}: party {party} sees biased bits for {label}"
            serial = stats.binomtest(int((bits[:-1] == bits[1:]).sum()), bits.size - 1, 0.5).pvalue
            assert serial > 1e-7, f"{name}: party {party} sees dependent bits for {label}"
    for (label, party), table in tables.items():
        assert stats.chisquare(table).pvalue > 1e-7, f"{name}: party {party} sees a pattern for {label}"
    for party in range(3):
        both = np.array([tables[label, party] for label in INPUTS])
        assert stats.chi2_contingency(both).pvalue > 1e-7, f"{name}: party {party}'s view depends on the input"
        assert len(sizes[party]) == 1, f"{name}: message sizes depend on the input"


def test_views_tell_nothing_against_the_partys_own_shares() -> None:
    """Received words minus what the party holds of the input are uniform too, for the least random input."""
    shares = share32(np.zeros(SIZE, np.int64))
    out = run(comparison.relu_a, shares, record=True)
    for party, view in enumerate(out.views):
        words = np.frombuffer(b"".join(m for _, m in view if len(m) % 4 == 0), np.uint32)[:SIZE]
        for own in (shares[party].first, shares[party].second, shares[party].first + shares[party].second):
            table = np.bincount((words - own[: words.size]).view(np.uint8), minlength=256)
            assert stats.chisquare(table).pvalue > 1e-7


def test_a_leaking_protocol_would_be_noticed() -> None:
    """The test above can fail: resharing without a zero share is caught."""

    def careless(session, x):
        return arithmetic.reshare(session, x.first + x.second)

    shares = share32(np.zeros(SIZE, np.int64))
    out = run(careless, shares, record=True)
    words = np.frombuffer(out.views[0][0][1], np.uint32)
    table = np.bincount((words + shares[0].first).view(np.uint8), minlength=256)
    assert stats.chisquare(table).pvalue < 1e-12


def test_sessions_refuse_seeded_keys_outside_a_test_block() -> None:
    with pytest.raises(RandomnessError):
        insecure_seeded(1, "pairwise keys")
    with allow_insecure_randomness("test"):
        source = insecure_seeded(1, "pairwise keys")
    with pytest.raises(RandomnessError):
        Session.open(connect_memory()[0], randomness=source)
    assert "hidden" in repr(run(lambda s: s.next_stream).results[0])
