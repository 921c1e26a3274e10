"""Strict canonical parser of Intel DCAP quotes: SGX version 3, TDX versions 4 and 5, ECDSA P-256.

Layouts: Intel SGX ECDSA quote library API reference (version 3) and Intel TDX DCAP quoting library API reference
(versions 4 and 5). All integers are little endian.

A quote is malleable: the root certificate it carries, blanks of its PEM text, its length fields and whatever
follows its end are covered by no signature, so a verifier that only follows the signatures accepts quotes that
were altered there. This parser therefore takes one form only: every length exact, certification type 6 around
type 5 (version 4 and 5) or type 5 (version 3), 32 bytes of authentication data, exactly three certificates whose
re-encoded PEM equals the text, nothing but zeros after the end. A quoting library may end the PEM text with one
zero byte; that is the only freedom left. What the parser returns is not verified: `verifier` does that.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from medveil.errors import FormatError, LimitError

MAX_QUOTE: Final = 16384
"""Longest quote that is read, its zero tail included, in bytes."""


class Tee(StrEnum):
    """Kind of trusted execution environment; the value is what a policy file says."""

    SGX = "sgx"
    TDX = "tdx"
    SNP = "sev-snp"


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote in canonical form, not verified.

    raw: the canonical bytes, without the zero tail. measurement: register name -> lower-case hexadecimal.
    certificates: DER of PCK leaf, intermediate and root. chain_at: where their PEM text starts in `raw`.
    isv_svn, isv_prod_id: of SGX enclaves, else None.
    """

    tee: Tee
    version: int
    raw: bytes = field(repr=False)
    report_data: bytes
    measurement: Mapping[str, str]
    debug: bool
    certificates: tuple[bytes, bytes, bytes] = field(repr=False)
    chain_at: int
    isv_prod_id: int | None = None
    isv_svn: int | None = None

    @property
    def fmspc(self) -> str:
        """The platform family that the PCK leaf names, 12 hexadecimal digits, or empty; not verified.

        Only good for choosing collateral: verification compares the verified value again.
        """
        leaf = self.certificates[0]
        at = leaf.find(_FMSPC)
        return leaf[at + len(_FMSPC) : at + len(_FMSPC) + 6].hex() if at >= 0 else ""


HEADER_SIZE: Final = 48
SGX_BODY_SIZE: Final = 384
TDX_BODY_SIZES: Final = {2: 584, 3: 648}
"""Body type of a version 5 quote -> size of its TD report."""
QE_AUTH_SIZE: Final = 32
QE_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""Vendor id of Intel's quoting enclave in every quote's header."""

_TEE_SGX, _TEE_TDX = 0, 0x81
# OID 1.2.840.113741.1.13.1.4, then the head of an octet string of six bytes (Intel SGX PCK certificate profile).
_FMSPC = bytes.fromhex("060a2a864886f84d010d01040406")
_KEY_TYPE_P256 = 2
_PCK_CHAIN, _QE_REPORT = 5, 6
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
_SGX_DEBUG = 0x02  # ATTRIBUTES byte 0, bit 1
_TD_UNTRUSTED = 0xFF  # TDATTRIBUTES byte 0: the bits of a TD under debug; the others there are reserved


def parse_quote(data: bytes) -> Quote:
    """Read a DCAP quote of one of the three supported forms; a tail of zeros is stripped.

    Raises LimitError where it is longer than 16 KiB and FormatError where it is not in the one canonical form.
    """
    if len(data) > MAX_QUOTE:
        raise LimitError(f"a quote of {len(data)} bytes is larger than the {MAX_QUOTE} allowed: it is not read")
    if len(data) < HEADER_SIZE:
        raise FormatError(f"a quote of {len(data)} bytes is shorter than its header: it was truncated")
    version, tee = _u16(data, 0), _u32(data, 4)
    if (version, tee) not in ((3, _TEE_SGX), (4, _TEE_TDX), (5, _TEE_TDX)):
        raise FormatError(f"a quote of version {version} for TEE {tee:#x}: only SGX 3, TDX 4 and TDX 5 are read")
    if _u16(data, 2) != _KEY_TYPE_P256:
        raise FormatError("a quote's attestation key is not ECDSA P-256: no other type is accepted")
    if data[12:28] != QE_VENDOR:
        raise FormatError("a quote was not made by Intel's quoting enclave: its vendor id is another")
    if version == 3:
        return _parse_sgx(data)
    return _parse_tdx(data, version)


def _parse_sgx(data: bytes) -> Quote:
    end = HEADER_SIZE + SGX_BODY_SIZE
    body = _slice(data, HEADER_SIZE, SGX_BODY_SIZE)
    raw, certificates, chain_at = _parse_signature(data, end, version=3)
    return Quote(
        tee=Tee.SGX,
        version=3,
        raw=raw,
        report_data=body[320:384],
        measurement={"mrenclave": body[64:96].hex(), "mrsigner": body[128:160].hex()},
        debug=bool(body[48] & _SGX_DEBUG),
        certificates=certificates,
        chain_at=chain_at,
        isv_prod_id=_u16(body, 256),
        isv_svn=_u16(body, 258),
    )


def _parse_tdx(data: bytes, version: int) -> Quote:
    start, size = HEADER_SIZE, TDX_BODY_SIZES[2]
    if version == 5:
        _slice(data, HEADER_SIZE, 6)
        kind, claimed = _u16(data, HEADER_SIZE), _u32(data, HEADER_SIZE + 2)
        if TDX_BODY_SIZES.get(kind) != claimed:
            raise FormatError(
                f"a quote's body of type {kind} and {claimed} bytes: only TD reports 1.0 and 1.5 are read"
            )
        start, size = HEADER_SIZE + 6, claimed
    body = _slice(data, start, size)
    raw, certificates, chain_at = _parse_signature(data, start + size, version=version)
    measurement = {"mrtd": body[136:184].hex()}
    measurement |= {f"rtmr{i}": body[328 + 48 * i : 376 + 48 * i].hex() for i in range(4)}
    measurement["mrseam"] = body[16:64].hex()
    return Quote(
        tee=Tee.TDX,
        version=version,
        raw=raw,
        report_data=body[520:584],
        measurement=measurement,
        debug=bool(body[120] & _TD_UNTRUSTED),
        certificates=certificates,
        chain_at=chain_at,
    )


def _parse_signature(data: bytes, end: int, *, version: int) -> tuple[bytes, tuple[bytes, bytes, bytes], int]:
    """Check the signature section that starts at `end`; return the quote, its certificates and their place."""
    _slice(data, end, 4)
    length = _u32(data, end)
    total = end + 4 + length
    if total > len(data):
        raise FormatError(f"a quote claims {total} bytes and has {len(data)}: it was truncated")
    if any(data[total:]):
        raise FormatError("bytes other than zeros follow the end of a quote: it was altered")
    at = end + 4 + 64 + 64  # signature over header and body, attestation key
    if version > 3:
        at = _certification(data, at, _QE_REPORT, total)
    at += SGX_BODY_SIZE + 64  # report of the quoting enclave, its signature by the PCK
    _slice(data, at, 2)
    if _u16(data, at) != QE_AUTH_SIZE:
        raise FormatError(f"a quote's authentication data has {_u16(data, at)} bytes where {QE_AUTH_SIZE} belong")
    at = _certification(data, at + 2 + QE_AUTH_SIZE, _PCK_CHAIN, total)
    return data[:total], _parse_chain(data[at:total]), at


def _certification(data: bytes, at: int, expected: int, total: int) -> int:
    """Check type and size of the certification data at `at`, which must end at `total`; return where it starts."""
    _slice(data, at, 6)
    kind, size = _u16(data, at), _u32(data, at + 2)
    if kind != expected:
        raise FormatError(f"a quote's certification data is of type {kind} where {expected} belongs")
    if at + 6 + size != total:
        raise FormatError("the lengths in a quote contradict each other: it was altered")
    return at + 6


def _parse_chain(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the three certificates of a PEM chain that is exactly what encoding them gives."""
    text = text.removesuffix(b"\x00")
    blocks = text.split(_END)
    if len(blocks) != 4 or blocks[3]:
        raise FormatError("a quote does not carry exactly three certificates in PEM: it was altered")
    ders = []
    for block in blocks[:3]:
        try:
            der = base64.b64decode(block.removeprefix(_BEGIN).replace(b"\n", b""), validate=True)
        except binascii.Error:
            raise FormatError("a certificate of a quote is not base64: it was altered") from None
        if _pem(der) != block + _END:
            raise FormatError("a certificate of a quote is not in canonical PEM: it was altered")
        ders.append(der)
    return ders[0], ders[1], ders[2]


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[i : i + 64] + b"\n" for i in range(0, len(text), 64)]
    return _BEGIN + b"".join(lines) + _END


def _slice(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise FormatError("a quote ends in the middle of a field: it was truncated")
    return data[at : at + size]


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
