"""What the owner remembers of grants: SQLite in the state folder, every change one transaction.

- `epochs`: the dataset's current epoch, and a rotation that has begun and not ended.
- `recipients`: pinned keys. `grants`: who may read which study, and until when.
- `members`: which objects belong to which study, with what their files say of themselves, encrypted.
- `packs`: records on their way into the stores ("new"), in force ("live"), or to be removed ("dead").

It decides: what a transaction here says is so, and the stores are brought to it, however often that is interrupted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medveil.errors import ConfigError, StoreError
from medveil.vault.database import Database

FILE: Final = "grants.sqlite"
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE epochs (id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, stage TEXT NOT NULL,
    clock INTEGER NOT NULL) STRICT;
INSERT INTO epochs VALUES (1, 1, '', 0);
CREATE TABLE recipients (name TEXT PRIMARY KEY, key BLOB NOT NULL, added INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE grants (recipient TEXT, study BLOB, not_before INTEGER NOT NULL, expires INTEGER NOT NULL,
    serial INTEGER NOT NULL, PRIMARY KEY (recipient, study)) STRICT, WITHOUT ROWID;
CREATE INDEX grants_study ON grants (study);
CREATE TABLE members (study BLOB, object BLOB, version INTEGER NOT NULL, epoch INTEGER NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (study, object)) STRICT, WITHOUT ROWID;
CREATE TABLE packs (recipient TEXT, serial INTEGER, name TEXT NOT NULL, record BLOB NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (recipient, serial)) STRICT, WITHOUT ROWID;
CREATE TABLE stale (recipient TEXT, study BLOB, PRIMARY KEY (recipient, study)) STRICT, WITHOUT ROWID;
CREATE TABLE reencrypt (object BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Member:
    """One object of a study. sealed: what its file says of itself, encrypted."""

    object_id: bytes
    version: int
    epoch: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class GrantRow:
    """One grant. not_before, expires: Unix seconds, 0 for no bound. serial: of the record that carries it."""

    recipient: str
    study: bytes
    not_before: int
    expires: int
    serial: int


@dataclass(frozen=True, slots=True)
class Pack:
    """One record. state: "new", "live" or "dead"."""

    recipient: str
    serial: int
    name: str
    record: bytes
    state: str


class Ledger:
    """The grants' database in `folder`; made where there is none. Threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        path = folder / FILE
        self._database = Database(
            path,
            str(path),
            damaged=lambda: StoreError(f"{path} is damaged: restore it from a backup of the state folder"),
        )
        found = self._database.create(_SCHEMA, _VERSION)
        if found != _VERSION:
            raise ConfigError(f"{path} is of version {found}: this program knows {_VERSION}")

    @contextmanager
    def writing(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction; on the disk when it ends, if `synced`."""
        with self._database.use() as db:
            db.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        with self._database.write() as db:
            yield db

    def close(self) -> None:
        """Let go of connections."""
        self._database.close()

    # ---------------------------------------------------------------------------------------------------- epochs

    @property
    def epoch(self) -> int:
        """The dataset's current epoch."""
        with self._database.use() as db:
            return int(db.execute("SELECT epoch FROM epochs").fetchone()[0])

    @property
    def stage(self) -> str:
        """How far a rotation has come; nothing where none is at work."""
        with self._database.use() as db:
            return str(db.execute("SELECT stage FROM epochs").fetchone()[0])

    def begin_rotation(self) -> int:
        """Make the next epoch current, mark every grant as stale, and note that a rotation is at work."""
        with self.writing() as db:
            _rotate(db)
            return int(db.execute("SELECT epoch FROM epochs").fetchone()[0])

    def adopt_epoch(self, epoch: int) -> None:
        """Take over a higher epoch that another machine of the owner began."""
        with self.writing() as db:
            db.execute("UPDATE epochs SET epoch = ? WHERE epoch < ?", (epoch, epoch))

    def set_stage(self, stage: str) -> None:
        """Note how far a rotation has come."""
        with self.writing() as db:
            db.execute("UPDATE epochs SET stage = ?", (stage,))

    def tick(self, now: int) -> int:
        """Remember the time and return the latest that was ever seen."""
        with self.writing() as db:
            db.execute("UPDATE epochs SET clock = max(clock, ?)", (now,))
            return int(db.execute("SELECT clock FROM epochs").fetchone()[0])

    def set_clock(self, now: int) -> None:
        """Forget that a later time was seen."""
        with self.writing() as db:
            db.execute("UPDATE epochs SET clock = ?", (now,))

    @property
    def clock(self) -> int:
        """The latest time that was ever seen."""
        with self._database.use() as db:
            return int(db.execute("SELECT clock FROM epochs").fetchone()[0])

    # ------------------------------------------------------------------------------------------------ recipients

    def recipients(self) -> list[tuple[str, bytes, int]]:
        """Return (name, key, added) of all."""
        with self._database.use() as db:
            return db.execute("SELECT name, key, added FROM recipients ORDER BY name").fetchall()

    def recipient(self, name: str) -> tuple[str, bytes, int] | None:
        """Return (name, key, added)."""
        with self._database.use() as db:
            found: tuple[str, bytes, int] | None = db.execute(
                "SELECT name, key, added FROM recipients WHERE name = ?", (name,)
            ).fetchone()
        return found

    def pin(self, name: str, key: bytes, added: int) -> None:
        """Remember a key under a name, in place of another one."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO recipients VALUES (?, ?, ?)", (name, key, added))

    # --------------------------------------------------------------------------------------------------- members

    def join(self, study: bytes, member: Member) -> None:
        """Note an object's newest version, and that grants of its study have to say so.

        Not synced by itself: what a power failure loses is learned again from the stores.
        """
        with self.writing(synced=False) as db:
            db.execute("DELETE FROM members WHERE object = ? AND study != ?", (member.object_id, study))
            db.execute(
                "INSERT INTO members VALUES (?, ?, ?, ?, ?) ON CONFLICT (study, object) DO UPDATE SET "
                "version = excluded.version, epoch = excluded.epoch, sealed = excluded.sealed "
                "WHERE excluded.version >= version",
                (study, member.object_id, member.version, member.epoch, member.sealed),
            )
            db.execute("INSERT OR IGNORE INTO stale SELECT recipient, study FROM grants WHERE study = ?", (study,))

    def members(self, study: bytes) -> list[Member]:
        """Return the objects of a study."""
        with self._database.use() as db:
            rows = db.execute(
                "SELECT object, version, epoch, sealed FROM members WHERE study = ? ORDER BY object", (study,)
            ).fetchall()
        return [Member(*row) for row in rows]

    def study_of(self, object_id: bytes) -> bytes | None:
        """Return the study that an object belongs to."""
        with self._database.use() as db:
            row = db.execute("SELECT study FROM members WHERE object = ?", (object_id,)).fetchone()
        return None if row is None else bytes(row[0])

    def is_member(self, object_id: bytes, version: int) -> bool:
        """Whether this version of an object, or a later one, is known."""
        with self._database.use() as db:
            row = db.execute("SELECT 1 FROM members WHERE object = ? AND version >= ?", (object_id, version)).fetchone()
        return row is not None

    # ---------------------------------------------------------------------------------------------------- grants

    def grants(self, recipient: str | None = None) -> list[GrantRow]:
        """Return the grants of one recipient, or all."""
        where, values = ("", ()) if recipient is None else ("WHERE recipient = ?", (recipient,))
        with self._database.use() as db:
            rows = db.execute(
                f"SELECT recipient, study, not_before, expires, serial FROM grants {where} ORDER BY recipient, study",  # noqa: S608
                values,
            ).fetchall()
        return [GrantRow(*row) for row in rows]

    def granted(self, recipient: str, study: bytes) -> GrantRow | None:
        """Return one grant."""
        with self._database.use() as db:
            row = db.execute(
                "SELECT recipient, study, not_before, expires, serial FROM grants WHERE recipient = ? AND study = ?",
                (recipient, study),
            ).fetchone()
        return None if row is None else GrantRow(*row)

    def give(self, recipient: str, studies: Iterable[bytes], not_before: int, expires: int) -> None:
        """Enter grants, in place of earlier ones of the same studies; their records are made next."""
        with self.writing() as db:
            for study in studies:
                db.execute(
                    "INSERT INTO grants VALUES (?, ?, ?, ?, 0) ON CONFLICT (recipient, study) DO UPDATE SET "
                    "not_before = excluded.not_before, expires = excluded.expires",
                    (recipient, study, not_before, expires),
                )
                db.execute("INSERT OR IGNORE INTO stale VALUES (?, ?)", (recipient, study))

    def take(
        self, recipient: str, studies: Iterable[bytes] | None, *, rotate: bool = False, reencrypt: bool = False
    ) -> list[bytes]:
        """Withdraw grants (all of a recipient with None); returns the studies. Their records are made anew next.

        rotate: begin a new epoch with it. reencrypt: queue the studies' objects for it.
        """
        with self.writing() as db:
            held = [row[0] for row in db.execute("SELECT study FROM grants WHERE recipient = ?", (recipient,))]
            wanted = held if studies is None else [study for study in studies if study in set(held)]
            for study in wanted:
                # What stood in a record with it has to be written into another one.
                db.execute(
                    "INSERT OR IGNORE INTO stale SELECT recipient, study FROM grants WHERE recipient = ? AND serial = "
                    "(SELECT serial FROM grants WHERE recipient = ? AND study = ?)",
                    (recipient, recipient, study),
                )
            for study in wanted:
                db.execute("DELETE FROM grants WHERE recipient = ? AND study = ?", (recipient, study))
                db.execute("DELETE FROM stale WHERE recipient = ? AND study = ?", (recipient, study))
            if wanted:
                db.execute("INSERT OR IGNORE INTO stale VALUES (?, x'')", (recipient,))  # a record even of nothing
            if wanted and rotate:
                _rotate(db)
            if reencrypt:
                for study in wanted:
                    db.execute("INSERT OR IGNORE INTO reencrypt SELECT object FROM members WHERE study = ?", (study,))
        return wanted

    def stale(self) -> dict[str, list[bytes]]:
        """Return recipient -> studies whose records have to be made anew; the empty study: a record is due."""
        due: dict[str, list[bytes]] = {}
        with self._database.use() as db:
            for recipient, study in db.execute("SELECT recipient, study FROM stale ORDER BY recipient, study"):
                due.setdefault(recipient, []).append(study)
        return due

    # ----------------------------------------------------------------------------------------------------- packs

    def packs(self, recipient: str | None = None, *states: str) -> list[Pack]:
        """Return records, oldest first, of one recipient or all, in these states or any."""
        wanted = states or ("new", "live", "dead")
        marks = ",".join("?" * len(wanted))
        query = f"SELECT recipient, serial, name, record, state FROM packs WHERE state IN ({marks})"  # noqa: S608
        values: list[str] = list(wanted)
        if recipient is not None:
            query += " AND recipient = ?"
            values.append(recipient)
        with self._database.use() as db:
            return [Pack(*row) for row in db.execute(f"{query} ORDER BY recipient, serial", values)]

    def serials(self, recipient: str) -> list[tuple[int, str]]:
        """Return (serial, state) of a recipient's records."""
        with self._database.use() as db:
            return db.execute(
                "SELECT serial, state FROM packs WHERE recipient = ? ORDER BY serial", (recipient,)
            ).fetchall()

    def still_used(self, recipient: str, leaving: set[bytes]) -> set[int]:
        """Return the serials that carry grants other than of these studies."""
        with self._database.use() as db:
            rows = db.execute("SELECT study, serial FROM grants WHERE recipient = ?", (recipient,)).fetchall()
        return {serial for study, serial in rows if study not in leaving and serial}

    def issue(self, recipient: str, packs: Sequence[tuple[Pack, Sequence[bytes]]], dead: Iterable[int]) -> None:
        """Decide on new records with the studies that they carry, and on the end of others: one transaction."""
        with self.writing() as db:
            for pack, studies in packs:
                db.execute(
                    "INSERT INTO packs VALUES (?, ?, ?, ?, 'new')", (recipient, pack.serial, pack.name, pack.record)
                )
                db.executemany(
                    "UPDATE grants SET serial = ? WHERE recipient = ? AND study = ?",
                    [(pack.serial, recipient, study) for study in studies],
                )
            db.executemany(
                "UPDATE packs SET state = 'dead' WHERE recipient = ? AND serial = ?",
                [(recipient, serial) for serial in dead],
            )
            db.execute("DELETE FROM stale WHERE recipient = ?", (recipient,))

    def published(self, recipient: str, serial: int) -> None:
        """Note that a record is in the stores."""
        with self.writing() as db:
            db.execute(
                "UPDATE packs SET state = 'live' WHERE recipient = ? AND serial = ? AND state = 'new'",
                (recipient, serial),
            )

    def removed(self, recipient: str, serial: int) -> None:
        """Forget the bytes of a record that is gone from the stores; its serial is never used again."""
        with self.writing() as db:
            db.execute(
                "UPDATE packs SET state = 'gone', record = x'' WHERE recipient = ? AND serial = ?", (recipient, serial)
            )

    # ------------------------------------------------------------------------------------------------ re-encrypt

    def to_reencrypt(self) -> list[bytes]:
        """Return the objects that are to be encrypted anew."""
        with self._database.use() as db:
            return [row[0] for row in db.execute("SELECT object FROM reencrypt ORDER BY object")]

    def reencrypted(self, object_id: bytes) -> None:
        """Note that an object was."""
        with self.writing() as db:
            db.execute("DELETE FROM reencrypt WHERE object = ?", (object_id,))


def _rotate(db: sqlite3.Connection) -> None:
    """Begin a new epoch, also where a rotation is at work: who is revoked now may know the keys of the last one."""
    db.execute("UPDATE epochs SET epoch = epoch + 1, stage = 'grants'")
    db.execute("INSERT OR IGNORE INTO stale SELECT recipient, study FROM grants")
