"""A machine that makes SEV-SNP reports in AMD's layout under a chain of its own, for the tests only.

No real report may be carried here; the chain has AMD's shape (RSA-PSS with SHA-384 above, P-384 below), and smaller
RSA keys so that the tests stay quick.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from medveil.attestation.snp import SnpCollateral

OID = "1.3.6.1.4.1.3704.1."
TCB = {"3.1": 3, "3.2": 0, "3.3": 20, "3.8": 209}
PSS = padding.PSS(padding.MGF1(SHA384()), 48)


class SnpMachine:
    def __init__(self, now: int, product: bytes = b"Milan-B0") -> None:
        self.start = datetime.fromtimestamp(now - 86400, UTC)
        self.chip = bytes(range(64))
        self.ark_key, self.ask_key = (rsa.generate_private_key(65537, 2048) for _ in range(2))
        self.vcek_key = ec.generate_private_key(ec.SECP384R1())
        extensions = {"2": b"\x16" + bytes([len(product)]) + product, "4": self.chip}
        extensions |= {
            oid: b"\x02\x02\x00" + bytes([v]) if v > 127 else b"\x02\x01" + bytes([v]) for oid, v in TCB.items()
        }
        self.ark = self.certificate("ARK-TEST", self.ark_key.public_key(), "ARK-TEST", self.ark_key)
        self.ask = self.certificate("SEV-TEST", self.ask_key.public_key(), "ARK-TEST", self.ark_key)
        self.vcek = self.certificate("SEV-VCEK", self.vcek_key.public_key(), "SEV-TEST", self.ask_key, extensions)

    def certificate(self, name, key, issuer, issuer_key, extensions=None):  # type: ignore[no-untyped-def]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.start)
            .not_valid_after(self.start + timedelta(days=365))
        )
        for oid, value in (extensions or {}).items():
            builder = builder.add_extension(
                x509.UnrecognizedExtension(x509.ObjectIdentifier(OID + oid), value), critical=False
            )
        return builder.sign(issuer_key, SHA384(), rsa_padding=PSS)

    def crl(self, *revoked: x509.Certificate, key: rsa.RSAPrivateKey | None = None) -> bytes:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.ark.subject)
            .last_update(self.start)
            .next_update(self.start + timedelta(days=90))
        )
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.start).build())
        return builder.sign(key or self.ark_key, SHA384(), rsa_padding=PSS).public_bytes(Encoding.DER)

    def collateral(self, crl: bytes | None = None) -> SnpCollateral:
        vcek, ask, ark = (c.public_bytes(Encoding.DER) for c in (self.vcek, self.ask, self.ark))
        return SnpCollateral(vcek, ask, ark, self.crl() if crl is None else crl)

    def report(self, report_data: bytes, *, debug: bool = False, changes: dict[int, int] | None = None) -> bytes:
        body = bytearray(0x2A0)
        body[0], body[4], body[0x34] = 2, 5, 1
        body[10] = 0x08 if debug else 0
        body[0x50:0x90] = report_data
        body[0x90:0xC0] = bytes([7]) * 48
        body[0x180], body[0x186], body[0x187] = 3, 20, 209
        body[0x1A0:0x1E0] = self.chip
        for at, value in (changes or {}).items():
            body[at] = value
        r, s = decode_dss_signature(self.vcek_key.sign(bytes(body), ec.ECDSA(SHA384())))
        signature = r.to_bytes(72, "little") + s.to_bytes(72, "little")
        return bytes(body) + signature + bytes(368)
