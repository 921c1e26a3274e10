"""The owner's ledger against encrypting one image twice: keyed digests of images, and under what they were encrypted.

Thirty-two encryptions of one image under fresh randomness give most of it back (`attacks.multi_encryption`). So keys of
images follow from one secret and the image's samples, and the ledger refuses an image that was encrypted before under
another scheme or other options. It lies in the owner's state folder, never beside the encrypted images: a file `key`
(or the owner's key file) and an SQLite database that holds no image, no name and no key.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.hashing import keyed
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.errors import FormatError, InputError, PolicyError, StoreFullError

_KEY_FILE: Final = "key"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS images (digest BLOB PRIMARY KEY, scheme TEXT NOT NULL, options TEXT NOT NULL,
    first TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT, WITHOUT ROWID;
"""


def default_folder() -> Path:
    """Return where the ledger lies: ``$XDG_STATE_HOME/medveil/learnable``, or under ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "medveil" / "learnable"


class Ledger:
    """An open ledger; use as a context manager."""

    def __init__(self, folder: Path, secret: bytes) -> None:
        self._secret = secret
        self.id = keyed(secret, b"ledger id").hex()[:16]
        self.path = folder / f"ledger-{self.id}.sqlite"
        try:
            self._database = sqlite3.connect(self.path, isolation_level=None, timeout=30.0)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} cannot be used as a ledger ({error}): check the file and its disk") from None

    @classmethod
    def open(cls, folder: Path | None = None, owner: OwnerKey | None = None) -> Ledger:
        """Open the ledger of a folder, made where it is not there.

        owner: takes the secret from the owner's key, so that the same owner has one ledger on every machine that
        shares the folder; otherwise from the folder's own key file. Raises InputError, FormatError for a key file
        that is none.
        """
        place = folder if folder is not None else default_folder()
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if owner is not None:
            return cls(place, owner.derive("learnable ledger"))
        return cls(place, _own_secret(place / _KEY_FILE))

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def data_set_key(self, scheme: str) -> bytes:
        """Return the 32-byte key of all this owner's images under a scheme."""
        return keyed(self._secret, b"data set key", scheme.encode())

    def digest(self, pixels: npt.NDArray[Any]) -> bytes:
        """Return the keyed digest of an image's samples, shape and type: tells nothing without the secret."""
        form = f"{pixels.dtype.str} {pixels.shape}".encode()
        return keyed(self._secret, b"image", form, np.ascontiguousarray(pixels).tobytes())

    def pseudonym(self, kind: str, name: str) -> str:
        """Return 16 hex digits in the place of a file's or patient's name, the same each time."""
        return keyed(self._secret, b"pseudonym", kind.encode(), name.encode()).hex()[:16]

    def check(self, digest: bytes, scheme: str, options: Mapping[str, Any]) -> bool:
        """Return whether an image was encrypted before, under the same scheme and options.

        Raises PolicyError where it was encrypted under others.
        """
        with closing(self._database.execute("SELECT scheme, options FROM images WHERE digest = ?", (digest,))) as c:
            row = c.fetchone()
        if row is not None and row != (scheme, _said(options)):
            raise PolicyError(
                f"an image was encrypted before as {row[0]} {row[1]}: another encryption of it helps an attacker; "
                "send the first again, or pass --insecure-again"
            )
        return row is not None

    def record(self, digests: Iterable[bytes], scheme: str, options: Mapping[str, Any]) -> None:
        """Note, all or none, that images are encrypted; what was noted before stays. Raises StoreFullError."""
        rows = [(digest, scheme, _said(options)) for digest in digests]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR IGNORE INTO images (digest, scheme, options) VALUES (?, ?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise StoreFullError(
                f"the ledger {self.path} cannot be written ({error}): free space, then again"
            ) from None


def _said(options: Mapping[str, Any]) -> str:
    return json.dumps(dict(options), sort_keys=True)


def _own_secret(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) != 32:
            raise FormatError(f"{path} is no ledger key: bring back the one that was written there") from None
        return secret
    with os.fdopen(handle, "wb") as file:
        secret = SYSTEM.bytes(32)
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    return secret
