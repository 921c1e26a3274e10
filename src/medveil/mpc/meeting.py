"""How the three parties of a job meet: six directed TLS connections under one job and one attempt."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time

from medveil.errors import ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import Cluster
from medveil.mpc.transport.tcp import TcpTransport

MEETING_TIMEOUT = 6.0
_KEPT = 60.0  # how long what came too early, or for nothing, is remembered
Key = tuple[str, str]


class MeetingPoint:
    """Keeps the connections that other parties opened until this party's job takes them."""

    def __init__(self) -> None:
        self._arrived: dict[Key, dict[int, tuple[float, ssl.SSLSocket]]] = {}
        self._changed = threading.Condition()
        self._broken: dict[Key, tuple[float, str]] = {}

    def arrive(self, key: Key, party: int, connection: ssl.SSLSocket) -> None:
        """Leave a connection from a party; a second one of the same attempt replaces the first."""
        now = time.monotonic()
        with self._changed:
            for old in [k for k, v in self._arrived.items() if all(now - t > _KEPT for t, _ in v.values())]:
                self.discard(old)
            replaced = self._arrived.get(key, {}).get(party)
            if replaced is not None:
                with contextlib.suppress(OSError):
                    replaced[1].close()
            self._arrived.setdefault(key, {})[party] = (now, connection)
            self._changed.notify_all()

    def cancel(self, key: Key, reason: str) -> None:
        """Give up an attempt, so that whoever waits for it fails at once."""
        now = time.monotonic()
        with self._changed:
            self._broken = {k: v for k, v in self._broken.items() if now - v[0] < _KEPT}
            self._broken[key] = (now, reason)
            self._changed.notify_all()

    def discard(self, key: Key | None = None) -> None:
        """Close the connections that nobody will take: those of an attempt that ended without meeting, or all."""
        with self._changed:
            for old in [key] if key else list(self._arrived):
                for _, stale in self._arrived.pop(old, {}).values():
                    with contextlib.suppress(OSError):
                        stale.close()

    def given_up(self, key: Key) -> bool:
        """Return whether an attempt was given up and nobody has waited for it since."""
        with self._changed:
            return key in self._broken

    def take(self, key: Key, others: list[int], timeout: float) -> dict[int, ssl.SSLSocket]:
        """Return the connections of an attempt from all others.

        Raises:
            ProtocolError: one did not come in time, or the attempt was given up.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                here = self._arrived.get(key, {})
                if key in self._broken:
                    raise ProtocolError(self._broken.pop(key)[1])
                missing = [p for p in others if p not in here]
                if not missing:
                    return {p: c for p, (_, c) in self._arrived.pop(key).items()}
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProtocolError(f"party {missing[0]} did not come to the job within {timeout:g} s: see its log")
                self._changed.wait(left)


def meet(cluster: Cluster, point: MeetingPoint, party: int, key: Key, timeout: float = MEETING_TIMEOUT) -> TcpTransport:
    """Dial both others for a job's attempt, wait for their connections, and return the transport.

    Raises:
        ProtocolError: a party is missing or refuses.
    """
    others = [p for p in range(3) if p != party]
    outgoing: dict[int, ssl.SSLSocket] = {}
    try:
        for other in others:
            hello = {"role": "party", "party": party, "job": key[0], "attempt": key[1]}
            outgoing[other] = wire.dial(cluster, other, hello)
        incoming = point.take(key, others, timeout)
    except ProtocolError as e:
        point.discard(key)
        for other, connection in outgoing.items():
            with contextlib.suppress(OSError):
                connection.close()
            with contextlib.suppress(ProtocolError):
                note = {"role": "cancel", "party": party, "job": key[0], "attempt": key[1], "reason": str(e)[:300]}
                wire.dial(cluster, other, note).close()
        raise
    return TcpTransport(party, dict(outgoing), dict(incoming))
