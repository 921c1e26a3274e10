"""A development certificate authority: one for a cluster, certificates for three parties and any client.

The common name says who a certificate is for: `party-0`, `party-1`, `party-2` or `client-NAME`. Both ends of every
connection check the other's chain and name; nothing trusts the host name. For production, an operator issues the
same names from an authority of their own.
"""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from medveil.errors import ConfigError, OutputExistsError

DAYS = 365


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _issue(
    common: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(common)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def make_certificates(folder: Path, names: list[str]) -> list[Path]:
    """Write ca.pem and, for each name, NAME.pem and NAME.key into `folder`; returns what was written.

    An authority that is already in the folder (ca.pem, ca.key) issues the new names; existing names are refused.

    Raises:
        OutputExistsError: a certificate of one of the names is already there.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        if (folder / f"{name}.pem").exists() or (folder / f"{name}.key").exists():
            raise OutputExistsError(f"there is a certificate for {name} already: remove it first or use another name")
    written = []
    if not (folder / "ca.key").exists():
        authority = ec.generate_private_key(ec.SECP256R1())
        root = _issue("medveil-mpc-ca", authority, _name("medveil-mpc-ca"), authority, ca=True)
        _write(folder / "ca.key", _private(authority), 0o600)
        _write(folder / "ca.pem", root.public_bytes(serialization.Encoding.PEM), 0o644)
        written += [folder / "ca.pem", folder / "ca.key"]
    try:
        loaded = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        root = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    except ValueError as e:
        raise ConfigError("the authority's key or certificate cannot be read: give another folder") from e
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ConfigError("the authority's key is not an elliptic-curve key: give another folder")
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _issue(name, key, root.subject, loaded, ca=False)
        _write(folder / f"{name}.key", _private(key), 0o600)
        _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        written += [folder / f"{name}.pem", folder / f"{name}.key"]
    return written


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def context(*, server: bool, ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a TLS 1.3 context that shows a certificate and asks the other side for one of the same authority."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.check_hostname = not server
    tls.verify_mode = ssl.CERT_REQUIRED
    try:
        tls.load_verify_locations(ca)
        tls.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise ConfigError(f"a certificate or key of {certificate.stem} cannot be loaded: run medveil mpc certs") from e
    if server:
        tls.num_tickets = 0
    return tls


def common_name(connection: ssl.SSLSocket) -> str:
    """Return the common name that the other side's checked certificate carries."""
    certificate = connection.getpeercert() or {}
    subject = certificate.get("subject", ())
    for part in subject if isinstance(subject, tuple) else ():
        for entry in part:
            if isinstance(entry, tuple) and entry[0] == "commonName":
                return str(entry[1])
    return ""
