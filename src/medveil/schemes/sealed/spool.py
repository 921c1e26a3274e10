"""Where coded segments wait until the payload's length is known: memory, then an encrypted temporary file.

The length goes into the key derivation, so nothing can be sealed before everything is coded. What does not fit
the memory is written under a key that never leaves the process, since it is patient data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Final

from medveil.crypto.prg import SYSTEM
from medveil.crypto.stream import KEY_SIZE, SALT_SIZE, StreamKey

MEMORY: Final = 16 << 20
"""Bytes that are kept in memory before a file is used."""

_PIECE: Final = 1 << 20


class Spool:
    """Append bytes, then read all of them back once or more, in order."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held = 0
        self._pieces: list[bytes | memoryview | int] = []  # an int is the length of a sealed piece in the file
        self._file: IO[bytes] | None = None
        self._key: StreamKey | None = None
        self._sealed = 0
        self.length = 0

    def append(self, data: bytes | memoryview) -> None:
        """Add bytes; an in-memory view must stay unchanged until the spool is closed."""
        self.length += len(data)
        if self._file is None and self._held + len(data) <= self._memory:
            self._pieces.append(data)
            self._held += len(data)
            return
        if self._file is None or self._key is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
            self._key = StreamKey.derive(SYSTEM.bytes(KEY_SIZE), b"spool", SYSTEM.bytes(SALT_SIZE))
        for start in range(0, len(data), _PIECE):
            piece = self._key.seal_chunk(self._sealed, data[start : start + _PIECE])
            self._file.write(piece)
            self._pieces.append(len(piece))
            self._sealed += 1

    def read(self) -> Iterator[bytes | memoryview]:
        """Return everything that was added, in pieces."""
        number = 0
        if self._file is not None:
            self._file.seek(0)
        for piece in self._pieces:
            if not isinstance(piece, int):
                yield piece
            elif self._file is not None and self._key is not None:
                yield self._key.open_chunk(number, self._file.read(piece))
                number += 1

    def close(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()
