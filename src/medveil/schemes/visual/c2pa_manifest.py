"""A C2PA manifest ("content credentials") on a PNG share, so that programs that know nothing of us see who made it.

The manifest names the signer by an X.509 certificate, says that the picture was made by a program, and carries the
share's report data, which ties it to the signed statement that the share carries anyway. It adds nothing to what
`medveil.attestation` proves and is no condition of recovery: a name is not an enclave. It has no thumbnail and no
time stamp, nothing is fetched from anywhere, and it is embedded only: apart from the share its hash of the file would
be an unsalted hash of the share.

C2PA Technical Specification 2.x; the library is c2pa-python (extra `c2pa`).
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from medveil.attestation.statement import Statement, report_data
from medveil.errors import FormatError, InputError, MissingExtraError, NotAuthenticError, TamperedError

LABEL: Final = "org.medveil.share"
"""Label of our assertion."""

_MAX_FILE: Final = 1 << 16
_CURVES: Final = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48), "secp521r1": ("ES512", 66)}
_HASHES: Final = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}
_ACTION: Final = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia",
}
_SETTINGS: Final[dict[str, Any]] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True, slots=True)
class Credential:
    """Who signs manifests. chain: PEM certificates, the signer's first. key: its private key."""

    chain: str
    key: Any = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Credential:
        """Read a PEM file with the certificates and the unencrypted private key (Ed25519, ECDSA or RSA).

        Raises InputError where the file is none, others can read it, or key and certificate do not belong together.
        """
        from medveil.attestation.files import read_bounded

        data = read_bounded(path, _MAX_FILE)
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path} holds a private key and others can read it: chmod 600")
        start, end = data.find(b"-----BEGIN"), -1
        while start >= 0 and b"PRIVATE KEY" not in data[start : start + 40]:
            start = data.find(b"-----BEGIN", start + 1)
        end = data.find(b"-----END", start) if start >= 0 else -1
        try:
            certificates = x509.load_pem_x509_certificates(data)
            key = serialization.load_pem_private_key(data[start : data.index(b"\n", end) + 1 if end >= 0 else 0], None)
        except (ValueError, TypeError):
            raise InputError(
                f"{path} is no C2PA credential: put PEM certificates, the signer's first, and its unencrypted private "
                "key into one file"
            ) from None
        if key.public_key() != certificates[0].public_key():
            raise InputError(f"the private key in {path} is not that of its first certificate: put the signer's first")
        return cls("".join(c.public_bytes(serialization.Encoding.PEM).decode() for c in certificates), key)

    @property
    def algorithm(self) -> str:
        """Name of the signature algorithm in C2PA. Raises InputError for a key that C2PA does not take."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return "ED25519"
        if isinstance(self.key, ec.EllipticCurvePrivateKey) and self.key.curve.name in _CURVES:
            return _CURVES[self.key.curve.name][0]
        if isinstance(self.key, rsa.RSAPrivateKey):
            return "PS256"
        raise InputError("C2PA takes keys of Ed25519, of ECDSA on P-256, P-384 or P-521, and of RSA: make one of these")

    def sign(self, data: bytes) -> bytes:
        """Return the signature in the form of COSE (ECDSA as r and s)."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            name, size = _CURVES[self.key.curve.name]
            r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(_HASHES[name])))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        digest = hashes.SHA256()
        signed: bytes = self.key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return signed


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a valid manifest says. trusted: whether its certificates lead to one of the given anchors."""

    signer: str
    issuer: str
    algorithm: str
    trusted: bool
    share: dict[str, Any]


def embed(png: bytes, statement: Statement, credential: Credential) -> bytes:
    """Return a PNG share with a manifest; its pixels and chunks stay as they are.

    Raises InputError where the library refuses the credential (C2PA wants a certificate of an authority, for signing
    documents or mail), MissingExtraError without the extra `c2pa`.
    """
    c2pa = _library()
    content = {
        "claim_generator_info": [{"name": "medveil"}],
        "format": "image/png",
        "title": f"visual cryptography share {statement.index} of {statement.shares}",
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [_ACTION]}},
            {"label": LABEL, "data": _says(statement)},
        ],
    }
    out = io.BytesIO()
    try:
        signer = c2pa.Signer.from_callback(
            credential.sign, getattr(c2pa.C2paSigningAlg, credential.algorithm), credential.chain
        )
        with c2pa.Builder(json.dumps(content), c2pa.Context.from_dict(_SETTINGS)) as builder, signer:
            builder.sign(signer, "image/png", io.BytesIO(png), out)
    except c2pa.C2paError as error:
        raise InputError(f"the C2PA credential was refused: {error}") from None
    return out.getvalue()


def check(png: bytes, statement: Statement, anchors: str = "") -> Manifest:
    """Validate the manifest of a PNG share whose own statement is `statement`.

    anchors: PEM certificates of the authorities that are trusted; without any nobody is, and `trusted` is False.
    Raises FormatError where there is no manifest, TamperedError where it is not valid or speaks of another share,
    NotAuthenticError where anchors are given and none of them stands behind it, MissingExtraError.
    """
    c2pa = _library()
    settings = _SETTINGS | ({"trust": {"trust_anchors": anchors}} if anchors else {})
    try:
        reader = c2pa.Reader("image/png", io.BytesIO(png), context=c2pa.Context.from_dict(settings))
        report = json.loads(reader.json())
        reader.close()
    except c2pa.C2paError.ManifestNotFound:
        raise FormatError("the share carries no C2PA manifest") from None
    except c2pa.C2paError as error:
        raise TamperedError(f"the share's C2PA manifest cannot be read: {error}") from None
    state = report.get("validation_state")
    if state not in ("Valid", "Trusted"):
        failed = report.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
        why = ", ".join(sorted({str(one.get("code")) for one in failed})) or "for no stated reason"
        raise TamperedError(f"the share's C2PA manifest is not valid ({why}): share or manifest was changed")
    if anchors and state != "Trusted":
        raise NotAuthenticError("none of the given authorities stands behind the share's C2PA manifest")
    active = report["manifests"][report["active_manifest"]]
    said = [one["data"] for one in active.get("assertions", []) if one.get("label") == LABEL]
    if said != [_says(statement)]:
        raise TamperedError("the C2PA manifest speaks of another share than the one that carries it")
    info = active.get("signature_info", {})
    return Manifest(
        str(info.get("common_name", "")),
        str(info.get("issuer", "")),
        str(info.get("alg", "")),
        bool(anchors) and state == "Trusted",
        said[0],
    )


def _says(statement: Statement) -> dict[str, Any]:
    return {
        "index": statement.index,
        "threshold": statement.threshold,
        "shares": statement.shares,
        "pairing": statement.pairing.hex(),
        "report_data": report_data(statement.encode()).hex(),
    }


def _library() -> Any:
    try:
        import c2pa
    except ImportError:
        raise MissingExtraError("C2PA manifests", "c2pa") from None
    return c2pa
