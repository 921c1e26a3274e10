"""What one machine remembers of a vault: SQLite in the state folder, in WAL mode, every change one transaction.

It holds no plaintext and no key: ids, hashes, version numbers, encrypted catalogue records. What it is for:

- `heads`: the newest version of each object that was ever seen here, against rollback; losing it loses only that.
- `copies`: where parts and heads were put, so that a silent deletion is noticed.
- `journal`: uploads that have begun and not ended, so that a crash leaves an object absent or complete.
- `ledger`: a keyed digest of each file that was put, so that a repeated put does not store it again.
- `repairs`, `garbage`, `orphans`, `scrubs`, `acceptances`: work that is left, and what the owner signed.

Each operation opens its own connection: threads and processes may work side by side, and a fork is harmless.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medveil.errors import ConfigError, ConflictError, OutputExistsError, StoreError, StoreFullError

FILE: Final = "state.sqlite"
_VERSION: Final = 1
_BUSY: Final = 30.0
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE heads (object BLOB PRIMARY KEY, version INTEGER NOT NULL, digest BLOB NOT NULL,
    highest INTEGER NOT NULL, catalogue BLOB NOT NULL, manifest BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE copies (object BLOB, version INTEGER, part INTEGER, store TEXT, name TEXT NOT NULL,
    PRIMARY KEY (object, version, part)) STRICT, WITHOUT ROWID;
CREATE TABLE manifests (object BLOB, version INTEGER, store TEXT, name TEXT NOT NULL,
    PRIMARY KEY (object, version, store)) STRICT, WITHOUT ROWID;
CREATE TABLE journal (attempt BLOB PRIMARY KEY, object BLOB NOT NULL, version INTEGER NOT NULL,
    ledger BLOB NOT NULL, stage TEXT NOT NULL, head BLOB NOT NULL, began REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE ledger (key BLOB PRIMARY KEY, object BLOB NOT NULL, version INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE repairs (object BLOB, version INTEGER, store TEXT, PRIMARY KEY (object, version, store))
    STRICT, WITHOUT ROWID;
CREATE TABLE garbage (store TEXT, name TEXT, PRIMARY KEY (store, name)) STRICT, WITHOUT ROWID;
CREATE TABLE abandoned (attempt BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE orphans (store TEXT, name TEXT, seen REAL NOT NULL, PRIMARY KEY (store, name)) STRICT, WITHOUT ROWID;
CREATE TABLE scrubs (id INTEGER PRIMARY KEY CHECK (id = 1), cursor BLOB NOT NULL, began REAL NOT NULL) STRICT;
CREATE TABLE acceptances (object BLOB, version INTEGER, digest BLOB, statement BLOB NOT NULL,
    PRIMARY KEY (object, version, digest)) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Known:
    """The newest version of an object that was seen here; `highest`: the highest number ever, also if rolled back."""

    version: int
    digest: bytes
    highest: int
    catalogue: bytes
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """An upload in the journal. stage: "sealing", "uploading" or "committing"."""

    attempt: bytes
    object_id: bytes
    version: int
    ledger: bytes
    stage: str
    head: bytes


class State:
    """The local state in `folder`; make it with `State.create`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        if not self._path.is_file():
            raise ConfigError(f"{folder} holds no local state of a vault: run vault init first")
        with self._connect() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
        if found != _VERSION:
            raise ConfigError(f"the local state in {folder} is of version {found}: this program knows {_VERSION}")

    @classmethod
    def create(cls, folder: Path, meta: dict[str, bytes]) -> State:
        """Make a new state folder (mode 0700). Raises OutputExistsError where there is one."""
        if (folder / FILE).exists():
            raise OutputExistsError(f"{folder} holds the state of a vault already: open it, or choose another folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f".{FILE}.{os.getpid()}.{time.monotonic_ns()}"
        db = sqlite3.connect(fresh, isolation_level=None)
        try:
            fresh.chmod(0o600)
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION};")
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            db.execute("COMMIT")
        finally:
            db.close()
        try:
            os.link(fresh, folder / FILE)
        except FileExistsError:
            raise OutputExistsError(f"{folder} holds the state of a vault already: open it") from None
        finally:
            fresh.unlink()
        return cls(folder)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self._path, timeout=_BUSY, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                yield db
            finally:
                db.close()
        except sqlite3.OperationalError as error:
            raise self._translated(error) from None
        except sqlite3.DatabaseError:
            raise StoreError(f"the local state in {self.folder} is damaged: set it aside and run vault init") from None

    def _translated(self, error: sqlite3.OperationalError) -> StoreError | ConflictError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return StoreFullError(f"the disk of the local state in {self.folder} is full: make room and try again")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ConflictError(f"the local state in {self.folder} is in use by another process: try again")
        return StoreError(f"the local state in {self.folder} cannot be used: check the disk and its permissions")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._connect() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def meta(self, key: str) -> bytes:
        """Return a value that was fixed when the state was made."""
        with self._connect() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise ConfigError(f"the local state in {self.folder} lacks {key}: it is not of this vault")
        return bytes(row[0])

    # ------------------------------------------------------------------------------------------------- freshness

    def known(self, object_id: bytes) -> Known | None:
        """Return the newest version seen of an object."""
        with self._connect() as db:
            row = db.execute(
                "SELECT version, digest, highest, catalogue, manifest FROM heads WHERE object = ?", (object_id,)
            ).fetchone()
        return None if row is None else Known(*row)

    def objects(self) -> dict[bytes, Known]:
        """Return the newest version of every object that was seen."""
        with self._connect() as db:
            rows = db.execute("SELECT object, version, digest, highest, catalogue, manifest FROM heads").fetchall()
        return {row[0]: Known(*row[1:]) for row in rows}

    def see(self, object_id: bytes, version: int, digest: bytes, catalogue: bytes, manifest: bytes) -> None:
        """Remember a version unless a newer one is known."""
        with self._write() as db:
            _see(db, object_id, version, digest, catalogue, manifest)

    def accept(
        self, object_id: bytes, version: int, digest: bytes, catalogue: bytes, manifest: bytes, statement: bytes
    ) -> None:
        """Go back to a version that the owner accepted; the highest number ever seen is kept."""
        with self._write() as db:
            _see(db, object_id, version, digest, catalogue, manifest)
            db.execute(
                "UPDATE heads SET version = ?, digest = ?, catalogue = ?, manifest = ? WHERE object = ?",
                (version, digest, catalogue, manifest, object_id),
            )
            db.execute(
                "INSERT OR REPLACE INTO acceptances VALUES (?, ?, ?, ?)", (object_id, version, digest, statement)
            )
            db.execute("DELETE FROM repairs WHERE object = ? AND version > ?", (object_id, version))

    def accepted(self, object_id: bytes, version: int, digest: bytes) -> bool:
        """Whether the owner signed that this version counts although the stores offered another."""
        with self._connect() as db:
            row = db.execute(
                "SELECT 1 FROM acceptances WHERE object = ? AND version = ? AND digest = ?",
                (object_id, version, digest),
            ).fetchone()
        return row is not None

    # ------------------------------------------------------------------------------------- of a recipient's machine

    def grants_seen(self) -> tuple[int, tuple[int, ...]]:
        """Return the highest serial of a recipient's grants that was seen, and the serials in force then."""
        with self._connect() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'grants'").fetchone()
        if row is None:
            return 0, ()
        serials = [int.from_bytes(row[0][at : at + 8], "big") for at in range(0, len(row[0]), 8)]
        return serials[0], tuple(serials[1:])

    def see_grants(self, serial: int, live: Iterable[int]) -> None:
        """Remember them; the highest serial never goes back."""
        if serial < self.grants_seen()[0]:
            return
        value = b"".join(one.to_bytes(8, "big") for one in (serial, *live))
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('grants', ?)", (value,))

    def tick(self, now: int) -> int:
        """Remember the time and return the latest that was ever seen, Unix seconds."""
        with self._write() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'clock'").fetchone()
            latest = max(now, 0 if row is None else int.from_bytes(row[0], "big"))
            db.execute("INSERT OR REPLACE INTO meta VALUES ('clock', ?)", (latest.to_bytes(8, "big"),))
        return latest

    def forget_older(self, object_id: bytes, version: int) -> None:
        """Forget where versions below this one were: they were deleted on purpose."""
        with self._write() as db:
            for table in ("copies", "manifests", "repairs"):
                db.execute(f"DELETE FROM {table} WHERE object = ? AND version < ?", (object_id, version))  # noqa: S608

    # ----------------------------------------------------------------------------------------------------- places

    def places(self, object_id: bytes, version: int) -> tuple[dict[int, tuple[str, str]], dict[str, str]]:
        """Return where parts (part -> store, name) and heads (store -> name) of a version were last known to be."""
        with self._connect() as db:
            parts = db.execute(
                "SELECT part, store, name FROM copies WHERE object = ? AND version = ?", (object_id, version)
            ).fetchall()
            heads = db.execute(
                "SELECT store, name FROM manifests WHERE object = ? AND version = ?", (object_id, version)
            ).fetchall()
        return {part: (store, name) for part, store, name in parts}, dict(heads)

    def placed(self, object_id: bytes, version: int, parts: dict[int, tuple[str, str]], heads: dict[str, str]) -> None:
        """Remember where parts and heads are, in place of what was remembered of the version."""
        with self._write() as db:
            _placed(db, object_id, version, parts, heads)

    def repairs(self) -> set[tuple[bytes, int, str]]:
        """Return the queue of repairs: (object, version, store that lacks something)."""
        with self._connect() as db:
            return set(db.execute("SELECT object, version, store FROM repairs").fetchall())

    def set_repairs(self, object_id: bytes, version: int, stores: Iterable[str]) -> None:
        """Replace the queue's entries of one version."""
        with self._write() as db:
            _set_repairs(db, object_id, version, stores)

    # ---------------------------------------------------------------------------------------------------- journal

    def begin(self, attempt: bytes, object_id: bytes, version: int, ledger: bytes) -> None:
        """Enter an upload before anything of it is written anywhere."""
        with self._write() as db:
            db.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?, 'sealing', x'', ?)",
                (attempt, object_id, version, ledger, time.time()),
            )

    def claimed(self, attempt: bytes, version: int) -> None:
        """Note the version number that an upload may write."""
        with self._write() as db:
            db.execute("UPDATE journal SET version = ? WHERE attempt = ?", (version, attempt))

    def advance(self, attempt: bytes, stage: str, head: bytes) -> None:
        """Note that an upload reached a stage, with the head that it will end with."""
        with self._write() as db:
            db.execute("UPDATE journal SET stage = ?, head = ? WHERE attempt = ?", (stage, head, attempt))

    def attempts(self) -> list[Attempt]:
        """Return every upload in the journal, oldest first."""
        with self._connect() as db:
            rows = db.execute(
                "SELECT attempt, object, version, ledger, stage, head FROM journal ORDER BY began"
            ).fetchall()
        return [Attempt(*row) for row in rows]

    def commit(
        self,
        attempt: Attempt,
        digest: bytes,
        catalogue: bytes,
        manifest: bytes,
        parts: dict[int, tuple[str, str]],
        heads: dict[str, str],
        missing: Iterable[str],
    ) -> None:
        """End an upload that succeeded: everything about it in one transaction."""
        with self._write() as db:
            _see(db, attempt.object_id, attempt.version, digest, catalogue, manifest)
            _placed(db, attempt.object_id, attempt.version, parts, heads)
            _set_repairs(db, attempt.object_id, attempt.version, missing)
            db.execute(
                "INSERT OR REPLACE INTO ledger VALUES (?, ?, ?)", (attempt.ledger, attempt.object_id, attempt.version)
            )
            db.execute("DELETE FROM journal WHERE attempt = ?", (attempt.attempt,))

    def abandon(self, attempt: bytes, left: Iterable[tuple[str, str]]) -> None:
        """End an upload that failed; `left`: (store, name) that could not be removed, or may yet arrive."""
        with self._write() as db:
            db.executemany("INSERT OR IGNORE INTO garbage VALUES (?, ?)", left)
            db.execute("INSERT OR IGNORE INTO abandoned VALUES (?)", (attempt,))
            db.execute("DELETE FROM journal WHERE attempt = ?", (attempt,))

    def abandoned(self, attempt: bytes) -> bool:
        """Whether an attempt of this machine ended without success."""
        with self._connect() as db:
            return db.execute("SELECT 1 FROM abandoned WHERE attempt = ?", (attempt,)).fetchone() is not None

    def garbage(self) -> list[tuple[str, str]]:
        """Return (store, name) of what is to be removed."""
        with self._connect() as db:
            return db.execute("SELECT store, name FROM garbage ORDER BY store, name").fetchall()

    def add_garbage(self, left: Iterable[tuple[str, str]]) -> None:
        """Note what is to be removed once its store can be reached."""
        with self._write() as db:
            db.executemany("INSERT OR IGNORE INTO garbage VALUES (?, ?)", left)

    def swept(self, gone: Iterable[tuple[str, str]]) -> None:
        """Forget what was removed."""
        with self._write() as db:
            db.executemany("DELETE FROM garbage WHERE store = ? AND name = ?", gone)

    def stored(self, ledger: bytes) -> tuple[bytes, int] | None:
        """Return (object, version) of a file that was put before, by its keyed digest."""
        with self._connect() as db:
            row = db.execute("SELECT object, version FROM ledger WHERE key = ?", (ledger,)).fetchone()
        return None if row is None else (row[0], row[1])

    # ------------------------------------------------------------------------------------------------------ scrub

    def orphan(self, store: str, name: str, now: float) -> float:
        """Note an object that belongs to nothing and return for how many seconds it has been known."""
        with self._write() as db:
            db.execute("INSERT OR IGNORE INTO orphans VALUES (?, ?, ?)", (store, name, now))
            seen = db.execute("SELECT seen FROM orphans WHERE store = ? AND name = ?", (store, name)).fetchone()[0]
        return max(0.0, now - float(seen))

    def forget_orphan(self, store: str, name: str) -> None:
        """Forget an orphan that was removed."""
        with self._write() as db:
            db.execute("DELETE FROM orphans WHERE store = ? AND name = ?", (store, name))

    def scrub_cursor(self) -> bytes:
        """Return the last object that an interrupted scrub finished, or nothing."""
        with self._connect() as db:
            row = db.execute("SELECT cursor FROM scrubs").fetchone()
        return b"" if row is None else bytes(row[0])

    def set_scrub_cursor(self, cursor: bytes) -> None:
        """Remember how far a scrub came; nothing: it is complete."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO scrubs VALUES (1, ?, ?)", (cursor, time.time()))


def _see(
    db: sqlite3.Connection, object_id: bytes, version: int, digest: bytes, catalogue: bytes, manifest: bytes
) -> None:
    db.execute(
        "INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (object) DO UPDATE SET version = excluded.version, "
        "digest = excluded.digest, highest = max(highest, excluded.highest), catalogue = excluded.catalogue, "
        "manifest = excluded.manifest WHERE excluded.version > version",
        (object_id, version, digest, version, catalogue, manifest),
    )


def _placed(
    db: sqlite3.Connection, object_id: bytes, version: int, parts: dict[int, tuple[str, str]], heads: dict[str, str]
) -> None:
    db.execute("DELETE FROM copies WHERE object = ? AND version = ?", (object_id, version))
    db.execute("DELETE FROM manifests WHERE object = ? AND version = ?", (object_id, version))
    db.executemany(
        "INSERT INTO copies VALUES (?, ?, ?, ?, ?)",
        [(object_id, version, part, store, name) for part, (store, name) in parts.items()],
    )
    db.executemany(
        "INSERT INTO manifests VALUES (?, ?, ?, ?)",
        [(object_id, version, store, name) for store, name in heads.items()],
    )


def _set_repairs(db: sqlite3.Connection, object_id: bytes, version: int, stores: Iterable[str]) -> None:
    db.execute("DELETE FROM repairs WHERE object = ? AND version = ?", (object_id, version))
    db.executemany("INSERT INTO repairs VALUES (?, ?, ?)", [(object_id, version, store) for store in stores])
