"""`scrub`: every part of every version is read and checked against its signed root, without any key.

Found are: bit rot, silent deletion, listings that do not tell what is there, manifests that are not authentic, stores
that went back, and objects that belong to nothing. The last are removed only when asked for and only after they were
seen for `orphan_age` seconds: they may be an upload of another machine that is still on its way.

A scrub that is interrupted goes on with the next object when it is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from medveil.errors import MedveilError, ObjectMissingError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed import check_shares
from medveil.vault.freshness import current, remember
from medveil.vault.naming import objects_prefix
from medveil.vault.readers import find_shares, with_places
from medveil.vault.reading import Listings, as_finding, list_stores, listing_of, objects_in
from medveil.vault.reports import ObjectReport, ScrubReport
from medveil.vault.session import Session
from medveil.vault.survey import Survey, survey
from medveil.vault.uploading import remove

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Scrub:
    session: Session
    rate: float | None
    prune: bool
    now: float
    began: float = field(default_factory=time.monotonic)
    read: int = 0
    versions: int = 0
    removed: int = 0
    orphans: list[tuple[str, str]] = field(default_factory=list)

    def tick(self, count: int) -> None:
        """Count bytes that were read, and hold back where that is faster than the rate."""
        self.read += count
        if self.rate:
            ahead = self.read / self.rate - (time.monotonic() - self.began)
            if ahead > 0:
                time.sleep(ahead)


def scrub(
    session: Session,
    *,
    rate: float | None = None,
    prune: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    now: float | None = None,
) -> ScrubReport:
    """Check everything; see the module. rate: bytes per second at most. prune: remove orphans that are old enough.

    restart: begin anew although an earlier scrub was interrupted. progress(done, total) counts objects.
    """
    listings, down = list_stores(session)
    every = objects_in(session, listings)
    cursor = b"" if restart else session.state.scrub_cursor()
    work = _Scrub(session, rate, prune, time.time() if now is None else now)
    findings = [
        Finding(FindingKind.UNREACHABLE, f"store {name} could not be asked: {error}", place=name)
        for name, error in sorted(down.items())
    ]
    reports = []
    for number, object_id in enumerate(every, start=1):
        if object_id > cursor:
            report = _one(work, listings, down, object_id)
            if report is not None:
                reports.append(report)
            session.state.set_scrub_cursor(object_id)
        if progress is not None:
            progress(number, len(every))
    _strays(work, listings, frozenset(every))
    session.state.set_scrub_cursor(b"")
    return ScrubReport(
        objects=tuple(reports),
        versions=work.versions,
        bytes_read=work.read,
        findings=tuple(dict.fromkeys([*findings, *(f for one in reports for f in one.findings)])),
        orphans=tuple(work.orphans),
        removed=work.removed,
        resumed=bool(cursor),
    )


def _one(work: _Scrub, listings: Listings, down: dict[str, MedveilError], object_id: bytes) -> ObjectReport | None:
    """Check every version of one object."""
    session = work.session
    found = survey(session, object_id, every=True, listing=listing_of(listings, down, object_id))
    found.findings[:] = [f for f in found.findings if f.place not in down]  # said once, not for each object
    roots = {root for version in found.versions.values() for root in version.manifest.share_roots}
    findings: list[Finding] = []
    error: MedveilError | None = None
    number = None
    try:
        chosen = current(session, found)
        number = chosen.version.manifest.version
        findings += [f for f in chosen.findings if f.kind is not FindingKind.UNVERIFIED]
        remember(session, chosen)
    except ObjectMissingError:
        return None
    except MedveilError as refused:
        error = refused
        findings.append(as_finding(refused))
    for version in list(found.versions.values()):
        work.versions += 1
        manifest = version.manifest
        shares = find_shares(session, found, version, work.tick)
        checked = check_shares(manifest, shares.as_readers(), expected=())
        findings += [*shares.findings, *with_places(checked, shares)]
        if len(shares.readers) < manifest.k:
            message = f"version {manifest.version} has {len(shares.readers)} parts within reach of {manifest.k} needed"
            findings.append(Finding(FindingKind.LOST, message))
    _orphans(work, found, roots)
    return ObjectReport(
        object_id=object_id.hex(),
        version=number,
        findings=tuple(dict.fromkeys([*found.findings, *findings])),
        error=error,
    )


def _orphans(work: _Scrub, found: Survey, roots: set[bytes]) -> None:
    """Look for parts that no manifest names. Claims stay: a freed one could be won twice."""
    session = work.session
    busy = {(one.object_id, one.version) for one in session.state.attempts()}
    if any(object_id == found.object_id for object_id, _ in busy):
        return
    for store, held in sorted(found.holdings.items()):
        strays = [name for root, names in held.shares.items() if root not in roots for name in names]
        strays += held.foreign
        for name in strays:
            _orphan(work, store, name)


def _strays(work: _Scrub, listings: Listings, known: frozenset[bytes]) -> None:
    """Look for objects of which no store has any manifest: uploads that never ended."""
    busy = {one.object_id for one in work.session.state.attempts()}
    for store, held in sorted(listings.items()):
        for object_id, names in sorted(held.items()):
            if object_id not in known and object_id not in busy:
                shares = [name for one in names.shares.values() for name in one]
                for name in [*shares, *names.foreign]:
                    _orphan(work, store, name)


def _orphan(work: _Scrub, store: str, name: str) -> None:
    """Note an orphan; remove it where asked and where it was seen long enough."""
    session = work.session
    age = session.state.orphan(store, name, work.now)
    work.orphans.append((store, name))
    due = work.prune and age >= session.orphan_age and name.startswith(objects_prefix(session.dataset))
    if due and (store, name) in remove(session, {(store, name)}):
        session.state.forget_orphan(store, name)
        work.removed += 1
