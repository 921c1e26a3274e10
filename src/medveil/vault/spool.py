"""Parts on their way to the stores: files of a private folder, so that memory stays small and a crash loses nothing.

A part is ciphertext, so it may lie on the disk of this machine; the folder is mode 0700 and its files 0600 all the
same. An attempt's folder lives until its upload has ended; a process that dies leaves it to the next one, which
finishes the upload or clears it away. Nothing here is synced: after a power failure what was spooled is checked
against its hashes before it is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from medveil.errors import StoreError, StoreFullError, StoreUnavailableError
from medveil.schemes.sealed import Manifest, check_share

_PIECE: Final = 1 << 20
_NO_SPACE: Final = frozenset({28, 122, 27})  # ENOSPC, EDQUOT, EFBIG


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn what the disk says into the errors of a store."""
    try:
        yield
    except OSError as error:
        reason = f"{what}: {error.strerror or 'the disk failed'}"
        if error.errno in _NO_SPACE:
            raise StoreFullError(f"{reason}; make room and try again") from None
        raise StoreError(f"{reason}; check the disk") from None


class SpoolFolder:
    """The folder of one attempt, with one file a part."""

    def __init__(self, root: Path, attempt: bytes) -> None:
        self.path = root / attempt.hex()

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.path / f"part-{number}"

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def intact(self, manifest: Manifest) -> bool:
        """Whether every part is there, byte for byte as the manifest says."""
        for number in range(1, manifest.n + 1):
            path = self.part(number)
            if not path.is_file():
                return False
            with FileShare(path) as share:
                if check_share(manifest, number, share):
                    return False
        return True


class SpoolWriter:
    """Writes the parts of one attempt; a context manager, whose `sinks` take the parts front to back."""

    def __init__(self, folder: SpoolFolder, parts: Iterator[int] | range) -> None:
        with disk_errors("cannot spool parts in the state folder"):
            folder.path.mkdir(mode=0o700, parents=True)
            self.sinks: dict[int, BinaryIO] = {
                part: open(_private(folder.part(part)), "wb", buffering=_PIECE)  # noqa: SIM115 - closed by __exit__
                for part in parts
            }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with disk_errors("cannot spool parts in the state folder"):
            for sink in self.sinks.values():
                sink.close()


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


class FilePieces:
    """A file as the payload of a put: can be sent again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as handle:
            while piece := handle.read(_PIECE):
                yield piece


class FileShare:
    """A spooled part as a `ShareReader`. Raises StoreUnavailableError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        try:
            self._handle = path.open("rb")
            self.size = path.stat().st_size
        except OSError as error:
            raise StoreUnavailableError(f"cannot read a spooled part: {error.strerror}", transient=False) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()

    def read(self, offset: int, length: int, /) -> bytes:
        """Return bytes of the part."""
        try:
            self._handle.seek(offset)
            return self._handle.read(length)
        except OSError as error:
            raise StoreUnavailableError(f"cannot read a spooled part: {error.strerror}", transient=False) from None
