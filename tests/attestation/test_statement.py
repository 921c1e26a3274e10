"""Statements have one encoding; digests, commitments and report data are what the documents say."""

from __future__ import annotations

import json
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.attestation.statement import (
    DOMAIN,
    Statement,
    check_commitment,
    commit,
    new_pairing,
    report_data,
    share_digest,
)
from medveil.crypto import canonical
from medveil.errors import FormatError, InputError, LimitError, TamperedError

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "attestation" / "statements"

names = st.from_regex(r"[a-z0-9][a-z0-9._/+-]{0,31}", fullmatch=True)
hashes = st.binary(min_size=32, max_size=32)


@st.composite
def statements(draw: Any) -> Statement:
    shares = draw(st.integers(1, 255))
    labels = st.from_regex(r"[a-z][a-z0-9-]{0,15}", fullmatch=True)
    return Statement(
        scheme=draw(names),
        threshold=draw(st.integers(1, shares)),
        shares=shares,
        index=draw(st.integers(1, shares)),
        width=draw(st.integers(1, 1 << 20)),
        height=draw(st.integers(1, 1 << 20)),
        channels=draw(st.integers(1, 4)),
        polarity=draw(names),
        packing=draw(names),
        halftone=draw(names),
        pairing=draw(st.binary(min_size=16, max_size=16)),
        digest=draw(hashes),
        made_at=draw(st.integers(0, (1 << 40) - 1)),
        commitments=draw(st.dictionaries(labels, hashes, max_size=16)),
        context=draw(st.just(b"") | hashes),
        dealer=draw(st.just(b"") | hashes),
    )


def example(**changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "scheme": "visual-xor",
        "threshold": 2,
        "shares": 2,
        "index": 1,
        "width": 786,
        "height": 512,
        "channels": 3,
        "polarity": "rgb",
        "packing": "msb-first",
        "halftone": "floyd-steinberg",
        "pairing": bytes(range(16)),
        "digest": bytes(range(32)),
        "made_at": 1_790_000_000,
    }
    return Statement(**(fields | changes))


@given(statements())
def test_round_trip_and_an_independent_decoder(statement: Statement) -> None:
    raw = statement.encode()
    assert Statement.decode(raw) == statement
    fields = cbor2.loads(raw)
    assert fields[0] == DOMAIN
    assert cbor2.dumps(fields, canonical=True) == raw
    assert fields[11] == statement.pairing
    assert fields[12] == statement.digest


@given(statements(), st.data())
def test_no_altered_statement_is_the_same(statement: Statement, data: Any) -> None:
    raw = bytearray(statement.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert Statement.decode(bytes(raw)) != statement
    except FormatError:
        return


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Statement.decode(data)


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_vectors(path: Path) -> None:
    vector = json.loads(path.read_text())
    raw = bytes.fromhex(vector["statement"])
    if vector["expect"] == "refused":
        with pytest.raises(FormatError):
            Statement.decode(raw)
        return
    statement = Statement.decode(raw)
    assert statement.encode() == raw
    assert report_data(raw).hex() == vector["report_data"]
    assert {k: v.hex() if isinstance(v, bytes) else v for k, v in cbor2.loads(raw).items() if k != 13} == {
        int(k): v for k, v in vector["fields"].items()
    }


def test_report_data_is_the_hash_of_domain_and_statement() -> None:
    raw = example().encode()
    assert report_data(raw) == sha512(b"MPVC-SHARE/1" + raw).digest()
    assert report_data(raw, "MPVC-SESSION/1") != report_data(raw)


def test_long_and_foreign_statements() -> None:
    with pytest.raises(LimitError):
        Statement.decode(bytes(4097))
    fields = cbor2.loads(example().encode())
    for change in ({0: "MPVC-SHARE/2"}, {17: 1}, {4: 3}, {5: 0}, {1: "Visual"}, {11: bytes(15)}, {2: True}, {13: []}):
        with pytest.raises(FormatError):
            Statement.decode(canonical.encode(fields | change))
    del fields[16]
    with pytest.raises(FormatError):
        Statement.decode(canonical.encode(fields))


@pytest.mark.parametrize(
    "change",
    [
        {"index": 3}, {"index": 0}, {"threshold": 3}, {"threshold": 0}, {"shares": 256}, {"width": 0},
        {"height": (1 << 20) + 1}, {"channels": 5}, {"scheme": ""}, {"halftone": "x" * 33}, {"polarity": "CMY"},
        {"pairing": bytes(15)}, {"digest": bytes(31)}, {"dealer": bytes(16)}, {"context": bytes(33)}, {"made_at": -1},
        {"made_at": 1.5}, {"commitments": {"Secret": bytes(32)}}, {"commitments": {"secret": bytes(31)}},
        {"commitments": {f"c{i}": bytes(32) for i in range(17)}}, {"commitments": [1]}, {"width": True},
    ],
)  # fmt: skip
def test_fields_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        example(**change)


def test_commitments_are_salted_and_bind() -> None:
    commitment, salt = commit("original", b"the file")
    again, other_salt = commit("original", b"the file")
    assert commitment != again
    assert commitment != sha256(b"the file").digest()
    statement = example(commitments={"original": commitment})
    check_commitment(statement, "original", b"the file", salt)
    for label, value, used in (
        ("original", b"another file", salt),
        ("original", b"the file", other_salt),
        ("halftone", b"the file", salt),
    ):
        with pytest.raises(TamperedError):
            check_commitment(statement, label, value, used)
    with pytest.raises(InputError, match="salt"):
        check_commitment(statement, "original", b"the file", b"")


def test_share_digest_covers_dimensions_and_bits() -> None:
    plane = bytes(12 * 8 * 3 // 8)
    digest = share_digest(12, 8, 3, plane)
    assert digest == sha256(b"MPVC-DIGEST/1" + bytes([0, 0, 0, 12, 0, 0, 0, 8, 3]) + plane).digest()
    assert digest != share_digest(8, 12, 3, plane)
    assert digest != share_digest(12, 8, 3, plane[:-1] + b"\x01")
    assert digest == share_digest(12, 8, 3, memoryview(plane))
    with pytest.raises(InputError, match="36 belong"):
        share_digest(12, 8, 3, plane[:-1])


def test_pairing_numbers_are_fresh() -> None:
    assert len({new_pairing() for _ in range(100)}) == 100
