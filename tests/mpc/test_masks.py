"""Nothing but noise: what a party receives is jointly uniform given all that it knows, and each mask is needed.

Everything that the party under test knows is made constant: its two components of every input are zero, and so are
its two streams of common randomness. Only the stream of the two others is left. If a protocol is private, every bit
that the party then receives about an element is uniform and independent of all others, so the matrix (elements x
received bits, and a constant) over GF(2) has full column rank, but for a chance of 2^-64. A missing mask, one that is
used twice, or a share sent back in disguise makes a linear relation, and the rank drops, or a bit is biased.

The test of the test leaves out one mask at a time, at both of its holders, and demands that this is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.mpc.three_parties import run

from medveil.mpc import ring
from medveil.mpc.protocols.costs import COSTS, markdown_table
from medveil.mpc.protocols.rep3 import arithmetic, boolean, comparison, conversion, exponential, truncation
from medveil.mpc.protocols.rep3.layout import Part, plane_words
from medveil.mpc.shares import Share

LeftOut = tuple[int, int | None] | None
SPARE = 64  # elements more than received bits
BIAS = 7.0  # standard deviations


def bit_and(program: Callable[..., Any]) -> Callable[..., Any]:
    """Return a program that takes a comparison's bit, whose making is watched elsewhere."""

    def wrapped(session: Any, x: Share) -> Any:
        bit = comparison.less_than_zero(session, x)
        session.heard.clear()
        session.drawn.clear()
        return program(session, bit, x)

    return wrapped


def square(session: Any, x: Share) -> Share:
    side = int(x.size**0.5)
    part = x.map(lambda w: w[: side * side].reshape(side, side))
    return arithmetic.matmul_aa(session, part, part)


def dense(session: Any, x: Share) -> Share:
    side = int(x.size**0.5)
    part = x.map(lambda w: w[: side * side].reshape(side, side))
    return arithmetic.linear_narrow(session, ring.plan_matmul(side, side, side), part, part)


# name -> program, word, elements
PROTOCOLS: dict[str, tuple[Callable[..., Any], Any, int]] = {
    "mul_aa": (lambda s, x: arithmetic.mul_aa(s, x, x), np.uint64, 200),
    "mul_narrow": (lambda s, x: arithmetic.mul_narrow(s, x, x), np.uint64, 200),
    "matmul_aa": (square, np.uint64, 196),
    "linear_narrow": (dense, np.uint64, 196),
    "and_bb": (lambda s, x: boolean.and_bb(s, x, x), np.uint64, 200),
    "a2b": (conversion.a2b, np.uint64, 1100),
    "bit2a": (conversion.bit2a, np.uint64, 300),
    "extend_a": (truncation.extend_a, np.uint32, 300),
    "trunc_a": (truncation.trunc_a, np.uint64, 300),
    "trunc_a_fast": (truncation.trunc_a_fast, np.uint64, 200),
    "exp2_a": (exponential.exp2_a, np.uint32, 2500),
    "less_than_zero": (comparison.less_than_zero, np.uint32, 1001),
    "less_than_zero_64": (comparison.less_than_zero, np.uint64, 1501),
    "relu_a": (comparison.relu_a, np.uint32, 1001),
    "maximum_aa": (lambda s, x: comparison.maximum_aa(s, x, x), np.uint32, 1001),
    "select_ca": (bit_and(comparison.select_ca), np.uint32, 301),
    "c2a": (bit_and(lambda s, bit, x: comparison.c2a(s, bit)), np.uint32, 301),
}
OPENINGS = {"reveal_to_all", "reveal_words_to_all", "verify_replicas"}
TREES = {"less_than_zero", "less_than_zero_64", "relu_a"}
CASES = [(name, "low_byte") for name in PROTOCOLS] + [(name, "low_round") for name in sorted(TREES)]


class Known:
    """A stream that the party under test shares: to it, the words are no noise, so they may as well be zero."""

    def words(self, shape: Any, dtype: Any = np.uint64) -> np.ndarray:
        return np.zeros(shape, dtype)


class Unknown:
    """The two others' stream; `left_out` is the draw, or the draw's row, that is zero instead of random."""

    def __init__(self, stream: Any, drawn: list[tuple[int, ...]], left_out: LeftOut) -> None:
        self._stream, self._drawn, self._left_out = stream, drawn, left_out

    def words(self, shape: Any, dtype: Any = np.uint64) -> np.ndarray:
        out = self._stream.words(shape, dtype)
        if self._left_out is not None and self._left_out[0] == len(self._drawn):
            row = self._left_out[1]
            out[slice(None) if row is None else row] = 0
        self._drawn.append(out.shape)
        return out


@dataclass
class Heard:
    """What one party received and sent, in order, and what the two others drew in common."""

    received: list[tuple[int, np.ndarray]] = field(default_factory=list)
    sent: list[tuple[int, np.ndarray]] = field(default_factory=list)
    drawn: list[tuple[int, ...]] = field(default_factory=list)

    def clear(self) -> None:
        self.received.clear()
        self.sent.clear()

    def opened(self) -> list[np.ndarray]:
        """Return the messages, those that answer one of this party's own put together with it, as the protocol does."""
        mine = list(self.sent)
        found = []
        for sender, words in self.received:
            own = next((i for i, (to, w) in enumerate(mine) if to == sender and like(w, words)), None)
            if own is None:
                found.append(words)
                continue
            _, answered = mine.pop(own)
            planes = words.dtype == np.uint64 and words.ndim <= 2 and words.shape[-1] == plane_words(self.size)
            found.append(words ^ answered if planes else words + answered)
        return found

    size: int = 0


def like(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def listen(name: str, form: Any, party: int, value: int, left_out: LeftOut = None) -> Heard:
    """Run a protocol on a constant, all in one part that party 0 deals in, and return what a party heard."""
    program, word, size = PROTOCOLS[name]
    heard = Heard(size=size)
    before, after = (party + 2) % 3, (party + 1) % 3

    def watched(session: Any, x: Share) -> None:
        session.heard = heard if session.party == party else Heard()
        session.drawn = drawn = heard.drawn if session.party == after else []
        following, preceding = session.next_stream, session.previous_stream
        session.next_stream = Known() if session.party in (party, before) else Unknown(following, drawn, left_out)
        session.previous_stream = Known() if session.party in (party, after) else Unknown(preceding, drawn, left_out)
        receive, send = session.receive, session.send

        def received(sender: int, *arguments: Any) -> np.ndarray:
            words = receive(sender, *arguments)
            session.heard.received.append((sender, words.copy()))
            return words

        def sent(to: int, words: np.ndarray) -> None:
            session.heard.sent.append((to, words.copy()))
            send(to, words)

        session.receive, session.send = received, sent
        program(session, x)

    components = [np.zeros(size, word) for _ in range(3)]
    components[before] = np.full(size, value).astype(word)
    run(watched, [Share(components[i], components[(i + 1) % 3]) for i in range(3)], comparison=form)
    return heard


def bit_columns(messages: list[np.ndarray], size: int) -> list[int]:
    """Return a constant and every received bit, each as a whole number whose bits stand for the elements.

    Element e = r w + c of n is bit r of word c of a plane of w words (`rep3.layout`), and so it is here.
    """
    w = plane_words(size)
    position = np.arange(64 * w)
    element = (position % 64) * w + position // 64
    valid = element < size
    everywhere = int.from_bytes(np.packbits(valid, bitorder="little").tobytes(), "little")
    columns = [everywhere]
    for words in messages:
        if words.size % size:
            assert words.dtype == np.uint64
            assert words.shape[-1] == w
            columns += [int.from_bytes(row.tobytes(), "little") & everywhere for row in words.reshape(-1, w)]
            continue
        for row in words.reshape(-1, size):
            bits = np.unpackbits(np.ascontiguousarray(row).view(np.uint8).reshape(size, -1), axis=1, bitorder="little")
            table = np.zeros((bits.shape[1], 64 * w), np.uint8)
            table[:, valid] = bits[element[valid]].T
            columns += [int.from_bytes(line.tobytes(), "little") for line in np.packbits(table, 1, bitorder="little")]
    return columns


def dependent(columns: list[int]) -> int:
    """Return how many columns are sums of others over GF(2)."""
    basis: dict[int, int] = {}
    for column in columns:
        rest = column
        while rest and (top := rest.bit_length()) in basis:
            rest ^= basis[top]
        if rest:
            basis[rest.bit_length()] = rest
    return len(columns) - len(basis)


def leaks(heard: Heard) -> int:
    """Return how many received bits tell something: as they came, and put together with what was sent."""
    found = 0
    for messages in ([words for _, words in heard.received], heard.opened()):
        columns = bit_columns(messages, heard.size)
        assert len(columns) + SPARE < heard.size or len(columns) == 1, f"{len(columns)} bits want more elements"
        found += dependent(columns)
        found += sum(abs(column.bit_count() - heard.size / 2) > BIAS * heard.size**0.5 / 2 for column in columns[1:])
    return found


@pytest.fixture(autouse=True)
def one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """All elements in one part, so that each party has one role."""
    for module in (comparison, truncation, exponential):
        monkeypatch.setattr(module, "parts", lambda size: [Part(0, 0, size)])


def test_every_protocol_that_sends_is_here() -> None:
    markdown_table()  # imports them all
    sending = {name for name, cost in COSTS.items() if cost.rounds and not cost.composite}
    assert sending - OPENINGS <= set(PROTOCOLS)


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("party", [0, 1, 2])
def test_what_a_party_receives_is_noise_given_all_it_knows(name: str, form: str, party: int) -> None:
    for value in (0, -1, 3 << 20):
        assert leaks(listen(name, form, party, value)) == 0


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("party", [0, 1, 2])
def test_a_mask_that_is_left_out_is_noticed(name: str, form: str, party: int) -> None:
    drawn = listen(name, form, party, 0).drawn
    for number, shape in enumerate(drawn):
        planes = len(shape) == 2 and shape[1] == plane_words(PROTOCOLS[name][2])
        rows = sorted({0, shape[0] // 2, shape[0] - 1}) if planes else []
        for row in (None, *rows):
            heard = listen(name, form, party, 0, left_out=(number, row))
            assert leaks(heard) > 0, f"{name}: without row {row} of draw {number} of {shape} nothing is noticed"
