"""What a file says of itself: the study and instance attributes that are indexed, and its words.

One study (Study Instance UID) is one document of the index; every DICOM file is one instance of it. A file that is no
DICOM is a study of its own, found by the words of its name. Nothing here leaves the owner's machine in clear.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

Attributes = dict[str, str | int | list[str]]

STUDY: Final = (
    "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
    "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName", "IssuerOfPatientID",
)  # fmt: skip
"""Attributes that a study's record keeps as text, by keyword (PS3.18 table 10.6.1-5 and what PACS ask for)."""
INSTANCE: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
    "InstanceNumber", "BodyPartExamined", "Rows", "Columns", "BitsAllocated", "NumberOfFrames", "SeriesDate",
    "SeriesTime", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "ContentDate", "ContentTime",
)  # fmt: skip
"""Attributes that an instance's record keeps."""
MAX_VALUE: Final = 1024
"""Longest value that is kept of one attribute, in characters."""
MAX_TEXT: Final = 1 << 18
"""Most text that is taken from one report, in characters."""

_MAX_NODES: Final = 10_000
_MAX_DEPTH: Final = 32
_NUMBERS: Final = frozenset({"Rows", "Columns", "BitsAllocated", "NumberOfFrames", "SeriesNumber", "InstanceNumber"})


@dataclass(frozen=True, slots=True)
class Described:
    """One file. study: attributes of its study (without a StudyInstanceUID where it is no DICOM); text: its words."""

    study: Attributes = field(repr=False)
    instance: Attributes = field(repr=False)
    text: str = field(default="", repr=False)

    @property
    def study_uid(self) -> str:
        """The Study Instance UID, or nothing."""
        return str(self.study.get("StudyInstanceUID", ""))


def describe(data: bytes | Path | None, name: str = "") -> Described:
    """Return what a file says of itself; what is no readable DICOM is described by its name alone.

    data: the file's bytes or its path; None for an image that was made in memory.
    """
    dataset = None if data is None else _read(data)
    if dataset is None or not str(dataset.get("StudyInstanceUID", "")):
        return Described({}, {}, Path(name).stem)
    instance: Attributes = {}
    for keyword in INSTANCE:
        value = _value(dataset, keyword)
        if value != "":
            instance[keyword] = value
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None:
        instance["TransferSyntaxUID"] = str(syntax)
    study: Attributes = {}
    for keyword in STUDY:
        value = _value(dataset, keyword)
        if value != "":
            study[keyword] = str(value)
    words = [str(study.get("StudyDescription", "")), str(instance.get("SeriesDescription", ""))]
    if instance.get("Modality") == "SR":
        words.append(_report(dataset))
    return Described(study, instance, "\n".join(word for word in words if word))


def _read(data: bytes | Path) -> Dataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd values are kept as they are
            if isinstance(data, Path):
                return pydicom.dcmread(data, stop_before_pixels=True, defer_size=1 << 20)
            return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    except InvalidDicomError:
        return None
    except Exception:  # noqa: BLE001 - pydicom raises anything on damaged files; such a file has no attributes
        return None


def _value(dataset: Dataset, keyword: str) -> str | int:
    """Return an attribute as bounded text, or as a number; nothing where it is absent or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = dataset.get(keyword)
            if value is None or value == "":
                return ""
            if keyword in _NUMBERS:
                number = int(str(value))
                return number if abs(number) < 1 << 31 else ""
            if isinstance(value, pydicom.multival.MultiValue):
                value = "\\".join(str(one) for one in value)
            return _clean(str(value))
    except Exception:  # noqa: BLE001 - as in _read: a value that cannot be decoded is not indexed
        return ""


def _clean(text: str) -> str:
    kept = "".join(one for one in text[:MAX_VALUE] if one.isprintable())
    return kept.encode("utf-8", "ignore").decode().strip()


def _report(dataset: Dataset) -> str:
    """Return the text of a structured report: text values and the meanings of codes, in reading order."""
    found: list[str] = []
    size = 0
    for words in _walk(dataset):
        found.append(words)
        size += len(words)
        if size > MAX_TEXT:
            break
    return "\n".join(found)[:MAX_TEXT]


def _walk(dataset: Dataset) -> Iterator[str]:
    todo: list[tuple[Any, int]] = [(dataset, 0)]
    seen = 0
    while todo and seen < _MAX_NODES:
        item, depth = todo.pop()
        seen += 1
        words, children = _node(item)
        yield from words
        if depth < _MAX_DEPTH:
            todo += [(child, depth + 1) for child in reversed(children)]


def _node(item: Any) -> tuple[list[str], list[Any]]:
    """Return the words of one content item and the items in it; nothing where it cannot be read."""
    words: list[str] = []
    try:
        if item.get("TextValue"):
            words.append(str(item.TextValue))
        for sequence in ("ConceptNameCodeSequence", "ConceptCodeSequence"):
            words += [str(code.get("CodeMeaning", "")) for code in item.get(sequence) or ()]
        return words, list(item.get("ContentSequence") or ())
    except Exception:  # noqa: BLE001 - as in _read: the rest of a damaged report is not indexed
        return words, []
