"""Canonical records against cbor2 (a second implementation), RFC 8949's examples, and what must be refused."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.crypto import canonical
from medveil.errors import FormatError, InputError, LimitError

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.binary(max_size=40), st.text(max_size=20)
)
keys = st.one_of(st.integers(-(2**64), 2**64 - 1), st.text(max_size=12))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=25,
)


@given(values)
def test_round_trip_and_agreement_with_cbor2(value: object) -> None:
    data = canonical.encode(value)
    assert canonical.decode(data) == value
    assert cbor2.loads(data) == value


@given(st.lists(scalars, max_size=20))
def test_sequences_encode_as_cbor2_does(value: list[object]) -> None:
    assert canonical.encode(value) == cbor2.dumps(value)


# RFC 8949, appendix A.
RFC_EXAMPLES = [
    (0, "00"), (23, "17"), (24, "1818"), (100, "1864"), (1000, "1903e8"), (1000000, "1a000f4240"),
    (18446744073709551615, "1bffffffffffffffff"), (-18446744073709551616, "3bffffffffffffffff"), (-1, "20"),
    (-1000, "3903e7"), (False, "f4"), (True, "f5"), (None, "f6"), (b"", "40"), (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"), ("IETF", "6449455446"), ("\u6c34", "63e6b0b4"), ([], "80"), ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({}, "a0"), ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), RFC_EXAMPLES)
def test_examples_of_the_rfc(value: object, text: str) -> None:
    assert canonical.encode(value).hex() == text
    assert canonical.decode(bytes.fromhex(text)) == value


def test_keys_sort_by_their_encodings() -> None:
    # RFC 8949, 4.2.1: 10, 100, -1, "z", "aa" in this order.
    data = canonical.encode({"aa": 0, -1: 0, 100: 0, "z": 0, 10: 0})
    assert data.hex() == "a5" + "0a00" + "186400" + "2000" + "617a00" + "62616100"


REFUSED = {
    "empty": "",
    "trailing byte": "0000",
    "long head of 23": "1817",
    "long head of 255": "1900ff",
    "long head of 65535": "1a0000ffff",
    "long head of a length": "580141",
    "half float": "f93c00",
    "single float": "fa3f800000",
    "double float": "fb3ff0000000000000",
    "undefined": "f7",
    "unassigned simple": "e0",
    "two-byte simple": "f8ff",
    "tag": "c001",
    "bignum": "c249010000000000000000",
    "indefinite bytes": "5f4101ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf6161 01ff".replace(" ", ""),
    "break": "ff",
    "reserved head": "1c",
    "duplicate key": "a2616101616102",
    "unsorted keys": "a2616201616101",
    "byte string key": "a1416101",
    "array key": "a18001",
    "boolean key": "a1f501",
    "truncated head": "19ff",
    "truncated bytes": "43aabb",
    "truncated text": "6361",
    "truncated array": "8201",
    "truncated map": "a16161",
    "text not UTF-8": "62c328",
    "text with a surrogate": "63eda080",
    "claims 2^60 bytes": "5b1000000000000000",
    "claims 2^60 elements": "9b1000000000000000",
    "claims 2^60 entries": "bb1000000000000000",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_canonical_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        canonical.decode(bytes.fromhex(text))


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x00", b"\xc1"])
def test_deep_nesting_is_refused_without_recursion(opening: bytes) -> None:
    with pytest.raises(FormatError):
        canonical.decode(opening * 30000 + b"\x00")


def test_depth_is_the_same_for_both_directions() -> None:
    value: object = 1
    for _ in range(canonical.MAX_DEPTH):
        value = [value]
    assert canonical.decode(canonical.encode(value)) == value
    with pytest.raises(InputError):
        canonical.encode([value])
    with pytest.raises(FormatError):
        canonical.decode(b"\x81" + canonical.encode(value))


def test_size_is_checked_first() -> None:
    with pytest.raises(LimitError):
        canonical.decode(b"\xff" * 65537)
    with pytest.raises(LimitError):
        canonical.decode(canonical.encode(b"x" * 100), limit=50)
    assert canonical.decode(canonical.encode(b"x" * 70000), limit=80000) == b"x" * 70000


@pytest.mark.parametrize(
    "value", [1.0, {1.5: 1}, {b"a": 1}, {True: 1}, 2**64, -(2**64) - 1, {1, 2}, object(), "\ud800"]
)
def test_what_has_no_encoding_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        canonical.encode(value)


@given(values, st.data())
def test_a_changed_record_never_reads_as_the_same_bytes(value: object, data: st.DataObject) -> None:
    raw = bytearray(canonical.encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = canonical.decode(bytes(raw))
    except FormatError:
        return
    assert canonical.encode(read) == bytes(raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        read = canonical.decode(raw)
    except FormatError:
        return
    assert canonical.encode(read) == raw
