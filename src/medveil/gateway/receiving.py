"""What both doors do with an instance that arrives: check it, make it durable, count it, say how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medveil.errors import ConflictError, InputError, LimitError, MedveilError, StoreFullError
from medveil.gateway.instances import Received
from medveil.gateway.journal import Journal
from medveil.gateway.metrics import Metrics
from medveil.gateway.queue import Queue
from medveil.gateway.workers import Arrivals

SUCCESS: Final = 0x0000
NOT_AUTHORISED: Final = 0x0124
DUPLICATE: Final = 0x0111
FULL: Final = 0xA700
MISMATCH: Final = 0xA900
NOT_UNDERSTOOD: Final = 0xC000
"""Statuses of PS3.4 B.2.3 and PS3.7 C; STOW-RS gives the same numbers as failure reasons (PS3.18 table I.2-2)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went. status: for the sender. new: whether it was not known before."""

    status: int
    new: bool = False


class Reception:
    """Takes instances into the queue."""

    def __init__(self, queue: Queue, journal: Journal, metrics: Metrics, arrivals: Arrivals) -> None:
        self._queue = queue
        self._journal = journal
        self._metrics = metrics
        self._arrivals = arrivals

    def take(self, instance: Received, *, via: str, client: str) -> Outcome:
        """Make an instance durable. Success means that it is, and will be sealed whatever happens."""
        self._arrivals.note()
        try:
            new = self._queue.accept(instance)
        except MedveilError as error:
            return self.refuse(error, via=via, client=client)
        self._metrics.received.labels(via, "new" if new else "known").inc()
        self._metrics.received_bytes.inc(len(instance.data) if new else 0)
        self._arrivals.note()
        return Outcome(SUCCESS, new)

    def refuse(self, error: MedveilError, *, via: str, client: str) -> Outcome:
        """Count and log what could not be taken, and return what the sender is told."""
        status = status_of(error)
        self._metrics.received.labels(via, "refused").inc()
        self._metrics.refused.labels(via, type(error).__name__).inc()
        self._journal.write("instance refused", via=via, client=client, error=type(error).__name__, status=status)
        return Outcome(status)


def status_of(error: MedveilError) -> int:
    """Return the status for a sender whose instance could not be taken."""
    if isinstance(error, ConflictError):
        return DUPLICATE
    if isinstance(error, StoreFullError):
        return FULL
    if isinstance(error, InputError | LimitError):
        return NOT_UNDERSTOOD
    return FULL
