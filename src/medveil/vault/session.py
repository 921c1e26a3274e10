"""What all work on one vault shares: its stores, local state, owner, and the rules for new objects."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.errors import ConflictError, WrongKeyError
from medveil.schemes.sealed import Mode, SealOptions
from medveil.vault.fleet import Fleet
from medveil.vault.spool import SpoolFolder
from medveil.vault.state import State

if TYPE_CHECKING:
    from medveil.vault.audit.log import AuditLog
    from medveil.vault.grants.members import Members
    from medveil.vault.indexing import Indexing


@dataclass(frozen=True, slots=True)
class Session:
    """An open vault. dataset: 16-byte id. key: the owner's, or None for work that needs none."""

    dataset: bytes
    fleet: Fleet
    state: State
    public: OwnerPublic
    key: OwnerKey | None
    k: int
    n: int
    mode: str
    codec: str
    orphan_age: float
    indexing: Indexing | None = None
    audit: AuditLog | None = None
    members: Members | None = None

    def owner(self) -> OwnerKey:
        """Return the owner's key. Raises WrongKeyError where the vault was opened without."""
        if self.key is None:
            raise WrongKeyError("this needs the owner's key, and the vault was opened without: give the key file")
        return self.key

    @property
    def epoch(self) -> int:
        """The dataset's current epoch: of the keys of what is put now."""
        return 1 if self.members is None else self.members.ledger.epoch

    @property
    def options(self) -> SealOptions:
        """How new versions are sealed."""
        return SealOptions(threshold=(self.k, self.n), mode=Mode(self.mode), codec=self.codec)

    @property
    def spool(self) -> Path:
        """Folder for parts on their way: ciphertext only, mode 0700."""
        return self.state.folder / "spool"

    @contextmanager
    def lock(self, object_id: bytes) -> Iterator[None]:
        """Keep other writers of this machine from one object. Raises ConflictError where one is at work."""
        with locked(self.state.folder / "locks" / object_id.hex(), f"object {object_id.hex()}"):
            yield

    def upload_lock(self, attempt: bytes) -> Path:
        """Return the lock file that a living process holds while it works in the spool folder of `attempt`."""
        return self.state.folder / "locks" / f"upload-{attempt.hex()}"

    @contextmanager
    def spooling(self, attempt: bytes) -> Iterator[SpoolFolder]:
        """Give a spool folder for work that is not in the journal; it is removed at the end, whatever happens."""
        folder = SpoolFolder(self.spool, attempt)
        lock = self.upload_lock(attempt)
        with locked(lock, "this spool folder"):
            try:
                yield folder
            finally:
                folder.remove()
                lock.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` against other threads and processes; a dead process holds nothing.

    Raises ConflictError at once where it is held.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another writer is at work on {what}: try again when it is done") from None
        yield
    finally:
        os.close(descriptor)
