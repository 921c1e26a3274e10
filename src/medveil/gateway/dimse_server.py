"""pynetdicom's server with what it lacks against unfriendly peers: bounds of size, time and memory.

- The TLS handshake is done in the connection's own thread, with a deadline; one that stalls holds up nobody.
- A PDU may not be longer than was negotiated, a message not longer than the largest instance, and a PDU that has begun
  must end in time; else the connection is closed.
- Bytes of unfinished messages share a budget; who would exceed it is not read from until others have finished, and is
  closed where that takes too long.
- Nagle's algorithm is off: with it each C-STORE costs 40 ms.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

from medveil.errors import ConfigError
from medveil.gateway.config import Listener

_SLACK: Final = 64 << 10
"""Bytes that a PDU may be longer than the largest data PDU: association requests grow with their contexts."""
_PIECE: Final = 256 << 10


class TooLargeError(OSError):
    """A peer sends more than it may; an OSError, as which pynetdicom ends the connection."""


class Memory:
    """A budget of bytes that connections share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._change = threading.Condition()

    def take(self, count: int, deadline: float) -> None:
        """Wait until `count` bytes are free and take them. Raises TimeoutError at `deadline` (monotonic seconds)."""
        with self._change:
            # One taker may always go on: a single message larger than the budget is bounded elsewhere.
            while self._used and self._used + count > self._limit:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("no memory for this connection")
                self._change.wait(left)
            self._used += count

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._change:
            self._used -= count
            self._change.notify_all()


class Guard:
    """Stands in for the reading of one connection.

    max_pdu, max_message: bytes. timeout: seconds for one PDU. refused: told why where the connection is closed.
    """

    def __init__(
        self, association: Any, memory: Memory, *, max_pdu: int, max_message: int, timeout: float,
        refused: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._association = association
        self._link = association.dul.socket
        self._memory = memory
        self._max_pdu = max_pdu
        self._max_message = max_message
        self._timeout = timeout
        self._refused = refused
        self._held = 0
        self._deadline = 0.0
        self._link.recv = self.recv

    def recv(self, count: int) -> bytearray:
        """Return `count` bytes, or fewer where the peer closed. Raises OSError where it may not go on."""
        if count > self._max_pdu + _SLACK:
            self._refused("oversize")
            raise TooLargeError("a PDU is longer than was agreed")
        if self._held + count > self._max_message + _SLACK:
            self._refused("oversize")
            raise TooLargeError("a message is longer than the largest instance")
        link: socket.socket | None = self._link.socket
        if link is None:
            return bytearray()
        if count == 6:  # the head of a PDU: its time begins
            self._deadline = time.monotonic() + self._timeout
        else:
            try:
                self._memory.take(count, self._deadline)
            except TimeoutError:
                self._refused("memory")
                raise
            self._held += count
        got = bytearray()
        while len(got) < count:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._refused("slow")
                raise TimeoutError("a PDU did not end in time")
            link.settimeout(left)
            try:
                piece = link.recv(min(_PIECE, count - len(got)))
            except TimeoutError:
                self._refused("slow")
                raise
            if not piece:
                break
            got += piece
        with contextlib.suppress(OSError):
            link.settimeout(self._timeout)
        return got

    @property
    def over(self) -> bool:
        """Whether the association has begun and ended."""
        return self._association.ident is not None and not self._association.is_alive()

    def release(self) -> None:
        """A message is complete, or the connection is over."""
        held, self._held = self._held, 0
        self._memory.give(held)


class BoundedServer(ThreadedAssociationServer):
    """Accepts at once and shakes hands in the connection's own thread. context: TLS, or None."""

    daemon_threads = True

    def __init__(
        self, ae: AE, address: tuple[str, int], handlers: list[Any], *, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self._tls = context
        self._patience = timeout
        super().__init__(ae, address, ae.ae_title, ae.supported_contexts, None, handlers)
        ae._servers.append(self)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection, without its handshake."""
        if self.socket is None:
            raise OSError("the server is closed")
        link, address = self.socket.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.settimeout(self._patience)
        return link, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Go on in a thread of the connection."""
        threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True, name="dicom connection"
        ).start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then hand the connection to its association."""
        if self._tls is not None:
            try:
                request = self._tls.wrap_socket(request, server_side=True)
            except OSError:
                with contextlib.suppress(OSError):
                    request.close()
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the traceback could quote the peer."""

    def stop_accepting(self) -> None:
        """Accept no more connections; established ones go on."""
        self.shutdown()


def server_context(listener: Listener, *, need_certificate: bool) -> ssl.SSLContext | None:
    """Return the TLS of a listener, or None where it has none: TLS 1.2 or newer, clients' certificates checked.

    Raises ConfigError where a file cannot be used.
    """
    if listener.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listener.certificate, listener.key)
        if listener.client_ca is not None:
            context.load_verify_locations(listener.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED if need_certificate else ssl.CERT_OPTIONAL
    except OSError as error:
        raise ConfigError(
            f"the certificate, key or client_ca of a listener cannot be used: {error.strerror or 'not a certificate'}"
        ) from None
    return context


def peer_certificate(association: Any) -> bytes | None:
    """Return the certificate (DER) that a peer of an association showed."""
    link = association.dul.socket.socket if association.dul.socket is not None else None
    return link.getpeercert(binary_form=True) if isinstance(link, ssl.SSLSocket) else None


class Watch:
    """Guards every connection of a server. bounds: of `Guard`."""

    def __init__(self, memory: Memory, refused: Callable[[str], None], **bounds: Any) -> None:
        self._memory = memory
        self._refused = refused
        self._bounds = bounds
        self._guards: dict[int, Guard] = {}

    @property
    def handlers(self) -> list[Any]:
        """What pynetdicom is to call."""
        return [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_DIMSE_RECV, self._message),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]

    def release(self, association: Any) -> None:
        """Give back the memory of a message that was dealt with."""
        guard = self._guards.get(id(association))
        if guard is not None:
            guard.release()

    def _opened(self, event: Any) -> None:
        # pynetdicom tells of most ends of connections, not of those by errors of its own.
        for key, guard in list(self._guards.items()):
            if guard.over and self._guards.pop(key, None) is not None:
                guard.release()
        self._guards[id(event.assoc)] = Guard(event.assoc, self._memory, refused=self._refused, **self._bounds)

    def _message(self, event: Any) -> None:
        if type(event.message).__name__ != "C_STORE_RQ":  # an instance is in memory until it is stored
            self.release(event.assoc)

    def _closed(self, event: Any) -> None:
        guard = self._guards.pop(id(event.assoc), None)
        if guard is not None:
            guard.release()
