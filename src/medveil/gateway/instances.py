"""One DICOM instance as bytes: what it is, checked before it is accepted, and its two forms.

On the wire an instance is a dataset in a negotiated transfer syntax; as a file (PS3.10) the same bytes follow a
preamble and a meta header. Nothing here re-encodes a dataset: its bytes leave as they came.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Final

from medveil.errors import InputError

_UID: Final = re.compile(r"[0-9][0-9.]{0,63}")
_PREAMBLE: Final = 132
_IMPLEMENTATION: Final = "2.25.95416087315370862203845102977362114507"
_WANTED: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Received:
    """An instance that may be accepted. data: the file. dataset: where in it the dataset begins."""

    sop_class: str
    uid: str = field(repr=False)
    study: str = field(repr=False)
    series: str = field(repr=False)
    transfer_syntax: str
    data: bytes = field(repr=False)
    dataset: int

    @property
    def content(self) -> tuple[bytes, memoryview]:
        """What makes it this instance and no other: transfer syntax and dataset, without the file's meta header."""
        return self.transfer_syntax.encode(), memoryview(self.data)[self.dataset :]


def is_uid(text: str) -> bool:
    """Whether text has the form of a UID (PS3.5, 9.1), leading zeros of a component being forgiven."""
    return _UID.fullmatch(text) is not None


def from_wire(dataset: bytes, sop_class: str, uid: str, transfer_syntax: str) -> Received:
    """Return the instance that a C-STORE brought. Raises InputError where it is not what the command said."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class  # type: ignore[assignment]
    meta.MediaStorageSOPInstanceUID = uid  # type: ignore[assignment]
    meta.TransferSyntaxUID = transfer_syntax  # type: ignore[assignment]
    meta.ImplementationClassUID = _IMPLEMENTATION  # type: ignore[assignment]
    meta.ImplementationVersionName = "MEDVEIL"
    head = DicomBytesIO()
    head.write(bytes(128) + b"DICM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_file_meta_info(head, meta, enforce_standard=True)
    found = from_file(head.getvalue() + dataset)
    if (found.sop_class, found.uid) != (sop_class, uid):
        raise InputError("the dataset is of another SOP class or instance than its command says")
    return found


def from_file(data: bytes) -> Received:
    """Return the instance in a file (PS3.10). Raises InputError where it is none, or lacks what names it."""
    from pydicom import dcmread

    if data[128:132] != b"DICM":
        raise InputError("this is no DICOM file: it lacks the mark DICM after its preamble")
    handle = io.BytesIO(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The last element looked for is (0020,000E); sequences and pixels after it are not read.
            dataset = dcmread(handle, stop_before_pixels=True, specific_tags=list(_WANTED))
            names = [str(dataset.get(keyword, "") or "") for keyword in _WANTED]
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", "") or "")
            start = _PREAMBLE + 12 + int(dataset.file_meta.FileMetaInformationGroupLength)
    except Exception:  # noqa: BLE001 - pydicom raises anything on damaged files
        raise InputError("this is no readable DICOM file") from None
    if not all(map(is_uid, [*names, syntax])):
        raise InputError("the file lacks a valid SOP class, SOP instance, study, series or transfer syntax UID")
    sop_class, uid, study, series = names
    return Received(sop_class, uid, study, series, syntax, data, start)
