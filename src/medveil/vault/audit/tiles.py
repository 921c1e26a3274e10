"""The log as files: C2SP tlog-tiles, so that any static server publishes it and any of its tools reads it.

::

    checkpoint                          the signed size and root
    tile/<level>/<number>[.p/<width>]   256 hashes of level 8 x level; fewer in the last tile of a level
    tile/entries/<number>[.p/<width>]   256 entries, each preceded by its length as two bytes

Numbers are written in groups of three digits, all but the last with an x before them: 1234067 is x001/x234/067.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from medveil.errors import FormatError, InputError, ObjectMissingError, StoreError, StoreFullError
from medveil.vault.audit.tree import HASH

WIDTH: Final = 256
"""Hashes or entries in a full tile."""
HEIGHT: Final = 8
"""Levels of the tree in one level of tiles."""
CHECKPOINT: Final = "checkpoint"


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """Return the path of a tile; level "entries" for entries; `width` below 256 for a partial one."""
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{one}" for one in groups[:-1]), groups[-1]])
    return f"tile/{level}/{path}" + (f".p/{width}" if width < WIDTH else "")


def spans(size: int, since: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (number, width) of the tiles that hold items from `since` on, for `size` items."""
    for number in range(since // WIDTH, -(-size // WIDTH)):
        yield number, min(WIDTH, size - number * WIDTH)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return a tile of entries. Raises InputError where one is too long."""
    if any(len(one) > 0xFFFF for one in entries):
        raise InputError("an entry of a log has at most 65535 bytes")
    return b"".join(len(one).to_bytes(2, "big") + one for one in entries)


def unpack_entries(data: bytes, width: int) -> list[bytes]:
    """Read a tile of `width` entries. Raises FormatError where it holds another number or is cut."""
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) <= width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise FormatError("a tile of entries is cut short: entries were removed")
        entries.append(data[at + 2 : end])
        at = end
    if len(entries) != width or at != len(data):
        raise FormatError(f"a tile holds another number of entries than the {width} it should: it was altered")
    return entries


def unpack_hashes(data: bytes, width: int) -> list[bytes]:
    """Read a tile of `width` hashes. Raises FormatError."""
    if len(data) != width * HASH:
        raise FormatError(f"a tile holds another number of hashes than the {width} it should: it was altered")
    return [data[at : at + HASH] for at in range(0, len(data), HASH)]


class TileFolder:
    """The files of a log in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, path: str, limit: int = 1 << 26) -> bytes:
        """Return a file. Raises ObjectMissingError, StoreError."""
        try:
            with (self.folder / path).open("rb") as handle:
                return handle.read(limit)
        except FileNotFoundError:
            raise ObjectMissingError(f"the log lacks {path}: it was removed") from None
        except OSError as error:
            raise StoreError(f"cannot read {path} of the log: {error.strerror}") from None

    def write(self, path: str, data: bytes) -> None:
        """Write a file completely or not at all. Raises StoreFullError, StoreError."""
        target = self.folder / path
        working = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with working.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            working.replace(target)
        except OSError as error:
            working.unlink(missing_ok=True)
            if error.errno in (28, 122, 27):
                raise StoreFullError("the disk of the audit log is full: make room and try again") from None
            raise StoreError(f"cannot write {path} of the audit log: {error.strerror}") from None

    def drop_partial(self, level: int | str, number: int) -> None:
        """Remove the partial tiles of one that is full now."""
        folder = self.folder / (tile_path(level, number) + ".p")
        if folder.is_dir():
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()
