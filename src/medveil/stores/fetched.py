"""Large objects fetched whole from a store without ranges, kept for a moment: ciphertext in nameless files."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterable
from typing import Final

from medveil.stores.base import Bytes

_KEPT: Final = 4
_KEEP_SECONDS: Final = 20.0


class KeptObject:
    """One object in a temporary file that has no name; the file is closed with its last user."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.until = 0.0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._file.close()

    def fill(self, pieces: Iterable[Bytes]) -> int:
        """Write the object's bytes; returns how many came."""
        return sum(self._file.write(piece) for piece in pieces)

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes of the object."""
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)


class Kept:
    """The few large objects that were fetched last."""

    def __init__(self) -> None:
        self._objects: dict[str, KeptObject] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> KeptObject | None:
        """Return an object that is kept."""
        with self._lock:
            self._expire()
            return self._objects.get(name)

    def add(self, name: str, kept: KeptObject) -> None:
        """Keep an object for a moment."""
        with self._lock:
            kept.until = time.monotonic() + _KEEP_SECONDS
            self._objects[name] = kept
            self._expire()

    def drop(self, name: str) -> None:
        """Let go of an object."""
        with self._lock:
            self._objects.pop(name, None)

    def clear(self) -> None:
        """Let go of all."""
        with self._lock:
            self._objects.clear()

    def _expire(self) -> None:
        # A file that is dropped here is closed when its last reader lets go of it.
        now = time.monotonic()
        for name in [name for name, kept in self._objects.items() if kept.until < now]:
            del self._objects[name]
        while len(self._objects) > _KEPT:
            del self._objects[next(iter(self._objects))]
