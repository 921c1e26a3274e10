"""`put`: a file becomes a version of an object, complete or not at all; and what is left of puts that did not end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from blake3 import blake3

from medveil.crypto.prg import SYSTEM
from medveil.errors import ConflictError, InputError, MedveilError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read_any
from medveil.imaging.roi import ROI
from medveil.schemes.sealed import FileSource, Manifest, Sealable, seal
from medveil.schemes.sealed.folder import IN_MEMORY
from medveil.schemes.sealed.format import OBJECT_ID_SIZE
from medveil.vault.claims import ATTEMPT, claim
from medveil.vault.freshness import current
from medveil.vault.head import CatalogueEntry, Head, content_hash, pack_head, read_head, seal_entry
from medveil.vault.keys import object_key, study_key, study_name, study_token
from medveil.vault.naming import head_name, share_name
from medveil.vault.placement import place
from medveil.vault.reading import name_of
from medveil.vault.reports import PutReport
from medveil.vault.search.attributes import Described, describe
from medveil.vault.session import Session, locked
from medveil.vault.spool import SpoolFolder, SpoolWriter
from medveil.vault.state import Attempt
from medveil.vault.survey import survey
from medveil.vault.uploading import Placed, clear, degraded, finish, remove

Progress = Callable[[int, int], None]
Input = Path | str | bytes | MedicalImage | OpaqueFile

_PIECE: Final = 1 << 20
_FIRST: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class _Job:
    source: Sealable
    name: str
    media_type: str
    size: int
    ledger: bytes
    roi: ROI
    described: Described


def put(
    session: Session,
    given: Input,
    *,
    name: str | None = None,
    object_id: bytes | None = None,
    base: int | None = None,
    roi: ROI = (),
    again: bool = False,
    takeover: bool = False,
    progress: Progress | None = None,
) -> PutReport:
    """Store a file as a new object, or as the next version of `object_id`.

    name: what to call it; by default an object keeps its name, and a new one has the file's.
    base: the version that the new one replaces; another current version is a conflict. again: store it although the
    same file under the same name was put before. takeover: pass over the claim of a writer on another machine that
    is known to be dead.
    """
    if name is None and object_id is not None:
        name = name_of(session, object_id)
    job = _prepare(session, given, name, roi)
    if object_id is None and not again:
        known = _known(session, job)
        if known is not None:
            return _noted(session, job, known)
    resumed = _resume(session, job, object_id, progress)
    if resumed is not None:
        return _noted(session, job, resumed)
    attempt = SYSTEM.bytes(ATTEMPT)
    with ExitStack() as stack:
        stack.enter_context(locked(session.upload_lock(attempt), "this upload"))
        identity, version, previous = object_id or SYSTEM.bytes(OBJECT_ID_SIZE), 1, _FIRST
        if object_id is not None:
            stack.enter_context(session.lock(identity))
        session.state.begin(attempt, identity, version, job.ledger)
        folder = SpoolFolder(session.spool, attempt)
        try:
            if object_id is not None:
                version, previous = _next_version(session, identity, base, attempt, takeover=takeover)
                session.state.claimed(attempt, version)
            head = _seal(session, job, folder, identity, version, previous, progress)
        except (MedveilError, OSError):
            folder.remove()
            session.state.abandon(attempt, ())
            _unlock(session, attempt)
            raise
        session.state.advance(attempt, "uploading", head)
        done, placed = finish(session, Attempt(attempt, identity, version, job.ledger, "uploading", head))
        _unlock(session, attempt)
    return _noted(session, job, _report(job.name, job.size, done, placed, resumed=False))


def _noted(session: Session, job: _Job, report: PutReport) -> PutReport:
    """Enter what was put into its study's list, and queue it for the search index where there is one."""
    object_id = bytes.fromhex(report.object_id)
    members = session.members
    if members is not None and not members.ledger.is_member(object_id, report.version):
        epoch = _epoch_of(session, object_id)
        members.note(object_id, report.version, epoch, report.size, job.described, job.name)
    if session.indexing is not None:
        session.indexing.note(object_id, report.version, report.size, job.described)
    return report


def _epoch_of(session: Session, object_id: bytes) -> int:
    """Return the epoch under which an object's newest version was put: a rotation may have begun meanwhile."""
    known = session.state.known(object_id)
    return session.epoch if known is None else Manifest.verify(known.manifest, session.public).epoch


def _prepare(session: Session, given: Input, name: str | None, roi: ROI) -> _Job:
    """Look at the input once: what it is, and its keyed digest."""
    key = session.owner().derive("vault ledger", session.dataset)
    source: Sealable
    if isinstance(given, str | Path):
        path = Path(given)
        digest, size = _digest_file(key, path)
        source = read_any(path) if size <= IN_MEMORY else FileSource(path)
        called, media_type = path.name, source.media_type
        described = describe(path, name or called)
        if isinstance(source, MedicalImage | OpaqueFile) and len(source.original or b"") != size:
            raise InputError(f"{path} changed while it was being read: try again when it is at rest")
    elif isinstance(given, bytes | bytearray | memoryview):
        data = bytes(given)
        digest, size = blake3(data, key=key).digest(), len(data)
        source, called = read_any(data, name=name or ""), ""
        media_type = source.media_type
        described = describe(data, name or "")
    elif isinstance(given, MedicalImage | OpaqueFile):
        source, called, media_type = given, given.name, given.media_type
        digest, size = _digest_image(key, given)
        described = describe(given.original, name or called)
    else:
        raise InputError(f"a {type(given).__name__} cannot be put: give a path, an image or bytes")
    called = called if name is None else name
    ledger = blake3(digest + called.encode("utf-8", "surrogateescape") + b"\0" + repr(roi).encode(), key=key).digest()
    return _Job(source, called, media_type, size, ledger, roi, described)


def _digest_file(key: bytes, path: Path) -> tuple[bytes, int]:
    hasher = blake3(key=key)
    size = 0
    try:
        if not path.is_file():
            raise InputError(f"{path} is no regular file: give one")
        with path.open("rb") as handle:
            while piece := handle.read(_PIECE):
                hasher.update(piece)
                size += len(piece)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    return hasher.digest(), size


def _digest_image(key: bytes, image: MedicalImage | OpaqueFile) -> tuple[bytes, int]:
    if image.original is not None:
        return blake3(image.original, key=key).digest(), len(image.original)
    pixels = np.ascontiguousarray(image.pixels)
    described = f"{pixels.dtype.str} {pixels.shape} {image.bits_stored} {image.photometric}".encode()
    return blake3(described, key=key).update(pixels.view(np.uint8).data).digest(), pixels.nbytes


def _known(session: Session, job: _Job) -> PutReport | None:
    """Return the report of an earlier put of the same file, or None."""
    stored = session.state.stored(job.ledger)
    if stored is None:
        return None
    object_id, version = stored
    parts, _ = session.state.places(object_id, version)
    return PutReport(
        object_id=object_id.hex(),
        version=version,
        name=job.name,
        size=job.size,
        stored_bytes=0,
        places={part: store for part, (store, _) in parts.items()},
        skipped=True,
    )


def _resume(session: Session, job: _Job, object_id: bytes | None, progress: Progress | None) -> PutReport | None:
    """Go on with an upload of the same file that a dead process left, or return None.

    Other uploads of the same object that were left are ended first: their claims would stand in the way.
    """
    resumed = None
    for entry in session.state.attempts():
        same = entry.ledger == job.ledger and object_id in (None, entry.object_id)
        if same or entry.object_id == object_id:
            ended = _end(session, entry, progress)
            if ended is not None and same:
                resumed = _report(job.name, job.size, *ended, resumed=True)
    return resumed


def _next_version(
    session: Session, object_id: bytes, base: int | None, attempt: bytes, *, takeover: bool
) -> tuple[int, bytes]:
    """Return number and previous digest of the version to write. Raises ConflictError, and as `current`."""
    found = survey(session, object_id)
    before = current(session, found).version.manifest
    if base is not None and base != before.version:
        raise ConflictError(
            f"object {object_id.hex()} is at version {before.version} and not {base}: look at it and put again"
        )
    known = session.state.known(object_id)
    highest = max(found.highest, 0 if known is None else known.highest)
    stores = place(object_id, session.fleet.providers, session.n)
    number = claim(session, object_id, highest + 1, attempt, stores, takeover=takeover)
    return number, before.digest


def _seal(
    session: Session,
    job: _Job,
    folder: SpoolFolder,
    object_id: bytes,
    version: int,
    previous: bytes,
    progress: Progress | None,
) -> bytes:
    """Seal into the spool; returns the head."""
    epoch, owner = session.epoch, session.owner()
    token = study_token(owner, session.dataset, study_name(job.described.study_uid, object_id))
    with SpoolWriter(folder, range(1, session.n + 1)) as spool:
        record = seal(
            job.source,
            list(spool.sinks.values()),
            owner=session.owner(),
            options=session.options,
            roi=job.roi,
            dataset=session.dataset,
            object_id=object_id,
            version=version,
            epoch=epoch,
            previous=previous,
            key=object_key(study_key(owner, session.dataset, epoch, token), object_id, version),
            progress=progress,
        )
    entry = CatalogueEntry(job.name, job.media_type, job.size, int(time.time()))
    catalogue = seal_entry(entry, record.parsed, session.owner())
    return pack_head(record.manifest, record.envelopes, catalogue)


def _report(name: str, size: int, head: Head, placed: Placed, *, resumed: bool) -> PutReport:
    manifest = head.manifest
    return PutReport(
        object_id=manifest.object_id.hex(),
        version=manifest.version,
        name=name,
        size=size,
        stored_bytes=len(placed.parts) * manifest.layout.size + len(placed.heads) * len(head.data),
        places={part: store for part, (store, _) in sorted(placed.parts.items())},
        findings=degraded(manifest, placed),
        resumed=resumed,
    )


# ---------------------------------------------------------------------------------------------- what others left


def recover(session: Session) -> int:
    """End every upload that a dead process left, and remove what earlier ones could not; returns how many ended.

    A finished spool is uploaded; an unfinished one is cleared away. Uploads of living processes are left alone.
    """
    ended = 0
    for entry in session.state.attempts():
        try:
            ended += _end(session, entry, None) is not None
        except (MedveilError, OSError):
            continue  # it ended, and what could not be removed is queued
    _sweep_spool(session)
    garbage = set(session.state.garbage())
    if garbage:
        session.state.swept(remove(session, garbage))
    return ended


def _sweep_spool(session: Session) -> None:
    """Remove spool folders and lock files of dead processes that the journal does not know."""
    busy = {entry.attempt.hex() for entry in session.state.attempts()}
    locks = session.upload_lock(b"").parent.glob("upload-*")
    left = {path.name.removeprefix("upload-") for path in locks}
    left |= {path.name for path in session.spool.iterdir()} if session.spool.is_dir() else set()
    for name in sorted(left - busy):
        with suppress(ConflictError, ValueError), session.spooling(bytes.fromhex(name)):
            pass  # leaving it removes both; a living process holds the lock


def _end(session: Session, entry: Attempt, progress: Progress | None) -> tuple[Head, Placed] | None:
    """Finish or clear an attempt; returns what was committed, or None where it was not, or is still at work."""
    lock = session.upload_lock(entry.attempt)
    folder = SpoolFolder(session.spool, entry.attempt)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock, "this upload"))
            if entry.version > 1:
                stack.enter_context(session.lock(entry.object_id))
        except ConflictError:
            return None
        if entry.attempt not in {one.attempt for one in session.state.attempts()}:
            return None  # it ended meanwhile
        head = None if entry.stage == "sealing" else _spooled(session, entry, folder)
        if head is None:
            clear(session, entry, _everything(session, entry))
            folder.remove()
            _unlock(session, entry.attempt)
            return None
        done = finish(session, entry, progress=progress)
        _unlock(session, entry.attempt)
        return done


def _spooled(session: Session, entry: Attempt, folder: SpoolFolder) -> Head | None:
    """Return the head of an attempt whose spool is intact."""
    head = read_head(entry.head, content_hash(entry.head), session.public)
    return head if folder.intact(head.manifest) else None


def _everything(session: Session, entry: Attempt) -> Placed:
    """Return what an attempt may have written, for clearing it away."""
    from medveil.vault.head import content_hash, read_head

    if entry.stage == "sealing":
        return Placed()
    head = read_head(entry.head, content_hash(entry.head), session.public)
    names = [share_name(session.dataset, entry.object_id, root) for root in head.manifest.share_roots]
    names.append(head_name(session.dataset, entry.object_id, entry.version, head.content))
    return Placed(tried={(store, name) for store in session.fleet.stores for name in names})


def _unlock(session: Session, attempt: bytes) -> None:
    """Remove the lock file of an attempt that is over; its number is never used again."""
    session.upload_lock(attempt).unlink(missing_ok=True)
