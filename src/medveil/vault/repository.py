"""`Vault`: one repository over several stores. Everything it does is in the modules beside it; this is the door."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerKey
from medveil.errors import ConfigError, MedveilError
from medveil.imaging.roi import ROI
from medveil.schemes.base import Finding, FindingKind
from medveil.stores.base import Store
from medveil.vault import freshness, putting, reading, repairing, scrubbing
from medveil.vault.audit import Action, AuditLog
from medveil.vault.auditing import Note, audited
from medveil.vault.config import VaultConfig, load_config
from medveil.vault.grants import GrantedVault, Grants
from medveil.vault.grants.grants import adopt_epoch
from medveil.vault.indexing import Indexing
from medveil.vault.opening import open_fleet, open_session
from medveil.vault.putting import Input
from medveil.vault.reports import (
    GetReport,
    ListEntry,
    ObjectReport,
    PutReport,
    RepairReport,
    ScrubReport,
    VerifyReport,
    VersionEntry,
)
from medveil.vault.search.reports import SearchReport, Study
from medveil.vault.session import Session
from medveil.vault.state import State

Progress = Callable[[int, int], None]
"""progress(done, total): bytes for one object, objects for many."""


@dataclass(frozen=True, slots=True)
class PutOutcome:
    """What came of one of many files: `report`, or `error`."""

    given: Path
    report: PutReport | None
    error: MedveilError | None


class Vault:
    """A repository of medical images over several stores, none of which is trusted.

    Open one with `Vault.open`, make its local state with `Vault.init`. Safe to use from several threads and
    processes. A context manager; `close` lets go of the stores.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._grants: Grants | None = None

    @classmethod
    def init(cls, config: Path | str | VaultConfig, owner: OwnerKey, *, stores: Sequence[Store] | None = None) -> Vault:
        """Make this machine's local state of a vault and open it; every store must answer.

        config: a vault.toml, or what `load_config` returned. stores: already open ones in place of the configured.
        On a second machine of the same owner the same configuration gives the same vault.
        Raises ConfigError, OutputExistsError where there is a state already, StoreError where a store does not
        answer or cannot be written.
        """
        checked = config if isinstance(config, VaultConfig) else load_config(config)
        fleet = open_fleet(checked, stores)
        for outcome in fleet.each(lambda store: store.check()).values():
            if outcome.error is not None:
                fleet.close()
                raise outcome.error
        dataset = owner.derive("vault dataset", checked.dataset.encode())[:16]
        meta = {"dataset": dataset, "label": checked.dataset.encode(), "owner": owner.public.to_bytes()}
        session = open_session(checked, fleet, State.create(checked.state, meta), owner)
        adopt_epoch(session)
        return cls(session)

    @classmethod
    def open(
        cls,
        config: Path | str | VaultConfig,
        owner: OwnerKey | None = None,
        *,
        stores: Sequence[Store] | None = None,
    ) -> Vault:
        """Open a vault. Without the owner's key only keyless work is possible: verify, scrub, repair, versions.

        Raises ConfigError where it was not initialised here, WrongKeyError for another owner's key. A store that
        does not answer keeps nothing from being opened.
        """
        checked = config if isinstance(config, VaultConfig) else load_config(config)
        state = State(checked.state)
        return cls(open_session(checked, open_fleet(checked, stores), state, owner))

    # --------------------------------------------------------------------------------------------------- writing

    def put(
        self,
        given: Input,
        *,
        name: str | None = None,
        object: str | None = None,  # noqa: A002 - the field's word for it
        base: int | None = None,
        roi: ROI = (),
        again: bool = False,
        takeover: bool = False,
        index: bool = True,
        progress: Progress | None = None,
    ) -> PutReport:
        """Store a file (a path, bytes or an image) as a new object, or as the next version of `object`.

        object: id, its beginning, or name. name: what to call it, the file's own by default; only ever encrypted.
        base: the version that is to be replaced; another current one is a conflict. roi: regions where changes are
        located finely. again: store anew what was put before under the same name. takeover: see `claims`.
        index: make it found by search at once, where the vault has an index; else `index` does for many together.

        Raises InputError, ConflictError, LimitError; StoreFullError or StoreUnavailableError where fewer than k
        stores took it, and then nothing was stored. With k to n - 1 the report has DEGRADED findings.
        """
        object_id = None if object is None else reading.resolve(self._session, object)
        with audited(self._session, Action.PUT, object_id or b"") as note:
            report = putting.put(
                self._session,
                given,
                name=name,
                object_id=object_id,
                base=base,
                roi=roi,
                again=again,
                takeover=takeover,
                progress=progress,
            )
            note.subject, note.findings = bytes.fromhex(report.object_id), report.findings
            note.detail = {"version": report.version, "bytes": report.size}
        indexing = self._session.indexing
        late = () if indexing is None or not index else indexing.try_flush()
        return replace(report, findings=(*report.findings, *late)) if late else report

    def put_many(
        self, files: Iterable[Path | str], *, workers: int = 2, progress: Progress | None = None
    ) -> Iterator[PutOutcome]:
        """Store many files with several threads; yields an outcome for each as it is done.

        Files that are stored already are skipped, so an interrupted run is repeated to go on. One file's error does
        not stop the others. progress(done, total) counts files.
        """
        paths = [Path(one) for one in files]
        stop = threading.Event()

        def job(path: Path) -> PutOutcome:
            if stop.is_set():
                raise KeyboardInterrupt
            try:
                return PutOutcome(path, self.put(path, index=False), None)
            except MedveilError as error:
                return PutOutcome(path, None, error)

        pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="vault put")
        try:
            waiting: set[Future[PutOutcome]] = {pool.submit(job, path) for path in paths}
            done = 0
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    done += 1
                    if progress is not None:
                        progress(done, len(paths))
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if self._session.indexing is not None:
                self._session.indexing.try_flush()

    def recover(self) -> int:
        """End uploads that a dead process left and remove what earlier ones could not; returns how many ended."""
        ended = putting.recover(self._session)
        if self._session.indexing is not None:
            self._session.indexing.look_again()
        return ended

    # ---------------------------------------------------------------------------------------------------- search

    def search(self, query: str, *, limit: int = 100, offset: int = 0, recipient: str | None = None) -> SearchReport:
        """Find studies, best first: a QIDO-RS query, free words, or both (`medveil.vault.search.query`).

        recipient: a pinned recipient's name: only studies that they may read now are found.

        A DEGRADED finding says where objects are stored that are not in the index yet.
        Raises ConfigError where the vault has no index, InputError and UnsupportedError for queries that it cannot
        answer, IncompleteResultError and TamperedError where the index withheld or changed rows, RollbackError and
        ForkError where it shows another history than was seen here, StoreUnavailableError.
        """
        indexing = self._indexing()
        with audited(self._session, Action.SEARCH) as note:
            allowed = None if recipient is None else self.grants.allowed(recipient)
            report = indexing.search(query, limit=limit, offset=offset, allowed=allowed)
            note.detail = {"rows": report.rows, "count": len(report.hits)}
        behind = indexing.behind(self._session)
        if behind:
            message = f"{behind} objects are stored and not in the index yet: vault index puts them in"
            return replace(report, findings=(*report.findings, Finding(FindingKind.DEGRADED, message)))
        return report

    def study(self, uid: str) -> Study:
        """Return one study by its UID, with all its files. Raises ObjectMissingError, and as `search`."""
        return self._indexing().study(uid)

    def index(self, *, progress: Progress | None = None) -> int:
        """Put everything that is stored and not indexed into the index; returns how many objects.

        What a crash left out is read from the stores again. progress counts objects. Raises as `search` and `get`.
        """
        indexing = self._indexing()
        left = indexing.left_out(self._session)
        for done, (object_id, _) in enumerate(left, start=1):
            indexing.read_again(self._session, object_id)
            if progress is not None:
                progress(done, len(left))
        return indexing.flush(progress=None if left else progress)

    def remove_from_index(self, uid: str) -> None:
        """Let search no longer find a study; its files stay. Purged at the next compaction. Raises ObjectMissingError.

        A file that is put into it later, and `rebuild_index`, bring it back.
        """
        with audited(self._session, Action.SEARCH) as note:
            note.detail = {"kind": "remove"}
            self._indexing().index.remove(uid)

    def compact_index(self, *, progress: Progress | None = None) -> int:
        """Write the index anew under fresh keys, without what was removed; returns its new epoch."""
        return self._indexing().index.compact(progress=progress)

    def rebuild_index(self, *, progress: Progress | None = None) -> int:
        """Make a lost or damaged index again from the stored objects; returns how many."""
        self._indexing().rebuild()
        return self.index(progress=progress)

    def _indexing(self) -> Indexing:
        if self._session.indexing is None:
            self._session.owner()
            raise ConfigError("this vault has no search index: add a table [search] to its configuration")
        return self._session.indexing

    # ---------------------------------------------------------------------------------------------------- grants

    @property
    def grants(self) -> Grants:
        """Recipients, grants, revocation and rotation. Raises WrongKeyError without the owner's key."""
        self._session.owner()
        if self._grants is None and self._session.members is not None:
            self._grants = Grants(self._session, self._session.members)
        if self._grants is None:
            raise ConfigError("this vault was opened without its ledger of grants")
        return self._grants

    @classmethod
    def join(
        cls,
        config: Path | str | VaultConfig,
        invitation: bytes,
        key: RecipientPrivateKey,
        fingerprint: str,
        *,
        stores: Sequence[Store] | None = None,
    ) -> GrantedVault:
        """Begin as a recipient on this machine; see `GrantedVault.join`."""
        checked = config if isinstance(config, VaultConfig) else load_config(config)
        return GrantedVault.join(checked, open_fleet(checked, stores), invitation, key, fingerprint)

    @classmethod
    def open_granted(
        cls, config: Path | str | VaultConfig, key: RecipientPrivateKey, *, stores: Sequence[Store] | None = None
    ) -> GrantedVault:
        """Open a vault as the recipient that joined it here; see `GrantedVault.open`."""
        checked = config if isinstance(config, VaultConfig) else load_config(config)
        return GrantedVault.open(checked, open_fleet(checked, stores), key)

    # --------------------------------------------------------------------------------------------------- reading

    def get(
        self,
        object: str,  # noqa: A002
        out: Path | str,
        *,
        version: int | None = None,
        force: bool = False,
        partial: bool = False,
        progress: Progress | None = None,
    ) -> GetReport:
        """Write an object's exact bytes to a new file that appears complete and verified, or not at all.

        object: id, its beginning, or name. version: an older one. force: overwrite `out`. partial: where too little
        is left, write what is intact and zeros for the rest.

        Raises OutputExistsError, ObjectMissingError, StaleError, RollbackError, ForkError, UnrecoverableError,
        WrongKeyError; damage that could be made good is a finding.
        """
        session = self._session
        object_id = reading.resolve(session, object)
        with audited(session, Action.GET, object_id) as note:
            report = reading.get(
                session, object_id, Path(out), version=version, force=force, partial=partial, progress=progress
            )
            _noted(note, report)
        return report

    def read(
        self,
        object: str,  # noqa: A002
        *,
        version: int | None = None,
        limit: int = reading.READ_LIMIT,
    ) -> tuple[bytes, GetReport]:
        """Return an object's exact, verified bytes without writing them to any disk. Raises as `get`, and LimitError.

        object: id, its beginning, or name. limit: bytes at most.
        """
        session = self._session
        object_id = reading.resolve(session, object)
        with audited(session, Action.GET, object_id) as note:
            data, report = reading.read(session, object_id, version=version, limit=limit)
            _noted(note, report)
        return data, report

    def verify(self, object: str | None = None, *, progress: Progress | None = None) -> VerifyReport:  # noqa: A002
        """Check one object or all: with the owner's key all that they hold, without it all their parts.

        For one object raises as `get`; for all, what would be raised becomes a finding. progress counts bytes of one
        object, or objects.
        """
        session = self._session
        level = "parts" if session.key is None else "image"
        with audited(session, Action.VERIFY) as note:
            if object is not None:
                note.subject = reading.resolve(session, object)
                reports: tuple[ObjectReport, ...] = (reading.verify(session, note.subject, progress=progress),)
            else:
                reports = self._for_all(lambda object_id: reading.verify(session, object_id), progress)
            note.objects = reports
        return VerifyReport(objects=reports, level=level)

    def list(self) -> tuple[ListEntry, ...]:
        """List all objects; names, sizes and times only with the owner's key.

        This machine comes to know what others of the owner put, and the epoch that they began.
        """
        if self._session.key is not None:
            adopt_epoch(self._session)
        if self._session.indexing is not None:
            self._session.indexing.look_again()
        return tuple(reading.catalogue(self._session))

    def find(self, wanted: str) -> str:
        """Return the object id (32 hex digits) for an id, its beginning, or a file's name.

        Raises ObjectMissingError, UsageError where several match.
        """
        return reading.resolve(self._session, wanted).hex()

    def versions(self, object: str) -> tuple[VersionEntry, ...]:  # noqa: A002
        """List the versions of an object, newest first."""
        return tuple(reading.versions(self._session, reading.resolve(self._session, object)))

    # ----------------------------------------------------------------------------------------------- maintenance

    def scrub(
        self,
        *,
        rate: float | None = None,
        prune: bool = False,
        restart: bool = False,
        progress: Progress | None = None,
        now: float | None = None,
    ) -> ScrubReport:
        """Read and check every part of every version, without a key; see `medveil.vault.scrubbing`."""
        with audited(self._session, Action.VERIFY) as note:
            report = scrubbing.scrub(self._session, rate=rate, prune=prune, restart=restart, progress=progress, now=now)
            note.objects, note.detail = report.objects, {"level": "scrub", "bytes": report.bytes_read}
        return report

    def repair(self, object: str | None = None, *, progress: Progress | None = None) -> RepairReport:  # noqa: A002
        """Make missing and damaged parts again from the others, for one object or all, without a key.

        Stores that were lost are opened again first. For one object raises as `get`; for all, what would be raised
        becomes a finding.
        """
        session = self._session
        for name, outcome in session.fleet.each(lambda store: store.check()).items():
            if not outcome.ok:
                session.fleet.reopen(name)
        recovered = self.recover()
        with audited(session, Action.REPAIR) as note:
            if object is not None:
                note.subject = reading.resolve(session, object)
                objects: tuple[ObjectReport, ...] = (repairing.repair(session, note.subject),)
            else:
                objects = self._for_all(lambda object_id: repairing.repair(session, object_id), progress)
            note.objects = objects
        return RepairReport(objects=objects, repaired=sum(one.repaired for one in objects), recovered=recovered)

    def accept_rollback(self, object: str, version: int | None = None) -> bytes:  # noqa: A002
        """Sign that an older version (the newest offered by default) counts from now on; see `freshness`."""
        object_id = reading.resolve(self._session, object)
        with audited(self._session, Action.ACCEPT, object_id):
            return freshness.accept_rollback(self._session, object_id, version)

    def apply_acceptance(self, statement: bytes) -> str:
        """Go back as a statement of `accept_rollback` from another machine says; returns the object's id."""
        with audited(self._session, Action.ACCEPT) as note:
            note.subject = freshness.apply_acceptance(self._session, statement)
        return note.subject.hex()

    @property
    def owner_fingerprint(self) -> str:
        """What the owner reads out to recipients."""
        return self._session.public.fingerprint

    @property
    def audit(self) -> AuditLog:
        """The audit log of this machine. Raises ConfigError where the configuration has none."""
        if self._session.audit is None:
            raise ConfigError("this vault keeps no audit log: its configuration says audit = false")
        return self._session.audit

    def reach(self) -> dict[str, bool]:
        """Ask every store whether it can be reached and written; name -> answer."""
        return {name: one.ok for name, one in self._session.fleet.each(lambda store: store.check()).items()}

    @property
    def pending(self) -> tuple[tuple[str, int, str], ...]:
        """The queue of repairs: (object id, version, store that lacks something)."""
        return tuple(sorted((one.hex(), version, store) for one, version, store in self._session.state.repairs()))

    def close(self) -> None:
        """Let go of the stores and the index, and publish the audit log."""
        self._session.fleet.close()
        if self._session.audit is not None:
            self._session.audit.close()
        if self._session.indexing is not None:
            self._session.indexing.close()
        if self._session.members is not None:
            self._session.members.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Vault({len(self._session.fleet.stores)} stores, {self._session.k} of {self._session.n})"

    def _for_all(self, job: Callable[[bytes], ObjectReport], progress: Progress | None) -> tuple[ObjectReport, ...]:
        listings, _ = reading.list_stores(self._session)
        every = reading.objects_in(self._session, listings)
        reports = []
        for number, object_id in enumerate(every, start=1):
            try:
                reports.append(job(object_id))
            except MedveilError as error:
                reports.append(
                    ObjectReport(object_id=object_id.hex(), findings=(reading.as_finding(error),), error=error)
                )
            if progress is not None:
                progress(number, len(every))
        return tuple(reports)


def _noted(note: Note, report: GetReport) -> None:
    note.findings, note.detail = report.findings, {"version": report.version, "bytes": report.size}
