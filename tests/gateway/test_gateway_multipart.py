"""Multipart bodies: any cut of the bytes gives the same parts, and bodies that are none are refused within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import InputError, LimitError, MedveilError
from medveil.gateway.multipart import MediaType, MultipartReader, MultipartWriter, Part

TYPE = 'multipart/related; type="application/dicom"; boundary=abc'


def body(*parts: bytes, boundary: bytes = b"abc") -> bytes:
    joined = b"".join(
        b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts
    )
    return joined + b"--" + boundary + b"--\r\n"


def read(data: bytes, size: int = 1 << 20, *, kind: str = TYPE, most: int = 1 << 20) -> list[Part]:
    reader = MultipartReader(kind, most)
    parts = [part for at in range(0, len(data), size) for part in reader.feed(data[at : at + size])]
    reader.finish()
    return parts


@given(parts=st.lists(st.binary(max_size=60), max_size=4), size=st.integers(1, 80))
def test_any_cut_gives_the_same_parts(parts: list[bytes], size: int) -> None:
    found = read(body(*parts), size)
    assert [part.body for part in found] == parts
    assert all(part.headers == {"content-type": "application/dicom"} for part in found)


def test_what_the_writer_writes_is_read() -> None:
    writer = MultipartWriter("application/dicom")
    whole = writer.part("application/dicom", b"one\r\n--") + writer.part("image/jp2", b"", "/there") + writer.end()
    one, two = read(whole, 3, kind=writer.content_type)
    assert (one.body, two.body) == (b"one\r\n--", b"")
    assert two.headers == {"content-type": "image/jp2", "content-location": "/there", "content-length": "0"}


@pytest.mark.parametrize(
    "data",
    [
        b"preamble\r\n" + body(b"x"),
        body(b"x") + b"epilogue",
        body(b"x").replace(b"abc\r\n", b"abc \t\r\n"),
        b'--abc\r\n\r\nx\r\n--abc--',
    ],
    ids=["preamble", "epilogue", "blanks", "no headers"],
)  # fmt: skip
def test_forgives_what_the_standard_allows(data: bytes) -> None:
    assert [part.body for part in read(data, 4)] == [b"x"]


REFUSED = {
    "empty": b"",
    "no boundary": b"hello",
    "cut": body(b"x")[:-4],
    "cut in a part": body(b"x" * 100)[:70],
    "another boundary": body(b"x", boundary=b"xyz"),
    "no end of headers": b"--abc\r\nContent-Type: application/dicom\r\n--abc--",
    "a header that is none": b"--abc\r\nnonsense\r\n\r\nx\r\n--abc--",
    "a boundary without an end": b"--abcdef" + bytes(20),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_refuses(data: bytes, size: int) -> None:
    with pytest.raises(InputError):
        read(data, size)


@pytest.mark.parametrize(
    "kind",
    ["", "multipart/related", "multipart/related; boundary=", f"multipart/related; boundary={'b' * 100}",
     "multipart/related; boundary=\u00fc"],
)  # fmt: skip
def test_refuses_content_types(kind: str) -> None:
    with pytest.raises(InputError):
        MultipartReader(kind, 100)


def flood(reader: MultipartReader) -> None:
    for _ in range(100):
        reader.feed(bytes(1000))


def test_bytes_that_begin_like_a_boundary_are_data() -> None:
    tricky = b"x\r\n--abcd\r\n--ab\r\n--abc-\r\n--abc y\r\nz"
    for size in (1, 2, 7, 1000):
        assert [part.body for part in read(body(tricky), size)] == [tricky]


def test_holds_no_more_than_a_part() -> None:
    assert read(body(b"x" * 1000), 10, most=1000)
    with pytest.raises(LimitError):
        read(body(b"x" * 1001), most=1000)
    reader = MultipartReader(TYPE, 1000)
    reader.feed(b"--abc\r\n\r\n")
    with pytest.raises(LimitError):
        flood(reader)
    with pytest.raises(InputError):
        flood(MultipartReader(TYPE, 1 << 30))


@given(data=st.binary(max_size=200), size=st.integers(1, 50))
def test_any_bytes_are_parts_or_refused(data: bytes, size: int) -> None:
    try:
        read(data.replace(b"\xff", b"--abc\r\n"), size)
    except MedveilError:
        return


def test_media_types() -> None:
    one = MediaType.parse('Multipart/Related; TYPE="application/dicom"; transfer-syntax=*')
    assert (one.name, one.parameters) == (
        "multipart/related",
        {"type": "application/dicom", "transfer-syntax": "*"},
    )
    assert MediaType.parse("").name == ""
    assert MediaType.parse("a/b\r\nX-Injected: 1").parameters == {}
