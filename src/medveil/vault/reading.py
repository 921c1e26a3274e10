"""`get`, `verify`, `list` and `versions`: what the vault gives back, and what it says of what it holds."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from medveil.errors import (
    ForkError,
    LimitError,
    MedveilError,
    ObjectMissingError,
    RollbackError,
    StaleError,
    StoreError,
    UnrecoverableError,
    UsageError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.bundle import new_file
from medveil.schemes.sealed import Manifest, Opened, check_shares
from medveil.schemes.sealed.opening import Nowhere, open_with, unseal_key
from medveil.vault.freshness import Current, current, remember
from medveil.vault.head import CatalogueEntry, find_entry
from medveil.vault.naming import Holdings, objects_prefix, sort_names
from medveil.vault.readers import Shares, find_shares, with_places
from medveil.vault.reports import GetReport, ListEntry, ObjectReport, VersionEntry
from medveil.vault.session import Session
from medveil.vault.survey import Survey, Version, survey

Progress = Callable[[int, int], None]
Listings = dict[str, dict[bytes, Holdings]]

READ_LIMIT: Final = 1 << 30
"""Bytes that `read` holds in memory at most, unless the caller says otherwise."""

_ID_LENGTH: Final = 32
_SHORTEST: Final = 6
_KINDS: Final[tuple[tuple[type[MedveilError], FindingKind], ...]] = (
    (RollbackError, FindingKind.STALE),
    (StaleError, FindingKind.STALE),
    (ForkError, FindingKind.TAMPER),
    (UnrecoverableError, FindingKind.LOST),
    (ObjectMissingError, FindingKind.MISSING),
    (StoreError, FindingKind.UNREACHABLE),
)


class _Counting:
    """A sink that counts what passes."""

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.count = 0

    def write(self, data: bytes, /) -> int:
        self._sink.write(data)
        self.count += len(data)
        return len(data)


class _Held:
    """A sink in memory that refuses more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.buffer = io.BytesIO()
        self._limit = limit

    def write(self, data: bytes, /) -> int:
        if self.buffer.tell() + len(data) > self._limit:
            raise LimitError(f"the file has more than {self._limit} bytes, the limit for memory: get it to a file")
        return self.buffer.write(data)


def get(
    session: Session,
    object_id: bytes,
    out: Path,
    *,
    version: int | None = None,
    force: bool = False,
    partial: bool = False,
    progress: Progress | None = None,
) -> GetReport:
    """Write the current version (or an older one that is asked for) to a new file, verified, complete or not at all."""
    with new_file(Path(out), force=force) as working, working.open("wb") as handle:
        report = _deliver(session, object_id, handle, version=version, partial=partial, progress=progress)
    return replace(report, path=Path(out))


def read(
    session: Session, object_id: bytes, *, version: int | None = None, limit: int = READ_LIMIT
) -> tuple[bytes, GetReport]:
    """Return the exact bytes of the current version (or an older one), verified; nothing touches a disk.

    Raises as `get`, and LimitError where the file has more than `limit` bytes.
    """
    held = _Held(limit)
    report = _deliver(session, object_id, cast(BinaryIO, held), version=version)
    return held.buffer.getvalue(), report


def _deliver(
    session: Session,
    object_id: bytes,
    sink: BinaryIO,
    *,
    version: int | None = None,
    partial: bool = False,
    progress: Progress | None = None,
) -> GetReport:
    """Write a version to `sink`, each chunk verified before; what was written counts only once this returns."""
    owner = session.owner()
    found = survey(session, object_id, every=version is not None)
    chosen = current(session, found)
    wanted = chosen.version if version is None else _older(found, version, chosen)
    counting = _Counting(sink)
    opened, shares = open_version(session, found, wanted, cast(BinaryIO, counting), partial=partial, progress=progress)
    remember(session, chosen)
    entry = find_entry(wanted.catalogues, wanted.manifest, owner)
    return GetReport(
        object_id=object_id.hex(),
        version=wanted.manifest.version,
        name=None if entry is None else entry.name,
        media_type=None if entry is None else entry.media_type,
        path=None,
        size=counting.count,
        exact=not opened.lost,
        findings=_all(found, chosen, shares, opened.findings),
        tamper_map=opened.tamper_map,
    )


def _older(found: Survey, number: int, chosen: Current) -> Version:
    """Return an older version that was asked for. Raises ObjectMissingError."""
    manifest = chosen.version.manifest
    if number == manifest.version:
        return chosen.version
    for version in found.versions.values():
        if version.manifest.version == number < manifest.version:
            return version
    raise ObjectMissingError(f"object {found.object_id.hex()} has no version {number}: see versions")


def open_version(
    session: Session,
    found: Survey,
    version: Version,
    sink: BinaryIO,
    *,
    sealed: bytes | None = None,
    partial: bool = False,
    progress: Progress | None = None,
) -> tuple[Opened, Shares]:
    """Give the bytes of one version to a sink, verified. Raises as `get`; the caller makes them visible at the end.

    sealed: what the envelope holds, where it is known already; else the owner's key opens it.
    """
    shares = find_shares(session, found, version)
    manifest = version.manifest
    if len(shares.readers) < manifest.k:
        what = "; ".join(finding.message for finding in shares.findings)
        down = any(finding.kind is FindingKind.UNREACHABLE for finding in shares.findings)
        advice = "bring the stores back and try again" if down else "restore a store from its backup"
        raise UnrecoverableError(
            f"{len(shares.readers)} parts of object {manifest.object_id.hex()} are within reach and {manifest.k} are "
            f"needed, so none of its chunks can be given back ({what}): {advice}"
        )
    opened = open_with(
        manifest,
        unseal_key(manifest, version.envelopes, session.owner()) if sealed is None else sealed,
        shares.as_readers(),
        sink,
        partial=partial,
        progress=progress,
        expected=(),
    )
    return opened, shares


def _all(found: Survey, chosen: Current, shares: Shares, opened: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Return all findings of one reading, each once."""
    every = [*found.findings, *chosen.findings, *shares.findings, *with_places(opened, shares)]
    return tuple(dict.fromkeys(every))


def verify(session: Session, object_id: bytes, *, progress: Progress | None = None) -> ObjectReport:
    """Check the current version of an object: with the owner's key all that it holds, without it all its parts.

    Raises as `get` where nothing authentic can be chosen; damage is a finding.
    """
    found = survey(session, object_id)
    chosen = current(session, found)
    manifest = chosen.version.manifest
    tamper_map = None
    if session.key is not None:
        opened, shares = open_version(
            session, found, chosen.version, cast(BinaryIO, Nowhere()), partial=True, progress=progress
        )
        checked, tamper_map = opened.findings, opened.tamper_map
    else:
        shares = find_shares(session, found, chosen.version, _ticker(manifest, progress))
        checked = check_shares(manifest, shares.as_readers(), expected=())
        if len(shares.readers) < manifest.k:
            message = f"{len(shares.readers)} parts are within reach and {manifest.k} are needed"
            checked = (*checked, Finding(FindingKind.LOST, message))
    remember(session, chosen)
    return ObjectReport(
        object_id=object_id.hex(),
        version=manifest.version,
        findings=_all(found, chosen, shares, checked),
        tamper_map=tamper_map,
    )


def _ticker(manifest: Manifest, progress: Progress | None) -> Callable[[int], None] | None:
    if progress is None:
        return None
    total, done = manifest.layout.size * manifest.n, 0

    def tick(count: int) -> None:
        nonlocal done
        done = min(total, done + count)
        progress(done, total)

    return tick


def as_finding(error: MedveilError) -> Finding:
    """Return the finding that says what an error says, for reports over many objects."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), FindingKind.TAMPER)
    return Finding(kind, str(error))


def list_stores(session: Session) -> tuple[Listings, dict[str, MedveilError]]:
    """List the whole dataset at every store in parallel: store -> object -> what it says that it holds."""
    prefix = objects_prefix(session.dataset)
    outcomes = session.fleet.each(lambda store: sort_names(store.list(prefix)), deadline=10 * session.fleet.deadline)
    down = {name: outcome.error for name, outcome in outcomes.items() if outcome.error is not None}
    return {name: outcome.value for name, outcome in outcomes.items() if outcome.ok}, down


def listing_of(
    listings: Listings, down: dict[str, MedveilError], object_id: bytes
) -> tuple[dict[str, Holdings], dict[str, MedveilError]]:
    """Return the part of whole listings that concerns one object, as `survey` takes it."""
    return {store: held.get(object_id) or Holdings() for store, held in listings.items()}, down


def objects_in(session: Session, listings: Listings) -> list[bytes]:
    """Return the ids of all objects that any store lists with a manifest, or that were seen here; sorted."""
    listed = {one for held in listings.values() for one, names in held.items() if names.heads}
    return sorted(listed | set(session.state.objects()))


def catalogue(session: Session, *, note: bool = True) -> list[ListEntry]:
    """List all objects; names, sizes and times need the owner's key. note: remember what was seen."""
    listings, down = list_stores(session)
    entries = []
    for object_id in objects_in(session, listings):
        known = session.state.known(object_id)
        try:
            found = survey(session, object_id, listing=listing_of(listings, down, object_id))
            chosen = current(session, found)
        except MedveilError as error:
            if isinstance(error, ObjectMissingError) and known is None:
                continue
            number = 0 if known is None else known.version
            named = _named(session, object_id)
            entries.append(_entry(object_id, number, named, (as_finding(error),)))
            continue
        if note:
            remember(session, chosen)
        version = chosen.version
        named = None if session.key is None else find_entry(version.catalogues, version.manifest, session.key)
        entries.append(_entry(object_id, version.manifest.version, named, chosen.findings))
    return entries


def _named(session: Session, object_id: bytes) -> CatalogueEntry | None:
    """Return the catalogue record that the local state keeps of an object, or None."""
    known = session.state.known(object_id)
    if known is None or session.key is None:
        return None
    return find_entry((known.catalogue,), Manifest.verify(known.manifest, session.public), session.key)


def name_of(session: Session, object_id: bytes) -> str | None:
    """Return what an object is called: from the local state, else from the stores. Needs the owner's key."""
    named = _named(session, object_id)
    if named is None:
        found = survey(session, object_id)
        version = current(session, found).version
        named = find_entry(version.catalogues, version.manifest, session.owner())
    return None if named is None else named.name


def _entry(object_id: bytes, version: int, named: CatalogueEntry | None, findings: tuple[Finding, ...]) -> ListEntry:
    return ListEntry(
        object_id=object_id.hex(),
        version=version,
        name=named.name if named else None,
        media_type=named.media_type if named else None,
        size=named.size if named else None,
        time=named.time if named else None,
        findings=findings,
    )


def versions(session: Session, object_id: bytes) -> list[VersionEntry]:
    """List the versions of an object, newest first. Raises as `get` where no current one can be chosen."""
    found = survey(session, object_id, every=True)
    chosen = current(session, found).version.manifest
    entries = []
    for (number, digest), version in sorted(found.versions.items(), reverse=True):
        manifest = version.manifest
        named = None if session.key is None else find_entry(version.catalogues, manifest, session.key)
        entries.append(
            VersionEntry(
                version=number,
                digest=digest.hex(),
                previous=manifest.previous.hex(),
                current=digest == chosen.digest,
                k=manifest.k,
                n=manifest.n,
                manifests=tuple(sorted(version.stores)),
                parts=_parts_listed(found, manifest),
                name=None if named is None else named.name,
                time=None if named is None else named.time,
            )
        )
    return entries


def _parts_listed(found: Survey, manifest: Manifest) -> tuple[int, ...]:
    return tuple(
        part
        for part, root in enumerate(manifest.share_roots, start=1)
        if any(root in held.shares for held in found.holdings.values())
    )


def resolve(session: Session, wanted: str) -> bytes:
    """Return the object id that a user means: 32 hex digits, the beginning of one (6 at least), or a file's name.

    Names are looked up in the catalogue records that the local state keeps, then in the stores'.
    Raises ObjectMissingError where there is none, UsageError where several match.
    """
    text = wanted.lower()
    hexadecimal = bool(text) and not set(text) - set("0123456789abcdef")
    if hexadecimal and len(text) == _ID_LENGTH:
        return bytes.fromhex(text)
    matches = _matches(wanted, _local(session))
    if not matches:
        matches = _matches(wanted, ((bytes.fromhex(e.object_id), e.name) for e in catalogue(session, note=False)))
    if not matches:
        raise ObjectMissingError(f"there is no object {wanted!r} in this vault: list shows what there is")
    if len(matches) > 1:
        ids = ", ".join(sorted(one.hex() for one in matches))
        raise UsageError(f"{len(matches)} objects are called {wanted!r}: give the id of one ({ids})")
    return matches.pop()


def _local(session: Session) -> Iterable[tuple[bytes, str | None]]:
    for object_id in session.state.objects():
        named = _named(session, object_id)
        yield object_id, None if named is None else named.name


def _matches(wanted: str, names: Iterable[tuple[bytes, str | None]]) -> set[bytes]:
    prefix = wanted.lower() if len(wanted) >= _SHORTEST else None
    return {one for one, name in names if name == wanted or (prefix is not None and one.hex().startswith(prefix))}
