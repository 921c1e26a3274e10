"""The gateway as one process: everything is opened in order, runs until it is told to stop, and is closed in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from types import FrameType

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import ConfigError
from medveil.gateway import admin, web
from medveil.gateway.access import Access
from medveil.gateway.archive import Archive
from medveil.gateway.config import GatewayConfig
from medveil.gateway.dimse import DicomDoor
from medveil.gateway.dimse_server import Memory, server_context
from medveil.gateway.journal import Journal, silence_libraries
from medveil.gateway.metrics import Metrics
from medveil.gateway.queue import Bounds, Queue
from medveil.gateway.receiving import Reception
from medveil.gateway.web_server import WebServer
from medveil.gateway.workers import Arrivals, Workers
from medveil.stores.base import Store
from medveil.vault import Vault, load_config

_POLL = 0.1


class Gateway:
    """A gateway over an initialised vault. `start`, then `stop`; `run` does both around a signal.

    stores: open ones in place of the vault's configured.
    """

    def __init__(
        self, config: GatewayConfig, owner: OwnerKey, *, journal: Journal | None = None,
        stores: Sequence[Store] | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._journal = journal or Journal()
        settings = load_config(config.gateway.vault)
        if settings.search is None and any({"query", "retrieve"} & set(one.may) for one in config.client):
            raise ConfigError(
                "clients may query or retrieve, and the vault has no index: add [search] to its configuration"
            )
        vault = Vault.open(settings, owner, stores=stores)
        limits = config.queue
        key = owner.derive("gateway queue", settings.dataset.encode())
        bounds = Bounds(limits.max_bytes, limits.max_instances, limits.max_instance, limits.min_free)
        self._queue = Queue(config.gateway.state, key, bounds)
        metrics = Metrics(self._queue)
        self._archive = Archive(vault, self._journal, metrics, limit=limits.max_instance + (1 << 20))
        arrivals = Arrivals()
        access = Access(config.client)
        reception = Reception(self._queue, self._journal, metrics, arrivals)
        memory = Memory(limits.max_memory)
        pace = arrivals if limits.pace else None
        self._workers = Workers(self._queue, self._archive, self._journal, metrics, pace, limits.workers)
        self.dicom = (
            None
            if config.dicom is None
            else DicomDoor(config, access, reception, self._archive, self._journal, metrics, memory)
        )
        self._health = admin.Health(self._queue, self._archive.stores, settings.k)
        self.web: WebServer | None = None
        if config.web is not None:
            door = web.Door(
                access, reception, self._archive, self._journal, metrics, memory, limits, config.web.timeout
            )
            self.web = WebServer(
                web.create_app(door), config.web.bind, config.web.port,
                context=server_context(config.web, need_certificate=False), timeout=config.web.timeout,
                most=config.web.max_connections,
            )  # fmt: skip
        self.admin: WebServer | None = None
        if config.admin is not None:
            self.admin = WebServer(
                admin.create_app(self._health, metrics), config.admin.bind, config.admin.port, context=None,
                timeout=10.0, most=32,
            )  # fmt: skip

    def start(self) -> None:
        """Open the doors. Raises ConfigError where an address cannot be used."""
        if self._queue.damaged:
            self._journal.write("queue damaged", count=self._queue.damaged)
        self._workers.start()
        if self.dicom is not None:
            self.dicom.start()
        for server in (self.web, self.admin):
            if server is not None:
                server.start()
        ports = {"dicom": self.dicom, "web": self.web, "admin": self.admin}
        for via, door in ports.items():
            if door is not None:
                self._journal.write("listening", via=via, port=door.port)
        self._journal.write("started", waiting=self._queue.depth[0])

    def stop(self) -> None:
        """Take nothing new, let transfers finish, seal what waits as far as the grace allows, and close.

        What is not sealed by then waits on disk for the next start.
        """
        end = time.monotonic() + self._config.gateway.grace
        self._health.stopping = True
        self._workers.hurry()
        if self.dicom is not None:
            self.dicom.close_door()
        if self.web is not None:
            self.web.stop(max(1.0, end - time.monotonic()))
        while self.dicom is not None and self.dicom.busy and time.monotonic() < end:
            time.sleep(_POLL)
        if self.dicom is not None:
            self.dicom.stop()
        self._queue.wait_empty(max(0.0, end - time.monotonic()))
        self._workers.stop()
        if self.admin is not None:
            self.admin.stop(1.0)
        waiting = self._queue.depth[0]
        self._queue.close()
        self._archive.close()
        self._journal.write("stopped", waiting=waiting)

    def wait_sealed(self, timeout: float) -> bool:
        """Wait until everything that was received is sealed; returns whether it is."""
        return self._queue.wait_empty(timeout)

    def run(self) -> None:
        """Start, wait for SIGTERM or SIGINT, and stop. For the main thread of a process of its own."""
        told: list[int] = []  # no lock: a handler runs in the midst of what its thread does, a wait for an event too

        def stop(number: int, _: FrameType | None) -> None:
            told.append(number)

        silence_libraries(self._journal)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        self.start()
        while not told:
            time.sleep(_POLL)  # a signal that another thread was given is seen at the next turn
        self._journal.write("stopping", signal=signal.Signals(told[0]).name)
        self.stop()
