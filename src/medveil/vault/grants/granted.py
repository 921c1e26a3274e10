"""The recipient's side: what was granted, found and read with the recipient's own key, against the same clouds.

A recipient's machine keeps a state of its own: the newest serial of its grants, the newest versions that it saw, the
latest time. It searches in the records of its grants, which hold what each study says of itself: the index is not
asked, so a recipient's search shows nothing to anybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerPublic
from medveil.errors import (
    ConfigError,
    LimitError,
    NotAuthenticError,
    PolicyError,
    RollbackError,
    StaleError,
    UsageError,
    WrongKeyError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.bundle import new_file
from medveil.vault.config import VaultConfig
from medveil.vault.fleet import Fleet
from medveil.vault.freshness import current, remember
from medveil.vault.grants import places
from medveil.vault.grants.grants import SKEW, check_times
from medveil.vault.grants.recipients import read_invitation
from medveil.vault.grants.records import GrantedObject, GrantRecord, StudyGrant, open_record, read_record
from medveil.vault.keys import object_key
from medveil.vault.reading import open_version
from medveil.vault.reports import GetReport
from medveil.vault.search.building import K1, impact
from medveil.vault.search.query import parse_query
from medveil.vault.search.reports import Hit, Instance, SearchReport, Study
from medveil.vault.search.terms import stems
from medveil.vault.session import Session
from medveil.vault.state import State
from medveil.vault.survey import survey

Progress = Callable[[int, int], None]

_ROLE: Final = b"recipient"


class GrantedVault:
    """A vault as one recipient sees it. A context manager; `close` lets go of the stores."""

    def __init__(self, session: Session, key: RecipientPrivateKey, language: str) -> None:
        self._session = session
        self._key = key
        self._language = language
        self.findings: tuple[Finding, ...] = ()

    @classmethod
    def join(
        cls,
        config: VaultConfig,
        fleet: Fleet,
        invitation: bytes,
        key: RecipientPrivateKey,
        fingerprint: str,
    ) -> GrantedVault:
        """Begin on this machine. fingerprint: the owner's, compared over another channel.

        Raises PolicyError where the fingerprint or the invitation's owner is another, WrongKeyError where it is for
        another recipient, ConfigError where the configuration is of another dataset, OutputExistsError.
        """
        invited = read_invitation(invitation, fingerprint, key.public)
        if invited.label != config.dataset:
            raise ConfigError(f"the invitation is to dataset {invited.label!r}: write that into the configuration")
        meta = {
            "dataset": invited.dataset,
            "label": invited.label.encode(),
            "owner": invited.owner.to_bytes(),
            "role": _ROLE,
            "recipient": key.public.key_id,
        }
        return cls._of(config, fleet, State.create(config.state, meta), key)

    @classmethod
    def open(cls, config: VaultConfig, fleet: Fleet, key: RecipientPrivateKey) -> GrantedVault:
        """Open a vault that was joined here. Raises ConfigError, WrongKeyError for another recipient's key."""
        state = State(config.state)
        if state.meta("recipient") != key.public.key_id:
            raise WrongKeyError("this key is not the one that the vault was joined with: use its recipient's key file")
        return cls._of(config, fleet, state, key)

    @classmethod
    def _of(cls, config: VaultConfig, fleet: Fleet, state: State, key: RecipientPrivateKey) -> GrantedVault:
        session = Session(
            dataset=state.meta("dataset"),
            fleet=fleet,
            state=state,
            public=OwnerPublic.from_bytes(state.meta("owner")),
            key=None,
            k=config.k,
            n=config.n,
            mode=config.mode,
            codec=config.codec,
            orphan_age=config.orphan_age,
        )
        return cls(session, key, "english" if config.search is None else config.search.language)

    # ---------------------------------------------------------------------------------------------------- grants

    def grants(self, *, now: float | None = None) -> dict[bytes, StudyGrant]:
        """Read the grants that are in force, by study token; `findings` says what was wrong with the stores.

        Raises RollbackError where the stores show less than this machine has seen, PolicyError where its clock went
        back, StaleError where too few stores answered to know.
        """
        clock = self._now(now)
        findings: list[Finding] = []
        records = self._records(findings)
        newest = max(records, default=0)
        seen, live = self._session.state.grants_seen()
        if newest < seen:
            if any(one.kind is FindingKind.UNREACHABLE for one in findings):
                raise StaleError("the stores within reach show older grants than were seen here: try again later")
            raise RollbackError("the stores show older grants than were seen here: ask the owner to rotate")
        if newest:
            live = records[newest].live
            self._session.state.see_grants(newest, live)
        for serial in live:
            if serial not in records:
                findings.append(
                    Finding(FindingKind.MISSING, f"grant record {serial} is in force and no store gives it")
                )
        held: dict[bytes, StudyGrant] = {}
        for serial in sorted(set(live) & set(records)):
            for study in open_record(records[serial], self._key):
                held[study.study] = study
        self.findings = tuple(dict.fromkeys(findings))
        return {token: study for token, study in held.items() if _in_force(study, clock)}

    def _records(self, findings: list[Finding]) -> dict[int, GrantRecord]:
        session = self._session
        recipient = self._key.public.key_id
        listings, down = places.listed(session.fleet, places.grants_prefix(session.dataset, recipient))
        for store, error in down.items():
            findings.append(Finding(FindingKind.UNREACHABLE, f"store {store} could not be asked: {error}", place=store))
        names = sorted({name for held in listings.values() for name in held})
        records: dict[int, GrantRecord] = {}
        for name in names:
            parsed = places.parse_grant_name(name)
            if parsed is None:
                continue
            serial, content = parsed
            stores = [store for store, held in listings.items() if name in held]
            record = self._record(name, content, stores, findings)
            if record is not None and record.serial == serial:
                records[serial] = record
        return records

    def _record(self, name: str, content: bytes, stores: Sequence[str], findings: list[Finding]) -> GrantRecord | None:
        """Return a record from the first store that gives the right one, and note what is wrong with the others."""
        session = self._session
        for store in stores:
            for _, data in places.copies(session.fleet, name, [store]):
                if not isinstance(data, bytes):
                    message = f"store {store} gives no grant: {data}"
                    findings.append(Finding(FindingKind.UNREACHABLE, message, place=store))
                    continue
                try:
                    return read_record(data, content, session.public, session.dataset, self._key.public.key_id)
                except (NotAuthenticError, LimitError) as error:
                    message = f"store {store} holds a grant that is not authentic: {error}"
                    findings.append(Finding(FindingKind.TAMPER, message, place=store))
        return None

    def _now(self, now: float | None) -> float:
        clock = time.time() if now is None else now
        latest = self._session.state.tick(int(clock))
        if clock < latest - SKEW:
            raise PolicyError("this machine's clock went back: set it right before grants are judged by it")
        return clock

    # --------------------------------------------------------------------------------------------------- reading

    def list(self, *, now: float | None = None) -> tuple[Study, ...]:
        """Return the studies that are granted, with their files."""
        return tuple(_study(one) for one in self.grants(now=now).values())

    def search(self, query: str, *, limit: int = 100, offset: int = 0, now: float | None = None) -> SearchReport:
        """Find studies among those that are granted, by the query language of `Vault.search`; asks no index."""
        parsed = parse_query(query)
        parsed.days()
        studies = self.list(now=now)
        counted = {study.key: stems(_words(study), self._language) for study in studies}
        asked = list(stems(" ".join(parsed.words), self._language))
        mean = sum(sum(one.values()) for one in counted.values()) / max(1, len(counted))
        hits = []
        for study in studies:
            counts = counted[study.key]
            instances = [one.attributes for one in study.instances]
            merged = study.attributes | {
                "SeriesInstanceUID": [str(one.get("SeriesInstanceUID", "")) for one in instances],
                "SOPInstanceUID": [str(one.get("SOPInstanceUID", "")) for one in instances],
            }
            if not parsed.match(merged) or not all(counts[word] for word in asked):
                continue
            score = 0.0
            for word in asked:
                having = sum(1 for other in counted.values() if other[word])
                weight = math.log(1 + (len(studies) - having + 0.5) / (having + 0.5))
                score += weight * (K1 + 1) * impact(counts[word], sum(counts.values()), mean) / 255
            hits.append(Hit(score, replace(study, instances=())))
        hits.sort(key=lambda hit: (-hit.score, _backwards(str(hit.study.attributes.get("StudyDate", "")))))
        limit = limit if parsed.limit is None else parsed.limit
        offset = offset if parsed.offset is None else parsed.offset
        return SearchReport(tuple(hits[offset : offset + limit]), len(hits), True, 0, self.findings)  # noqa: FBT003

    def get(
        self,
        object: str,  # noqa: A002
        out: Path | str,
        *,
        force: bool = False,
        now: float | None = None,
        progress: Progress | None = None,
    ) -> GetReport:
        """Write a granted object's exact bytes to a new file, verified, complete or not at all.

        object: its id, the beginning of one, or the SOP Instance UID. Raises PolicyError where it is not granted (now),
        and as `Vault.get`.
        """
        study, wanted = self._find(object, now)
        session = self._session
        with new_file(Path(out), force=force) as working, working.open("wb") as handle:
            found = survey(session, wanted.object_id)
            chosen = current(session, found)
            manifest = chosen.version.manifest
            sealed = self._object_key(study, wanted, manifest.version, manifest.epoch)
            opened, shares = open_version(
                session, found, chosen.version, cast(BinaryIO, handle), sealed=sealed, progress=progress
            )
            remember(session, chosen)
            size = handle.tell()
        findings = tuple(dict.fromkeys([*found.findings, *chosen.findings, *shares.findings, *opened.findings]))
        return GetReport(
            object_id=wanted.object_id.hex(),
            version=manifest.version,
            name=str(wanted.attributes.get("name", "")) or None,
            media_type=None,
            path=Path(out),
            size=size,
            exact=not opened.lost,
            findings=findings,
            tamper_map=opened.tamper_map,
        )

    def _find(self, given: str, now: float | None) -> tuple[StudyGrant, GrantedObject]:
        text = given.lower()
        found = [
            (study, one)
            for study in self.grants(now=now).values()
            for one in study.objects
            if given == one.attributes.get("SOPInstanceUID")
            or (len(text) >= 6 and one.object_id.hex().startswith(text))
        ]
        if not found:
            raise PolicyError(
                "no object of that id is granted, or its grant has expired: see what is with vault shared"
            )
        if len({one.object_id for _, one in found}) > 1:
            raise UsageError(f"{len(found)} granted objects begin with {given!r}: give more of the id")
        return found[0]

    def _object_key(self, study: StudyGrant, wanted: GrantedObject, version: int, epoch: int) -> bytes:
        if wanted.key and (version, epoch) == (wanted.version, wanted.epoch):
            return wanted.key
        if epoch not in study.keys:
            raise PolicyError(
                "the current version was put under keys that this grant does not hold: ask the owner for them"
            )
        return object_key(study.keys[epoch], wanted.object_id, version)

    def close(self) -> None:
        """Let go of the stores."""
        self._session.fleet.close()

    def __enter__(self) -> GrantedVault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"GrantedVault({self._key.public.key_id.hex()})"


def _in_force(study: StudyGrant, clock: float) -> bool:
    try:
        check_times(study.not_before, study.expires, clock)
    except PolicyError:
        return False
    return True


def _study(grant: StudyGrant) -> Study:
    instances = tuple(Instance(one.object_id.hex(), one.version, one.size, one.attributes) for one in grant.objects)
    attributes = dict(grant.attributes)
    attributes["ModalitiesInStudy"] = _distinct(instances, "Modality")
    attributes["BodyPartExamined"] = _distinct(instances, "BodyPartExamined")
    return Study(grant.study.hex(), attributes, instances)


def _distinct(instances: Sequence[Instance], keyword: str) -> list[str]:
    values = (str(one.attributes.get(keyword, "")) for one in instances)
    return [one for one in dict.fromkeys(values) if one]


def _words(study: Study) -> str:
    said = [str(study.attributes.get("StudyDescription", ""))]
    said += dict.fromkeys(str(one.attributes.get("SeriesDescription", "")) for one in study.instances)
    if not study.attributes.get("StudyInstanceUID"):
        said.append(Path(str(study.attributes.get("name", ""))).stem)
    return "\n".join(said)


def _backwards(date: str) -> str:
    """Return a key that sorts dates newest first."""
    return "".join(chr(0x39 - ord(one) + 0x30) if one.isdigit() else one for one in date) or "~"
