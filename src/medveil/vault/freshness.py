"""Which version is the current one, and whether the stores may be showing an old one.

The newest version whose manifest the owner signed is current, unless this machine has seen a newer one. What was seen
is in the local state; without it (first sight of an object) the stores are believed and a finding says so.

- A newer version must be reached from the known one through the hashes of previous manifests, else the history
  forked (ForkError). Two manifests of one version are a fork as well.
- Where only older versions are offered and some store did not answer, that may be honest (StaleError); where all
  answered, it is a rollback (RollbackError). Going back needs `accept_rollback`, which the owner signs.
- A version that too few stores have, in manifests and in parts, was never finished: it is passed over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from medveil.crypto import canonical
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import (
    ForkError,
    FormatError,
    NotAuthenticError,
    ObjectMissingError,
    RollbackError,
    StaleError,
    StoreUnavailableError,
    UnrecoverableError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.vault.session import Session
from medveil.vault.state import Known
from medveil.vault.survey import Survey, Version, newest_listed, read_version, survey

_DOMAIN: Final = "vault rollback acceptance"
_FIELDS: Final[dict[str, type]] = {
    "v": int, "dataset": bytes, "object": bytes, "version": int, "digest": bytes, "instead": int, "time": int,
}  # fmt: skip
_MAX_CHAIN: Final = 4096


@dataclass(frozen=True, slots=True)
class Current:
    """The version that counts, and what was noticed in finding it."""

    version: Version
    findings: tuple[Finding, ...]


def current(session: Session, found: Survey) -> Current:
    """Return the current version of an object.

    Raises ForkError, RollbackError, StaleError; UnrecoverableError where an object that was seen before is gone
    from every store, StoreUnavailableError where too few answered to say, ObjectMissingError where there is none.
    """
    findings: list[Finding] = []
    known = session.state.known(found.object_id)
    top = _newest(session, found, known, findings)
    if top is None:
        raise _nothing(found, known)
    if known is None:
        message = "this machine sees the object for the first time: that it is the newest version cannot be checked"
        findings.append(Finding(FindingKind.UNVERIFIED, message))
    else:
        findings += _compare(session, found, top, known)
    findings += _stale_stores(session, found, top)
    return Current(top, tuple(findings))


def _newest(session: Session, found: Survey, known: Known | None, findings: list[Finding]) -> Version | None:
    """Return the newest finished version among those that were offered. Raises ForkError for two of one number."""
    while True:
        if not found.versions:
            return None
        number = max(version for version, _ in found.versions)
        rivals = [version for (one, _), version in found.versions.items() if one == number]
        finished = [one for one in rivals if _finished(one, found, known)]
        accepted = [one for one in rivals if session.state.accepted(found.object_id, number, one.manifest.digest)]
        if len(rivals) > 1 and accepted and known is not None:
            return next((one for one in accepted if one.manifest.digest == known.digest), accepted[0])
        if len(rivals) > 1 and (len(finished) > 1 or (known is not None and known.version == number)):
            raise ForkError(
                f"there are {len(rivals)} different manifests of version {number} of object {found.object_id.hex()}, "
                "all signed by the owner: two writers did not know of each other; keep one by accept_rollback"
            )
        if finished:
            return finished[0]
        findings.append(
            Finding(FindingKind.UNVERIFIED, f"version {number} was begun and never finished: it is passed over")
        )
        for key in [key for key in found.versions if key[0] == number]:
            del found.versions[key]
        for held in found.holdings.values():
            for key in [key for key in held.heads if key[0] == number]:
                del held.heads[key]
        lower = max((newest_listed(held) for held in found.holdings.values()), default=0)
        while lower and not found.versions:
            read_version(session, found, lower)
            lower = max((key[0] for held in found.holdings.values() for key in held.heads if key[0] < lower), default=0)


def _finished(version: Version, found: Survey, known: Known | None) -> bool:
    """Whether a version was committed: k manifests, or k shares within reach, or seen here before."""
    manifest = version.manifest
    if known is not None and (known.version, known.digest) == (manifest.version, manifest.digest):
        return True
    if len(version.stores) >= manifest.k:
        return True
    held = sum(any(root in h.shares for h in found.holdings.values()) for root in manifest.share_roots)
    return held >= manifest.k


def _nothing(found: Survey, known: Known | None) -> Exception:
    name = found.object_id.hex()
    down = ", ".join(sorted(found.down))
    if known is None and not found.down:
        return ObjectMissingError(f"there is no object {name} in this vault: list shows what there is")
    unreachable = bool(found.down) or any(f.kind is FindingKind.UNREACHABLE for f in found.findings)
    if unreachable:
        return StoreUnavailableError(
            f"no manifest of object {name} is within reach ({down or 'some stores'} did not answer): try again later",
        )
    return UnrecoverableError(
        f"object {name} was here in version {known.version if known else 0}, and every store has lost or deleted its "
        "manifests: restore a store from its backup"
    )


def _compare(session: Session, found: Survey, top: Version, known: Known) -> list[Finding]:
    """Compare the newest version offered with the newest one seen."""
    manifest = top.manifest
    name = found.object_id.hex()
    if manifest.version < known.version:
        if found.down:
            raise StaleError(
                f"only version {manifest.version} of object {name} is within reach and version {known.version} was "
                f"seen here; {', '.join(sorted(found.down))} did not answer: try again when they do"
            )
        raise RollbackError(
            f"every store offers version {manifest.version} of object {name} at most, and version {known.version} was "
            "seen here: the stores went back together; if that is what you want, sign it with accept_rollback"
        )
    if manifest.version == known.version:
        if manifest.digest != known.digest:
            raise ForkError(
                f"the stores offer another version {known.version} of object {name} than the one seen here, also "
                "signed by the owner: two histories exist; keep one by accept_rollback"
            )
        return []
    return _chain(session, found, top, known)


def _chain(session: Session, found: Survey, top: Version, known: Known) -> list[Finding]:
    """Follow the hashes of previous manifests from the newest version down to the one that was seen."""
    previous = top.manifest.previous
    number = top.manifest.version
    for _ in range(_MAX_CHAIN):
        if previous == known.digest:
            return []
        below = max((key[0] for held in found.holdings.values() for key in held.heads if key[0] < number), default=0)
        link = None
        while below >= known.version and link is None:
            read_version(session, found, below)
            link = next((v for v in found.versions.values() if v.manifest.digest == previous), None)
            below = max((key[0] for held in found.holdings.values() for key in held.heads if key[0] < below), default=0)
        if link is None or link.manifest.version <= known.version:
            break
        number, previous = link.manifest.version, link.manifest.previous
    seen_link = (known.version, known.digest) in found.versions
    if link is not None or seen_link:
        raise ForkError(
            f"version {top.manifest.version} of object {found.object_id.hex()} does not descend from version "
            f"{known.version} that was seen here: two histories exist; keep one by accept_rollback"
        )
    message = f"manifests between version {known.version} and {top.manifest.version} are gone: descent is not proved"
    return [Finding(FindingKind.UNVERIFIED, message)]


def _stale_stores(session: Session, found: Survey, top: Version) -> list[Finding]:
    """Name each store that should have the current manifest and offers an older one, or none."""
    findings = []
    number = top.manifest.version
    _, heads = session.state.places(found.object_id, number)
    queued = {store for one, version, store in session.state.repairs() if (one, version) == (found.object_id, number)}
    for store, held in found.holdings.items():
        if store in top.stores:
            continue
        newest = newest_listed(held)
        if store in queued:
            message = f"store {store} lacks version {number}, which it could not take: repair is queued"
            findings.append(Finding(FindingKind.DEGRADED, message, place=store))
        elif 0 < newest < number:
            message = f"store {store} offers version {newest} as the newest, and it is {number}"
            findings.append(Finding(FindingKind.STALE, message, place=store))
        elif newest == 0 and store in heads:
            findings.append(
                Finding(FindingKind.MISSING, f"store {store} has lost its copy of the manifest", place=store)
            )
    return findings


def remember(session: Session, chosen: Current) -> None:
    """Note in the local state that a version was seen, after it was found good."""
    version = chosen.version
    manifest = version.manifest
    session.state.see(manifest.object_id, manifest.version, manifest.digest, version.heads[0].catalogue, manifest.data)


# ------------------------------------------------------------------------------------------------------- acceptances


def accept_rollback(session: Session, object_id: bytes, version: int | None = None) -> bytes:
    """Sign that an older version (the newest offered by default) is to be the current one, and go back to it.

    Returns the signed statement, which other machines of the owner apply with `apply_acceptance`.
    Raises ObjectMissingError where that version is not offered, WrongKeyError without the owner's key.
    """
    owner = session.owner()
    found = survey(session, object_id, every=True)
    offered = [v for v in found.versions.values() if version is None or v.manifest.version == version]
    if not offered:
        raise ObjectMissingError(f"no store offers that version of object {object_id.hex()}: see versions")
    chosen = max(offered, key=lambda v: (v.manifest.version, len(v.stores), v.manifest.digest))
    known = session.state.known(object_id)
    manifest = chosen.manifest
    body = canonical.encode(
        {
            "v": 1,
            "dataset": session.dataset,
            "object": object_id,
            "version": manifest.version,
            "digest": manifest.digest,
            "instead": 0 if known is None else known.highest,
            "time": int(time.time()),
        }
    )
    statement = body + owner.signing.sign(_DOMAIN, body)
    session.state.accept(
        object_id, manifest.version, manifest.digest, chosen.heads[0].catalogue, manifest.data, statement
    )
    return statement


def apply_acceptance(session: Session, statement: bytes) -> bytes:
    """Go back to the version that a signed statement names; returns the object id.

    Raises TamperedError where the owner did not sign it, FormatError, ObjectMissingError where no store offers it.
    """
    if len(statement) <= SIGNATURE_SIZE:
        raise FormatError("this is no acceptance of a rollback: it is too short")
    body, signature = statement[:-SIGNATURE_SIZE], statement[-SIGNATURE_SIZE:]
    session.public.verifying.verify(_DOMAIN, body, signature)
    record = canonical.decode(body)
    if not isinstance(record, dict) or set(record) != set(_FIELDS) or record["v"] != 1:
        raise FormatError("this is no acceptance of a rollback of a known version")
    if not all(type(record[name]) is kind for name, kind in _FIELDS.items()) or record["dataset"] != session.dataset:
        raise FormatError("the acceptance is for another dataset or malformed")
    found = survey(session, record["object"], every=True)
    chosen = found.versions.get((record["version"], record["digest"]))
    if chosen is None:
        raise ObjectMissingError("no store offers the version that was accepted: see versions")
    known = session.state.known(record["object"])
    if known is not None and known.highest > max(record["instead"], record["version"]):
        raise NotAuthenticError("the acceptance is older than what this machine has seen since: sign a new one")
    session.state.accept(
        record["object"],
        record["version"],
        record["digest"],
        chosen.heads[0].catalogue,
        chosen.manifest.data,
        statement,
    )
    return bytes(record["object"])
