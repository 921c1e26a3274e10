"""The queue on disk between receiving and sealing: what it has taken is not lost, and nothing is in it twice.

`accept` returns once an instance is durable, so a success status may go out. An instance is known by its SOP Instance
UID and the digest of its content: the same again is accepted and not stored again, other content under a known UID is a
conflict. The ledger (SQLite) remembers what was sealed, by keyed hashes and object ids; it holds no patient data.

Killed at any point: a record that was synced is there when the queue is opened again and is sealed then. One that was
sealed and not yet noted is sealed again, which the vault's own ledger makes into the same object.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3

from medveil.errors import ConflictError, LimitError, MedveilError, StoreError, StoreFullError
from medveil.gateway.instances import Received
from medveil.gateway.segments import SUFFIX, Record, SegmentWriter, read_payload, scan, sync_folder

SEGMENT: Final = 64 << 20
"""Bytes after which a new segment is begun."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sealed (name BLOB PRIMARY KEY, digest BLOB NOT NULL, object TEXT NOT NULL,
    time REAL NOT NULL) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much the queue holds at most, and how much of the disk stays free (bytes)."""

    max_bytes: int
    max_instances: int
    max_instance: int
    min_free: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """One instance in the queue. durable: set once it is synced, or given up (then `error`)."""

    digest: bytes
    size: int
    record: Record | None
    durable: threading.Event
    error: MedveilError | None = None


class Queue:
    """The queue in `folder`. key: 32 bytes, for its records and its hashes. Safe for several threads."""

    def __init__(self, folder: Path, key: bytes, bounds: Bounds) -> None:
        self._folder = folder
        self._key = key
        self._bounds = bounds
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ledger = _Ledger(folder / "ledger.sqlite")
        self._lock = threading.Lock()  # all below
        self._ready = threading.Condition(self._lock)
        self._waiting: dict[bytes, _Waiting] = {}
        self._order: deque[bytes] = deque()
        self._open: dict[Path, int] = {}  # segment -> records that are not sealed
        self._bytes = 0
        self._writer: SegmentWriter | None = None
        self._number = 0
        self._syncing = threading.Lock()
        self._synced: tuple[Path | None, int] = (None, 0)
        self.damaged = 0
        """Places in files of the queue where acknowledged instances were destroyed."""
        self._recover()

    # ----------------------------------------------------------------------------------------------------- arriving

    def accept(self, instance: Received) -> bool:
        """Make an instance durable; returns whether it is new (False: it was there already, with the same content).

        Raises ConflictError for other content under a known UID, StoreFullError where the queue or its disk is full,
        LimitError for an instance that is too large, StoreError.
        """
        data = instance.data
        if len(data) > self._bounds.max_instance:
            raise LimitError(f"an instance of {len(data)} bytes is above the limit of {self._bounds.max_instance}")
        syntax, dataset = instance.content
        digest = blake3(syntax + b"\0", key=self._key).update(dataset).digest()
        name = self.name_of(instance.uid)
        with self._lock:
            known = self._waiting.get(name)
            sealed = None if known else self._ledger.digest(name)
            if (known.digest if known else sealed) not in (None, digest):
                raise ConflictError("another instance with this SOP Instance UID was received before")
            if sealed is not None:
                return False
            if known is None:
                self._make_room(len(data))
                mine = _Waiting(digest, len(data), None, threading.Event())
                self._waiting[name] = mine
                self._bytes += len(data)
        if known is not None:
            known.durable.wait()
            if known.error is not None:
                raise known.error
            return False
        try:
            self._store(name, mine, data)
        except MedveilError as error:
            mine.error = error
            with self._lock:
                del self._waiting[name]
                self._bytes -= mine.size
            raise
        finally:
            mine.durable.set()
        return True

    def name_of(self, uid: str) -> bytes:
        """Return the keyed hash that the queue knows a SOP Instance UID by."""
        return blake3(uid.encode(), key=self._key).digest()

    def _make_room(self, size: int) -> None:
        bounds = self._bounds
        if len(self._waiting) >= bounds.max_instances or self._bytes + size > bounds.max_bytes:
            raise StoreFullError("the queue is full: send again when the stores have caught up")
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < bounds.min_free + size:
            raise StoreFullError("the disk of the queue is full: make room")

    def _store(self, name: bytes, mine: _Waiting, data: bytes) -> None:
        with self._lock:
            writer = self._current()
            record = writer.append(name, mine.digest, data)
            end = writer.size
            self._open[writer.path] = self._open.get(writer.path, 0) + 1
        try:
            self._sync(writer, end)
        except StoreError:
            with self._lock:
                self._open[writer.path] -= 1
                if self._writer is writer:  # nothing may rely on a file whose sync failed
                    self._writer = None
            raise
        with self._lock:
            mine.record = record
            self._order.append(name)
            self._ready.notify()

    def _current(self) -> SegmentWriter:
        if self._writer is not None and self._writer.size >= SEGMENT:
            self._retire()
        if self._writer is None:
            self._number += 1
            self._writer = SegmentWriter(self._folder, self._number, self._key)
        return self._writer

    def _retire(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with self._syncing:
                writer.sync()
                writer.close()
            self._drop(writer.path)

    def _sync(self, writer: SegmentWriter, end: int) -> None:
        """Sync up to `end`; those who wait meanwhile share the next sync."""
        with self._syncing:
            if self._synced[0] == writer.path and self._synced[1] >= end:
                return
            if writer.failed:
                raise StoreError("cannot sync the queue: check the disk")
            if writer.closed:  # which synced it
                return
            reached = writer.size
            writer.sync()
            self._synced = (writer.path, reached)

    # ------------------------------------------------------------------------------------------------------ leaving

    def take(self, timeout: float) -> bytes | None:
        """Return the name of the next instance to seal, which is the caller's until `sealed` or `put_back`."""
        with self._ready:
            if not self._order:
                self._ready.wait(timeout)
            return self._order.popleft() if self._order else None

    def read(self, name: bytes) -> bytes:
        """Return the bytes of an instance that was taken. Raises TamperedError, StoreError."""
        with self._lock:
            record = self._waiting[name].record
        if record is None:
            raise StoreError("an instance of the queue is not on disk yet")
        return read_payload(record, self._key)

    def put_back(self, name: bytes) -> None:
        """Let somebody else, or a later time, seal it."""
        with self._ready:
            self._order.append(name)
            self._ready.notify()

    def sealed(self, name: bytes, object_id: str) -> None:
        """Note that an instance is in the vault; its record is removed with its segment."""
        with self._lock:
            waiting = self._waiting[name]
        self._ledger.note(name, waiting.digest, object_id)
        with self._ready:
            del self._waiting[name]
            self._bytes -= waiting.size
            if waiting.record is not None:
                path = waiting.record.segment
                self._open[path] -= 1
                self._drop(path)
            self._ready.notify_all()

    def _drop(self, path: Path) -> None:
        if self._open.get(path, 0) == 0 and (self._writer is None or self._writer.path != path):
            self._open.pop(path, None)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------------- state

    @property
    def depth(self) -> tuple[int, int]:
        """Instances and bytes that wait to be sealed."""
        with self._lock:
            return len(self._waiting), self._bytes

    @property
    def fill(self) -> float:
        """How full the queue is, 0 to 1."""
        with self._lock:
            return max(len(self._waiting) / self._bounds.max_instances, self._bytes / self._bounds.max_bytes)

    def object_of(self, uid: str) -> str | None:
        """Return the vault's object of an instance that was sealed."""
        return self._ledger.object_of(self.name_of(uid))

    def wait_empty(self, timeout: float) -> bool:
        """Wait until everything is sealed; returns whether it is."""
        end = time.monotonic() + timeout
        with self._ready:
            while self._waiting and (left := end - time.monotonic()) > 0:
                self._ready.wait(left)
            return not self._waiting

    def close(self) -> None:
        """Sync and let go of the files; what waits is there when the queue is opened again."""
        with self._lock:
            self._retire()
        self._ledger.close()

    def _recover(self) -> None:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            self._number = max(self._number, int(path.stem) if path.stem.isdigit() else 0)
            gaps = 0
            for found in scan(path, self._key):
                if isinstance(found, int):
                    gaps = found
                    continue
                known = self._waiting.get(found.name)
                if self._ledger.digest(found.name) is not None or known is not None:
                    continue
                durable = threading.Event()
                durable.set()
                self._waiting[found.name] = _Waiting(found.digest, found.size, found, durable)
                self._order.append(found.name)
                self._bytes += found.size
                self._open[path] = self._open.get(path, 0) + 1
            self.damaged += gaps
            if gaps:  # kept for whoever looks into it: what is in it was acknowledged
                self._open[path] = self._open.get(path, 0) + 1
            elif path not in self._open:
                path.unlink()
        sync_folder(self._folder)


class _Ledger:
    """What was sealed. One connection behind a lock: its statements are short."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        with _database(path):
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        self._path = path

    def digest(self, name: bytes) -> bytes | None:
        with self._lock, _database(self._path):
            row = self._db.execute("SELECT digest FROM sealed WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def object_of(self, name: bytes) -> str | None:
        with self._lock, _database(self._path):
            row = self._db.execute("SELECT object FROM sealed WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: bytes, digest: bytes, object_id: str) -> None:
        with self._lock, _database(self._path):
            self._db.execute(
                "INSERT OR REPLACE INTO sealed VALUES (?, ?, ?, ?)", (name, digest, object_id, time.time())
            )

    def close(self) -> None:
        with self._lock:
            self._db.close()


@contextlib.contextmanager
def _database(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFullError("the disk of the gateway's ledger is full: make room") from None
        raise StoreError(
            f"the gateway's ledger {path.name} cannot be used: check the disk and its permissions"
        ) from None
    except sqlite3.DatabaseError:
        raise StoreError(f"the gateway's ledger {path.name} is damaged: restore it, or move it away") from None
