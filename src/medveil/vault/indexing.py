"""How the vault feeds its search index: a durable queue beside the index, so that neither waits for the other.

What is to be indexed of an object goes, encrypted, into the local queue when its put has succeeded, and leaves it in
the transaction that takes the index's commit over. A process that dies between put and queue leaves an object that is
stored and not indexed: `missing` finds it, `index` reads it again. An index that is down delays searching, never
storing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto import canonical
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.errors import MedveilError, ObjectMissingError, StoreError
from medveil.schemes.base import Finding, FindingKind
from medveil.vault.examining import examine
from medveil.vault.search.attributes import Described
from medveil.vault.search.building import Entry
from medveil.vault.search.cache import Cache
from medveil.vault.search.index import SearchIndex
from medveil.vault.search.query import parse_query
from medveil.vault.search.reports import SearchReport, Study
from medveil.vault.search.searching import search
from medveil.vault.search.settings import SearchConfig, open_backend

if TYPE_CHECKING:
    from medveil.vault.session import Session

Progress = Callable[[int, int], None]

BATCH: Final = 256
"""Objects in one commit of the index at most."""

_NONCE: Final = 12
_WHERE: Final = b"vault search queue"


class Indexing:
    """The search index of an open vault; its server is first asked when it is needed. Threads may share one."""

    def __init__(self, config: SearchConfig, folder: Path, owner: OwnerKey, dataset: bytes) -> None:
        self._config = config
        self._owner = owner
        self._dataset = dataset
        self._lock = threading.Lock()
        self._index: SearchIndex | None = None
        self._queue = AESGCM(owner.derive("search queue", dataset))
        self.cache = Cache(folder)
        self._left: int | None = None  # objects that a crash kept from the queue

    @property
    def index(self) -> SearchIndex:
        """The index. Raises StoreUnavailableError where its server does not answer."""
        with self._lock:
            if self._index is None:
                backend = open_backend(self._config)
                self._index = SearchIndex(backend, self.cache, self._owner, self._dataset, self._config.options)
            return self._index

    def note(self, object_id: bytes, version: int, size: int, described: Described) -> None:
        """Put an object into the queue, durably, unless it is in the index already."""
        if not self.cache.is_indexed(object_id, version):
            self.cache.enqueue(object_id, version, self._sealed(object_id, version, size, described))

    def flush(self, *, progress: Progress | None = None) -> int:
        """Index what is in the queue; returns how many objects. Raises StoreError, ConflictError."""
        done = 0
        waiting = self.cache.count_waiting()
        while queued := self.cache.queue(BATCH):
            entries = [self._entry(*one) for one in queued]
            self.index.add(entries)
            self.cache.unqueue((one.object_id, one.version) for one in entries)
            done += len(entries)
            if progress is not None:
                progress(done, max(waiting, done))
        return done

    def try_flush(self) -> tuple[Finding, ...]:
        """Index what is in the queue; where that fails now, a finding says that it is queued."""
        try:
            self.flush()
        except MedveilError as error:
            message = f"stored but not found by search yet: {error}; vault index makes good"
            return (Finding(FindingKind.DEGRADED, message),)
        return ()

    def _sealed(self, object_id: bytes, version: int, size: int, described: Described) -> bytes:
        plain = canonical.encode([size, described.study, described.instance, described.text])
        nonce = SYSTEM.bytes(_NONCE)
        return nonce + self._queue.encrypt(nonce, plain, canonical.encode([_WHERE, object_id, version]))

    def _entry(self, object_id: bytes, version: int, sealed: bytes) -> Entry:
        try:
            context = canonical.encode([_WHERE, object_id, version])
            plain = self._queue.decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
        except (InvalidTag, ValueError):
            raise StoreError("the queue of the search index is damaged: set search.sqlite aside in the state") from None
        size, study, instance, text = canonical.decode(plain, limit=1 << 24)
        return Entry(object_id, version, size, Described(study, instance, text))

    # -------------------------------------------------------------------------------------------- after a crash

    def behind(self, session: Session) -> int:
        """Return how many objects are not in the index yet; what a crash left out is looked for once."""
        if self._left is None:
            self._left = len(self.missing(session))
        return self.cache.count_waiting() + self._left

    def look_again(self) -> None:
        """Look once more for what is stored and not indexed: other machines, or a dead process, put something."""
        self._left = None

    def left_out(self, session: Session) -> list[tuple[bytes, int]]:
        """Return what `missing` finds, unless it was looked for before and nothing can have changed."""
        if self._left == 0:
            return []
        found = self.missing(session)
        self._left = len(found)
        return found

    def missing(self, session: Session) -> list[tuple[bytes, int]]:
        """Return (object, version) of all that is stored, as far as this machine knows, and not indexed or queued."""
        there = self.cache.indexed() | self.cache.waiting()
        newest: dict[bytes, int] = {}
        for object_id, version in there:
            newest[object_id] = max(version, newest.get(object_id, 0))
        known = session.state.objects()
        return [(one, found.version) for one, found in known.items() if found.version > newest.get(one, 0)]

    def read_again(self, session: Session, object_id: bytes) -> None:
        """Read an object from the stores and queue it. Raises as `get`."""
        found = examine(session, object_id)
        self.note(object_id, found.manifest.version, found.size, found.described)
        self._left = None

    def rebuild(self) -> None:
        """Begin the index anew under fresh keys: everything counts as not indexed."""
        self.index.restart()
        self._left = None
        self.cache.unqueue(self.cache.waiting())

    # ---------------------------------------------------------------------------------------------------- asking

    def search(self, query: str, *, limit: int, offset: int, allowed: set[bytes] | None = None) -> SearchReport:
        """Answer a query; see `Vault.search`."""
        return search(self.index, parse_query(query), limit=limit, offset=offset, allowed=allowed)

    def study(self, uid: str) -> Study:
        """Return one study with its instances. Raises ObjectMissingError."""
        token = self.index.token(uid)
        found = self.index.study(token)
        if found is None:
            raise ObjectMissingError("there is no such study in this vault's index")
        record, instances = found
        return record.as_study(token.hex(), tuple(instances))

    def close(self) -> None:
        """Let go of the index's connections."""
        with self._lock:
            if self._index is not None:
                self._index.close()
            self.cache.close()
