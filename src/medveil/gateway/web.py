"""The DICOMweb door (PS3.18): STOW-RS in, QIDO-RS and WADO-RS out, as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medveil.errors import (
    ConflictError,
    InputError,
    LimitError,
    MedveilError,
    ObjectMissingError,
    PolicyError,
    StoreError,
    UnsupportedError,
)
from medveil.gateway.access import Access, Client, UnknownClientError
from medveil.gateway.archive import Archive
from medveil.gateway.config import QueueTable, Right
from medveil.gateway.dimse_server import Memory
from medveil.gateway.journal import Journal
from medveil.gateway.metrics import Metrics
from medveil.gateway.receiving import Reception

ROOT: Final = "/dicom-web"
JSON: Final = "application/dicom+json"
_SHOWN: Final = (InputError, UnsupportedError, LimitError)
"""Errors whose message is for the client: it is about the request."""


@dataclass(frozen=True, slots=True)
class Door:
    """What the handlers share. timeout: seconds for each piece of a body. open: False once the service stops."""

    access: Access
    reception: Reception
    archive: Archive
    journal: Journal
    metrics: Metrics
    memory: Memory
    queue: QueueTable
    timeout: float

    def client(self, request: Request, right: Right) -> Client:
        """Return who asks. Raises UnknownClientError, PolicyError."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        certificate = getattr(request.state, "peer_certificate", None)
        if scheme.lower() == "bearer" and token:
            client = self.access.by_token(token.strip())
        elif certificate is not None:
            client = self.access.by_certificate(certificate)
        else:
            raise UnknownClientError("say who you are, by a bearer token or a client certificate")
        request.state.client = client.name
        client.need(right)
        return client

    def slow(self) -> None:
        """Count and log a client that was too slow."""
        self.metrics.refused.labels("web", "slow").inc()
        self.journal.write("connection cut", via="web", reason="slow")


Handler = Callable[[Door, Request], Awaitable[Response]]


def create_app(door: Door) -> ASGIApp:
    """Return the application: its routes, errors as JSON, and a deadline for each piece that is sent."""
    from medveil.gateway import web_query, web_retrieve, web_store

    def route(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(ROOT + path, _handled(door, handler), methods=[method])

    study, series = "/studies/{study}", "/studies/{study}/series/{series}"
    instance = series + "/instances/{instance}"
    routes = [
        route("/studies", web_store.store, "POST"),
        route(study, web_store.store, "POST"),
        route("/studies", web_query.studies),
        route("/series", web_query.series),
        route(study + "/series", web_query.series),
        route("/instances", web_query.instances),
        route(study + "/instances", web_query.instances),
        route(series + "/instances", web_query.instances),
        *(route(path, web_retrieve.retrieve) for path in (study, series, instance)),
        *(route(path + "/metadata", web_retrieve.metadata) for path in (study, series, instance)),
        route(instance + "/frames/{frames}", web_retrieve.frames),
    ]
    return Deadline(Starlette(routes=routes), door.timeout, door.slow)


def _handled(door: Door, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return await handler(door, request)
        except MedveilError as error:
            if isinstance(error, PolicyError):
                await blocking(door.archive.log_refusal, getattr(request.state, "client", ""), "web", error)
            return _refusal(door, request, error)
        except TimeoutError:
            door.slow()
            return JSONResponse({"error": "TimeoutError"}, 408, {"Connection": "close"})

    return handle


def _refusal(door: Door, request: Request, error: MedveilError) -> Response:
    status = status_of(error)
    name = type(error).__name__
    door.metrics.refused.labels("web", name).inc()
    door.journal.write("refused", via="web", method=request.method, status=status, error=name)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="medveil"'
    if status == 503:
        headers["Retry-After"] = str(door.queue.retry_after)
    body = {"error": name, **({"message": str(error)} if isinstance(error, _SHOWN) else {})}
    return JSONResponse(body, status, headers)


def status_of(error: MedveilError) -> int:
    """Return the status of HTTP for an error."""
    table: tuple[tuple[type[MedveilError], int], ...] = (
        (UnknownClientError, 401), (PolicyError, 403), (ObjectMissingError, 404), (LimitError, 413),
        (InputError, 400), (UnsupportedError, 406), (ConflictError, 409), (StoreError, 503),
    )  # fmt: skip
    return next((status for kind, status in table if isinstance(error, kind)), 500)


async def blocking(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do work that waits for disks and stores in a thread of its own."""
    return await run_in_threadpool(work, *arguments)


class Deadline:
    """Ends a connection whose other end takes too long to read a piece of an answer."""

    def __init__(self, app: ASGIApp, seconds: float, slow: Callable[[], None]) -> None:
        self._app = app
        self._seconds = seconds
        self._slow = slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with a clock on each `send`."""

        async def timed(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self._seconds)
            except TimeoutError:
                self._slow()
                raise

        await self._app(scope, receive, timed if scope["type"] == "http" else send)
