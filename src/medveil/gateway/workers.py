"""Threads that empty the queue into the vault, and keep the index up with it.

A failure (a store down, a full disk) never loses an instance: it goes back to the queue, and the worker waits, longer
each time, before it tries again. Sealing yields to arriving instances while the queue has room (`pace`): a modality
waits for its answers, the stores do not.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from medveil.gateway.archive import Archive, guarded
from medveil.gateway.instances import from_file
from medveil.gateway.journal import Journal
from medveil.gateway.metrics import Metrics
from medveil.gateway.queue import Queue

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
_BATCH: Final = 64
"""Instances after which the index is brought up to date although more are waiting."""
_YIELD: Final = 0.25
"""Seconds after an arrival during which sealing stands back."""
_HALF: Final = 0.5


class Arrivals:
    """When the last instance arrived; told by the receivers, asked by the workers."""

    def __init__(self) -> None:
        self._last = 0.0

    def note(self) -> None:
        """An instance is arriving now."""
        self._last = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether instances are arriving."""
        return time.monotonic() - self._last < _YIELD


class Workers:
    """The threads. `stop` lets each finish what it is at."""

    def __init__(
        self, queue: Queue, archive: Archive, journal: Journal, metrics: Metrics, arrivals: Arrivals | None, count: int
    ) -> None:
        self._queue = queue
        self._archive = archive
        self._journal = journal
        self._metrics = metrics
        self._arrivals = arrivals
        self._stop = threading.Event()
        self._unindexed = 0
        self._indexing = threading.Lock()
        self._counting = threading.Lock()
        self._pause = 0.0
        self._threads = [threading.Thread(target=self._run, name=f"sealer {n}") for n in range(count)]

    def start(self) -> None:
        """Begin."""
        self._unindexed = 1  # what an earlier run stored and did not index
        for thread in self._threads:
            thread.start()

    def hurry(self) -> None:
        """Stop yielding to arrivals: the service is about to stop."""
        self._arrivals = None

    def stop(self) -> None:
        """Let each thread finish its instance, and bring the index up to date."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._index()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._arrivals is not None and self._arrivals.busy and self._queue.fill < _HALF:
                self._stop.wait(_YIELD / 2)
                continue
            name = self._queue.take(timeout=0.2)
            if name is None:
                self._index()
                continue
            if not self._seal(name):
                self._stop.wait(self._pause)

    def _seal(self, name: bytes) -> bool:
        began = time.monotonic()
        try:
            data = self._queue.read(name)
            object_id = self._archive.put(data, from_file(data).uid)
            self._queue.sealed(name, object_id)
        except Exception as error:  # noqa: BLE001 - a defect must not end the worker or lose what it had taken
            self._queue.put_back(name)
            self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
            self._metrics.seal_failures.labels(type(error).__name__).inc()
            self._journal.write("seal failed", error=type(error).__name__, seconds=round(self._pause, 1))
            return False
        self._pause = 0.0
        self._metrics.sealed.inc()
        self._metrics.seal_seconds.observe(time.monotonic() - began)
        with self._counting:
            self._unindexed += 1
            due = self._unindexed >= _BATCH
        if due:
            self._index()
        return True

    def _index(self) -> None:
        """Bring the index up to date, one thread at a time."""
        if not self._unindexed or not self._indexing.acquire(blocking=False):
            return
        try:
            with self._counting:
                count, self._unindexed = self._unindexed, 0
            if not guarded(self._archive.index, self._journal, "index failed"):
                with self._counting:
                    self._unindexed += count
                self._stop.wait(_FIRST_PAUSE)
        finally:
            self._indexing.release()
