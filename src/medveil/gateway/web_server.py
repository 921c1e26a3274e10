"""uvicorn in a thread, with what it lacks: a deadline for a request's head, and the client's certificate.

The certificate that a client showed is handed to the application as ``request.state.peer_certificate`` (DER).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from medveil.errors import ConfigError

_LONGEST_HEAD: Final = 64 << 10


def _protocol(seconds: float) -> type[H11Protocol]:
    """Return uvicorn's protocol with a deadline of `seconds` for each request's head."""

    class Guarded(H11Protocol):
        _late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            link = transport.get_extra_info("socket")
            if link is not None:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            secured = transport.get_extra_info("ssl_object")
            certificate = None if secured is None else secured.getpeercert(binary_form=True)
            self.app_state = {**self.app_state, "peer_certificate": certificate}
            self._expect()

        def data_received(self, data: bytes) -> None:
            if self._late is None and self._idle:
                self._expect()
            super().data_received(data)
            if not self._idle:
                self._came()

        def connection_lost(self, exc: Exception | None) -> None:
            self._came()
            super().connection_lost(exc)

        @property
        def _idle(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _expect(self) -> None:
            self._late = self.loop.call_later(seconds, self._give_up)

        def _came(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _give_up(self) -> None:
            self._late = None
            if self._idle:
                self.transport.close()

    return Guarded


class WebServer:
    """One listener in a thread. context: its TLS, or None."""

    def __init__(
        self, app: ASGIApp, bind: str, port: int, *, context: ssl.SSLContext | None, timeout: float, most: int
    ) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((bind, port))
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"cannot listen on {bind}:{port}: {error.strerror or error}") from None
        config = uvicorn.Config(
            app,
            http=_protocol(timeout),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            limit_concurrency=most,
            timeout_keep_alive=max(1, int(timeout)),
            timeout_graceful_shutdown=None,
            h11_max_incomplete_event_size=_LONGEST_HEAD,
        )
        config.load()
        config.ssl = context
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Listen. Raises ConfigError where it does not come up."""
        self._thread.start()
        end = time.monotonic() + 30
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                raise ConfigError("the web server did not come up: see the log")
            time.sleep(0.01)

    def stop(self, grace: float) -> None:
        """Accept no more requests, let those at work finish, and end after `grace` seconds in any case."""
        self._server.config.timeout_graceful_shutdown = max(1, int(grace))
        self._server.should_exit = True
        self._thread.join(grace + 10)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])
