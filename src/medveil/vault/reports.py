"""What the vault's verbs return: plain data, findings, and where things are. Object ids are hex text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medveil.errors import MedveilError
from medveil.schemes.base import Finding, TamperMap


@dataclass(frozen=True, slots=True, kw_only=True)
class PutReport:
    """One file that was put.

    stored_bytes: in all stores together. places: part -> store. skipped: the same file was there already.
    resumed: an upload that was interrupted earlier was finished instead of beginning anew.
    """

    object_id: str
    version: int
    name: str
    size: int
    stored_bytes: int
    places: dict[int, str]
    findings: tuple[Finding, ...] = ()
    skipped: bool = False
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GetReport:
    """One file that was given back. exact: whether it is byte for byte what was put (always, unless partial).

    path: the file that was written, or None where the bytes stayed in memory.
    """

    object_id: str
    version: int
    name: str | None
    media_type: str | None
    path: Path | None
    size: int
    exact: bool
    findings: tuple[Finding, ...] = ()
    tamper_map: TamperMap | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReport:
    """What was found about one object (and version, where one could be chosen); `error`: why it cannot be read."""

    object_id: str
    version: int | None = None
    findings: tuple[Finding, ...] = ()
    tamper_map: TamperMap | None = None
    error: MedveilError | None = None
    repaired: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found. level: "image" with the owner's key, "parts" without."""

    objects: tuple[ObjectReport, ...]
    level: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings of all objects."""
        return tuple(finding for one in self.objects for finding in one.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubReport:
    """What `scrub` found. orphans: (store, name) of what belongs to nothing; removed: how many of them were.

    resumed: whether it went on where an earlier one was interrupted.
    """

    objects: tuple[ObjectReport, ...]
    versions: int
    bytes_read: int
    findings: tuple[Finding, ...]
    orphans: tuple[tuple[str, str], ...] = ()
    removed: int = 0
    resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What `repair` did. repaired: parts and copies of manifests that were put back; recovered: uploads finished."""

    objects: tuple[ObjectReport, ...]
    repaired: int
    recovered: int = 0

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings of all objects; those of kind REPAIRED are settled."""
        return tuple(finding for one in self.objects for finding in one.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """One object in a listing. name, media_type, size and time are None without the owner's key."""

    object_id: str
    version: int
    name: str | None = None
    media_type: str | None = None
    size: int | None = None
    time: int | None = None
    findings: tuple[Finding, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """One version of an object. digest, previous: hashes of manifests, hex. manifests: stores that hold its head."""

    version: int
    digest: str
    previous: str
    current: bool
    k: int
    n: int
    manifests: tuple[str, ...]
    parts: tuple[int, ...]
    name: str | None = None
    time: int | None = None
