"""`repair`: what is missing or damaged is made again from the rest, without a key, and put where it belongs.

A rebuilt part is byte for byte the one that was signed, or it is not written. It goes to the store that should have
it; where that store still shows damaged bytes under the plain name, under a new name, and the damaged object is
removed afterwards. Where the store cannot be reached, another store takes the part, provided that its operator has
none of this version. Copies of the manifest are put back the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from medveil.crypto.prg import SYSTEM
from medveil.errors import ObjectExistsError, StoreError, UnrecoverableError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed import Manifest, SupportsWrite, check_shares, rebuild
from medveil.stores.base import Store
from medveil.vault.claims import ATTEMPT
from medveil.vault.freshness import current, remember
from medveil.vault.naming import ATTEMPT_SIZE, head_name, share_name
from medveil.vault.placement import spares
from medveil.vault.readers import Shares, StoreShare, expected_places, find_shares, with_places
from medveil.vault.reports import ObjectReport
from medveil.vault.session import Session
from medveil.vault.spool import FilePieces, SpoolFolder, SpoolWriter
from medveil.vault.survey import Survey, Version, survey
from medveil.vault.uploading import remove

_DAMAGE = frozenset(
    {FindingKind.TAMPER, FindingKind.TRUNCATED, FindingKind.FOREIGN, FindingKind.STALE, FindingKind.SWAPPED,
     FindingKind.MISSING, FindingKind.UNREACHABLE, FindingKind.LOST}
)  # fmt: skip


@dataclass(slots=True)
class _Work:
    """One version being repaired."""

    session: Session
    found: Survey
    version: Version
    shares: Shares
    findings: list[Finding] = field(default_factory=list)
    places: dict[int, tuple[str, str]] = field(default_factory=dict)  # part -> (store, name) of what is good
    bad: set[tuple[str, str]] = field(default_factory=set)
    repaired: int = 0

    @property
    def manifest(self) -> Manifest:
        return self.version.manifest


def repair(session: Session, object_id: bytes, *, deep: bool = True) -> ObjectReport:
    """Repair every version of an object that stores still have.

    deep: read all parts and check them; else only put back what is not there.
    Raises as `current` where no version can be chosen, ConflictError where a writer is at work on the object.
    """
    with session.lock(object_id):
        found = survey(session, object_id, every=True)
        chosen = current(session, found)
        findings: list[Finding] = [*found.findings, *chosen.findings]
        repaired = 0
        for version in sorted(found.versions.values(), key=lambda one: -one.manifest.version):
            work = _Work(session, found, version, find_shares(session, found, version))
            try:
                _repair_parts(work, deep=deep)
                _repair_heads(work)
            except (UnrecoverableError, StoreError) as error:
                work.findings.append(Finding(FindingKind.LOST, f"version {version.manifest.version}: {error}"))
            _settle(work)
            findings += work.findings
            repaired += work.repaired
        _remove_bad_heads(session, found, findings)
        remember(session, chosen)
    return ObjectReport(
        object_id=object_id.hex(),
        version=chosen.version.manifest.version,
        findings=tuple(dict.fromkeys(findings)),
        repaired=repaired,
    )


def _repair_parts(work: _Work, *, deep: bool) -> None:
    manifest, shares = work.manifest, work.shares
    work.findings += shares.findings
    bad: set[int] = set()
    if deep:
        checked = check_shares(manifest, shares.as_readers(), expected=())
        bad = {f.part for f in checked if f.part is not None and f.kind in _DAMAGE}
        work.findings += with_places(checked, shares)
    for part, reader in shares.readers.items():
        if part in bad:
            work.bad.add((reader.store, reader.name))
        else:
            work.places[part] = (reader.store, reader.name)
    wanted = [part for part in range(1, manifest.n + 1) if part not in work.places]
    targets = _targets(work, wanted)
    if targets:
        _rebuild(work, targets)
    for part in wanted:
        if part not in work.places:
            message = f"part {part} has no place: no store of a provider without a part can be reached"
            work.findings.append(Finding(FindingKind.DEGRADED, message, part=part))


def _targets(work: _Work, wanted: list[int]) -> dict[int, str]:
    """Choose the store of each part that is to be made again: its own, or a spare one."""
    session, manifest = work.session, work.manifest
    expected = expected_places(session, manifest)
    providers = session.fleet.providers
    failed = frozenset(work.found.down)
    targets: dict[int, str] = {}
    for part in wanted:
        used = [store for store, _ in work.places.values()] + list(targets.values())
        taken = {providers[store] for store in used}
        own = expected.get(part)
        if own is not None and own not in failed and providers[own] not in taken:
            targets[part] = own
            continue
        left = spares(manifest.object_id, providers, used, failed)
        if left:
            targets[part] = left[0]
    return targets


def _rebuild(work: _Work, targets: dict[int, str]) -> None:
    session, manifest = work.session, work.manifest
    with session.spooling(SYSTEM.bytes(ATTEMPT)) as folder:
        with SpoolWriter(folder, iter(sorted(targets))) as spool:
            sinks: dict[int, SupportsWrite] = dict(spool.sinks)
            rebuild(manifest, work.shares.as_readers(), sinks)
        sends = {part: _sender(work, folder, part, store) for part, store in targets.items()}
        allowed = session.fleet.allowance(manifest.layout.size)
        for part, outcome in session.fleet.ask(sends, deadline=allowed).items():
            store = targets[part]
            if outcome.ok:
                work.places[part] = (store, outcome.value)
                work.repaired += 1
                message = f"share {part} was made again and is at store {store}"
                work.findings.append(Finding(FindingKind.REPAIRED, message, part=part, place=store))
            else:
                message = f"share {part} could not be written to store {store}: {outcome.error}"
                work.findings.append(Finding(FindingKind.DEGRADED, message, part=part, place=store))


def _sender(work: _Work, folder: SpoolFolder, part: int, store: str) -> Callable[[], str]:
    session, manifest = work.session, work.manifest
    root = manifest.share_roots[part - 1]
    plain = share_name(session.dataset, manifest.object_id, root)
    other = share_name(session.dataset, manifest.object_id, root, SYSTEM.bytes(ATTEMPT_SIZE))
    target = session.fleet.stores[store]
    pieces = FilePieces(folder.part(part))
    taken = (store, plain) in work.bad

    def send() -> str:
        for name in (other,) if taken else (plain, other):
            try:
                target.put(name, pieces, size=pieces.size)
            except ObjectExistsError:
                work.bad.add((store, name))  # not listed, or not readable: something else holds the name
                continue
            return name
        raise StoreError(f"store {store} shows both names of part {part} as taken")

    return send


def _repair_heads(work: _Work) -> None:
    """Put the head back at every store that has a good part of the version and no good copy of it."""
    session, manifest = work.session, work.manifest
    head = work.version.heads[0]
    name = head_name(session.dataset, manifest.object_id, manifest.version, head.content)
    lacking = sorted({store for store, _ in work.places.values()} - set(work.version.stores))
    damaged = {place for place in work.found.bad_heads if place[1] == name and place[0] in lacking}
    remove(session, damaged)  # its bytes do not match its name; other stores have the head

    def job(store: Store) -> None:
        try:
            store.put(name, head.data)
        except ObjectExistsError:
            if store.get(name, limit=2 * len(head.data)) != head.data:
                raise

    for store, outcome in session.fleet.each(job, only=lacking).items():
        if outcome.ok:
            work.version.stores[store] = name
            work.repaired += 1
            message = f"the manifest of version {manifest.version} was put back at store {store}"
            work.findings.append(Finding(FindingKind.REPAIRED, message, place=store))
        else:
            message = f"the manifest could not be written to store {store}: {outcome.error}"
            work.findings.append(Finding(FindingKind.DEGRADED, message, place=store))


def _settle(work: _Work) -> None:
    """Remove damaged and surplus copies once good ones are in place, and bring the local state up to date."""
    session, manifest = work.session, work.manifest
    good = set(work.places.values())
    replaced = {place for place in work.bad if place not in good} if len(work.places) == manifest.n else set()
    replaced |= {
        (copy.store, copy.name) for part, copies in work.shares.spare.items() for copy in _surplus(work, part, copies)
    } - good
    session.state.add_garbage(replaced - remove(session, replaced))
    parts, heads = dict(work.places), dict(work.version.stores)
    if len(parts) < manifest.n:  # a store that is away for now may still have what it took
        known_parts, known_heads = session.state.places(manifest.object_id, manifest.version)
        parts = {part: one for part, one in known_parts.items() if one[0] in work.found.down} | parts
        heads = {store: name for store, name in known_heads.items() if store in work.found.down} | heads
    session.state.placed(manifest.object_id, manifest.version, parts, heads)
    held = {store for store, _ in work.places.values()} & set(work.version.stores)
    expected = set(expected_places(session, manifest).values())
    missing = expected - held if len(work.places) < manifest.n or len(held) < manifest.n else set()
    session.state.set_repairs(manifest.object_id, manifest.version, missing)


def _surplus(work: _Work, part: int, copies: list[StoreShare]) -> list[StoreShare]:
    """Return copies of a part that has a good place: a second copy would put two parts at one provider in time."""
    return copies if part in work.places else []


def _remove_bad_heads(session: Session, found: Survey, findings: list[Finding]) -> None:
    """Remove what stands under a head's name and is none, unless its name was put right meanwhile."""
    good = {(store, name) for version in found.versions.values() for store, name in version.stores.items()}
    bad = {place for place in found.bad_heads if place not in good}
    for store, _ in sorted(remove(session, bad)):
        message = f"store {store} showed a manifest that is not authentic: it was removed"
        findings.append(Finding(FindingKind.REPAIRED, message, place=store))
