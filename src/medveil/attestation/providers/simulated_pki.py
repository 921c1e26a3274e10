"""The simulator's own root, certificates and revocation lists: shaped like Intel's, named unlike any.

Every certificate says "NOT INTEL - DEVELOPER SIMULATION". All keys come from one seed and all signatures are
deterministic (RFC 6979), so a simulated platform is its seed and its date. Nothing here protects anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from medveil.attestation.verifier import SIMULATOR_NAME

CERTIFICATE_DAYS: Final = 3650
"""How long simulated certificates are valid, in days."""

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SGX: Final = "1.2.840.113741.1.13.1"


@dataclass(frozen=True, slots=True)
class PckIdentity:
    """What a PCK certificate says about its platform; sizes as in Intel's PCK certificate profile."""

    ppid: bytes
    cpu_svn: bytes
    pce_svn: int
    fmspc: bytes

    def extension(self) -> bytes:
        """Return the DER of Intel's SGX extension."""
        components = [_field(f"{_SGX}.2.{i + 1}", _integer(svn)) for i, svn in enumerate(self.cpu_svn)]
        components.append(_field(f"{_SGX}.2.17", _integer(self.pce_svn)))
        components.append(_field(f"{_SGX}.2.18", _der(0x04, self.cpu_svn)))
        fields = [
            _field(f"{_SGX}.1", _der(0x04, self.ppid)),
            _field(f"{_SGX}.2", _der(0x30, b"".join(components))),
            _field(f"{_SGX}.3", _der(0x04, bytes(2))),
            _field(f"{_SGX}.4", _der(0x04, self.fmspc)),
            _field(f"{_SGX}.5", _der(0x0A, b"\x00")),
        ]
        return _der(0x30, b"".join(fields))


@dataclass(frozen=True, slots=True)
class SimulatedPki:
    """Keys and certificates of one simulated vendor and one of its platforms."""

    root_key: ec.EllipticCurvePrivateKey = field(repr=False)
    ca_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pck_key: ec.EllipticCurvePrivateKey = field(repr=False)
    signing_key: ec.EllipticCurvePrivateKey = field(repr=False)
    root: x509.Certificate
    ca: x509.Certificate
    pck: x509.Certificate
    signing: x509.Certificate

    @classmethod
    def build(cls, seed: bytes, made_at: int, identity: PckIdentity) -> SimulatedPki:
        """Derive everything from `seed`; certificates are valid from `made_at` (Unix seconds) for ten years."""
        root_key, ca_key, pck_key, signing_key = (derive_key(seed, n) for n in ("root", "ca", "pck", "signing"))
        start = datetime.fromtimestamp(made_at, UTC)
        root_name = _name("root")
        root = _certificate(root_name, root_key, root_name, root_key, start, authority=True)
        ca = _certificate(_name("platform authority"), ca_key, root_name, root_key, start, authority=True)
        pck = _certificate(
            _name("platform"), pck_key, ca.subject, ca_key, start, authority=False, extension=identity.extension()
        )
        signing = _certificate(_name("collateral signing"), signing_key, root_name, root_key, start, authority=False)
        return cls(root_key, ca_key, pck_key, signing_key, root, ca, pck, signing)

    def crl(self, *, of_root: bool, start: int, end: int, revoked: x509.Certificate | None = None) -> bytes:
        """Return the DER of a revocation list of the root or the platform authority, valid from `start` to `end`."""
        issuer, key = (self.root, self.root_key) if of_root else (self.ca, self.ca_key)
        begin = datetime.fromtimestamp(start, UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(begin)
            .next_update(datetime.fromtimestamp(end, UTC))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        )
        if revoked is not None:
            entry = x509.RevokedCertificateBuilder().serial_number(revoked.serial_number).revocation_date(begin)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def derive_key(seed: bytes, name: str) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key `name` of a seed."""
    wide = HKDF(SHA384(), 48, b"medveil attestation simulator", name.encode()).derive(seed)
    return ec.derive_private_key(int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def raw_signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Return the 64-byte ECDSA P-256 signature r | s of `message`, deterministic."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def raw_public(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the 64-byte public point x | y."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def pem(*certificates: x509.Certificate) -> str:
    """Return certificates as PEM text."""
    return "".join(c.public_bytes(Encoding.PEM).decode("ascii") for c in certificates)


def _name(role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, SIMULATOR_NAME),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    start: datetime,
    *,
    authority: bool,
    extension: bytes | None = None,
) -> x509.Certificate:
    public = key.public_key()
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False) | {
        "encipher_only": False,
        "decipher_only": False,
    }
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(int.from_bytes(identifier.digest[:15], "big") | 1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage),
            critical=True,
        )
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if extension is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(_SGX), extension), critical=False
        )
    return builder.sign(issuer_key, SHA256(), ecdsa_deterministic=True)


def _field(oid: str, value: bytes) -> bytes:
    return _der(0x30, _oid(oid) + value)


def _oid(dotted: str) -> bytes:
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    out = bytearray([40 * first + second])
    for arc in rest:
        digits = [arc & 127]
        while arc := arc >> 7:
            digits.append(arc & 127 | 128)
        out += bytes(reversed(digits))
    return _der(0x06, bytes(out))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
