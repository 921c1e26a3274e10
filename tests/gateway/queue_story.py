"""Run by test_gateway_queue: a queue's life, killed at a chosen system call; not a test itself.

Arguments: folder, number of the call to die at (0: live). Prints "accepted UID" and "sealed UID" once each is true, and
at the end the number of calls.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from medveil.gateway import queue as module
from medveil.gateway.instances import Received
from medveil.gateway.queue import Bounds, Queue

CALLS = ("open", "write", "fsync", "fdatasync", "close", "ftruncate", "truncate", "unlink")
KEY = bytes(range(32))
BOUNDS = Bounds(1 << 30, 1000, 1 << 20, 0)


def instance(number: int, size: int = 3000) -> Received:
    data = bytes(132) + bytes([number]) * size
    return Received("1.2", f"1.2.3.{number}", "1.2.4", "1.2.5", "1.2.840.10008.1.2.1", data, 132)


class Points:
    def __init__(self, due: int) -> None:
        self.count = 0
        self.due = due

    def reach(self) -> None:
        self.count += 1
        if self.count == self.due:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, original: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.reach()
            if original is os.write and len(arguments[1]) > 100 and self.count + 1 == self.due:
                # Half of a record, and then dead.
                original(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **keywords)

        return call


def main() -> None:
    folder, points = Path(sys.argv[1]), Points(int(sys.argv[2]))
    for name in CALLS:
        setattr(os, name, points.watch(getattr(os, name)))
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        database = real(*arguments, **options)
        database.set_trace_callback(lambda statement: points.reach())
        return database

    sqlite3.connect = connect  # type: ignore[assignment]
    module.SEGMENT = 8000  # several segments in a short story
    queue = Queue(folder, KEY, BOUNDS)
    for number in range(1, 7):
        one = instance(number)
        queue.accept(one)
        print(f"accepted {one.uid}", flush=True)
        if number % 2 == 0:
            name = queue.take(0)
            if name is not None:
                data = queue.read(name)
                queue.sealed(name, f"object-{data[-1]}")
                print(f"sealed 1.2.3.{data[-1]}", flush=True)
    queue.close()
    print(points.count)


if __name__ == "__main__":
    main()
