"""What a party receives: uniform bytes, whatever the input, for every protocol."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.mpc.three_parties import run, share32, share64

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import RandomnessError
from medveil.mpc import functions, ring
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import Sgd
from medveil.mpc.nn.spec import LayerSpec, NetworkSpec
from medveil.mpc.protocols.costs import COSTS, markdown_table
from medveil.mpc.protocols.rep3 import arithmetic, boolean, comparison, conversion, exponential, truncation
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.protocols.rep3.layout import parts
from medveil.mpc.session import Session
from medveil.mpc.transport.memory import connect_memory

SIZE = 6000
ENOUGH = 1e-7  # p-values below are taken for a leak; with some thousand tests a false alarm is rarer than 1 in 1000
NETWORK = NetworkSpec(
    (1, 8, 8),
    (
        LayerSpec("conv", "conv2d", ("input",), {"stride": 1, "padding": 0, "groups": 1}, {"weight": (4, 1, 3, 3)}),
        LayerSpec("pool", "maxpool2d", ("conv",), {"kernel": 2, "stride": 2, "padding": 0}, {}),
        LayerSpec("relu", "relu", ("pool",), {}, {}),
        LayerSpec("flat", "flatten", ("relu",), {}, {}),
        LayerSpec("out", "linear", ("flat",), {}, {"weight": (2, 36), "bias": (2,)}),
    ),
)


def choose(session, x):
    bit = comparison.less_than_zero(session, x)
    return comparison.select_ca(session, bit, x)


def training_step(session, x):
    """The whole of one step, dataset to new weights: its inputs are cut out of x."""
    engine = Rep3(session)
    small = engine.extend(engine.narrow(x, 14))  # some thousand units: pixels and weights below 1
    images = engine.reshape(engine.cut(small, slice(0, 1024)), 16, 1, 8, 8)
    targets = engine.reshape(engine.cut(small, slice(1024, 1056)), 16, 2)
    weights, at = {}, 2000
    for name, shape in NETWORK.parameters.items():
        count = int(np.prod(shape))
        weights[name] = engine.reshape(engine.cut(small, slice(at, at + count)), *shape)
        at += count
    network = Network(NETWORK)
    optimiser = Sgd(engine, weights, 0.1, 0.9)
    out, tape = network.forward(engine, weights, images, train=True)
    gradient, _ = losses.softmax_cross_entropy(engine, out, targets)
    optimiser.step(weights, network.backward(engine, weights, tape, gradient), 16)


OPENINGS = {  # these hand a value to a party on purpose, or send it what it holds already
    "reveal_to_all",
    "reveal_words_to_all",
    "verify_replicas",
}
PROTOCOLS = {
    "a2b": (conversion.a2b, (share64,)),
    "and_bb": (boolean.and_bb, (share64, share64)),
    "bit2a": (conversion.bit2a, (share64,)),
    "c2a": (lambda s, x: comparison.c2a(s, comparison.less_than_zero(s, x)), (share32,)),
    "exp2_a": (exponential.exp2_a, (share32,)),
    "mul_narrow": (arithmetic.mul_narrow, (share64, share64)),
    "less_than_zero": (comparison.less_than_zero, (share32,)),
    "divide": (lambda s, x: functions.divide(Rep3(s), x, x), (share64,)),
    "rsqrt": (lambda s, x: functions.rsqrt(Rep3(s), x), (share64,)),
    "log": (lambda s, x: functions.log(Rep3(s), x), (share64,)),
    "exp": (lambda s, x: functions.exp(Rep3(s), x), (share64,)),
    "softmax": (lambda s, x: functions.softmax(Rep3(s), x.reshape(SIZE // 4, 4)), (share64,)),
    "sigmoid": (lambda s, x: functions.sigmoid(Rep3(s), x), (share64,)),
    "training step": (training_step, (share64,)),
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


def test_every_protocol_that_sends_is_watched() -> None:
    markdown_table()  # imports them all
    assert {name for name, cost in COSTS.items() if cost.rounds} - OPENINGS <= set(PROTOCOLS)


def histogram(view: list[tuple[int, bytes]]) -> np.ndarray:
    return np.bincount(np.frombuffer(b"".join(message for _, message in view), np.uint8), minlength=256)


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
            if not view:  # a dealer that only sends
                continue
            bits = np.unpackbits(np.frombuffer(b"".join(m for _, m in view), np.uint8))
            ones = stats.binomtest(int(bits.sum()), bits.size, 0.5).pvalue
            assert ones > ENOUGH, f"{name}: party {party} sees biased bits for {label}"
            serial = stats.binomtest(int((bits[:-1] == bits[1:]).sum()), bits.size - 1, 0.5).pvalue
            assert serial > ENOUGH, f"{name}: party {party} sees dependent bits for {label}"
    tables = {key: table for key, table in tables.items() if table.sum()}
    for (label, party), table in tables.items():
        assert stats.chisquare(table).pvalue > ENOUGH, f"{name}: party {party} sees a pattern for {label}"
    for party in range(3):
        both = np.array([tables[label, party] for label in INPUTS if (label, party) in tables])
        if both.size:
            assert stats.chi2_contingency(both).pvalue > ENOUGH, f"{name}: party {party}'s view depends on the input"
        assert len(sizes[party]) == 1, f"{name}: message sizes depend on the input"


def words_of(message: bytes, own: np.ndarray) -> list[np.ndarray]:
    """Return what remains of a message when this party's share of each third it could be about is taken off."""
    found = []
    for part in parts(own.size):
        mine = own.reshape(-1)[part.start : part.stop]
        if len(message) == mine.nbytes:
            found.append((np.frombuffer(message, own.dtype) - mine).view(np.uint8))
    return found


@pytest.mark.parametrize("name", PROTOCOLS)
def test_views_tell_nothing_against_what_the_party_holds(name: str) -> None:
    """Messages less the party's own shares, and less each other, are uniform for the least random input.

    The first would show a missing mask, the second a mask that is used twice.
    """
    program, kinds = PROTOCOLS[name]
    inputs = [kind(np.zeros(SIZE, np.int64)) for kind in kinds]
    out = run(program, *inputs, record=True)
    for party, view in enumerate(out.views):
        long = [message for _, message in view if len(message) >= 2000]
        for shares in inputs:
            x = shares[party]
            for own in (x.first, x.second, x.first + x.second):
                for rest in (words for message in long for words in words_of(message, own)):
                    p = stats.chisquare(np.bincount(rest, minlength=256)).pvalue
                    assert p > ENOUGH, f"{name}: party {party} receives its own share in disguise"
        for i, message in enumerate(long):
            for other in long[i + 1 : i + 9]:
                if len(other) == len(message):
                    mixed = np.frombuffer(message, np.uint8) ^ np.frombuffer(other, np.uint8)
                    p = stats.chisquare(np.bincount(mixed, minlength=256)).pvalue
                    assert p > ENOUGH, f"{name}: two messages to party {party} share a mask"


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
