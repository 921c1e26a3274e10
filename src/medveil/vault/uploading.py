"""An attempt's way from the spool to the stores, and the rule for when a version exists.

1. Every part goes to its store, all in parallel; where one fails, to another store whose provider has no part yet.
   With fewer than k parts in place the attempt ends: what was written is removed, and nothing was ever visible.
2. The head (manifest, envelopes, catalogue record) goes to every store that was chosen. A version is committed once
   its head lies on k stores that answer for it. With fewer, heads and parts are removed again.
3. The stores are listed once more: parts and heads that were only said to be written count as failed, and another
   manifest of the same version, which claims make impossible as long as a majority of stores is honest, wins: its
   writer may have ended long ago. Two that see each other both give way, so that nothing is ever forked.
4. One transaction of the local state ends the journal entry. What is missing of n is queued for repair.

A reader takes a version as existing when its head lies on k stores or k of its parts are there. Parts come first, so
a process that dies between two writes leaves nothing, or something complete that the next run finishes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from medveil.crypto.prg import SYSTEM
from medveil.errors import (
    ConflictError,
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed import Manifest
from medveil.stores.base import Store
from medveil.vault.head import Head, content_hash, read_head
from medveil.vault.naming import ATTEMPT_SIZE, head_name, object_prefix, share_name, sort_names
from medveil.vault.placement import place, spares
from medveil.vault.session import Session
from medveil.vault.spool import FilePieces, SpoolFolder
from medveil.vault.state import Attempt
from medveil.vault.survey import survey

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Placed:
    """Where an attempt's parts and heads are, and what went wrong: store -> error."""

    parts: dict[int, tuple[str, str]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)
    failed: dict[str, MedveilError] = field(default_factory=dict)
    tried: set[tuple[str, str]] = field(default_factory=set)


def finish(session: Session, attempt: Attempt, *, progress: Progress | None = None) -> tuple[Head, Placed]:
    """Upload a sealed attempt and commit it.

    Raises StoreFullError or StoreUnavailableError where fewer than k stores took it, ConflictError where another
    writer was first; then nothing of it is left but what could not be removed, which is queued.
    """
    head = read_head(attempt.head, content_hash(attempt.head), session.public)
    folder = SpoolFolder(session.spool, attempt.attempt)
    placed = Placed()
    try:
        _place_parts(session, head.manifest, folder, placed, progress)
        session.state.advance(attempt.attempt, "committing", attempt.head)
        _place_heads(session, head, placed)
        _confirm(session, head, placed)
    except (StoreError, ConflictError):
        clear(session, attempt, placed)
        folder.remove()
        raise
    chosen = place(head.manifest.object_id, session.fleet.providers, head.manifest.n)
    whole = {store for store, _ in placed.parts.values()} & set(placed.heads)
    missing = set(chosen) - whole if len(whole) < head.manifest.n else set()
    session.state.commit(
        attempt,
        head.manifest.digest,
        head.catalogue,
        head.manifest.data,
        placed.parts,
        placed.heads,
        missing,
    )
    folder.remove()
    return head, placed


def degraded(manifest: Manifest, placed: Placed) -> tuple[Finding, ...]:
    """Return a finding for each part and each copy of the manifest that no store took."""
    found = []
    reasons = "; ".join(f"{store}: {error}" for store, error in sorted(placed.failed.items()))
    for part in range(1, manifest.n + 1):
        if part not in placed.parts:
            message = f"part {part} is in no store yet ({reasons or 'no store was left for it'}): repair is queued"
            found.append(Finding(FindingKind.DEGRADED, message, part=part))
    for store, _ in placed.parts.values():
        if store not in placed.heads:
            message = f"store {store} has no copy of the manifest yet: repair is queued"
            found.append(Finding(FindingKind.DEGRADED, message, place=store))
    return tuple(found)


def _place_parts(
    session: Session, manifest: Manifest, folder: SpoolFolder, placed: Placed, progress: Progress | None
) -> None:
    providers = session.fleet.providers
    size, total = manifest.layout.size, manifest.layout.size * manifest.n
    where = dict(enumerate(place(manifest.object_id, providers, manifest.n), start=1))
    while where:
        work = {(part, store): _sender(session, manifest, part, store, folder, placed) for part, store in where.items()}
        for (part, store), outcome in session.fleet.ask(work, deadline=session.fleet.allowance(size)).items():
            if outcome.ok:
                placed.parts[part] = (store, outcome.value)
            else:
                placed.failed[store] = outcome.error or StoreUnavailableError("no answer")
        if progress is not None:
            progress(size * len(placed.parts), total)
        where = _next_places(session, manifest, placed)
    if len(placed.parts) < manifest.k:
        raise _too_few(f"{len(placed.parts)} parts", manifest, placed)


def _next_places(session: Session, manifest: Manifest, placed: Placed) -> dict[int, str]:
    """Choose another store for each part that found none."""
    used = [store for store, _ in placed.parts.values()]
    chosen: dict[int, str] = {}
    for part in range(1, manifest.n + 1):
        if part not in placed.parts:
            left = spares(
                manifest.object_id, session.fleet.providers, [*used, *chosen.values()], frozenset(placed.failed)
            )
            if not left:
                break
            chosen[part] = left[0]
    return chosen


def _sender(
    session: Session, manifest: Manifest, part: int, store: str, folder: SpoolFolder, placed: Placed
) -> Callable[[], str]:
    name = share_name(session.dataset, manifest.object_id, manifest.share_roots[part - 1])
    target = session.fleet.stores[store]
    placed.tried.add((store, name))

    def send() -> str:
        return send_share(session, manifest, part, target, FilePieces(folder.part(part)), name, placed.tried)

    return send


def send_share(
    session: Session,
    manifest: Manifest,
    part: int,
    store: Store,
    pieces: FilePieces,
    name: str,
    tried: set[tuple[str, str]],
) -> str:
    """Put a part under `name`, or under a new name where that is taken by other bytes; returns the name.

    A name that is taken by an object of the right size is left for the checks that read it: the same part may have
    arrived earlier.
    """
    try:
        store.put(name, pieces, size=pieces.size)
    except ObjectExistsError:
        if store.size(name) == pieces.size:
            return name
        other = share_name(
            session.dataset, manifest.object_id, manifest.share_roots[part - 1], SYSTEM.bytes(ATTEMPT_SIZE)
        )
        tried.add((store.name, other))
        store.put(other, pieces, size=pieces.size)
        return other
    return name


def _place_heads(session: Session, head: Head, placed: Placed) -> None:
    manifest = head.manifest
    name = head_name(session.dataset, manifest.object_id, manifest.version, head.content)
    chosen = {store for store, _ in placed.parts.values()}
    chosen |= set(place(manifest.object_id, session.fleet.providers, manifest.n)) - set(placed.failed)
    placed.tried |= {(store, name) for store in chosen}

    def job(store: Store) -> None:
        try:
            store.put(name, head.data)
        except ObjectExistsError:  # sent before the process died, or by an attempt whose answer was lost
            if store.size(name) != len(head.data):
                raise

    for store, outcome in session.fleet.each(job, only=sorted(chosen)).items():
        if outcome.ok:
            placed.heads[store] = name
        else:
            placed.failed[store] = outcome.error or StoreUnavailableError("no answer")
    if len(placed.heads) < manifest.k:
        raise _too_few(f"{len(placed.heads)} copies of the manifest", manifest, placed)


def _confirm(session: Session, head: Head, placed: Placed) -> None:
    """List every store that took something, drop what is not there after all, and look for rivals."""
    manifest = head.manifest
    prefix = object_prefix(session.dataset, manifest.object_id)
    stores = sorted({store for store, _ in placed.parts.values()} | set(placed.heads))
    listings = session.fleet.each(lambda store: frozenset(store.list(prefix)), only=stores)
    rivals: set[bytes] = set()
    for store, outcome in listings.items():
        names = outcome.value if outcome.ok else frozenset()
        for number, content in sort_names(names)[manifest.object_id].heads if names else ():
            if number == manifest.version and content != head.content:
                rivals.add(content)
        size = manifest.layout.size
        mine = {part: name for part, (where, name) in placed.parts.items() if where == store}
        for part, name in mine.items():
            if not _there(session, store, name, size):
                placed.failed[store] = StoreError(f"store {store} took part {part} and does not hold it")
                del placed.parts[part]
        if store in placed.heads and not (
            placed.heads[store] in names or _there(session, store, placed.heads[store], len(head.data))
        ):
            placed.failed[store] = StoreError(f"store {store} took the manifest and does not hold it")
            del placed.heads[store]
    if min(len(placed.parts), len(placed.heads)) < manifest.k:
        raise _too_few(f"{min(len(placed.parts), len(placed.heads))} complete copies", manifest, placed)
    if rivals:
        _settle(session, manifest)


def _there(session: Session, store: str, name: str, size: int) -> bool:
    source = session.fleet.stores[store]
    outcome = session.fleet.ask({name: lambda: source.size(name)})[name]
    return outcome.ok and outcome.value == size


def _settle(session: Session, manifest: Manifest) -> None:
    """Give way to another manifest of the same version that the owner signed. Raises ConflictError."""
    found = survey(session, manifest.object_id, every=True)
    digests = {digest for number, digest in found.versions if number == manifest.version}
    if digests - {manifest.digest}:
        raise ConflictError(
            f"another writer has written version {manifest.version} of object {manifest.object_id.hex()} at the same "
            "time: look at it and put again"
        )


def _too_few(what: str, manifest: Manifest, placed: Placed) -> StoreError:
    reasons = "; ".join(f"{store}: {error}" for store, error in sorted(placed.failed.items()))
    message = f"only {what} of the {manifest.k} needed could be stored, so nothing was ({reasons})"
    full = placed.failed and all(isinstance(error, StoreFullError) for error in placed.failed.values())
    return StoreFullError(message) if full else StoreUnavailableError(message)


def clear(session: Session, attempt: Attempt, placed: Placed) -> None:
    """Remove what an attempt wrote, heads first, and queue what may be left or may yet arrive."""
    uncertain = {(store, name) for store, name in placed.tried if store in placed.failed}
    heads = {(store, name) for store, name in placed.tried if "/h-" in name}
    left = set(uncertain)
    for group in (heads, placed.tried - heads):
        gone = remove(session, group)
        left |= group - gone
    session.state.abandon(attempt.attempt, left)


def remove(session: Session, names: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Delete objects, in parallel; returns those (store, name) that are gone."""

    def job(store: str, name: str) -> Callable[[], None]:
        target = session.fleet.stores[store]

        def work() -> None:
            try:
                target.delete(name)
            except ObjectMissingError:
                return

        return work

    work = {(store, name): job(store, name) for store, name in names if store in session.fleet.stores}
    return {key for key, outcome in session.fleet.ask(work).items() if outcome.ok}
