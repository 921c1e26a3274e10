"""Files of sealed records that only grow: what the queue writes before it says that an instance was received.

::

    segment = magic 8 B | id 16 B | record...
    record  = magic 4 B | counter u64 | length u64 | name 32 B | digest 32 B | AES-256-GCM(payload)

name and digest are keyed hashes (of the SOP Instance UID and of the bytes). The key of a segment is derived from the
queue's key and the segment's random id, the counter is the nonce, and all that comes before the ciphertext is
authenticated with it; so no nonce is used twice, and a record of one segment does not open in another.
A record counts once the file was synced after it. A crash leaves a torn record at the end at most, which nobody was
told about. A segment that was left by a crash is read, never written to again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto.prg import SYSTEM
from medveil.errors import StoreError, StoreFullError, TamperedError

SUFFIX: Final = ".queue"
_MAGIC: Final = b"MVQUEUE1"
_ID: Final = 16
_START: Final = len(_MAGIC) + _ID
_RECORD: Final = b"MVR1"
_HEAD: Final = struct.Struct(">4sQQ32s32s")
_TAG: Final = 16
_NO_SPACE: Final = frozenset({28, 122, 27})  # ENOSPC, EDQUOT, EFBIG


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record is, and what it says of itself in clear. size: of its payload."""

    segment: Path
    offset: int
    counter: int
    name: bytes
    digest: bytes
    size: int


def disk_error(what: str, error: OSError) -> StoreError:
    """Return the error for what the disk said."""
    reason = f"{what}: {(error.strerror or 'the disk failed').lower()}"
    return (
        StoreFullError(f"{reason}; make room") if error.errno in _NO_SPACE else StoreError(f"{reason}; check the disk")
    )


class SegmentWriter:
    """A segment that is being written; not safe for several threads at once, which the queue sees to."""

    def __init__(self, folder: Path, number: int, key: bytes) -> None:
        identity = SYSTEM.bytes(_ID)
        self.path = folder / f"{number:012d}{SUFFIX}"
        self._cipher = _cipher(key, identity)
        self._identity = identity
        self._counter = 0
        self.failed = False
        self.closed = False
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            _write_all(self._descriptor, _MAGIC + identity)
            os.fsync(self._descriptor)
            sync_folder(folder)
        except OSError as error:
            raise disk_error("cannot begin a file of the queue", error) from None
        self.size = _START

    def append(self, name: bytes, digest: bytes, payload: bytes) -> Record:
        """Write a record at the end; it counts after `sync`. After an error the file is as it was."""
        head = _HEAD.pack(_RECORD, self._counter, len(payload), name, digest)
        nonce = self._counter.to_bytes(12, "big")
        sealed = self._cipher.encrypt(nonce, payload, self._identity + head)
        offset = self.size
        # Never again, also where the write fails and its bytes are cut off.
        self._counter += 1
        try:
            _write_all(self._descriptor, head + sealed)
        except OSError as error:
            os.ftruncate(self._descriptor, offset)
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            raise disk_error("cannot write to the queue", error) from None
        self.size += len(head) + len(sealed)
        return Record(self.path, offset, self._counter - 1, name, digest, len(payload))

    def sync(self) -> None:
        """Make what was appended durable. Raises StoreError; then nothing since the last sync is certain."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self.failed = True
            raise disk_error("cannot sync the queue", error) from None

    def close(self) -> None:
        """Let go of the file."""
        self.closed = True
        os.close(self._descriptor)


def read_payload(record: Record, key: bytes) -> bytes:
    """Return the payload of a record. Raises TamperedError where it was changed, StoreError where it is not there."""
    try:
        with record.segment.open("rb") as handle:
            start = handle.read(_START)
            handle.seek(record.offset)
            head = handle.read(_HEAD.size)
            sealed = handle.read(record.size + _TAG)
    except OSError as error:
        raise disk_error("cannot read the queue", error) from None
    try:
        return _cipher(key, start[len(_MAGIC) :]).decrypt(
            record.counter.to_bytes(12, "big"), sealed, start[len(_MAGIC) :] + head
        )
    except InvalidTag:
        raise TamperedError(f"a record of the queue in {record.segment.name} was changed on disk") from None


def scan(path: Path, key: bytes) -> Iterator[Record | int]:
    """Yield the whole records of a segment, each authenticated; at the end the number of gaps before whole records.

    What is broken at the very end is a record that was never acknowledged, and no gap. The file is left as it is.
    """
    gaps = 0
    with path.open("rb") as handle:
        size = os.fstat(handle.fileno()).st_size
        start = handle.read(_START)
        identity = start[len(_MAGIC) :]
        if len(start) < _START or not start.startswith(_MAGIC):
            yield int(size > _START)
            return
        cipher = _cipher(key, identity)
        offset, in_gap = _START, False
        while offset < size:
            record = _record_at(handle, path, offset, size, cipher, identity)
            if record is None:
                in_gap = True
                offset = _next_mark(handle, offset + 1, size)
                continue
            gaps += in_gap
            in_gap = False
            yield record
            offset += _HEAD.size + record.size + _TAG
    yield gaps


def _record_at(handle: BinaryIO, path: Path, offset: int, size: int, cipher: AESGCM, identity: bytes) -> Record | None:
    """Return the record at `offset`, or None where there is no whole and authentic one."""
    handle.seek(offset)
    head = handle.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, counter, length, name, digest = _HEAD.unpack(head)
    if magic != _RECORD or offset + len(head) + length + _TAG > size:
        return None
    try:
        cipher.decrypt(counter.to_bytes(12, "big"), handle.read(length + _TAG), identity + head)
    except (InvalidTag, OverflowError):
        return None
    return Record(path, offset, counter, name, digest, length)


def _next_mark(handle: BinaryIO, offset: int, size: int) -> int:
    """Return where the next record may begin, or `size`."""
    while offset < size:
        handle.seek(offset)
        piece = handle.read(1 << 20)
        at = piece.find(_RECORD)
        if at >= 0:
            return offset + at
        offset += max(1, len(piece) - len(_RECORD) + 1)
    return size


def sync_folder(folder: Path) -> None:
    """Make new and removed names of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cipher(key: bytes, identity: bytes) -> AESGCM:
    return AESGCM(blake3(identity, key=key).digest())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
