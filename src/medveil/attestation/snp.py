"""AMD SEV-SNP attestation reports: strict parser and verification under AMD's certificates.

Layout: AMD SEV Secure Nested Paging firmware ABI specification (publication 56860), table ATTESTATION_REPORT;
certificates: VCEK certificate and KDS interface specification (publication 57230). Integers are little endian.

The signature is ECDSA P-384 with SHA-384 over bytes 0 to 0x29F by the chip's VCEK, whose certificate is signed by
ASK and ARK (RSA-PSS, SHA-384). A VCEK is bound to a chip and to firmware versions: both are compared with the
report. Reports under a VLEK (a provider's key) or with a masked chip key are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.utils import CryptographyDeprecationWarning

from medveil.attestation.collateral import UNREADABLE
from medveil.errors import FormatError, LimitError, NotAuthenticError, TamperedError

REPORT_SIZE: Final = 1184
"""Length of an attestation report, in bytes."""
SIGNED_SIZE: Final = 0x2A0
"""How much of a report its signature covers, in bytes."""

_TCB_OIDS: Final = {  # component -> (OID of the VCEK extension, byte of the 64-bit TCB version before Turin)
    "bootloader": ("1.3.6.1.4.1.3704.1.3.1", 0),
    "tee": ("1.3.6.1.4.1.3704.1.3.2", 1),
    "snp": ("1.3.6.1.4.1.3704.1.3.3", 6),
    "microcode": ("1.3.6.1.4.1.3704.1.3.8", 7),
}
_HWID: Final = "1.3.6.1.4.1.3704.1.4"
_PRODUCT: Final = "1.3.6.1.4.1.3704.1.2"
_DEBUG_BIT: Final = 19


@dataclass(frozen=True, slots=True)
class SnpReport:
    """A report in canonical form, not verified.

    measurement: 48-byte launch measurement in hexadecimal, and host_data. tcb: firmware versions that the report
    claims (REPORTED_TCB). chip_id: 64 bytes in hexadecimal. vmpl: privilege level of the asking guest, 0 to 3.
    """

    raw: bytes = field(repr=False)
    version: int
    report_data: bytes
    measurement: Mapping[str, str]
    debug: bool
    guest_svn: int
    chip_id: str
    tcb: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SnpCollateral:
    """What verification of a report needs besides it: DER of VCEK, ASK and ARK, and AMD's revocation list.

    Raises FormatError from `certificates` and `revocations` where a part cannot be read.
    """

    vcek: bytes = field(repr=False)
    ask: bytes = field(repr=False)
    ark: bytes = field(repr=False)
    crl: bytes = field(repr=False)

    def certificates(self) -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
        """Return the parsed VCEK, ASK and ARK."""
        return _load(self.vcek), _load(self.ask), _load(self.ark)

    def revocations(self) -> x509.CertificateRevocationList:
        """Return the parsed revocation list of the ARK."""
        if len(self.crl) > 65536:
            raise LimitError("a revocation list is larger than 64 KiB: it is not read")
        try:
            return x509.load_der_x509_crl(self.crl)
        except UNREADABLE:
            raise FormatError("the collateral's revocation list cannot be read: fetch it again") from None


def parse_report(data: bytes) -> SnpReport:
    """Read a report of version 2 to 5; a tail of zeros is not allowed here.

    Raises LimitError or FormatError where it is not in the one canonical form.
    """
    if len(data) > REPORT_SIZE:
        raise LimitError(f"a report of {len(data)} bytes is larger than {REPORT_SIZE}: it is not read")
    if len(data) < REPORT_SIZE:
        raise FormatError(f"a report of {len(data)} bytes is shorter than {REPORT_SIZE}: it was truncated")
    version, vmpl, algorithm = _u32(data, 0), _u32(data, 0x30), _u32(data, 0x34)
    if version not in (2, 3, 4, 5):
        raise FormatError(f"a report of version {version}: only versions 2 to 5 are read")
    if algorithm != 1:
        raise FormatError("a report is not signed by ECDSA P-384 with SHA-384: no other algorithm is accepted")
    if vmpl != 0:
        raise FormatError(f"a report of privilege level {vmpl}: only level 0 speaks for the whole guest")
    if _u32(data, 0x48) & 0b11110:
        raise FormatError("a report is signed by a provider's key or with a masked chip key: only a VCEK is accepted")
    if any(data[0x2A0 + 48 : 0x2A0 + 72]) or any(data[0x2A0 + 72 + 48 :]):
        raise FormatError("a report's signature is not in its one canonical form: it was altered")
    return SnpReport(
        raw=data,
        version=version,
        report_data=data[0x50:0x90],
        measurement={"measurement": data[0x90:0xC0].hex(), "host_data": data[0xC0:0xE0].hex()},
        debug=bool(int.from_bytes(data[8:16], "little") >> _DEBUG_BIT & 1),
        guest_svn=_u32(data, 4),
        chip_id=data[0x1A0:0x1E0].hex(),
        tcb={name: data[0x180 + place] for name, (_, place) in _TCB_OIDS.items()},
    )


def verify_report(report: SnpReport, collateral: SnpCollateral) -> None:
    """Check the report's signature, its certificate's binding and the chain up to the ARK.

    The caller checks the pin of the ARK and the time (`validity`). Raises TamperedError where a signature or the
    binding is wrong, NotAuthenticError where AMD has revoked the chain, FormatError where a part is unreadable.
    """
    vcek, ask, ark = collateral.certificates()
    _check_chain(vcek, ask, ark)
    _check_revocation(ask, ark, collateral.revocations())
    _check_binding(report, vcek)
    check_signature(report, vcek)


def validity(collateral: SnpCollateral) -> tuple[int, int]:
    """Return the Unix seconds between which all certificates and the revocation list are valid.

    Raises FormatError or LimitError where a part is unreadable.
    """
    certificates, crl = collateral.certificates(), collateral.revocations()
    try:
        until = crl.next_update_utc
        starts = [c.not_valid_before_utc for c in certificates] + [crl.last_update_utc]
        ends = [c.not_valid_after_utc for c in certificates]
    except ValueError:
        raise FormatError("a date in the collateral cannot be read: fetch it again") from None
    if until is None:
        raise FormatError("the revocation list does not say until when it is valid: it is not accepted")
    return _seconds(max(starts)), _seconds(min([*ends, until]))


def check_signature(report: SnpReport, vcek: x509.Certificate) -> None:
    """Check the signature of a report by the key of a VCEK certificate. Raises TamperedError or FormatError."""
    try:
        key = vcek.public_key()
    except UNREADABLE:
        raise FormatError("a VCEK certificate's key cannot be read: it is not one of AMD's") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        raise FormatError("a VCEK certificate does not hold a P-384 key: it is not one of AMD's")
    r = int.from_bytes(report.raw[0x2A0 : 0x2A0 + 48], "little")
    s = int.from_bytes(report.raw[0x2A0 + 72 : 0x2A0 + 120], "little")
    try:
        key.verify(encode_dss_signature(r, s), report.raw[:SIGNED_SIZE], ECDSA(SHA384()))
    except InvalidSignature:
        raise TamperedError("the report's signature is not valid: it was altered or signed by another chip") from None


def _check_chain(vcek: x509.Certificate, ask: x509.Certificate, ark: x509.Certificate) -> None:
    try:
        ark.verify_directly_issued_by(ark)
        ask.verify_directly_issued_by(ark)
        vcek.verify_directly_issued_by(ask)
    except (InvalidSignature, *UNREADABLE, TypeError):
        raise TamperedError("the chain from the chip's certificate to AMD's root is not valid") from None


def _check_revocation(ask: x509.Certificate, ark: x509.Certificate, crl: x509.CertificateRevocationList) -> None:
    key = ark.public_key()
    try:
        signed = isinstance(key, RSAPublicKey) and crl.issuer == ark.subject and crl.is_signature_valid(key)
        revoked = signed and crl.get_revoked_certificate_by_serial_number(ask.serial_number) is not None
    except (*UNREADABLE, TypeError):
        signed = revoked = False
    if not signed:
        raise TamperedError("the revocation list is not signed by the root of this chain")
    if revoked:
        raise NotAuthenticError("AMD has revoked the signing key of this chip's certificate")


def _check_binding(report: SnpReport, vcek: x509.Certificate) -> None:
    """Compare the chip and the firmware versions in a report with those that the VCEK was issued for."""
    product = bytes(_extension(vcek, _PRODUCT)[2:])
    if not product.startswith((b"Milan", b"Genoa")):
        raise FormatError("a VCEK for another product line than Milan or Genoa: its TCB layout is not supported")
    if bytes(_extension(vcek, _HWID)).hex() != report.chip_id:
        raise TamperedError("the report and the chip's certificate are of different chips")
    for name, (oid, _) in _TCB_OIDS.items():
        if int.from_bytes(_extension(vcek, oid)[2:], "big") != report.tcb[name]:
            raise TamperedError(f"the report's {name} version is not the one that its certificate was issued for")


def _extension(certificate: x509.Certificate, oid: str) -> bytes:
    try:
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(oid)).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        raise FormatError(f"a VCEK certificate lacks the extension {oid}: it is not one of AMD's") from None
    if not isinstance(found, x509.UnrecognizedExtension):
        raise FormatError(f"a VCEK certificate's extension {oid} is of another kind: it is not one of AMD's")
    return found.value


def _load(der: bytes) -> x509.Certificate:
    if len(der) > 8192:
        raise LimitError("a certificate is larger than 8 KiB: it is not read")
    try:
        with warnings.catch_warnings():
            # AMD issues VCEK certificates with serial number 0, which RFC 5280 does not allow.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return x509.load_der_x509_certificate(der)
    except UNREADABLE:
        raise FormatError("a certificate of the collateral cannot be read: fetch it again") from None


def _seconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp())


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
