"""C2PA manifests on PNG shares: valid by the library's own reader, tied to the share, and no condition of recovery."""

from __future__ import annotations

import io
import json
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.schemes.visual.visual_material import image, provider

from medveil.errors import FormatError, InputError, NotAuthenticError, TamperedError, UsageError
from medveil.schemes.visual import Visual, admission, c2pa_manifest, carriers

c2pa = pytest.importorskip("c2pa", reason="needs the extra c2pa")

KEYS = {
    "ED25519": ed25519.Ed25519PrivateKey.generate,
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
}


def pem(key: Any) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    done: bytes = key.private_bytes(encoding, form, serialization.NoEncryption())
    return done


def authority(key: Any, *, purpose: Any = ExtendedKeyUsageOID.EMAIL_PROTECTION) -> tuple[bytes, bytes]:
    """A hospital's authority and its certificate for `key`: the credential file, and the anchor."""
    now = datetime.now(UTC)
    root_key = ec.generate_private_key(ec.SECP256R1())
    house = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "A hospital")
    names = [
        x509.Name([house, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in ("its authority", "its share signer")
    ]

    def certificate(subject: x509.Name, public: Any, *, ca: bool) -> x509.Certificate:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(names[0]).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=9))
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        made = made.add_extension(x509.BasicConstraints(ca, None), True).add_extension(usage, True)
        if not ca:
            made = made.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        return made.add_extension(above, False).sign(root_key, hashes.SHA256())

    root = certificate(names[0], root_key.public_key(), ca=True).public_bytes(serialization.Encoding.PEM)
    own = certificate(names[1], key.public_key(), ca=False).public_bytes(serialization.Encoding.PEM)
    return own + root + pem(key), root


def stored(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "credential.pem"
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("algorithm", KEYS)
def test_every_algorithm_is_valid_and_recovery_goes_on(algorithm: str, tmp_path: Path) -> None:
    credential, anchor = authority(KEYS[algorithm]())
    scheme = Visual(c2pa=stored(tmp_path, credential), provider=provider(), threshold=(2, 3))
    protected = scheme.protect(image())
    for part in protected.parts:
        statement = admission.check_consistent(carriers.read(part.data))
        said = c2pa_manifest.check(part.data, statement, anchor.decode())
        assert (said.trusted, said.signer, said.issuer) == (True, "its share signer", "A hospital")
        assert said.algorithm.upper() == algorithm
        assert said.share["index"] == part.index
        assert not c2pa_manifest.check(part.data, statement).trusted, "nobody is trusted who was not named"
        with pytest.raises(NotAuthenticError):
            c2pa_manifest.check(part.data, statement, authority(KEYS["ES256"]())[1].decode())
    restored = Visual().restore(protected.parts[1:], protected.secret)
    assert restored.image.original == image().original


def test_no_thumbnail_and_a_plain_reader_agrees(tmp_path: Path) -> None:
    credential, _ = authority(KEYS["ED25519"]())
    part = Visual(c2pa=stored(tmp_path, credential), lossless=False).protect(image()).parts[0]
    reader = c2pa.Reader("image/png", io.BytesIO(part.data))
    assert reader.get_validation_state() in ("Valid", "Invalid")  # this authority is on no public list
    text = json.dumps(json.loads(reader.json()))
    assert "thumbnail" not in text
    assert "claimSignature.validated" in text
    assert "assertion.dataHash.match" in text


def test_a_changed_share_or_a_manifest_of_another_is_refused(tmp_path: Path) -> None:
    credential, anchor = authority(KEYS["ES256"]())
    scheme = Visual(c2pa=stored(tmp_path, credential), provider=provider(), lossless=False, carrier="chunk")
    first, second = scheme.protect(image()).parts
    statement = admission.check_consistent(carriers.read(first.data))
    with pytest.raises(TamperedError, match="another share"):
        c2pa_manifest.check(second.data, statement)
    at = first.data.index(b"IDAT")
    length = int.from_bytes(first.data[at - 4 : at], "big")
    body = bytearray(first.data[at + 4 : at + 4 + length])
    lines = bytearray(zlib.decompress(bytes(body)))
    lines[500] ^= 1  # a low bit: the share's own digest does not notice
    packed = zlib.compress(bytes(lines), 1)
    chunk = (
        len(packed).to_bytes(4, "big") + b"IDAT" + packed + zlib.crc32(packed, zlib.crc32(b"IDAT")).to_bytes(4, "big")
    )
    changed = first.data[: at - 4] + chunk + first.data[at + 8 + length :]
    assert np.array_equal(carriers.read(changed).plane, carriers.read(first.data).plane)
    with pytest.raises(TamperedError, match="not valid"):
        c2pa_manifest.check(changed, statement, anchor.decode())
    bare = Visual(lossless=False).protect(image()).parts[0]
    with pytest.raises(FormatError, match="no C2PA manifest"):
        c2pa_manifest.check(bare.data, admission.check_consistent(carriers.read(bare.data)))


def test_credentials_that_are_refused(tmp_path: Path) -> None:
    key = KEYS["ES256"]()
    good, root = authority(key)
    for data, mode, words in (
        (good, 0o644, "others can read"),
        (root, 0o600, "no C2PA credential"),
        (pem(key), 0o600, "no C2PA credential"),
        (b"", 0o600, "no C2PA credential"),
        (root + pem(key), 0o600, "not that of its first certificate"),
        (good.replace(pem(key), b"") + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"x")), 0o600, "unencrypted"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            Visual(c2pa=stored(tmp_path, data, mode))
    wrong_use, _ = authority(key, purpose=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(InputError, match="was refused"):
        Visual(c2pa=stored(tmp_path, wrong_use)).protect(image())
    with pytest.raises(InputError, match="C2PA takes"):
        _ = c2pa_manifest.Credential("", x25519.X25519PrivateKey.generate()).algorithm
    with pytest.raises(InputError, match="cannot be read"):
        Visual(c2pa=tmp_path / "absent")
    with pytest.raises(UsageError, match="PNG"):
        Visual(c2pa=tmp_path / "credential.pem", carrier="dicom")
    assert "PRIVATE" not in repr(c2pa_manifest.Credential.load(stored(tmp_path, good)))
