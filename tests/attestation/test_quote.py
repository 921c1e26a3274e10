"""The strict parser: offsets of the real samples, and everything that is not the one canonical form."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.conftest import Sample

from medveil.attestation.providers.simulated import SimulatedPlatform
from medveil.attestation.quote import MAX_QUOTE, Tee, parse_quote
from medveil.errors import FormatError, LimitError, NotAuthenticError

REPORT = bytes(range(64))


def test_samples_are_read_as_expected(samples: dict[str, Sample]) -> None:
    for sample in samples.values():
        quote, facts = parse_quote(sample.raw), sample.facts
        assert quote.tee is Tee(facts["tee"].lower())
        assert quote.version == facts["version"]
        assert len(quote.raw) == facts["canonical_bytes"]
        assert quote.report_data.hex() == facts["report_data"]
        assert quote.debug == facts["debug"]
        assert quote.fmspc.upper() == facts["fmspc"]
        if quote.tee is Tee.SGX:
            assert quote.measurement == {"mrenclave": facts["mrenclave"], "mrsigner": facts["mrsigner"]}
        else:
            assert quote.measurement["mrtd"] == facts["mrtd"]
            assert [quote.measurement[f"rtmr{i}"] for i in range(4)] == facts["rtmr"]


def test_a_zero_tail_is_stripped_and_no_other(samples: dict[str, Sample]) -> None:
    for sample in samples.values():
        canonical = parse_quote(sample.raw).raw
        assert parse_quote(canonical).raw == canonical
        assert parse_quote(canonical + bytes(100)).raw == canonical
        for tail in (b"\x01", bytes(99) + b"\x80"):
            with pytest.raises(FormatError, match="follow the end"):
                parse_quote(canonical + tail)


def test_every_truncation_is_refused(samples: dict[str, Sample], platform: SimulatedPlatform) -> None:
    quotes = [parse_quote(sample.raw).raw for sample in samples.values()]
    quotes += [platform.quote(REPORT, form=form) for form in ("sgx-3", "tdx-4", "tdx-5")]
    for raw in quotes:
        for size in range(0, len(raw) - 1, 7):
            with pytest.raises(FormatError):
                parse_quote(raw[:size])


def test_oversized_quotes_are_not_read() -> None:
    with pytest.raises(LimitError):
        parse_quote(bytes(MAX_QUOTE + 1))


def patched(raw: bytes, at: int, value: bytes) -> bytes:
    return raw[:at] + value + raw[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (0, b"\x04\x00", "version 4 for TEE 0x0"),
        (0, b"\x02\x00", "version 2"),
        (2, b"\x03\x00", "P-256"),
        (4, b"\x81\x00\x00\x00", "version 3 for TEE 0x81"),
        (12, bytes(16), "vendor"),
        (432, b"\xff\xff\xff\xff", "truncated"),
        (1012, b"\x1f\x00", "authentication data"),
        (1012, b"\x21\x00", "authentication data"),
        (1046, b"\x06\x00", "type 6"),
        (1046, b"\x01\x00", "type 1"),
        (1048, b"\x00\x00\x00\x00", "contradict"),
        (1052, b"=", "PEM|base64"),
    ],
)
def test_fields_of_version_3(at: int, value: bytes, why: str, samples: dict[str, Sample]) -> None:
    raw = samples["sgx_v3_processor_ca"].raw
    parse_quote(raw)
    with pytest.raises(FormatError, match=why):
        parse_quote(patched(raw, at, value))


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (764, b"\x05\x00", "type 5"),
        (766, b"\x00\x00\x00\x00", "contradict"),
        (632, b"\x00\x00\x00\x00", "follow the end"),
    ],
)
def test_fields_of_version_4(at: int, value: bytes, why: str, samples: dict[str, Sample]) -> None:
    raw = samples["tdx_v4_uptodate"].raw
    parse_quote(raw)
    with pytest.raises(FormatError, match=why):
        parse_quote(patched(raw, at, value))


@pytest.mark.parametrize(
    ("at", "value"),
    [(48, b"\x01\x00"), (48, b"\x02\x00"), (48, b"\x04\x00"), (50, b"\x48\x02\x00\x00"), (50, b"\x00\x00\x00\x00")],
)
def test_body_of_version_5(at: int, value: bytes, platform: SimulatedPlatform) -> None:
    raw = platform.quote(REPORT, form="tdx-5")
    assert parse_quote(raw).report_data == REPORT
    with pytest.raises(FormatError, match="TD reports"):
        parse_quote(patched(raw, at, value))


def rebuilt(raw: bytes, chain: bytes) -> bytes:
    """Put another chain into a version 3 quote, with lengths that fit."""
    section = raw[436:1048] + len(chain).to_bytes(4, "little") + chain
    return raw[:432] + len(section).to_bytes(4, "little") + section


def test_certificates_have_one_form(samples: dict[str, Sample]) -> None:
    raw = samples["sgx_v3_processor_ca"].raw
    chain = raw[1052:]
    assert parse_quote(rebuilt(raw, chain)).raw == raw
    text = chain.removesuffix(b"\x00")
    assert parse_quote(rebuilt(raw, text)).certificates == parse_quote(raw).certificates
    blocks = [block + b"-----END CERTIFICATE-----\n" for block in text.split(b"-----END CERTIFICATE-----\n")[:3]]
    unpadded = base64.b64encode(b"x" * 99)
    for bad in (
        b"".join(blocks[:2]),
        b"".join([*blocks, blocks[2]]),
        b"\n" + text,
        text + b"\n",
        text + b"\x00\x00",
        text.replace(b"\n", b"\r\n"),
        text.replace(b"\n", b" \n", 1),
        text.replace(b"MII", b"MI\nI", 1),
        blocks[0] + blocks[1] + b"-----BEGIN CERTIFICATE-----\n" + unpadded + b"-----END CERTIFICATE-----\n",
        blocks[0].lower() + blocks[1] + blocks[2],
        b"",
    ):
        with pytest.raises(FormatError):
            parse_quote(rebuilt(raw, bad))


@given(st.binary(max_size=6000))
def test_random_bytes_give_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_quote(data)


@given(data=st.data())
def test_damaged_quotes_give_one_kind_of_error_or_parse(data: Any) -> None:
    raw = bytearray(SimulatedPlatform(bytes(32), 1_700_000_000).quote(REPORT, form="tdx-5"))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(parse_quote(bytes(raw)).raw) <= len(raw)
    except (FormatError, NotAuthenticError):
        return
