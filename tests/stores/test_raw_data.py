"""The instance that carries an object through a PACS: what pydicom reads in it, and what is refused."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from medveil.errors import LimitError, MedveilError, StoreError
from medveil.stores import raw_data
from medveil.stores.raw_data import ATTEMPT, MAX_SIZE, Pieces

ATTEMPT_1 = bytes(range(ATTEMPT))
NAME = "0123/o/4567/s-89ab"


def instance(data: bytes, name: str = NAME) -> bytes:
    return raw_data.before("archive", name, len(data), ATTEMPT_1) + data + raw_data.after(len(data))


def unpack(encoded: bytes, piece: int = 7) -> bytes:
    pieces = Pieces(encoded[at : at + piece] for at in range(0, len(encoded), piece))
    size = raw_data.find_object(pieces, "pacs", NAME)
    return b"".join(pieces.rest(size))


@given(data=st.binary(max_size=300), piece=st.integers(1, 400))
def test_gives_back_what_was_put_in(data: bytes, piece: int) -> None:
    assert unpack(instance(data), piece) == data


@pytest.mark.parametrize("size", [0, 1, 2, 1001])
def test_pydicom_reads_it(size: int) -> None:
    data = bytes(range(1, 256)) * 4
    read = pydicom.dcmread(io.BytesIO(instance(data[:size])))
    where = raw_data.place_of("archive", NAME)
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == where.instance
    assert (read.StudyInstanceUID, read.SeriesInstanceUID) == (where.study, where.series)
    assert all(UID(uid).is_valid for uid in (where.study, where.series, where.instance))
    assert read.StudyDescription == "0123/o/4567"
    assert raw_data.read_description(read.ImageComments) == (NAME, size, ATTEMPT_1)
    (item,) = read.EncryptedAttributesSequence
    assert UID(item.EncryptedContentTransferSyntaxUID).is_valid
    assert len(item.EncryptedContent) % 2 == 0
    assert item.EncryptedContent[40 : 40 + size] == data[:size]


def test_a_name_leads_to_one_place() -> None:
    assert raw_data.place_of("a", "x/y") == raw_data.place_of("a", "x/y")
    places = [raw_data.place_of(*one) for one in (("a", "x/y"), ("a", "x/z"), ("b", "x/y"), ("a", "y/y"))]
    assert len({place.instance for place in places}) == 4
    assert places[0].study == places[1].study
    assert len({place.study for place in places}) == 3


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "another mark": lambda data: data.replace(b"MEDVEIL-OBJECT", b"SOMEBODY-ELSES"),
    "no preamble": lambda data: data[128:] + bytes(128),
    "re-encoded": lambda data: data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0"),
    "another size": lambda data: data.replace(struct.pack(">Q", 5), struct.pack(">Q", 500)),
    "undefined length": lambda data: data.replace(b"LT" + data[data.index(b"LT") + 2 :][:2], b"UN\0\0\xff\xff\xff\xff"),
    "a pixel first": lambda data: data.replace(b"\x20\x00\x00\x40LT", b"\xe0\x7f\x00\x40LT"),
    "many elements": lambda data: data[:132] + b"\x08\0\x05\0CS\0\0" * 1000,
    "an item of another kind": lambda data: data.replace(b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_refuses_what_is_not_ours(change: Callable[[bytes], bytes]) -> None:
    before = instance(b"12345")
    after = change(before)
    assert after != before
    with pytest.raises(StoreError):
        unpack(after)


@given(cut=st.integers(0, 10_000))
def test_the_end_comes_as_eof(cut: int) -> None:
    whole = instance(b"12345")
    with pytest.raises(EOFError):
        unpack(whole[: cut % (len(whole) - 6)])


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_changed_byte_is_refused_or_seen_as_bytes(at: int, value: int) -> None:
    whole = bytearray(instance(b"12345"))
    whole[at % len(whole)] = value
    with contextlib.suppress(MedveilError, EOFError):
        assert len(unpack(bytes(whole))) <= 5


@pytest.mark.parametrize(
    "text",
    [None, 5, "", "a b c", f"{NAME} 5", f"{NAME} five {'0' * 32}", f"{NAME} 5 {'G' * 32}", f"../x 5 {'0' * 32}",
     f"{NAME} {'9' * 30} {'0' * 32}", f"{NAME} \u0665 {'0' * 32}", "x" * 5000],
)  # fmt: skip
def test_reads_no_foreign_description(text: object) -> None:
    assert raw_data.read_description(text) is None


def test_bounds_the_size() -> None:
    assert raw_data.before("archive", NAME, MAX_SIZE, ATTEMPT_1)
    with pytest.raises(LimitError, match="DICOM element"):
        raw_data.before("archive", NAME, MAX_SIZE + 1, ATTEMPT_1)
