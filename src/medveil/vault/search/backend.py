"""Where an index lies: two tables that an untrusted server keeps, and nothing that it could understand.

::

    p(label 16 B primary key, ct)     rows; written once, all in the transaction of their commit (SQLite: its half)
    c(version primary key, record)    commits; a version is taken once, so one of two writers wins

`Backend` is the interface; `SQLiteBackend` is the embedded one, `medveil.vault.search.postgres` the server's.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from medveil.errors import ConflictError, StoreError
from medveil.vault.database import Database

Row = tuple[bytes, bytes]
"""(label, ciphertext)."""


class Backend(ABC):
    """The tables of one dataset's index. Safe to use from several threads. `close` lets go of connections."""

    @abstractmethod
    def head(self) -> int:
        """Return the highest commit's version; 0 for an empty index."""

    @abstractmethod
    def commits(self, after: int) -> list[tuple[int, bytes]]:
        """Return all commits with a higher version, oldest first."""

    @abstractmethod
    def fetch(self, labels: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the rows of these labels; what is not there is left out."""

    @abstractmethod
    def commit(self, version: int, record: bytes, rows: Iterable[Row], *, replace: bool = False) -> None:
        """Write rows and their commit in one transaction; with `replace` in place of everything that is there.

        Raises ConflictError where another writer's commit has the version, or one follows it already.
        """

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Return (rows, bytes on disk, those of commits included)."""

    def close(self) -> None:
        """Let go of connections."""
        return


def refuse_late(highest: int, version: int) -> None:
    """Raise ConflictError where a commit of this version, or a later one, is there already."""
    if highest >= version:
        raise ConflictError("another writer changed the search index first: look at it again")


def row_id(label: bytes) -> int:
    """Return the key of a row in SQLite: the first 8 bytes of its label, which the row's cipher binds as a whole."""
    return int.from_bytes(label[:8], "big", signed=True)


_SCHEMA: Final = """
CREATE TABLE p (id INTEGER PRIMARY KEY, ct BLOB NOT NULL) STRICT;
CREATE TABLE c (version INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
"""
_VERSION: Final = 2
_PAGE: Final = 16384  # a row of 32 postings has about 460 bytes: little is left over at a page's end
_MAPPED: Final = 1 << 40  # SQLite takes as much of it as it was built for, 2 GiB as a rule
_AT_ONCE: Final = 30_000  # labels in one question; SQLite's bound for variables is 32766


class SQLiteBackend(Backend):
    """The embedded index: one file, made where there is none. Each thread has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._database = Database(
            path,
            f"the search index {path}",
            damaged=lambda: StoreError(f"the search index {path} is damaged: restore it or build it anew"),
            prepare=_prepare,
        )
        with self._database.use():
            pass

    def head(self) -> int:
        """Return the highest commit's version; 0 for an empty index."""
        with self._database.use() as db:
            return int(db.execute("SELECT coalesce(max(version), 0) FROM c").fetchone()[0])

    def commits(self, after: int) -> list[tuple[int, bytes]]:
        """Return all commits with a higher version, oldest first."""
        with self._database.use() as db:
            return db.execute("SELECT version, record FROM c WHERE version > ? ORDER BY version", (after,)).fetchall()

    def fetch(self, labels: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the rows of these labels; what is not there is left out."""
        found: dict[bytes, bytes] = {}
        with self._database.use() as db:
            for start in range(0, len(labels), _AT_ONCE):
                some = {row_id(label): label for label in labels[start : start + _AT_ONCE]}
                marks = ",".join("?" * len(some))
                query = f"SELECT id, ct FROM p WHERE id IN ({marks})"  # noqa: S608
                found.update((some[number], row) for number, row in db.execute(query, list(some)))
        return found

    def commit(self, version: int, record: bytes, rows: Iterable[Row], *, replace: bool = False) -> None:
        """Write rows and their commit in one transaction; with `replace` in place of everything that is there."""
        with self._database.write() as db:
            refuse_late(int(db.execute("SELECT coalesce(max(version), 0) FROM c").fetchone()[0]), version)
            if replace:
                db.execute("DELETE FROM p")
                db.execute("DELETE FROM c")
            # In the order of the table, so that its pages are filled one after another.
            db.executemany("INSERT INTO p VALUES (?, ?)", sorted((row_id(label), row) for label, row in rows))
            db.execute("INSERT INTO c VALUES (?, ?)", (version, record))
        if replace:
            with self._database.use() as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def sizes(self) -> tuple[int, int]:
        """Return (rows, bytes on disk, those of commits included)."""
        with self._database.use() as db:
            rows = int(db.execute("SELECT count(*) FROM p").fetchone()[0])
            free, pages, size = (
                int(db.execute(f"PRAGMA {what}").fetchone()[0])
                for what in ("freelist_count", "page_count", "page_size")
            )
        return rows, (pages - free) * size

    def close(self) -> None:
        """Let go of connections; they are opened again where they are needed."""
        self._database.close()


def _prepare(db: sqlite3.Connection) -> None:
    """Make the tables where there are none. Raises StoreError for another version."""
    db.execute(f"PRAGMA mmap_size = {_MAPPED}")  # rows of one term lie all over the file
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
        db.executescript(f"PRAGMA page_size = {_PAGE}; PRAGMA journal_mode = WAL;")
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    elif found != _VERSION:
        raise StoreError("the search index is of no version that this program knows: set it aside or build it anew")
