"""A small HTTP server on loopback that answers as each test tells it to: for faults that no real server shows."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers one request; told its number, counted from 1."""


class Misbehaving(ThreadingHTTPServer):
    """requests: (method, path) of each request so far."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.requests: list[tuple[str, str]] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that give up are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.server.requests.append((self.command, self.path))
        with contextlib.suppress(OSError):
            self.server.behaviour(self, len(self.server.requests))

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


@contextlib.contextmanager
def misbehaving(behaviour: Behaviour) -> Iterator[Misbehaving]:
    """Run the server until the block ends."""
    server = Misbehaving(behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    """Take the request's body, so that the answer is not lost in a reset."""
    if handler.headers.get("Transfer-Encoding") == "chunked":
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
        return body
    return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))


def say(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Return a behaviour: one answer, complete."""

    def behave(handler: BaseHTTPRequestHandler, _: int) -> None:
        read_body(handler)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return behave


def cut(status: int, body: bytes, announced: int, *, reset: bool = False, **headers: str) -> Behaviour:
    """Return a behaviour: fewer bytes than announced, then the connection is closed or reset."""

    def behave(handler: BaseHTTPRequestHandler, number: int) -> None:
        say(status, body, Content_Length=str(announced), **headers)(handler, number)
        handler.wfile.flush()
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True

    return behave


def trickle(status: int, body: bytes, pause: float, **headers: str) -> Behaviour:
    """Return a behaviour: one byte at a time."""

    def behave(handler: BaseHTTPRequestHandler, number: int) -> None:
        say(status, Content_Length=str(len(body)), **headers)(handler, number)
        for position in range(len(body)):
            handler.wfile.write(body[position : position + 1])
            handler.wfile.flush()
            if handler.server.stopped.wait(pause):  # type: ignore[attr-defined]
                return

    return behave


def hang(handler: BaseHTTPRequestHandler, _: int) -> None:
    """Take the request and never answer."""
    handler.server.stopped.wait(60)  # type: ignore[attr-defined]
    handler.close_connection = True


def rubbish(handler: BaseHTTPRequestHandler, _: int) -> None:
    """Answer with what is no HTTP."""
    handler.wfile.write(b"\x00\xff SSH-2.0-not-http\r\n\r\n")
    handler.close_connection = True


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Return a behaviour that uses one after the other, and the last for good."""

    def behave(handler: BaseHTTPRequestHandler, number: int) -> None:
        behaviours[min(number, len(behaviours)) - 1](handler, number)

    return behave
