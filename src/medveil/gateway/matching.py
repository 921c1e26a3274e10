"""Queries at the levels of DICOM: what a C-FIND identifier or a QIDO-RS address asks for, and what matches.

Studies are found by the vault's encrypted index; patients, series and instances are matched here on the records that
belong to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from medveil.errors import InputError
from medveil.vault.search import Instance, Study, parse_query

PATIENT: Final = frozenset(
    {"PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "NumberOfPatientRelatedStudies"}
)
SERIES: Final = (
    "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "SeriesDate",
    "SeriesTime", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
)  # fmt: skip
_STUDY_KEYS: Final = frozenset({"StudyInstanceUID"})
_IGNORED: Final = frozenset(
    {"QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC", "RetrieveAETitle", "InstanceAvailability",
     "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances", "RetrieveURL"}
)  # fmt: skip

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. keys: keyword -> value to match (empty: all). level: PATIENT, STUDY, SERIES or IMAGE."""

    level: str
    keys: Mapping[str, str] = field(repr=False)

    def query(self, keywords: Iterable[str] | None = None) -> str:
        """Return the keys (or those among `keywords`) that must match, as a QIDO-RS query."""
        wanted = self.keys if keywords is None else {k: v for k, v in self.keys.items() if k in set(keywords)}
        return "&".join(
            f"{keyword}={quote(value)}" for keyword, value in wanted.items() if value and keyword not in _IGNORED
        )

    @property
    def study(self) -> str:
        """The one study that series and instances are looked for in. Raises InputError where none is named."""
        uid = self.keys.get("StudyInstanceUID", "")
        if not uid or "*" in uid or "\\" in uid:
            raise InputError("name one StudyInstanceUID to look for series or instances in")
        return uid

    def matches(self, attributes: Attributes, known: Iterable[str]) -> bool:
        """Whether attributes match all keys that are among `known` (keywords that the level has)."""
        query = self.query(known)
        return not query or parse_query(query).match(attributes)


def patients(studies: Iterable[Study]) -> list[Attributes]:
    """Return the patients of studies, each once, with how many studies of theirs there are."""
    found: dict[str, Attributes] = {}
    for study in studies:
        uid = str(study.attributes.get("PatientID", ""))
        patient = found.setdefault(uid, {k: v for k, v in study.attributes.items() if k in PATIENT})
        patient["NumberOfPatientRelatedStudies"] = int(patient.get("NumberOfPatientRelatedStudies", 0)) + 1
    return list(found.values())


def series_of(study: Study, wish: Wish) -> list[Attributes]:
    """Return the series of a study that match, with how many instances each has."""
    found: dict[str, Attributes] = {}
    for instance in study.instances:
        uid = str(instance.attributes.get("SeriesInstanceUID", ""))
        series = found.setdefault(uid, {k: v for k, v in instance.attributes.items() if k in SERIES})
        series["NumberOfSeriesRelatedInstances"] = int(series.get("NumberOfSeriesRelatedInstances", 0)) + 1
    matched = [one for one in found.values() if wish.matches(one, SERIES)]
    return [_study_part(study) | one for one in sorted(matched, key=_order)]


def instances_of(study: Study, wish: Wish) -> list[tuple[Instance, Attributes]]:
    """Return the instances of a study that match, in the order of their numbers."""
    matched = [
        one
        for one in study.instances
        if wish.matches(one.attributes, frozenset(wish.keys) - frozenset(study.attributes) - PATIENT)
    ]
    matched.sort(key=lambda one: _order(one.attributes))
    return [(one, _study_part(study) | one.attributes) for one in matched]


def _study_part(study: Study) -> Attributes:
    return dict(study.attributes)


def _order(attributes: Attributes) -> tuple[int, int, str]:
    """Return what series and instances are ordered by: their numbers, then their UIDs."""
    numbers = [attributes.get(keyword, 0) for keyword in ("SeriesNumber", "InstanceNumber")]
    series, instance = (number if isinstance(number, int) else 0 for number in numbers)
    return series, instance, str(attributes.get("SOPInstanceUID", ""))
