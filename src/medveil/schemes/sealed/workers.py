"""The threads that code, hash and encrypt: the libraries release the interpreter lock, so they run side by side."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")

THREADS: Final = min(8, os.cpu_count() or 1)
"""How many threads work at once."""

ALONE: Final = 1 << 20
"""Up to this many bytes one thread is quicker than several: handing over the interpreter costs more than it gives."""

_pools: list[ThreadPoolExecutor] = []


def _pool() -> ThreadPoolExecutor:
    if not _pools:
        _pools.append(ThreadPoolExecutor(THREADS, thread_name_prefix="medveil-sealed"))
    return _pools[0]


if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's threads
    os.register_at_fork(after_in_child=_pools.clear)


def ordered(function: Callable[[In], Out], items: Iterable[In], *, window: int) -> Iterator[Out]:
    """Return function(item) for each item, in order, with at most `window` of them at work or waiting.

    `function` must not itself use `ordered`. An exception ends the work and is passed on. With a window of 1
    everything runs in the calling thread.
    """
    if window <= 1 or THREADS == 1:
        yield from map(function, items)
        return
    pool = _pool()
    waiting: deque[Future[Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
