"""The frame around every message between parties, the counters, and the model of a slow link.

    magic 4 | kind 1 | depth 4 | sequence 8 | sent at 8 | length 8, little-endian, then `length` bytes

The receiver of a data frame knows the length that must come, so a different one is refused before anything is
allocated. `depth` is the number of messages that had to arrive one after the other before this one could be
sent: the greatest depth of a run is its number of rounds, whatever order the parties worked in.
"""

from __future__ import annotations

import abc
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import ProtocolError

MAGIC = b"MVM1"
HEADER = struct.Struct("<4sBIQdQ")
DATA, HEARTBEAT, ABORT = 0, 1, 2
MAX_ABORT = 512


@dataclass
class Traffic:
    """What one party has sent since the counters were reset: payload bytes, messages, rounds."""

    bytes_sent: int = 0
    messages: int = 0
    rounds: int = 0
    sent_to: dict[int, int] = field(default_factory=dict)

    def reset(self) -> None:
        """Start counting again."""
        self.bytes_sent = self.messages = self.rounds = 0
        self.sent_to.clear()


@dataclass
class LinkModel:
    """A simulated wire: every message arrives `latency` seconds plus its bytes over `bandwidth` after sending.

    Messages of one direction queue behind each other, as on a real link. Times come from the sender's clock,
    so both ends must run on one machine.
    """

    latency: float
    bandwidth: float
    _free: dict[int, float] = field(default_factory=dict)

    def wait(self, sender: int, sent_at: float, length: int) -> None:
        """Sleep until a message sent at `sent_at` would have arrived."""
        start = max(sent_at, self._free.get(sender, 0.0))
        done = start + length / self.bandwidth
        self._free[sender] = done
        delay = done + self.latency - time.monotonic()
        if delay > 0:
            time.sleep(delay)


class Transport(abc.ABC):
    """Messages of known size between this party and the two others."""

    def __init__(self, party: int, link: LinkModel | None = None) -> None:
        self.party = party
        self.link = link
        self.traffic = Traffic()
        self.received: list[tuple[int, bytes]] | None = None
        self._depth = 0
        self._next_out = {p: 0 for p in range(3) if p != party}
        self._next_in = dict(self._next_out)

    def reset(self) -> None:
        """Reset the counters; all parties must do it at the same place of the program."""
        self.traffic.reset()
        self._depth = 0

    def send(self, to: int, words: NDArray[Any]) -> None:
        """Send an array's bytes; the array must not be changed afterwards."""
        payload = np.ascontiguousarray(words).reshape(-1).view(np.uint8).data
        header = HEADER.pack(MAGIC, DATA, self._depth + 1, self._next_out[to], time.monotonic(), len(payload))
        self._next_out[to] += 1
        self.traffic.bytes_sent += len(payload)
        self.traffic.messages += 1
        self.traffic.sent_to[to] = self.traffic.sent_to.get(to, 0) + len(payload)
        self._put(to, header, payload)

    def receive(self, sender: int, shape: int | tuple[int, ...], dtype: Any = np.uint64) -> NDArray[Any]:
        """Return the next array from a party; its size must be exactly the expected one.

        Raises:
            ProtocolError: the party is gone, too slow, or sent something else.
        """
        out = np.empty(shape, dtype=dtype)
        target = out.reshape(-1).view(np.uint8).data
        header = self._take_header(sender)
        kind, depth, sent_at = self._check_header(sender, header, len(target))
        if kind == ABORT:
            self._raise_abort(sender, header)
        self._take(sender, target)
        self._depth = max(self._depth, depth)
        self.traffic.rounds = self._depth
        if self.link is not None:
            self.link.wait(sender, sent_at, len(target))
        if self.received is not None:
            self.received.append((sender, bytes(target)))
        return out

    def _check_header(self, sender: int, header: bytes, expected: int) -> tuple[int, int, float]:
        magic, kind, depth, sequence, sent_at, length = HEADER.unpack(header)
        if magic != MAGIC or kind not in (DATA, ABORT):
            raise ProtocolError(f"party {sender} sent bytes that are not a frame: check that all run one version")
        if kind == DATA:
            if length != expected:
                raise ProtocolError(
                    f"party {sender} sent {length} bytes where {expected} were due: the parties run different "
                    "programs, shapes or dtypes"
                )
            if sequence != self._next_in[sender]:
                raise ProtocolError(f"party {sender} sent message {sequence} where {self._next_in[sender]} was due")
            self._next_in[sender] += 1
        elif length > MAX_ABORT:
            raise ProtocolError(f"party {sender} sent an oversized notice: the connection is not to be trusted")
        return kind, depth, sent_at

    def _raise_abort(self, sender: int, header: bytes) -> None:
        reason = bytearray(HEADER.unpack(header)[5])
        self._take(sender, memoryview(reason))
        raise ProtocolError(f"party {sender} gave up: {bytes(reason).decode('utf-8', 'replace')}")

    def abort(self, reason: str) -> None:
        """Tell the other parties that this one gives up, as far as they can still be reached."""
        payload = memoryview(reason.encode()[:MAX_ABORT])
        for to in self._next_out:
            header = HEADER.pack(MAGIC, ABORT, 0, 0, time.monotonic(), len(payload))
            self._put(to, header, payload)

    @abc.abstractmethod
    def _put(self, to: int, header: bytes, payload: memoryview) -> None:
        """Hand a frame over for sending, without waiting for the other side."""

    @abc.abstractmethod
    def _take_header(self, sender: int) -> bytes:
        """Return the next frame's header, heartbeats left out."""

    @abc.abstractmethod
    def _take(self, sender: int, target: memoryview) -> None:
        """Fill `target` with payload bytes."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the connections."""
