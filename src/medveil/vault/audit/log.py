"""The log of one machine: appended in SQLite, published as tiles with a signed checkpoint.

An entry is in the database, synced, before what it tells of is handed out; a full disk therefore stops the work rather
than the log. `publish` writes the tiles of what is new, then the checkpoint. Entries that a run without the owner's key
appended are signed by the next run that has it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.errors import InputError, TamperedError, WrongKeyError
from medveil.vault.audit import tiles
from medveil.vault.audit.atna import syslog_lines
from medveil.vault.audit.events import Action, Event, Outcome, hashed
from medveil.vault.audit.note import Checkpoint, NoteKey, NoteSigner
from medveil.vault.audit.tree import Node, completed, consistency_proof, inclusion_proof, leaf_hash, root
from medveil.vault.database import Database

FILE: Final = "audit.sqlite"
FOLDER: Final = "audit"
ATNA: Final = "atna"
"""Folder of the DICOM audit messages beside the tiles, a file of syslog lines for 256 entries."""
PUBLISH: Final = 256
"""Entries after which the log is published by itself."""

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;
CREATE TABLE nodes (level INTEGER, number INTEGER, hash BLOB NOT NULL, PRIMARY KEY (level, number))
    STRICT, WITHOUT ROWID;
"""
_FULL: Final = "the disk of the audit log is full, and nothing is done that is not logged: make room and try again"


class AuditLog:
    """The log in a state folder; made where there is none. Threads and processes may share it.

    owner: signs checkpoints; without one entries are kept and signed later.
    """

    def __init__(self, state: Path, dataset: bytes, owner: OwnerKey | None = None) -> None:
        path = state / FILE
        self._folder = tiles.TileFolder(state / FOLDER)
        self._database = Database(
            path,
            "the audit log",
            full=_FULL,
            damaged=lambda: TamperedError(
                f"the audit log {path} is damaged: keep it for the auditors, set it aside, and verify what was "
                "published with vault audit verify"
            ),
        )
        self._since = 0
        self._database.create(_SCHEMA, _VERSION)
        with self._database.write() as db:
            if not db.execute("SELECT 1 FROM meta").fetchone():
                made = {"secret": SYSTEM.bytes(32), "machine": SYSTEM.bytes(8), "published": bytes(8)}
                db.executemany("INSERT INTO meta VALUES (?, ?)", made.items())
            meta = dict(db.execute("SELECT key, value FROM meta"))
        self._secret: bytes = meta["secret"]
        self.origin = f"medveil.audit/{dataset.hex()}/{meta['machine'].hex()}"
        self._signer = None
        if owner is not None:
            self._signer = NoteSigner(self.origin, owner.derive("audit log", dataset, meta["machine"]))

    @property
    def folder(self) -> Path:
        """Where the published log lies."""
        return self._folder.folder

    @property
    def key(self) -> NoteKey:
        """The key that checks this log's checkpoints. Raises WrongKeyError where the owner's key is not there."""
        if self._signer is None:
            raise WrongKeyError("the log's key is derived from the owner's: open the vault with it")
        return self._signer.key

    # ------------------------------------------------------------------------------------------------- appending

    def append(
        self,
        action: Action,
        outcome: Outcome | str = Outcome.SUCCESS,
        *,
        actor: str = "",
        subject: bytes | str = b"",
        detail: Mapping[str, str | int] | None = None,
        now: float | None = None,
    ) -> int:
        """Append an entry, durably, and return its number.

        actor, subject: who and what; only hashes of them are kept. detail: keys of `events.DETAILS` alone.
        Raises InputError for anything else in detail, StoreFullError where it cannot be written.
        """
        thing = subject.encode() if isinstance(subject, str) else subject
        when = datetime.fromtimestamp(time.time() if now is None else now, UTC).replace(microsecond=0)
        entry = Event(
            Action(action),
            Outcome(outcome),
            when,
            hashed(self._secret, "actor", actor.encode()),
            hashed(self._secret, "subject", thing),
            detail or {},
        ).encode()
        with self._database.write() as db:
            number = _size(db)
            db.execute("INSERT INTO entries VALUES (?, ?)", (number, entry))
            db.executemany("INSERT INTO nodes VALUES (?, ?, ?)", completed(number, leaf_hash(entry), _node(db)))
        self._since += 1
        if self._since >= PUBLISH and self._signer is not None:
            self.publish()
        return number

    def hash_of(self, kind: str, value: bytes | str) -> str:
        """Return the hash by which the log calls a person ("actor") or thing ("subject")."""
        if kind not in ("actor", "subject"):
            raise InputError("a hash of the log is of an actor or a subject")
        return hashed(self._secret, kind, value.encode() if isinstance(value, str) else value)

    # ------------------------------------------------------------------------------------------------ publishing

    def publish(self) -> Checkpoint:
        """Write the tiles of what is new and a signed checkpoint; returns it.

        Raises WrongKeyError without the owner's key, StoreFullError, StoreError, and TamperedError where the entries
        are fewer than were published.
        """
        if self._signer is None:
            raise WrongKeyError("a checkpoint is signed with the owner's key: open the vault with it")
        with self._database.write() as db:
            size = _size(db)
            published = int.from_bytes(
                db.execute("SELECT value FROM meta WHERE key = 'published'").fetchone()[0], "big"
            )
            if size < published:
                raise TamperedError(
                    f"the audit log has {size} entries and {published} were published: some were removed"
                )
            fresh = Checkpoint.make(self.origin, size, root(size, _node(db)))
            checkpoint = Checkpoint.parse(fresh.signed([self._signer.line(fresh.text)]))
            if size == published and (self.folder / tiles.CHECKPOINT).exists():
                return checkpoint
            self._write_tiles(db, published, size)
            self._folder.write(tiles.CHECKPOINT, checkpoint.signed(checkpoint.lines()))
            db.execute("UPDATE meta SET value = ? WHERE key = 'published'", (size.to_bytes(8, "big"),))
        self._since = 0
        return checkpoint

    def _write_tiles(self, db: sqlite3.Connection, since: int, size: int) -> None:
        for number, width in tiles.spans(size, since):
            entries = _entries(db, number * tiles.WIDTH, width)
            self._tile("entries", number, width, tiles.pack_entries(entries))
            lines = syslog_lines([Event.decode(one) for one in entries], self.origin)
            self._folder.write(f"{ATNA}/{tiles.tile_path('entries', number).removeprefix('tile/entries/')}.log", lines)
        level, old, new = 0, since, size
        while new:
            for number, width in tiles.spans(new, old):
                start = number * tiles.WIDTH
                query = "SELECT hash FROM nodes WHERE level = ? AND number >= ? AND number < ? ORDER BY number"
                rows = db.execute(query, (level * tiles.HEIGHT, start, start + width)).fetchall()
                self._tile(level, number, width, b"".join(row[0] for row in rows))
            level, old, new = level + 1, old // tiles.WIDTH, new // tiles.WIDTH

    def _tile(self, level: int | str, number: int, width: int, data: bytes) -> None:
        self._folder.write(tiles.tile_path(level, number, width), data)
        if width == tiles.WIDTH:
            self._folder.drop_partial(level, number)

    def add_cosignatures(self, lines: Iterable[str], witnesses: Iterable[NoteKey]) -> Checkpoint:
        """Add witnesses' lines to the published checkpoint, each checked. Raises as `Checkpoint.witnessed`."""
        held = Checkpoint.parse(self._folder.read(tiles.CHECKPOINT))
        fresh = [line if line.endswith("\n") else line + "\n" for line in lines]
        merged = Checkpoint.parse(held.signed(dict.fromkeys([*held.lines(), *fresh])))
        merged.verify(self.key)
        for witness in witnesses:
            merged.witnessed(witness)
        self._folder.write(tiles.CHECKPOINT, merged.signed(merged.lines()))
        return merged

    # --------------------------------------------------------------------------------------------------- reading

    @property
    def size(self) -> int:
        """Number of entries."""
        with self._database.use() as db:
            return _size(db)

    def events(self, start: int = 0, count: int | None = None) -> Iterator[tuple[int, Event]]:
        """Yield (number, event) in order; negative `start` counts from the end."""
        with self._database.use() as db:
            size = _size(db)
        first = max(0, size + start) if start < 0 else start
        last = size if count is None else min(size, first + count)
        for at in range(first, last, 1000):
            with self._database.use() as db:
                listed = _entries(db, at, min(1000, last - at))
            for number, entry in enumerate(listed, start=at):
                yield number, Event.decode(entry)

    def inclusion(self, number: int, size: int | None = None) -> tuple[bytes, tuple[bytes, ...]]:
        """Return an entry and its inclusion proof in the log of `size`, as published by default."""
        with self._database.use() as db:
            wanted = _size(db) if size is None else size
            proof = inclusion_proof(number, wanted, _node(db))
            return _entries(db, number, 1)[0], proof

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the proof that the log of `size` (all by default) continues that of `old` entries."""
        with self._database.use() as db:
            return consistency_proof(old, _size(db) if size is None else size, _node(db))

    # ------------------------------------------------------------------------------------------------- database

    def close(self) -> None:
        """Publish what is new, where the owner's key is there, and let go of connections."""
        if self._signer is not None and self._since:
            self.publish()
        self._database.close()


def _size(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT coalesce(max(number) + 1, 0) FROM entries").fetchone()[0])


def _entries(db: sqlite3.Connection, start: int, count: int) -> list[bytes]:
    query = "SELECT entry FROM entries WHERE number >= ? AND number < ? ORDER BY number"
    listed = [bytes(row[0]) for row in db.execute(query, (start, start + count))]
    if len(listed) != count:
        raise TamperedError(f"the audit log lacks entries between {start} and {start + count}: some were removed")
    return listed


def _node(db: sqlite3.Connection) -> Node:
    def node(level: int, number: int) -> bytes:
        row = db.execute("SELECT hash FROM nodes WHERE level = ? AND number = ?", (level, number)).fetchone()
        if row is None:
            raise TamperedError(f"the audit log lacks a node ({level}, {number}): it was altered")
        return bytes(row[0])

    return node
