"""The encrypted index from the owner's side: adds, removals, compaction, and reading with every row accounted for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConflictError,
    ForkError,
    IncompleteResultError,
    ObjectMissingError,
    RollbackError,
)
from medveil.vault.search.backend import Backend
from medveil.vault.search.building import Builder, Entry, merged
from medveil.vault.search.cache import Cache, Chain, Counter, StudyState
from medveil.vault.search.commits import FIRST, Changes, open_commit, read_header, seal_commit
from medveil.vault.search.reports import Instance, StudyRecord, decode_instances
from medveil.vault.search.rows import POSTING, IndexKeys, Postings, TermKey, need, unpad_record
from medveil.vault.search.terms import Term

Progress = Callable[[int, int], None]

_ATTEMPTS: Final = 8
_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How an index is made. language: of the stemmer; prefixes: whether beginnings of names are terms.

    padding: "bucket", or "power" to round the rows of each term up to a power of two at compaction.
    """

    language: str = "english"
    prefixes: bool = False
    padding: str = "bucket"


@dataclass(frozen=True, slots=True)
class Reading:
    """A term as it can be read now."""

    key: TermKey
    counter: Counter


class SearchIndex:
    """One dataset's index. `rows_read` counts rows, for reports and benchmarks. Threads may share one."""

    def __init__(
        self, backend: Backend, cache: Cache, owner: OwnerKey, dataset: bytes, options: IndexOptions | None = None
    ) -> None:
        self.backend = backend
        self.cache = cache
        self.options = options or IndexOptions()
        self.rows_read = 0
        self._owner = owner
        self._dataset = dataset
        self._keys: dict[int, IndexKeys] = {}
        self._gone: tuple[int, Postings] = (-1, np.empty(0, np.uint64))
        self._lock = threading.Lock()

    def keys(self, epoch: int) -> IndexKeys:
        """Return the keys of an epoch."""
        if epoch not in self._keys:
            self._keys[epoch] = IndexKeys(self._owner, self._dataset, epoch)
        return self._keys[epoch]

    def token(self, uid: str) -> bytes:
        """Return what a study is called where nothing may be said of it; 16 bytes."""
        return self.keys(1).study(uid)

    # ------------------------------------------------------------------------------------------------- the chain

    def sync(self) -> Chain:
        """Take over what other machines committed; returns the state of the chain.

        Raises RollbackError where the index went back behind what was seen here, ForkError where it has another
        history, IncompleteResultError where a commit is missing, TamperedError where one is not the owner's.
        """
        chain = self.cache.chain()
        head = self.backend.head()
        if head < chain.version:
            raise RollbackError(
                f"the search index is at version {head} and {chain.version} was seen here: it was rolled back; restore "
                "it, or build it anew with vault index --rebuild"
            )
        if head == chain.version:
            return chain
        for version, record in self.backend.commits(chain.version):
            header = read_header(record, self._owner.public, self._dataset)
            epoch = int(header["epoch"])  # type: ignore[call-overload]
            commit = open_commit(record, self._owner.public, self.keys(epoch).state, self._dataset)
            if commit.version != version:
                raise ForkError("a commit of the search index stands under another number: it was tampered with")
            if commit.version == chain.version + 1 and commit.previous != chain.digest:
                raise ForkError("the search index has another history than was seen here: it was tampered with")
            if commit.version != chain.version + 1 and not commit.changes.base:
                raise IncompleteResultError(
                    f"INCOMPLETE_RESULT: commit {chain.version + 1} of the search index is missing: restore it, or "
                    "build it anew with vault index --rebuild"
                )
            self.cache.apply(commit)
            chain = self.cache.chain()
        return chain

    # --------------------------------------------------------------------------------------------------- writing

    def add(self, entries: Sequence[Entry]) -> None:
        """Index files: one commit for all. Raises ConflictError where other writers are first too often, StoreError."""
        self._commit(lambda builder, chain: self._add(builder, chain, entries))

    def _add(self, builder: Builder, chain: Chain, entries: Sequence[Entry]) -> None:
        groups: dict[bytes, list[Entry]] = {}
        for entry in entries:
            uid = entry.described.study_uid or f"object {entry.object_id.hex()}"
            groups.setdefault(self.token(uid), []).append(entry)
        for token, group in groups.items():
            state = self.cache.study(token)
            old = self._record(self.keys(chain.epoch), state)
            builder.study(token, state, old, merged(old, group, self.options.language), group)

    def remove(self, uid: str) -> None:
        """Take a study out of the index: a tombstone now, purged at the next compaction.

        Raises ObjectMissingError where it is not in the index.
        """
        token = self.token(uid)

        def job(builder: Builder, _chain: Chain) -> None:
            state = self.cache.study(token)
            if not state.rows:
                raise ObjectMissingError("there is no such study in the search index")
            builder.remove(token, state)

        self._commit(job)

    def _commit(self, job: Callable[[Builder, Chain], None]) -> None:
        for attempt in range(_ATTEMPTS):
            chain = self.sync()
            builder = Builder(self.keys(chain.epoch), chain.totals, self.options)
            job(builder, chain)
            rows, changes = builder.finish(self.cache.counters)
            record = self._seal(changes, chain, chain.epoch)
            try:
                self.backend.commit(chain.version + 1, record, rows)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            self._take_over(record)
            return

    def _seal(self, changes: Changes, chain: Chain, epoch: int) -> bytes:
        return seal_commit(
            changes,
            self._owner,
            self.keys(epoch).state,
            dataset=self._dataset,
            epoch=epoch,
            version=chain.version + 1,
            previous=chain.digest if chain.version else FIRST,
        )

    def _take_over(self, record: bytes) -> None:
        header = read_header(record, self._owner.public, self._dataset)
        key = self.keys(int(header["epoch"])).state  # type: ignore[call-overload]
        self.cache.apply(open_commit(record, self._owner.public, key, self._dataset))

    def compact(self, *, progress: Progress | None = None) -> int:
        """Write the index anew under fresh keys: purge tombstones, order by impact, pad. Returns the new epoch.

        What a server kept of the old epoch tells it nothing of later queries. Other writers wait or retry.
        """
        chain = self.sync()
        old, new = self.keys(chain.epoch), self.keys(chain.epoch + 1)
        builder = Builder(new, chain.totals, self.options, anew=True)
        live = [(token, state) for token, state in self.cache.studies() if state.rows]
        for done, (token, state, record, instances) in enumerate(self._everything(old, live), start=1):
            builder.whole(token, state, record, instances)
            if progress is not None:
                progress(done, len(live))
        for token, state in self.cache.studies():
            if not state.rows:
                builder.keep(token, state)
        builder.objects(self.cache.indexed())
        rows, changes = builder.finish(lambda names: [Counter() for _ in names])
        record_bytes = self._seal(changes, chain, chain.epoch + 1)
        self.backend.commit(chain.version + 1, record_bytes, rows, replace=True)
        self._take_over(record_bytes)
        return chain.epoch + 1

    def restart(self) -> None:
        """Begin an empty index in place of a lost or damaged one, under a new epoch; all is to be indexed again."""
        chain = self.cache.chain()
        version = max(chain.version, self.backend.head())
        chain = Chain(chain.epoch, version, chain.digest, chain.totals)
        builder = Builder(self.keys(chain.epoch + 1), chain.totals, self.options, anew=True)
        for token, state in self.cache.studies():
            builder.keep(token, StudyState(state.generation + 1))
        rows, changes = builder.finish(lambda names: [Counter() for _ in names])
        record = self._seal(changes, chain, chain.epoch + 1)
        self.backend.commit(chain.version + 1, record, rows, replace=True)
        self._take_over(record)

    def _everything(
        self, keys: IndexKeys, live: Sequence[tuple[bytes, StudyState]]
    ) -> Iterator[tuple[bytes, StudyState, StudyRecord, list[Instance]]]:
        for start in range(0, len(live), _AT_ONCE):
            some = live[start : start + _AT_ONCE]
            labels: list[bytes] = []
            for _, state in some:
                first, second = _record_keys(keys, state)
                labels += first.labels(state.rows - 1, 1) + second.labels(0, state.batches)
            rows = self.fetch(labels)
            for token, state in some:
                first, second = _record_keys(keys, state)
                record = StudyRecord.decode(_opened(first, state.rows - 1, rows))
                instances = [one for at in range(state.batches) for one in decode_instances(_opened(second, at, rows))]
                yield token, state, record, instances

    # --------------------------------------------------------------------------------------------------- reading

    def fetch(self, labels: Sequence[bytes]) -> dict[bytes, bytes]:
        """Read rows and count them."""
        self.rows_read += len(labels)
        return self.backend.fetch(labels)

    def readings(self, epoch: int, terms: Iterable[Term]) -> list[Reading]:
        """Return the terms with their counters."""
        keys = [self.keys(epoch).term(term) for term in terms]
        return [Reading(*one) for one in zip(keys, self.cache.counters(key.counter for key in keys), strict=True)]

    def postings(self, readings: Sequence[Reading], chain: Chain, *, first: int | None = None) -> Postings:
        """Return the postings of terms together, each document once, removed ones left out.

        chain: as `sync` gave it. first: read only so many rows in order of impact of each; rows added since are always
        read.
        Raises IncompleteResultError, TamperedError.
        """
        wanted = [(one, _labels(one, first)) for one in readings]
        # One question in a shuffled order would hide nothing: rows of a term are always asked for together.
        rows = self.fetch([label for _, labels in wanted for label in labels])
        parts = [one.key.read(labels, rows) for one, labels in wanted if labels]
        found = np.concatenate(parts) if len(parts) > 1 else (parts[0] if parts else np.empty(0, POSTING))
        if len(parts) > 1 or any(one.counter.rows > one.counter.base for one in readings):
            found = _newest(found)
        gone = self.removed(chain)
        return found if not len(gone) else found[~np.isin(found["document"], gone)]

    def removed(self, chain: Chain) -> Postings:
        """Return the documents that no longer count."""
        held = self._gone
        if held[0] != chain.version:
            held = (chain.version, np.frombuffer(b"".join(sorted(self.cache.gone())), "<u8"))
            self._gone = held
        return held[1]

    def records(self, epoch: int, documents: Iterable[bytes]) -> list[tuple[bytes, StudyRecord]]:
        """Return (token, record) of documents, in their order."""
        wanted = list(documents)
        found = self.cache.documents(wanted)
        if len(found) != len(wanted):
            raise IncompleteResultError(
                f"INCOMPLETE_RESULT: {len(wanted) - len(found)} studies of the answer have no record: build the index "
                "anew with vault index --rebuild"
            )
        keys = self.keys(epoch)
        labels = [_record_keys(keys, state)[0].labels(state.rows - 1, 1)[0] for _, state in found]
        rows = self.fetch(labels)
        return [
            (token, StudyRecord.decode(_opened(_record_keys(keys, state)[0], state.rows - 1, rows)))
            for token, state in found
        ]

    def _record(self, keys: IndexKeys, state: StudyState) -> StudyRecord | None:
        if not state.rows:
            return None
        key, _ = _record_keys(keys, state)
        return StudyRecord.decode(_opened(key, state.rows - 1, self.fetch(key.labels(state.rows - 1, 1))))

    def study(self, token: bytes) -> tuple[StudyRecord, list[Instance]] | None:
        """Return a study's record and its instances, the newest version of each; None where it is not in the index."""
        chain = self.sync()
        state = self.cache.study(token)
        if not state.rows:
            return None
        for _, _, record, instances in self._everything(self.keys(chain.epoch), [(token, state)]):
            newest = {one.object_id: one for one in sorted(instances, key=lambda one: one.version)}
            return record, list(newest.values())
        return None

    def close(self) -> None:
        """Let go of the backend's and the cache's connections."""
        self.backend.close()
        self.cache.close()


def _record_keys(keys: IndexKeys, state: StudyState) -> tuple[TermKey, TermKey]:
    return keys.record("study", state.document), keys.record("instances", state.document)


def _opened(key: TermKey, number: int, rows: dict[bytes, bytes]) -> bytes:
    labels = key.labels(number, 1)
    need(labels, rows)
    return unpad_record(key.open(labels[0], rows[labels[0]]))


def _labels(one: Reading, first: int | None) -> list[bytes]:
    counter = one.counter
    if first is None or first >= counter.base:
        return one.key.labels(0, counter.rows)
    return one.key.labels(0, first) + one.key.labels(counter.base, counter.rows - counter.base)


def _newest(found: Postings) -> Postings:
    """Return each document's last posting: later rows replace earlier ones."""
    backwards = found[::-1]
    _, where = np.unique(backwards["document"], return_index=True)
    return backwards[np.sort(where)]
