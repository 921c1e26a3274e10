"""A SQLite file that threads and processes share: a connection a thread, durable commits, typed errors.

Used by everything that the vault keeps in SQLite beside its own state: the search index and its cache, the grants, the
audit log.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medveil.errors import ConflictError, MedveilError, StoreError, StoreFullError, StoreUnavailableError

_BUSY: Final = 30.0  # seconds to wait for another process's transaction


class Database:
    """The file at `path`, made private (0600) where there is none.

    what: what messages call it. full: the message of a full disk, where it must say more than to make room.
    damaged: the error to raise where SQLite cannot read the file. prepare: called with each new connection.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        *,
        damaged: Callable[[], MedveilError],
        full: str = "",
        prepare: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self.path = path
        self._what = what
        self._full = full or f"the disk of {what} is full: make room and try again"
        self._damaged = damaged
        self._prepare = prepare
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection, in autocommit.

        Raises StoreFullError, ConflictError where another process holds it too long or was first, StoreUnavailableError
        where it cannot be opened or used, and what `damaged` makes.
        """
        try:
            yield self._connection()
        except OSError as error:
            raise StoreUnavailableError(f"cannot open {self._what}: {error.strerror}") from None
        except sqlite3.OperationalError as error:
            raise self._translated(error) from None
        except sqlite3.IntegrityError:
            raise ConflictError(f"another writer changed {self._what} first: look at it again") from None
        except sqlite3.DatabaseError:
            raise self._damaged() from None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection inside one transaction, which is undone where anything is raised."""
        with self.use() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                if db.in_transaction:  # a full disk may have ended it already
                    db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def create(self, schema: str, version: int) -> int:
        """Make the tables where there are none; return the version that is there, and leave it to the caller."""
        with self.use() as db:
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                db.execute("PRAGMA journal_mode = WAL")
                with self.write():
                    if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                        for statement in filter(str.strip, schema.split(";")):
                            db.execute(statement)
                        db.execute(f"PRAGMA user_version = {version}")
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def close(self) -> None:
        """Let go of connections."""
        while self._opened:
            self._opened.pop().close()

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection; a forked child opens its own."""
        held: tuple[int, sqlite3.Connection] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid() and held[1] in self._opened:
            return held[1]
        if not self.path.exists():
            # Only then: closing any descriptor of the file drops the locks that SQLite holds on it in this process.
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = FULL")
        if self._prepare is not None:
            self._prepare(db)
        self._local.held = (os.getpid(), db)
        self._opened.append(db)
        return db

    def _translated(self, error: sqlite3.OperationalError) -> StoreError | ConflictError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreFullError(self._full)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ConflictError(f"{self._what} is in use by another process: try again")
        return StoreUnavailableError(f"{self._what} cannot be used: check the disk and its permissions")
