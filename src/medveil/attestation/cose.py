"""COSE_Sign1 (RFC 9052, 4.2) in one canonical form: one signer, one key id, deterministic CBOR, no tag.

Only two algorithms exist here: Ed25519 (-19, RFC 9864) and medveil's hybrid of Ed25519 and ML-DSA-65 (-65538,
from COSE's range for private use). The headers are fixed: the algorithm is protected, the key id is not, and
nothing else may stand there. What kind of message is signed enters as external data, so a signature over one
kind never passes for another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medveil.crypto import canonical
from medveil.crypto.signatures import SigningKey, VerifyingKey
from medveil.errors import FormatError, TamperedError

ED25519: Final = -19
"""Algorithm number of Ed25519 (RFC 9864)."""
HYBRID: Final = -65538
"""Algorithm number of Ed25519 with ML-DSA-65, from the range for private use."""
KEY_ID_SIZE: Final = 8
"""Length of the key id in the unprotected header, in bytes; a hint that saves a search, never a proof."""

_ALG, _KID = 1, 4
_SIGNATURE_SIZES: Final = {ED25519: 64, HYBRID: 3373}
_HYBRID_DOMAIN: Final = "cose sign1"

PrivateKey = Ed25519PrivateKey | SigningKey
PublicKey = Ed25519PublicKey | VerifyingKey


@dataclass(frozen=True, slots=True)
class Signed:
    """A parsed COSE_Sign1 whose signature has not been checked yet."""

    algorithm: int
    key_id: bytes
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def fingerprint(key: PublicKey) -> bytes:
    """Return the 32-byte fingerprint of a public key: SHA-256 over its encoding."""
    return sha256(key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else key.to_bytes()).digest()


def key_id_of(key: PublicKey) -> bytes:
    """Return the 8-byte id of a public key: the start of its fingerprint."""
    return fingerprint(key)[:KEY_ID_SIZE]


def sign(payload: bytes, key: PrivateKey, *, kind: bytes, key_id: bytes | None = None) -> bytes:
    """Return the COSE_Sign1 of `payload`.

    kind: names what is signed (external data of the signature). key_id: 8 bytes; of the public key by default.
    """
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key.public
    algorithm = ED25519 if isinstance(key, Ed25519PrivateKey) else HYBRID
    message = _to_be_signed(algorithm, kind, payload)
    signature = key.sign(message) if isinstance(key, Ed25519PrivateKey) else key.sign(_HYBRID_DOMAIN, message)
    header = {_KID: key_id_of(public) if key_id is None else key_id}
    return canonical.encode([_protected(algorithm), header, payload, signature])


def parse(data: bytes, *, limit: int = canonical.DEFAULT_LIMIT) -> Signed:
    """Read a COSE_Sign1 without checking its signature.

    Raises LimitError where it is longer than `limit` bytes and FormatError where it is not in the one form above.
    """
    fields = canonical.decode(data, limit=limit)
    if not isinstance(fields, list) or len(fields) != 4:
        raise FormatError("a signed message is not an array of four fields: it is not a COSE_Sign1")
    protected, header, payload, signature = fields
    algorithm = next((a for a in _SIGNATURE_SIZES if protected == _protected(a)), None)
    if algorithm is None:
        raise FormatError("a signed message names an unknown algorithm or carries other protected headers")
    if not isinstance(header, dict) or set(header) != {_KID}:
        raise FormatError("a signed message has other unprotected headers than the key id")
    key_id = header[_KID]
    if not isinstance(key_id, bytes) or len(key_id) != KEY_ID_SIZE:
        raise FormatError(f"a signed message's key id does not have {KEY_ID_SIZE} bytes")
    if not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise FormatError("a signed message's payload and signature must be byte strings")
    if len(signature) != _SIGNATURE_SIZES[algorithm]:
        raise FormatError(f"a signature has {len(signature)} bytes where {_SIGNATURE_SIZES[algorithm]} belong")
    return Signed(algorithm, key_id, payload, signature)


def verify(signed: Signed, key: PublicKey, *, kind: bytes) -> bytes:
    """Check the signature and return the payload.

    Raises TamperedError where it is not a signature of `key` over this payload as this `kind`.
    """
    refusal = TamperedError("the signature of a statement is not valid: it was altered or signed by another key")
    message = _to_be_signed(signed.algorithm, kind, signed.payload)
    if isinstance(key, VerifyingKey):
        if signed.algorithm != HYBRID:
            raise refusal
        key.verify(_HYBRID_DOMAIN, message, signed.signature)
        return signed.payload
    if signed.algorithm != ED25519:
        raise refusal
    try:
        key.verify(signed.signature, message)
    except InvalidSignature:
        raise refusal from None
    return signed.payload


def _protected(algorithm: int) -> bytes:
    return canonical.encode({_ALG: algorithm})


def _to_be_signed(algorithm: int, kind: bytes, payload: bytes) -> bytes:
    structure: list[Any] = ["Signature1", _protected(algorithm), kind, payload]
    return canonical.encode(structure)
