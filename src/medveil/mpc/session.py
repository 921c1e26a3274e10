"""What one party holds during one computation: its number, its wire, its two pairwise streams. No global state."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.randomness import KEY_BYTES, Stream, new_key
from medveil.mpc.transport.frames import Transport

ComparisonForm = Literal["low_byte", "low_round"]


_PINGS = 4
_BLOCK_WORDS = 1 << 16


@dataclass(frozen=True)
class Link:
    """The slowest way between two parties, as all three measured it: one way in s, and B/s."""

    latency: float
    bandwidth: float


@dataclass(repr=False)
class Session:
    """One party's view of one computation.

    `next_stream` is common with party i + 1, `previous_stream` with party i - 1, `public_stream` with both: the
    last one draws what every party may know, such as a shuffle. `comparison` picks the comparison's form:
    "low_byte" where bandwidth or processors are the limit, "low_round" where latency is; once `measure_link` has
    set `link`, each comparison takes the form that is quicker for its size.
    """

    party: int
    transport: Transport
    next_stream: Stream
    previous_stream: Stream
    public_stream: Stream
    fixed: FixedPoint = field(default_factory=FixedPoint)
    comparison: ComparisonForm = "low_byte"
    link: Link | None = None

    def __repr__(self) -> str:
        return f"Session(party={self.party}, fixed={self.fixed})"

    @classmethod
    def open(
        cls,
        transport: Transport,
        *,
        fixed: FixedPoint | None = None,
        comparison: ComparisonForm = "low_byte",
        randomness: Randomness = SYSTEM,
    ) -> Session:
        """Agree on fresh pairwise keys and return the session; all three parties call it at the same time.

        Raises:
            RandomnessError: the system's generator fails, or a seeded one is used outside an experiment.
            ProtocolError: another party does not answer.
        """
        party = transport.party
        if party not in (0, 1, 2):
            raise InputError("there are three parties: 0, 1 and 2")
        following, previous = (party + 1) % 3, (party + 2) % 3
        mine = new_key(randomness)
        public = new_key(randomness)
        transport.send(following, np.frombuffer(mine + public, dtype=np.uint8))
        transport.send(previous, np.frombuffer(public, dtype=np.uint8))
        from_previous = transport.receive(previous, 2 * KEY_BYTES, np.uint8).tobytes()
        from_next = transport.receive(following, KEY_BYTES, np.uint8).tobytes()
        parts = [np.frombuffer(k, dtype=np.uint8) for k in (public, from_previous[KEY_BYTES:], from_next)]
        common = (parts[0] ^ parts[1] ^ parts[2]).tobytes()
        transport.reset()
        return cls(
            party,
            transport,
            Stream(mine),
            Stream(from_previous[:KEY_BYTES]),
            Stream(common),
            fixed or FixedPoint(),
            comparison,
        )

    @property
    def following(self) -> int:
        """Return the number of the next party."""
        return (self.party + 1) % 3

    @property
    def preceding(self) -> int:
        """Return the number of the previous party."""
        return (self.party + 2) % 3

    def send(self, to: int, words: NDArray[Any]) -> None:
        """Send an array to a party."""
        self.transport.send(to, words)

    def receive(self, sender: int, shape: int | tuple[int, ...], dtype: Any = np.uint64) -> NDArray[Any]:
        """Return an array of known shape from a party."""
        return self.transport.receive(sender, shape, dtype)

    def measure_link(self) -> Link:
        """Measure latency and bandwidth and agree on the worst of all; all three parties call it at the same time."""

        def round_trip(words: NDArray[Any]) -> float:
            start = time.perf_counter()
            self.send(self.following, words)
            self.receive(self.preceding, words.shape)
            return time.perf_counter() - start

        word, block = np.zeros(1, np.uint64), np.zeros(_BLOCK_WORDS, np.uint64)
        latency = min([round_trip(word) for _ in range(_PINGS)][1:])  # the first one waits for the parties to meet
        taken = min(round_trip(block) for _ in range(2))
        mine = np.array([latency, block.nbytes / max(taken - latency, 1e-6)])
        for other in (self.following, self.preceding):
            self.send(other, mine)
        theirs = [self.receive(other, 2, np.float64) for other in (self.preceding, self.following)]
        seen = np.array([mine, *theirs])
        self.link = Link(float(seen[:, 0].max()), float(seen[:, 1].min()))
        return self.link
