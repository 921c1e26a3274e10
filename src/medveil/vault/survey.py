"""What the stores say about one object, with every manifest verified: the basis of all reading and repair.

A store's word is taken for nothing but its own fault. Manifests count when the owner signed them, shares when they
lead to a signed root. A listing may be stale in both directions, so what one store lists is asked of all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from medveil.errors import (
    FormatError,
    LimitError,
    MedveilError,
    NotAuthenticError,
    ObjectMissingError,
    WrongKeyError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed import Manifest
from medveil.stores.base import Store
from medveil.vault.head import MAX_HEAD, Head, read_head
from medveil.vault.naming import Holdings, object_prefix, sort_names
from medveil.vault.session import Session

MAX_NAMES: Final = 20_000
"""Names of one object that are read from one store's listing; more is a store that floods its reader."""
NEWEST: Final = 24
"""Heads that are read of one store, newest first, unless all are asked for."""
ALL: Final = 4096

HeadKey = tuple[int, bytes]


@dataclass(slots=True, eq=False)
class Version:
    """One verified version and the stores whose copies of its head are intact (store -> name)."""

    manifest: Manifest
    heads: list[Head] = field(default_factory=list)  # distinct ones, most copies first
    stores: dict[str, str] = field(default_factory=dict)

    @property
    def envelopes(self) -> tuple[bytes, ...]:
        """Every envelope in any copy."""
        return tuple(dict.fromkeys(one for head in self.heads for one in head.envelopes))

    @property
    def catalogues(self) -> tuple[bytes, ...]:
        """Every catalogue record in any copy."""
        return tuple(dict.fromkeys(head.catalogue for head in self.heads))


@dataclass(slots=True, eq=False)
class Survey:
    """One object as the stores show it.

    holdings: by store that answered. down: by store that did not. versions: by (number, digest).
    """

    object_id: bytes
    holdings: dict[str, Holdings]
    down: dict[str, MedveilError]
    versions: dict[tuple[int, bytes], Version] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    bad_heads: list[tuple[str, str]] = field(default_factory=list)  # (store, name) of what is no head of ours
    highest: int = 0  # version number of any manifest of the owner's, finished or not

    def note(self, kind: FindingKind, message: str, store: str, part: int | None = None) -> None:
        """Add a finding about a store, once."""
        finding = Finding(kind, message, part=part, place=store)
        if finding not in self.findings:
            self.findings.append(finding)


def take_listing(session: Session, object_id: bytes) -> tuple[dict[str, Holdings], dict[str, MedveilError]]:
    """List one object at every store in parallel."""
    prefix = object_prefix(session.dataset, object_id)

    def job(store: Store) -> Holdings:
        names = tuple(islice(store.list(prefix), MAX_NAMES + 1))
        if len(names) > MAX_NAMES:
            raise LimitError(f"store {store.name} lists more than {MAX_NAMES} names of one object")
        return sort_names(names).get(object_id, Holdings())

    return split(session.fleet.each(job))


def split(outcomes: Mapping[str, object]) -> tuple[dict[str, Holdings], dict[str, MedveilError]]:
    """Part the outcomes of a listing into those that succeeded and those that did not."""
    holdings: dict[str, Holdings] = {}
    down: dict[str, MedveilError] = {}
    for name, outcome in outcomes.items():
        error = outcome.error  # type: ignore[attr-defined]
        if error is None:
            holdings[name] = outcome.value  # type: ignore[attr-defined]
        else:
            down[name] = error
    return holdings, down


def survey(
    session: Session,
    object_id: bytes,
    *,
    every: bool = False,
    listing: tuple[dict[str, Holdings], dict[str, MedveilError]] | None = None,
) -> Survey:
    """Find out which versions of an object there are, and read the heads of the newest, or of all with `every`.

    listing: the stores' listings where they were taken already.
    """
    holdings, down = take_listing(session, object_id) if listing is None else listing
    found = Survey(object_id, dict(holdings), dict(down))
    for name, error in down.items():
        found.note(FindingKind.UNREACHABLE, f"store {name} could not be asked: {error}", name)
    per_store = ALL if every else NEWEST
    names: dict[HeadKey, str] = {}
    for held in found.holdings.values():
        for key in sorted(held.heads, reverse=True)[:per_store]:
            names[key] = held.heads[key]
    known = session.state.known(object_id)
    for number in sorted({version for version, _ in names}, reverse=True):
        _read_all(session, found, {key: name for key, name in names.items() if key[0] == number})
        if not every and any(version == number for version, _ in found.versions):
            break
    if not found.versions and known is not None:
        _try_known(session, found, known.version)
    return found


def read_version(session: Session, found: Survey, number: int) -> None:
    """Read the heads of one version number that were not read yet."""
    keys = {key: name for held in found.holdings.values() for key, name in held.heads.items() if key[0] == number}
    _read_all(session, found, keys)


def _try_known(session: Session, found: Survey, version: int) -> None:
    """Where no listing shows any head, ask for those that were written here by their names."""
    _, heads = session.state.places(found.object_id, version)
    for name in set(heads.values()):
        for key in sort_names([name]).get(found.object_id, Holdings()).heads:
            _read_all(session, found, {key: name})


def _read_all(session: Session, found: Survey, names: Mapping[HeadKey, str]) -> None:
    """Read these heads at every store that answers, verify them, and sort them in."""
    done = {(store, name) for version in found.versions.values() for store, name in version.stores.items()}
    work = {
        (store, key): _reader(session.fleet.stores[store], name)
        for key, name in names.items()
        for store in found.holdings
        if (store, name) not in done
    }
    parsed: dict[tuple[bytes, bytes], Head | MedveilError] = {}
    for (store, key), outcome in session.fleet.ask(work).items():
        listed = key in found.holdings[store].heads
        if not outcome.ok:
            _note_unread(found, store, names[key], outcome.error, listed=listed)
            continue
        head = _parse(session, found, outcome.value, key, parsed)
        if isinstance(head, Head):
            if not listed:
                found.note(FindingKind.STALE, f"store {store} does not list a manifest that it holds", store)
                found.holdings[store].heads[key] = names[key]
            _enter(found, head, store, names[key])
        else:
            kind = FindingKind.FOREIGN if isinstance(head, WrongKeyError) else FindingKind.TAMPER
            found.note(kind, f"store {store} holds a manifest that is not authentic: {head}", store)
            found.bad_heads.append((store, names[key]))


def _reader(store: Store, name: str) -> Callable[[], bytes]:
    return lambda: store.get(name, limit=MAX_HEAD)


def _note_unread(found: Survey, store: str, name: str, error: MedveilError | None, *, listed: bool) -> None:
    if isinstance(error, ObjectMissingError):
        if listed:
            found.note(FindingKind.STALE, f"store {store} lists a manifest that it does not hold", store)
            for key in [key for key, held in found.holdings[store].heads.items() if held == name]:
                del found.holdings[store].heads[key]
        return
    if isinstance(error, LimitError):
        found.note(FindingKind.TAMPER, f"store {store} holds a manifest that is larger than any", store)
        found.bad_heads.append((store, name))
        return
    found.note(FindingKind.UNREACHABLE, f"store {store} did not give a manifest: {error}", store)


def _parse(
    session: Session, found: Survey, data: bytes, key: HeadKey, parsed: dict[tuple[bytes, bytes], Head | MedveilError]
) -> Head | MedveilError:
    """Read a head, each distinct one once."""
    memo = (data, key[1])
    if memo not in parsed:
        try:
            head = read_head(data, key[1], session.public)
            manifest = head.manifest
            if (manifest.dataset, manifest.object_id) != (session.dataset, found.object_id):
                raise WrongKeyError("it is of another object or dataset")
            if manifest.version != key[0] or manifest.version >= 1 << 63:
                raise FormatError("its name says another version than its content")
            parsed[memo] = head
        except (NotAuthenticError, LimitError) as error:
            parsed[memo] = error
    return parsed[memo]


def _enter(found: Survey, head: Head, store: str, name: str) -> None:
    manifest = head.manifest
    version = found.versions.setdefault((manifest.version, manifest.digest), Version(manifest))
    if all(head.content != other.content for other in version.heads):
        version.heads.append(head)
    version.stores.setdefault(store, name)
    found.highest = max(found.highest, manifest.version)


def newest_listed(held: Holdings) -> int:
    """Return the highest version number that a store lists; 0 where it lists none."""
    return max((number for number, _ in held.heads), default=0)


def numbers(versions: Iterable[tuple[int, bytes]]) -> list[int]:
    """Return version numbers, newest first, each as often as there are digests of it."""
    return sorted((number for number, _ in versions), reverse=True)
