"""What a search gives back: studies with their attributes, instances, scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medveil.crypto import canonical
from medveil.errors import FormatError
from medveil.schemes.base import Finding
from medveil.vault.search.attributes import Attributes


@dataclass(frozen=True, slots=True)
class Instance:
    """One file of a study: the vault's object (hex), its version, size in bytes, and attributes by DICOM keyword."""

    object_id: str
    version: int
    size: int
    attributes: Attributes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Study:
    """One study. key: hex token that grants and audit call it by. attributes: by DICOM keyword.

    instances: filled where one study is asked for, empty in search results.
    """

    key: str
    attributes: Attributes = field(repr=False)
    instances: tuple[Instance, ...] = ()
    words: dict[str, int] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result. score: BM25 of the words that were asked for; 0 where there were none."""

    score: float
    study: Study


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What was found, best first. total: matches before offset and limit; exact_total: whether that is sure.

    rows: rows of the index that were read.
    """

    hits: tuple[Hit, ...]
    total: int
    exact_total: bool
    rows: int
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """What the index keeps of one study. series: 8-byte hashes of series UIDs; instances: how many files."""

    attributes: Attributes
    words: dict[str, int]
    series: tuple[bytes, ...]
    instances: int

    def encode(self) -> bytes:
        """Return the canonical encoding."""
        return canonical.encode(
            {
                "v": 1,
                "attributes": self.attributes,
                "words": self.words,
                "series": list(self.series),
                "instances": self.instances,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> StudyRecord:
        """Read the canonical encoding. Raises FormatError."""
        record = _checked(data, {"v": int, "attributes": dict, "words": dict, "series": list, "instances": int})
        return cls(record["attributes"], record["words"], tuple(record["series"]), record["instances"])

    def as_study(self, key: str, instances: tuple[Instance, ...] = ()) -> Study:
        """Return what a user sees, with the numbers that PS3.18 asks for."""
        attributes = dict(self.attributes)
        if attributes.get("StudyInstanceUID"):
            attributes["NumberOfStudyRelatedSeries"] = len(self.series)
            attributes["NumberOfStudyRelatedInstances"] = self.instances
        return Study(key, attributes, instances, self.words)


def encode_instances(instances: list[Instance]) -> bytes:
    """Return the canonical encoding of one batch of instances."""
    listed = [[bytes.fromhex(one.object_id), one.version, one.size, one.attributes] for one in instances]
    return canonical.encode({"v": 1, "instances": listed})


def decode_instances(data: bytes) -> list[Instance]:
    """Read one batch of instances. Raises FormatError."""
    listed = _checked(data, {"v": int, "instances": list})["instances"]
    return [Instance(one[0].hex(), one[1], one[2], one[3]) for one in listed]


def _checked(data: bytes, fields: dict[str, type]) -> dict[str, Any]:
    record = canonical.decode(data, limit=1 << 24)
    if not isinstance(record, dict) or set(record) != set(fields) or record["v"] != 1:
        raise FormatError("a record of the search index is of an unknown form")
    if not all(type(record[name]) is kind for name, kind in fields.items()):
        raise FormatError("a record of the search index is of an unknown form")
    return record
