"""Runs one program at three parties in three threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medveil.mpc.session import Session
from medveil.mpc.shares import Share, join, split
from medveil.mpc.transport.memory import connect_memory


@dataclass
class Outcome:
    results: tuple[Any, Any, Any]
    bytes_sent: int
    rounds: int
    views: list[list[tuple[int, bytes]]]

    @property
    def opened(self) -> np.ndarray:
        return join(self.results)


def run(program: Callable[..., Any], *shared: Any, record: bool = False, **options: Any) -> Outcome:
    """Call program(session, *this party's share of each) at every party; re-raises the first failure."""
    transports = connect_memory(patience=60)
    results: list[Any] = [None] * 3
    failures: list[BaseException] = []

    def party(number: int) -> None:
        try:
            session = Session.open(transports[number], **options)
            if record:
                session.transport.received = []
            results[number] = program(session, *[x[number] for x in shared])
        except BaseException as e:  # noqa: BLE001  # handed to the caller's thread
            failures.append(e)

    threads = [threading.Thread(target=party, args=(p,)) for p in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Outcome(
        tuple(results),
        sum(t.traffic.bytes_sent for t in transports),
        max(t.traffic.rounds for t in transports),
        [t.received or [] for t in transports],
    )


def share64(values: np.ndarray) -> tuple[Share, Share, Share]:
    return split(np.ascontiguousarray(values).astype(np.int64).view(np.uint64))


def share32(values: np.ndarray) -> tuple[Share, Share, Share]:
    return split(np.ascontiguousarray(values).astype(np.int64).astype(np.uint32))
