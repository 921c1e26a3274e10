"""Frames over TCP: one connection a direction, TLS 1.3 with both certificates, a sender thread with heartbeats.

Every ordered pair of parties has its own connection, on which only the dialling side sends after the handshake, so
no TLS object is used by two threads. The sender thread writes heartbeats while nothing is due: silence for
`patience` seconds means that the other process hangs or is gone, however long it may compute. Whether a party is alive
is judged by what comes from it, not by how soon it takes what is sent: it may compute, or the line be slow, while the
buffers between are full.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time

from medveil.errors import ProtocolError
from medveil.mpc.transport.frames import HEADER, HEARTBEAT, MAGIC, LinkModel, Transport

PATIENCE = 6.0
STALL = 180.0
_HEARTBEAT_EVERY = 1.0
_SMALL = 16384
_PIECE = 1 << 20


class _Sender(threading.Thread):
    """Writes one connection's frames in order; heartbeats when idle."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._connection = connection
        self.frames: queue.SimpleQueue[tuple[bytes, memoryview] | None] = queue.SimpleQueue()
        self.failure: OSError | None = None

    def run(self) -> None:
        """Send until None is put in line or the connection breaks, which `failure` then says."""
        try:
            while True:
                try:
                    frame = self.frames.get(timeout=_HEARTBEAT_EVERY)
                except queue.Empty:
                    self._connection.sendall(HEADER.pack(MAGIC, HEARTBEAT, 0, 0, 0.0, 0))
                    continue
                if frame is None:
                    return
                header, payload = frame
                if len(payload) <= _SMALL:
                    self._connection.sendall(header + payload)
                else:
                    self._connection.sendall(header)
                    for start in range(0, len(payload), _PIECE):  # the time allowed is that of a piece, not of all
                        self._connection.sendall(payload[start : start + _PIECE])
        except OSError as e:
            self.failure = e


class TcpTransport(Transport):
    """Messages over connected sockets; `outgoing` and `incoming` map the other parties' numbers to them."""

    def __init__(
        self,
        party: int,
        outgoing: dict[int, socket.socket],
        incoming: dict[int, socket.socket],
        *,
        link: LinkModel | None = None,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(party, link)
        self._incoming = incoming
        self._outgoing = outgoing
        self._patience = patience
        for connection in incoming.values():
            connection.settimeout(patience)
        for connection in outgoing.values():
            connection.settimeout(STALL)
        self._senders = {to: _Sender(connection, f"to-party-{to}") for to, connection in outgoing.items()}
        for sender in self._senders.values():
            sender.start()

    def _put(self, to: int, header: bytes, payload: memoryview) -> None:
        sender = self._senders[to]
        if sender.failure is not None:
            raise ProtocolError(f"the connection to party {to} broke: see that server's log, then resume the job")
        sender.frames.put((header, payload))

    def _take_header(self, sender: int) -> bytes:
        header = bytearray(HEADER.size)
        deadline = time.monotonic() + STALL
        while True:
            self._take(sender, memoryview(header))
            if header[:4] != MAGIC or header[4] != HEARTBEAT:
                return bytes(header)
            if time.monotonic() > deadline:
                raise ProtocolError(f"party {sender} is alive but has sent nothing for {STALL:g} s: it has stalled")

    def _take(self, sender: int, target: memoryview) -> None:
        connection = self._incoming[sender]
        try:
            while target:
                count = connection.recv_into(target)
                if count == 0:
                    raise ProtocolError(f"party {sender} closed the connection: it stopped or crashed; resume the job")
                target = target[count:]
        except TimeoutError:
            raise ProtocolError(
                f"party {sender} was silent for {self._patience:g} s: it hangs or the network is down; resume the job"
            ) from None
        except OSError as e:
            raise ProtocolError(f"the connection from party {sender} broke ({type(e).__name__}): resume the job") from e

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until everything was handed to the operating system, `timeout` seconds at most."""
        for sender in self._senders.values():
            sender.frames.put(None)
        for sender in self._senders.values():
            sender.join(timeout)

    def close(self) -> None:
        """Send what is queued, then close both directions."""
        self.flush()
        for connection in (*self._outgoing.values(), *self._incoming.values()):
            with contextlib.suppress(OSError):
                connection.close()
