"""De-identification of DICOM files: PS3.15 Annex E, Basic Application Level Confidentiality Profile.

The table of attributes and actions, and dummy values by value representation, come from dicom-anonymizer (extra
``deidentify``). What that lacks is added here: nested sequences are cleaned like the top level, UIDs are replaced
consistently over files and runs by a keyed hash, pseudonyms stay the same for the same patient and key, private
and unknown attributes go, dates can be shifted instead of removed, and the result is stamped
(0012,0062), (0012,0063), (0012,0064), (0028,0303).

**Not covered**: text burned into the pixels (the Clean Pixel Data option). `Deidentified.cautions` says where the
header admits to it or is silent for a modality that often has it. A face can be rebuilt from a head CT or MR.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from medveil.errors import InputError, MissingExtraError, UnsupportedError
from medveil.imaging import dicom, dicom_writer

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

KEY_BYTES = 16
"""Least length of the key of pseudonyms, UIDs and date shifts."""

MAX_SHIFT_DAYS = 1826
"""Dates move back by 1 to this many days, the same for all files of a patient."""

DATES = ("remove", "shift", "keep")
RETAIN = {  # option -> (code of CID 7050, its meaning, attributes kept)
    "uids": ("113110", "Retain UIDs Option", ()),
    "device": (
        "113109", "Retain Device Identity Option",
        ("StationName", "DeviceSerialNumber", "DeviceUID", "GantryID", "GeneratorID", "DetectorID", "PlateID",
         "CassetteID", "ScheduledStationName", "PerformedStationName"),
    ),
    "institution": (
        "113112", "Retain Institution Identity Option",
        ("InstitutionName", "InstitutionAddress", "InstitutionCodeSequence", "InstitutionalDepartmentName"),
    ),
    "patient-characteristics": (
        "113108", "Retain Patient Characteristics Option",
        ("PatientSex", "PatientAge", "PatientSize", "PatientWeight", "EthnicGroup", "SmokingStatus",
         "PregnancyStatus"),
    ),
}  # fmt: skip

_TABLE = "dicomfields_2026c"
_METHOD = "medveil, PS3.15 Annex E Basic Profile"
_STANDARD_ROOT = "1.2.840.10008."
_KEPT_UIDS = frozenset({0x0008010C, 0x00080117, 0x00080118, 0x00080119})  # of coding schemes and context groups
_CODES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104})
_CONTENT_SEQUENCE, _DIRECTORY = 0x0040A730, 0x00041220
_TEXT = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_TEMPORAL = frozenset({"DA", "DT", "TM"})
_BURNED_IN_RISK = frozenset({"US", "IVUS", "SC", "OT", "XC", "ES", "GM", "SM", "DOC", "RF", "XA"})
_SHORTEST_TRACE = 4


@dataclass(frozen=True, slots=True)
class Options:
    """Choices of PS3.15 E.3.

    dates: ``remove`` (the profile itself), ``shift`` (Retain Longitudinal Temporal Information, Modified Dates:
    days move back by a keyed number, times stay) or ``keep`` (Full Dates). retain: any of `RETAIN`.
    Raises InputError for other values.
    """

    dates: str = "remove"
    retain: frozenset[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        """Refuse unknown choices."""
        if self.dates not in DATES:
            raise InputError(f"dates {self.dates!r}: choose one of {', '.join(DATES)}")
        unknown = self.retain - set(RETAIN)
        if unknown:
            raise InputError(f"retain {', '.join(sorted(unknown))}: choose from {', '.join(RETAIN)}")


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A de-identified file, and what a person should still look at."""

    data: bytes = field(repr=False)
    cautions: tuple[str, ...] = ()


def deidentify(data: bytes, *, key: bytes, options: Options | None = None) -> Deidentified:
    """Return a copy of a DICOM file without what identifies the patient.

    key: at least `KEY_BYTES` secret random bytes; the same key gives the same pseudonym, UIDs and date shift, and
    without it none of them can be linked to the original by guessing.
    Raises InputError where the file is damaged or the key too short, UnsupportedError for DICOMDIR and transfer
    syntaxes that are not written here, MissingExtraError without dicom-anonymizer. Nothing is handed out unless the
    whole file was cleaned.
    """
    if len(key) < KEY_BYTES:
        raise InputError(f"a pseudonym key of {len(key)} bytes: give at least {KEY_BYTES} random bytes")
    options = options or Options()
    dataset = dicom.open_dataset(data)
    if _DIRECTORY in dataset:
        raise UnsupportedError("a DICOMDIR: it lists other files, so make a new one after they are de-identified")
    if "SOPClassUID" not in dataset or "SOPInstanceUID" not in dataset:
        raise InputError("a DICOM file without SOP class or instance UID: it cannot be written as a valid file")
    dicom_writer.check_syntax(dataset)
    with dicom.quiet():
        try:
            cautions = _cautions(dataset)
            traces = _traces(dataset, options)
            _Cleaner(dataset, key, options).clean(dataset)
            _remove_traces(dataset, traces)
            _stamp(dataset, options)
            return Deidentified(dicom_writer.save(dataset), cautions)
        except dicom.decoder_errors() as error:
            raise InputError(
                f"a DICOM header that cannot be cleaned ({type(error).__name__}): it is damaged"
            ) from error


class _Cleaner:
    """Applies the profile to one file; knows its patient's pseudonym and shift."""

    def __init__(self, dataset: Dataset, key: bytes, options: Options) -> None:
        self._key = key
        self._options = options
        self._actions, self._masks = _table()
        patient = "\0".join(str(dataset.get(k) or "").strip() for k in ("IssuerOfPatientID", "PatientID"))
        if not patient.strip("\0"):
            patient = str(dataset.get("PatientName") or "").strip()
        self._pseudonym = base64.b32encode(self._hash("patient", patient)[:10]).decode() if patient else ""
        self._shift = timedelta(days=1 + int.from_bytes(self._hash("dates", patient)[:8], "big") % MAX_SHIFT_DAYS)
        kept = [word for name in options.retain for word in RETAIN[name][2]]
        self._kept = frozenset(_tag(word) for word in kept)

    def clean(self, dataset: Dataset) -> None:
        """Clean a data set and, in the same way, every item of its sequences."""
        for tag in list(dataset.keys()):
            if tag.is_private or tag.element == 0 or not _known(tag):
                del dataset[tag]
                continue
            element = dataset[tag]
            if element.VR == "UN":
                del dataset[tag]
            elif tag not in self._kept:
                self._element(dataset, element)

    def _element(self, dataset: Dataset, element: DataElement) -> None:
        action = self._action(element.tag)
        if element.tag in (0x00100010, 0x00100020):
            element.value = self._pseudonym
        elif element.VR == "UI" and action != "X":
            self._uids(element)
        elif element.VR in _TEMPORAL and self._options.dates != "remove":
            self._date(element)
        elif action == "X":
            del dataset[element.tag]
        elif element.VR == "SQ":
            self._sequence(dataset, element, action)
        elif action in ("Z", "X/Z") or (action is None and element.VR in _TEMPORAL):
            element.value = None
        elif action is not None or element.VR == "PN":
            self._dummy_value(dataset, element)

    def _sequence(self, dataset: Dataset, element: DataElement, action: str | None) -> None:
        if action in ("Z", "X/Z"):
            element.value = []
        elif action is not None and action.startswith("X") and not action.endswith("U*"):
            del dataset[element.tag]
        else:
            for item in element.value:
                self.clean(item)
                if action == "D":
                    self._dummies(item, keep_codes=element.tag == _CONTENT_SEQUENCE)

    def _dummies(self, dataset: Dataset, *, keep_codes: bool) -> None:
        """Replace all free text of a data set and its sequences; the codes of a structured report's tree stay."""
        for element in list(dataset):
            if element.VR == "SQ":
                for item in element.value:
                    self._dummies(item, keep_codes=keep_codes)
            elif element.VR in _TEXT and not (keep_codes and element.tag in _CODES):
                self._dummy_value(dataset, element)

    def _dummy_value(self, dataset: Dataset, element: DataElement) -> None:
        from dicomanonymizer.simpledicomanonymizer import replace_element

        try:
            replace_element(element)
        except NotImplementedError:  # value representations for which the library has no dummy
            del dataset[element.tag]

    def _uids(self, element: DataElement) -> None:
        if "uids" in self._options.retain or element.tag in _KEPT_UIDS or not element.value:
            return
        many = element.VM > 1
        new = [self.uid(str.__str__(value)) for value in (element.value if many else [element.value])]
        element.value = new if many else new[0]

    def uid(self, uid: str) -> str:
        """Return the replacement of an instance's UID; those that the standard registers stay."""
        from pydicom._uid_dict import UID_dictionary

        if not uid or uid in UID_dictionary or uid.startswith(_STANDARD_ROOT):
            return uid
        raw = bytearray(self._hash("uid", uid)[:16])
        raw[6], raw[8] = 0x80 | raw[6] & 0x0F, 0x80 | raw[8] & 0x3F  # a version 8 UUID (RFC 9562 5.8)
        return f"2.25.{uuid.UUID(bytes=bytes(raw)).int}"

    def _date(self, element: DataElement) -> None:
        if self._options.dates == "keep" or element.VR == "TM" or not element.value:
            return
        values = element.value if element.VM > 1 else [element.value]
        moved = [self._moved(str(value)) for value in values]
        element.value = (moved if element.VM > 1 else moved[0]) if all(moved) else None

    def _moved(self, text: str) -> str:
        found = re.match(r"(\d{4})[.]?(\d\d)[.]?(\d\d)", text.strip())
        if found is None:
            return ""
        try:
            moved = date(*(int(part) for part in found.groups())) - self._shift
        except (ValueError, OverflowError):
            return ""
        return moved.strftime("%Y%m%d").rjust(8, "0") + text.strip()[found.end() :]

    def _action(self, tag: Any) -> str | None:
        found = self._actions.get((tag.group, tag.element))
        if found is None:
            for group, element, group_mask, element_mask, action in self._masks:
                if (
                    tag.group & group_mask == group & group_mask
                    and tag.element & element_mask == element & element_mask
                ):
                    return action
        return found

    def _hash(self, kind: str, value: str) -> bytes:
        message = f"medveil de-identification v1\0{kind}\0{value}".encode()
        return hmac.new(self._key, message, hashlib.sha256).digest()


def _table() -> tuple[dict[tuple[int, int], str], list[tuple[int, int, int, int, str]]]:
    """Return the profile's actions by tag, and those of repeating groups as (group, element, masks, action)."""
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ImportError as error:
        raise MissingExtraError("de-identification", "deidentify") from error
    actions, masks = {}, []
    for name, tags in dicom_anonymization_database_selector(_TABLE).items():
        if name == "ALL_TAGS":
            continue
        action = name.removesuffix("_TAGS").replace("_STAR", "*").replace("_", "/")
        for tag in tags:
            if len(tag) == 2:
                actions[tag] = action
            else:
                masks.append((*tag, action))
    return actions, masks


def _known(tag: Any) -> bool:
    from pydicom.datadict import dictionary_has_tag, repeater_has_tag

    return bool(dictionary_has_tag(tag) or repeater_has_tag(tag))


def _tag(keyword: str) -> int:
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise InputError(f"no DICOM attribute {keyword}")
    return tag


def _walk(dataset: Dataset) -> Iterator[tuple[Dataset, DataElement]]:
    for element in list(dataset):
        yield dataset, element
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)


def _words(element: DataElement) -> Iterable[str]:
    values = element.value if element.VM > 1 else [element.value]
    return [str(value) for value in values if value is not None]


def _traces(dataset: Dataset, options: Options) -> frozenset[str]:
    """Return what names the patient or other people in this file: to be looked for in the text that is left."""
    found: set[str] = set()
    retained = {word for name in options.retain for word in RETAIN[name][2]}
    for _, element in _walk(dataset):
        if element.VR == "PN":
            found.update(part for word in _words(element) for part in re.split(r"[\^=,\s]+", word))
        elif element.keyword in (
            "PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "InstitutionAddress",
            "PatientTelephoneNumbers", "PatientAddress",
        ) and element.keyword not in retained:  # fmt: skip
            found.update(word.strip() for word in _words(element))
        elif element.VR == "DA" and options.dates != "keep":
            found.update(_words(element))
    return frozenset(trace.casefold() for trace in found if len(trace) >= _SHORTEST_TRACE)


def _remove_traces(dataset: Dataset, traces: frozenset[str]) -> None:
    """Empty every free text in which a name, number or date of this file still stands."""
    for _, element in _walk(dataset):
        if element.VR in _TEXT and element.tag not in _CODES:
            text = "\n".join(_words(element)).casefold()
            if any(trace in text for trace in traces):
                element.value = None


def _stamp(dataset: Dataset, options: Options) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    codes = [("113100", "Basic Application Confidentiality Profile")]
    codes += [RETAIN[name][:2] for name in sorted(options.retain)]
    if options.dates == "shift":
        codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    elif options.dates == "keep":
        codes.append(("113106", "Retain Longitudinal Temporal Information Full Dates Option"))
    items = []
    for value, meaning in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
        items.append(item)
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = _METHOD
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    modified = {"remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"}
    dataset.LongitudinalTemporalInformationModified = modified[options.dates]


def _cautions(dataset: Dataset) -> tuple[str, ...]:
    burned, modality = dataset.get("BurnedInAnnotation"), str(dataset.get("Modality") or "")
    if burned == "YES":
        return ("the file says that text is burned into its pixels: look at them and black it out",)
    if burned != "NO" and modality in _BURNED_IN_RISK:
        return (
            f"{modality} pictures often have names burned into their pixels and this file does not say: look at them",
        )
    return ()
