"""Health and metrics, for the machine's own monitoring: no patient data, no TLS, loopback only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from medveil.gateway.metrics import Metrics
from medveil.gateway.queue import Queue

_STORES_EVERY: Final = 30.0


class Health:
    """What is well. stores: asks every store, which is done at most every 30 s. enough: stores that must answer."""

    def __init__(self, queue: Queue, stores: Callable[[], dict[str, bool]], enough: int) -> None:
        self._queue = queue
        self._stores = stores
        self._enough = enough
        self._asked = 0.0
        self._last: dict[str, bool] = {}
        self._lock = threading.Lock()
        self.stopping = False

    def report(self) -> dict[str, Any]:
        """Return what is well: ready to take more, and which stores answer."""
        with self._lock:
            if time.monotonic() - self._asked > _STORES_EVERY or not self._asked:
                self._last = self._stores()
                self._asked = time.monotonic()
            stores = dict(self._last)
        waiting, held = self._queue.depth
        answering = sum(stores.values())
        problems = []
        if self.stopping:
            problems.append("stopping")
        if self._queue.fill >= 1:
            problems.append("queue full")
        if answering < self._enough:
            problems.append("too few stores answer")
        if self._queue.damaged:
            problems.append("queue damaged")
        return {
            "ready": not {"stopping", "queue full"} & set(problems),
            "problems": problems,
            "queue": {"instances": waiting, "bytes": held, "fill": round(self._queue.fill, 4)},
            "stores": stores,
        }


def create_app(health: Health, metrics: Metrics) -> Starlette:
    """Return the application: /health (the process lives), /ready (it takes instances), /metrics."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def ready(_: Request) -> Response:
        report = await run_in_threadpool(health.report)
        return JSONResponse(report, 200 if report["ready"] else 503)

    async def measure(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/health", alive), Route("/ready", ready), Route("/metrics", measure)])
