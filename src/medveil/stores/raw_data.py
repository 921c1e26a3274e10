"""An object as a DICOM instance that any PACS takes: Raw Data Storage with an Encrypted Attributes Sequence.

PS3.3 A.37 (Raw Data) is the IOD for bytes that only their maker understands, and PS3.15 E.1 puts encrypted content
into (0400,0500). What is in (0400,0520) is ours and not CMS, which its transfer syntax UID (0400,0510) says::

    magic 16 B | size u64 big endian | attempt 16 B | the object | one zero byte where the size is odd

The object's name and size are also in Image Comments, which a PACS gives back in searches. UIDs are derived from the
archive's label and the name (2.25 form, PS3.5 B.2), so that a name leads to its instance without a search.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from medveil.errors import LimitError, StoreError
from medveil.stores.base import is_name

RAW_DATA: Final = "1.2.840.10008.5.1.4.1.1.66"
_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_OURS: Final = "2.25.219538573612305174380239284017739283346"  # this content, version 1
_MAGIC: Final = b"MEDVEIL-OBJECT-1"
_HEADER: Final = struct.Struct(">16sQ16s")
_LONG: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
_UNDEFINED: Final = 0xFFFFFFFF
MAX_SIZE: Final = _UNDEFINED - 1024
"""Bytes of the largest object: the length of a DICOM element has 32 bits."""
_MOST_ELEMENTS: Final = 500

ATTEMPT: Final = 16
"""Length of the random number that tells two writers of one name apart, in bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object lies in a PACS: one study for each folder, one instance for each object."""

    study: str
    series: str
    instance: str

    @property
    def path(self) -> str:
        """Its address below the DICOMweb service."""
        return f"studies/{self.study}/series/{self.series}/instances/{self.instance}"


def place_of(archive: str, name: str) -> Place:
    """Return where the object `name` of an archive lies."""
    folder = folder_of(name)
    return Place(_uid(archive, "study", folder), _uid(archive, "series", folder), _uid(archive, "instance", name))


def folder_of(name: str) -> str:
    """Return the part of a name (or of a beginning of names) before its last slash."""
    return name.rpartition("/")[0]


def _uid(archive: str, level: str, text: str) -> str:
    digest = hashlib.sha256(f"medveil raw data 1\0{archive}\0{level}\0{text}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


# --------------------------------------------------------------------------------------------------------- writing


def describe(name: str, size: int, attempt: bytes) -> str:
    """Return the Image Comments of an object."""
    return f"{name} {size} {attempt.hex()}"


def read_description(text: object) -> tuple[str, int, bytes] | None:
    """Return (name, size, attempt) of Image Comments, or None where they are not ours."""
    fields = text.split(" ") if isinstance(text, str) and len(text) < 400 else []
    if len(fields) != 3 or not is_name(fields[0]) or not (fields[1].isascii() and fields[1].isdigit()):
        return None
    if len(fields[1]) > 12 or len(fields[2]) != 2 * ATTEMPT or set(fields[2]) - set("0123456789abcdef"):
        return None
    return fields[0], int(fields[1]), bytes.fromhex(fields[2])


def before(archive: str, name: str, size: int, attempt: bytes) -> bytes:
    """Return the bytes of the instance that come before the object. Raises LimitError for a size above MAX_SIZE."""
    from pydicom import dcmwrite
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    if size > MAX_SIZE:
        raise LimitError(f"an object of {size} bytes is larger than a DICOM element can be ({MAX_SIZE})")
    where = place_of(archive, name)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(RAW_DATA)
    meta.MediaStorageSOPInstanceUID = UID(where.instance)
    meta.TransferSyntaxUID = UID(_EXPLICIT)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = RAW_DATA, where.instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = where.study, where.series
    # One study for each folder, described by its beginning: searches by it need not look at every instance.
    dataset.StudyDescription = folder_of(name)[:64]
    dataset.PatientID, dataset.PatientName = archive, archive
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "OT", 1, 1
    dataset.Manufacturer = "medveil"
    dataset.ImageComments = describe(name, size, attempt)
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.ReferringPhysicianName = ""
    written = io.BytesIO()
    dcmwrite(written, dataset, enforce_file_format=True)
    kind = _OURS.encode() + b"\0" * (len(_OURS) % 2)
    content = _HEADER.size + size + size % 2
    syntax = struct.pack("<HH2sH", 0x0400, 0x0510, b"UI", len(kind)) + kind
    blob = struct.pack("<HH2sHL", 0x0400, 0x0520, b"OB", 0, content)
    inside = len(syntax) + len(blob) + content
    sequence = struct.pack("<HH2sHL", 0x0400, 0x0500, b"SQ", 0, inside + 8)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, inside)
    return written.getvalue() + sequence + item + syntax + blob + _HEADER.pack(_MAGIC, size, attempt)


def after(size: int) -> bytes:
    """Return the bytes of the instance that come after the object."""
    return b"\0" * (size % 2)


# --------------------------------------------------------------------------------------------------------- reading


class Pieces:
    """Reads an instance from pieces as they arrive; holds one piece."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """Return at least one byte and at most `most`, or nothing at the end."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held = memoryview(piece)
        got, self._held = self._held[:most], self._held[most:]
        return got

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes. Raises EOFError where fewer are left."""
        got = bytearray()
        while len(got) < count:
            piece = self.some(count - len(got))
            if not piece:
                raise EOFError
            got += piece
        return bytes(got)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes. Raises EOFError where fewer are left."""
        while count:
            piece = self.some(count)
            if not piece:
                raise EOFError
            count -= len(piece)

    def line(self, most: int = 1024) -> bytes:
        """Return the bytes up to the next line break (CR LF), which is passed over."""
        got = bytearray()
        while not got.endswith(b"\r\n"):
            if len(got) > most:
                raise EOFError
            got += self.exactly(1)
        return bytes(got[:-2])

    def rest(self, count: int) -> Iterator[memoryview]:
        """Yield up to `count` bytes."""
        while count:
            piece = self.some(count)
            if not piece:
                return
            count -= len(piece)
            yield piece


def find_object(pieces: Pieces, store: str, name: str) -> int:
    """Read an instance up to where its object begins, and return the object's size.

    Raises StoreError where the instance is not of ours, and EOFError where it ends before.
    """
    foreign = StoreError(f"store {store} gives something for {name} that is not what a PACS was given")
    pieces.skip(128)
    if pieces.exactly(4) != b"DICM":
        raise foreign
    for _ in range(_MOST_ELEMENTS):
        group, element, kind, length = _element(pieces)
        if (group, element) == (0x0002, 0x0010) and pieces.exactly(length).rstrip(b"\0 ") != _EXPLICIT.encode():
            raise StoreError(f"store {store} has re-encoded {name}: switch transcoding off there")
        if (group, element) == (0x0002, 0x0010):
            continue
        if (group, element) == (0x0400, 0x0500) and kind == b"SQ":
            break
        if length == _UNDEFINED or group > 0x0400:
            raise foreign
        pieces.skip(length)
    else:
        raise foreign
    if struct.unpack("<HH", pieces.exactly(8)[:4]) != (0xFFFE, 0xE000):
        raise foreign
    for _ in range(_MOST_ELEMENTS):
        group, element, _, length = _element(pieces)
        if length == _UNDEFINED or group != 0x0400:
            raise foreign
        if element == 0x0520:
            magic, size, _ = _HEADER.unpack(pieces.exactly(_HEADER.size))
            if magic != _MAGIC or length != _HEADER.size + size + size % 2:
                raise foreign
            return int(size)
        pieces.skip(length)
    raise foreign


def _element(pieces: Pieces) -> tuple[int, int, bytes, int]:
    """Return group, element, VR and length of the next element (explicit VR little endian)."""
    group, element, kind, short = struct.unpack("<HH2sH", pieces.exactly(8))
    length = struct.unpack("<L", pieces.exactly(4))[0] if kind in _LONG else short
    return group, element, kind, length
