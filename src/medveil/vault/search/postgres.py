"""The index on a PostgreSQL server that is not trusted: it keeps rows and answers, and every answer is checked.

The role needs a schema of its own or the right to create tables in one; `sslmode` is verify-full unless the server is
reached through a socket or on loopback.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from medveil.errors import (
    ConflictError,
    MissingExtraError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.vault.search.backend import Backend, Row, refuse_late

if TYPE_CHECKING:
    import psycopg

_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS p (label bytea PRIMARY KEY, ct bytea NOT NULL)",
    # Ciphertext does not compress, and a row that is kept whole is read in one go.
    "ALTER TABLE p ALTER COLUMN ct SET STORAGE EXTERNAL",
    "CREATE TABLE IF NOT EXISTS c (version bigint PRIMARY KEY, record bytea NOT NULL)",
    "ALTER TABLE c ALTER COLUMN record SET STORAGE EXTERNAL",
)
_LOCK: Final = 0x6D656476  # of advisory locks: "medv"


class PostgresBackend(Backend):
    """Two tables in a schema of a PostgreSQL database. Each thread has a connection of its own.

    arguments: what libpq takes (host, port, dbname, user, password, sslmode, ...). schema: made where it is missing.
    """

    def __init__(self, arguments: dict[str, Any], *, schema: str = "medveil", timeout: float = 30.0) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtraError("an index on PostgreSQL", "search") from None
        self._psycopg = psycopg
        self._arguments = arguments | {
            "connect_timeout": max(2, round(min(timeout, 30.0))),
            "application_name": "medveil",
        }
        self._schema = schema
        self._timeout = timeout
        self._local = threading.local()
        self._opened: list[psycopg.Connection[Any]] = []
        with self._use() as db, db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for statement in _SCHEMA:
                db.execute(statement)

    @contextmanager
    def _use(self) -> Iterator[psycopg.Connection[Any]]:
        psycopg = self._psycopg
        try:
            yield self._connection()
        except psycopg.errors.UniqueViolation:
            raise ConflictError("another writer changed the search index first: look at it again") from None
        except (psycopg.errors.DiskFull, psycopg.errors.OutOfMemory):
            raise StoreFullError("the server of the search index has no space left: make room and try again") from None
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable):
            raise ConflictError("the search index is in use by another writer: try again") from None
        except psycopg.OperationalError as error:
            self._drop()
            reason = type(error).__name__ if error.sqlstate is None else f"{type(error).__name__}, {error.sqlstate}"
            raise StoreUnavailableError(
                f"the server of the search index does not answer as it should ({reason})"
            ) from None
        except psycopg.Error as error:
            self._drop()
            reason = f"{type(error).__name__}, {error.sqlstate}"
            raise StoreError(
                f"the server of the search index refused ({reason}): check its schema and rights"
            ) from None

    def _connection(self) -> psycopg.Connection[Any]:
        held: tuple[int, Any] | None = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid() and not held[1].closed and held[1] in self._opened:
            return held[1]  # type: ignore[no-any-return]
        db = self._psycopg.connect(**self._arguments, autocommit=True)
        milliseconds = round(1000 * self._timeout)
        with db.transaction():
            db.execute("SELECT set_config('statement_timeout', %s, false)", (str(milliseconds),))
            quoted = self._psycopg.sql.Identifier(self._schema)
            db.execute(self._psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(quoted))
            db.execute(self._psycopg.sql.SQL("SET search_path TO {}").format(quoted))
        self._local.held = (os.getpid(), db)
        self._opened.append(db)
        return db

    def _drop(self) -> None:
        """Forget this thread's connection: the next use opens another."""
        held = getattr(self._local, "held", None)
        if held is not None:
            self._local.held = None
            if held[1] in self._opened:
                self._opened.remove(held[1])
            held[1].close()

    def head(self) -> int:
        """Return the highest commit's version; 0 for an empty index."""
        with self._use() as db:
            row = db.execute("SELECT coalesce(max(version), 0) FROM c", prepare=True).fetchone()
        return 0 if row is None else int(row[0])

    def commits(self, after: int) -> list[tuple[int, bytes]]:
        """Return all commits with a higher version, oldest first."""
        with self._use() as db:
            rows = db.execute(
                "SELECT version, record FROM c WHERE version > %s ORDER BY version", (after,), binary=True
            ).fetchall()
        return [(int(version), bytes(record)) for version, record in rows]

    def fetch(self, labels: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the rows of these labels; what is not there is left out."""
        with self._use() as db:
            cursor = db.cursor(binary=True)
            cursor.execute("SELECT label, ct FROM p WHERE label = ANY(%b)", (list(labels),), prepare=True)
            return {bytes(label): bytes(row) for label, row in cursor}

    def commit(self, version: int, record: bytes, rows: Iterable[Row], *, replace: bool = False) -> None:
        """Write rows and their commit in one transaction; with `replace` in place of everything that is there."""
        with self._use() as db, db.transaction():
            # Writers one after another: else a writer at version 7 could pass one that replaces everything at 7.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            row = db.execute("SELECT coalesce(max(version), 0) FROM c").fetchone()
            refuse_late(0 if row is None else int(row[0]), version)
            if replace:
                db.execute("TRUNCATE p, c")
            with db.cursor() as cursor, cursor.copy("COPY p (label, ct) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["bytea", "bytea"])
                for one in rows:
                    copy.write_row(one)
            db.execute("INSERT INTO c VALUES (%s, %b)", (version, record))

    def sizes(self) -> tuple[int, int]:
        """Return (rows, bytes on disk, those of commits included)."""
        with self._use() as db:
            counted = db.execute("SELECT count(*) FROM p").fetchone()
            taken = db.execute("SELECT pg_total_relation_size('p') + pg_total_relation_size('c')").fetchone()
        return (0 if counted is None else int(counted[0])), (0 if taken is None else int(taken[0]))

    def close(self) -> None:
        """Let go of connections; they are opened again where they are needed."""
        while self._opened:
            self._opened.pop().close()
