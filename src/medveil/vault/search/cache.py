"""What one machine knows of an index: its counters, and what waits to be indexed. SQLite in the state folder.

Everything but the queue is a cache of the commits (`medveil.vault.search.commits`) and is made again from them. It
holds no term and no key: counters are named by a keyed hash. Losing it loses only the memory against rollback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from medveil.errors import ConfigError, StoreError
from medveil.vault.database import Database
from medveil.vault.search.commits import COUNTER, FIRST, OBJECT, STUDY, Commit, Totals

FILE: Final = "search.sqlite"
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE chain (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, version INTEGER NOT NULL,
    digest BLOB NOT NULL, documents INTEGER NOT NULL, length INTEGER NOT NULL, first_day INTEGER NOT NULL,
    last_day INTEGER NOT NULL) STRICT;
CREATE TABLE counters (counter BLOB PRIMARY KEY, base INTEGER NOT NULL, rows INTEGER NOT NULL,
    postings INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE studies (token BLOB PRIMARY KEY, generation INTEGER NOT NULL, document BLOB NOT NULL,
    rows INTEGER NOT NULL, batches INTEGER NOT NULL, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX studies_document ON studies (document);
CREATE TABLE gone (document BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE indexed (object BLOB, version INTEGER, PRIMARY KEY (object, version)) STRICT, WITHOUT ROWID;
CREATE TABLE queue (object BLOB, version INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (object, version))
    STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """The newest commit that was seen, and the totals after it."""

    epoch: int = 1
    version: int = 0
    digest: bytes = FIRST
    totals: Totals = field(default_factory=Totals)


@dataclass(frozen=True, slots=True)
class Counter:
    """A term's rows: `base` of them in order of impact, `rows` in all; `postings` in them."""

    base: int = 0
    rows: int = 0
    postings: int = 0


@dataclass(frozen=True, slots=True)
class StudyState:
    """How far a study's records have come; rows 0: it is not in the index."""

    generation: int = 0
    document: bytes = bytes(8)
    rows: int = 0
    batches: int = 0
    digest: bytes = bytes(16)


class Cache:
    """The local copy in `folder`. Safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._database = Database(
            path,
            str(path),
            damaged=lambda: StoreError(f"{path} is damaged: set it aside, it is made again from the index"),
            prepare=_prepare,
        )
        found = self._database.create(_SCHEMA, _VERSION)
        if found != _VERSION:
            raise ConfigError(f"{path} is of version {found}: this program knows {_VERSION}; set it aside")

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    # -------------------------------------------------------------------------------------------------- commits

    def chain(self) -> Chain:
        """Return the newest commit that was applied."""
        with self._database.use() as db:
            row = db.execute(
                "SELECT epoch, version, digest, documents, length, first_day, last_day FROM chain"
            ).fetchone()
        return Chain() if row is None else Chain(row[0], row[1], row[2], Totals(*row[3:]))

    def apply(self, commit: Commit) -> None:
        """Take a commit over, in one transaction, unless it or a later one was taken already."""
        changes, totals = commit.changes, commit.changes.totals
        counters = np.frombuffer(changes.counters, COUNTER)
        studies = np.frombuffer(changes.studies, STUDY)
        objects = np.frombuffer(changes.objects, OBJECT)
        with self._database.write() as db:
            if db.execute("SELECT 1 FROM chain WHERE version >= ?", (commit.version,)).fetchone():
                return
            if changes.base:
                for table in ("counters", "studies", "gone", "indexed"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608
            db.executemany(
                "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)",
                ((pad(row[0]), *row[1:]) for row in counters.tolist()),
            )
            db.executemany(
                "INSERT OR REPLACE INTO studies VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (pad(token), generation, document.to_bytes(8, "little"), rows, batches, pad(digest))
                    for token, generation, document, rows, batches, digest in studies.tolist()
                ),
            )
            gone = [(changes.gone[at : at + 8],) for at in range(0, len(changes.gone), 8)]
            db.executemany("INSERT OR IGNORE INTO gone VALUES (?)", gone)
            done = [(pad(one), version) for one, version in objects.tolist()]
            db.executemany("INSERT OR IGNORE INTO indexed VALUES (?, ?)", done)
            db.executemany("DELETE FROM queue WHERE object = ? AND version <= ?", done)
            db.execute(
                "INSERT OR REPLACE INTO chain VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
                (commit.epoch, commit.version, commit.digest, totals.documents, totals.length, totals.first_day,
                 totals.last_day),
            )  # fmt: skip

    def counters(self, names: Iterable[bytes]) -> list[Counter]:
        """Return the counters of these names, in their order."""
        with self._database.use() as db:
            found = [
                db.execute("SELECT base, rows, postings FROM counters WHERE counter = ?", (name,)).fetchone()
                for name in names
            ]
        return [Counter() if row is None else Counter(*row) for row in found]

    def study(self, token: bytes) -> StudyState:
        """Return how far a study's records have come."""
        with self._database.use() as db:
            row = db.execute(
                "SELECT generation, document, rows, batches, digest FROM studies WHERE token = ?", (token,)
            ).fetchone()
        return StudyState() if row is None else StudyState(*row)

    def studies(self) -> list[tuple[bytes, StudyState]]:
        """Return every study that was ever indexed, by token."""
        with self._database.use() as db:
            rows = db.execute("SELECT token, generation, document, rows, batches, digest FROM studies").fetchall()
        return [(row[0], StudyState(*row[1:])) for row in rows]

    def documents(self, documents: Iterable[bytes]) -> list[tuple[bytes, StudyState]]:
        """Return (token, state) of the studies with these document ids, in their order; unknown ones are left out."""
        with self._database.use() as db:
            found = [
                db.execute(
                    "SELECT token, generation, document, rows, batches, digest FROM studies WHERE document = ?", (one,)
                ).fetchone()
                for one in documents
            ]
        return [(row[0], StudyState(*row[1:])) for row in found if row is not None]

    def gone(self) -> set[bytes]:
        """Return the documents that no longer count."""
        with self._database.use() as db:
            return {row[0] for row in db.execute("SELECT document FROM gone")}

    def indexed(self) -> set[tuple[bytes, int]]:
        """Return (object, version) of all that is in the index."""
        with self._database.use() as db:
            return set(db.execute("SELECT object, version FROM indexed"))

    def is_indexed(self, object_id: bytes, version: int) -> bool:
        """Whether this version, or a later one, of an object is in the index."""
        with self._database.use() as db:
            row = db.execute("SELECT 1 FROM indexed WHERE object = ? AND version >= ?", (object_id, version)).fetchone()
        return row is not None

    # ---------------------------------------------------------------------------------------------------- queue

    def enqueue(self, object_id: bytes, version: int, sealed: bytes) -> None:
        """Keep what is to be indexed of an object until its commit is taken over."""
        with self._database.write() as db:
            db.execute("INSERT OR REPLACE INTO queue VALUES (?, ?, ?)", (object_id, version, sealed))

    def queue(self, limit: int) -> list[tuple[bytes, int, bytes]]:
        """Return what waits to be indexed: (object, version, sealed)."""
        with self._database.use() as db:
            return db.execute("SELECT object, version, sealed FROM queue LIMIT ?", (limit,)).fetchall()

    def waiting(self) -> set[tuple[bytes, int]]:
        """Return (object, version) of what waits."""
        with self._database.use() as db:
            return set(db.execute("SELECT object, version FROM queue"))

    def count_waiting(self) -> int:
        """Return how many objects wait."""
        with self._database.use() as db:
            return int(db.execute("SELECT count(*) FROM queue").fetchone()[0])

    def unqueue(self, done: Iterable[tuple[bytes, int]]) -> None:
        """Forget what needs no indexing any more."""
        with self._database.write() as db:
            db.executemany("DELETE FROM queue WHERE object = ? AND version = ?", list(done))


def pad(data: bytes) -> bytes:
    """Return 16 bytes that numpy stripped of their trailing zeros."""
    return data.ljust(16, b"\0")


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA synchronous = NORMAL")  # what a power failure loses is made again from index and stores
