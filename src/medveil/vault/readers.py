"""Shares in stores as the sealed format reads them: in pieces, read ahead in parallel, with deadlines.

A share is read in blocks of 1 MiB. While one block is worked on the next is on its way, at all stores at once, so
memory stays at a few blocks a share whatever the object's size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from medveil.errors import MedveilError, ObjectMissingError, StoreError, StoreUnavailableError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed import Manifest, ShareReader
from medveil.schemes.sealed.format import share_root
from medveil.stores.base import Store
from medveil.vault.fleet import Call, Fleet
from medveil.vault.naming import share_name
from medveil.vault.placement import place
from medveil.vault.session import Session
from medveil.vault.survey import Survey, Version

BLOCK: Final = 1 << 20
"""Bytes of one read from a store."""

_HASH: Final = 32
_KEPT: Final = 3


class StoreShare:
    """One share in one store as a `ShareReader`. `read` raises StoreError; after a failure every read does.

    size: bytes of the object, as the store says. tick: told the number of bytes of each read from the store.
    """

    def __init__(
        self, fleet: Fleet, store: Store, name: str, size: int, tick: Callable[[int], None] | None = None
    ) -> None:
        self.store = store.name
        self.name = name
        self.size = size
        self._fleet = fleet
        self._source = store
        self._tick = tick
        self._blocks: dict[int, bytes] = {}
        self._ahead: dict[int, Call[bytes]] = {}
        self._last = -1
        self._failure: StoreError | None = None

    def read(self, offset: int, length: int, /) -> bytes:
        """Return bytes of the share; fewer only at its end."""
        if self._failure is not None:
            raise self._failure
        end = min(self.size, offset + length)
        out = bytearray()
        while offset < end:
            block = self._block(offset // BLOCK)
            start = offset % BLOCK
            piece = block[start : start + end - offset]
            if len(piece) == end - offset and not out:
                return piece
            if not piece:
                break
            out += piece
            offset += len(piece)
        return bytes(out)

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            return self._blocks[number]
        call = self._ahead.pop(number, None) or self._begin(number)
        if number == self._last + 1 and (number + 1) * BLOCK < self.size and number + 1 not in self._ahead:
            self._ahead[number + 1] = self._begin(number + 1)
        allowed = self._fleet.allowance(BLOCK)
        outcome = call.outcome(time.monotonic() + allowed, allowed)
        try:
            block = outcome.value
        except StoreError as error:
            self._failure = error
            raise
        except MedveilError as error:
            self._failure = StoreUnavailableError(f"store {self.store}: {error}", transient=False)
            raise self._failure from None
        if self._tick is not None:
            self._tick(len(block))
        self._blocks[number] = block
        while len(self._blocks) > _KEPT:
            del self._blocks[next(iter(self._blocks))]
        self._last = number
        return block

    def _begin(self, number: int) -> Call[bytes]:
        count = min(BLOCK, self.size - number * BLOCK)
        source, name = self._source, self.name
        return self._fleet.begin(lambda: source.get(name, offset=number * BLOCK, length=count, limit=BLOCK))


@dataclass(slots=True, eq=False)
class Shares:
    """The shares of one version that were found: part -> reader, and what is wrong with the rest.

    extra: (store, name) of copies that are not needed. answered: stores that could be asked.
    """

    readers: dict[int, StoreShare] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    spare: dict[int, list[StoreShare]] = field(default_factory=dict)

    def as_readers(self) -> dict[int, ShareReader]:
        """Return what the sealed format takes."""
        return dict(self.readers)

    def store_of(self, part: int | None) -> str | None:
        """Return the store whose copy of a part is used."""
        reader = self.readers.get(part) if part is not None else None
        return None if reader is None else reader.store


def find_shares(session: Session, found: Survey, version: Version, tick: Callable[[int], None] | None = None) -> Shares:
    """Find every share of a version, wherever it lies, by the hash in its name.

    Where a listing lacks a share, its store is asked for it by name before it is called missing.
    """
    manifest = version.manifest
    shares = Shares()
    listed = _listed(session, found, manifest)
    expected = expected_places(session, manifest)
    sizes = session.fleet.ask({where: _sizer(session, *where[1:]) for where in listed})
    lost: dict[int, list[tuple[str, MedveilError]]] = {}
    for (part, store, name), outcome in sizes.items():
        if outcome.ok:
            reader = StoreShare(session.fleet, session.fleet.stores[store], name, outcome.value, tick)
            shares.spare.setdefault(part, []).append(reader)
            if part not in expected or not _listed_at(found, store, name):
                shares.findings.append(
                    Finding(
                        FindingKind.STALE,
                        f"store {store} does not list share {part}, which it holds",
                        part,
                        place=store,
                    )
                )
        else:
            lost.setdefault(part, []).append((store, outcome.error or StoreUnavailableError("no answer")))
    for part in range(1, manifest.n + 1):
        copies = shares.spare.pop(part, [])
        if copies:
            best = _best(manifest, part, copies)
            shares.readers[part] = best
            shares.spare[part] = [copy for copy in copies if copy is not best]
        else:
            shares.findings.append(_missing(part, expected.get(part), found, lost.get(part, [])))
    return shares


def expected_places(session: Session, manifest: Manifest) -> dict[int, str]:
    """Return part -> store where each part should be: as remembered, else as the placement rule says."""
    known, _ = session.state.places(manifest.object_id, manifest.version)
    stores = place(manifest.object_id, session.fleet.providers, manifest.n)
    expected = dict(enumerate(stores, start=1))
    expected.update({part: store for part, (store, _) in known.items() if store in session.fleet.stores})
    return expected


def _listed(session: Session, found: Survey, manifest: Manifest) -> dict[tuple[int, str, str], None]:
    """Return (part, store, name) of every copy that is listed, and of those that are not listed but should be."""
    wanted: dict[tuple[int, str, str], None] = {}
    expected = expected_places(session, manifest)
    known, _ = session.state.places(manifest.object_id, manifest.version)
    for part, root in enumerate(manifest.share_roots, start=1):
        for store, held in found.holdings.items():
            for name in held.shares.get(root, ()):
                wanted[part, store, name] = None
        if not any(place[0] == part for place in wanted):
            plain = share_name(session.dataset, manifest.object_id, root)
            store = expected.get(part, "")
            if store in found.holdings:
                wanted[part, store, known[part][1] if part in known and known[part][0] == store else plain] = None
    return wanted


def _listed_at(found: Survey, store: str, name: str) -> bool:
    return any(name in names for names in found.holdings[store].shares.values())


def _sizer(session: Session, store: str, name: str) -> Callable[[], int]:
    source = session.fleet.stores[store]
    return lambda: source.size(name)


def _best(manifest: Manifest, part: int, copies: list[StoreShare]) -> StoreShare:
    """Choose among several copies of a share the first that is whole and whose leaf list leads to the manifest."""
    if len(copies) == 1:
        return copies[0]
    copies.sort(key=lambda copy: (copy.size != manifest.layout.size, -len(copy.name), copy.store))
    for copy in copies:
        try:
            leaves = copy.read(manifest.layout.leaves, _HASH * (manifest.layout.count + 1))
        except StoreError:
            continue
        if (
            share_root([leaves[at : at + _HASH] for at in range(0, len(leaves), _HASH)])
            == manifest.share_roots[part - 1]
        ):
            return copy
    return copies[0]


def _missing(part: int, store: str | None, found: Survey, errors: list[tuple[str, MedveilError]]) -> Finding:
    for name, error in errors:
        if not isinstance(error, ObjectMissingError):
            return Finding(
                FindingKind.UNREACHABLE,
                f"share {part} at store {name} could not be asked for: {error}",
                part,
                place=name,
            )
    if store is not None and store in found.down:
        return Finding(
            FindingKind.UNREACHABLE, f"share {part} is at store {store}, which did not answer", part, place=store
        )
    where = f" at store {store}, where it belongs" if store else ""
    return Finding(FindingKind.MISSING, f"share {part} is not there{where}", part, place=store)


def with_places(findings: Mapping[int, Finding] | tuple[Finding, ...], shares: Shares) -> tuple[Finding, ...]:
    """Return findings of the sealed format with the store of each part as their place."""
    placed = []
    for finding in findings.values() if isinstance(findings, Mapping) else findings:
        store = shares.store_of(finding.part)
        message = finding.message if store is None else f"{finding.message} (store {store})"
        placed.append(Finding(finding.kind, message, finding.part, finding.chunk, store or finding.place))
    return tuple(placed)
