"""The statement of a share: what the enclave says about one share, in one deterministic encoding.

A share's quote (or the session key that a quote vouches for) covers exactly these bytes::

    report_data = SHA-512("MPVC-SHARE/1" | statement)

where the statement is a deterministic CBOR map with small integer keys. Paper 000 hashes the quote together with
the pairing number into the quote itself, which cannot be computed; here the pairing number is in the statement.

A statement may be published with its share. It therefore never holds an unsalted hash of another share or of the
secret: whoever has one share and H(other share) can confirm a guessed image. `commit` makes salted ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256, sha512
from typing import Any, Final

from cryptography.hazmat.primitives import constant_time

from medveil.crypto import canonical
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, InputError, TamperedError

DOMAIN: Final = "MPVC-SHARE/1"
"""First field of every statement and prefix of what is hashed."""
PAIRING_SIZE: Final = 16
"""Length of the pairing number R, in bytes."""
HASH_SIZE: Final = 32
"""Length of digests, commitments, context hashes and dealer keys, in bytes."""
SALT_SIZE: Final = 32
"""Length of a commitment's salt, in bytes."""
REPORT_DATA_SIZE: Final = 64
"""Length of the field of a quote that its maker fills, in bytes."""
MAX_STATEMENT: Final = 4096
"""Longest statement that is read, in bytes."""
MAX_SHARES: Final = 255
"""Most shares of one secret."""
MAX_SIDE: Final = 1 << 20
"""Longest side of a share, in pixels."""
MAX_COMMITMENTS: Final = 16
"""Most commitments of one statement."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/+-]{0,31}")
_LABEL: Final = re.compile(r"[a-z][a-z0-9-]{0,15}")
# Keys of the map; a number is never used again for something else.
_KEYS: Final = {
    "scheme": 1,
    "threshold": 2,
    "shares": 3,
    "index": 4,
    "width": 5,
    "height": 6,
    "channels": 7,
    "polarity": 8,
    "packing": 9,
    "halftone": 10,
    "pairing": 11,
    "digest": 12,
    "commitments": 13,
    "context": 14,
    "made_at": 15,
    "dealer": 16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is said about one share.

    scheme, polarity, packing, halftone: identifiers, lower-case ASCII of at most 32 characters.
    threshold, shares, index: k, n and i of the share, 1 <= k <= n <= 255, 1 <= i <= n.
    width, height: pixels of the share. channels: 1 to 4.
    pairing: R, 16 random bytes that the signer draws once for a set of shares.
    digest: SHA-256 of the share's most significant bits (`share_digest`), 32 bytes.
    commitments: label -> salted commitment (`commit`), 32 bytes each, at most 16.
    context: hash of what the share belongs to, 32 bytes; empty where nothing is bound.
    made_at: Unix seconds by the signer's clock, which its host can set: a claim, not a proof.
    dealer: Ed25519 public key of who dealt, 32 bytes; empty where no dealer is named.
    """

    scheme: str
    threshold: int
    shares: int
    index: int
    width: int
    height: int
    channels: int
    polarity: str
    packing: str
    halftone: str
    pairing: bytes
    digest: bytes
    made_at: int
    commitments: Mapping[str, bytes] = field(default_factory=dict)
    context: bytes = b""
    dealer: bytes = b""

    def __post_init__(self) -> None:
        """Raise InputError where a field is out of its range."""
        for name in ("scheme", "polarity", "packing", "halftone"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise InputError(f"a statement's {name} must be a lower-case identifier of at most 32 characters")
        _in_range("shares", self.shares, 1, MAX_SHARES)
        _in_range("threshold", self.threshold, 1, self.shares)
        _in_range("index", self.index, 1, self.shares)
        _in_range("width", self.width, 1, MAX_SIDE)
        _in_range("height", self.height, 1, MAX_SIDE)
        _in_range("channels", self.channels, 1, 4)
        _in_range("made_at", self.made_at, 0, (1 << 40) - 1)
        _of_length("pairing", self.pairing, PAIRING_SIZE)
        _of_length("digest", self.digest, HASH_SIZE)
        for name in ("context", "dealer"):
            if getattr(self, name) != b"":
                _of_length(name, getattr(self, name), HASH_SIZE)
        if not isinstance(self.commitments, Mapping) or len(self.commitments) > MAX_COMMITMENTS:
            raise InputError(f"a statement's commitments must be a map of at most {MAX_COMMITMENTS}")
        for label, value in self.commitments.items():
            if not isinstance(label, str) or not _LABEL.fullmatch(label):
                raise InputError("a commitment's label must be a lower-case word of at most 16 characters")
            _of_length("commitment", value, HASH_SIZE)

    def encode(self) -> bytes:
        """Return the one encoding of this statement."""
        fields: dict[int, Any] = {0: DOMAIN}
        fields |= {key: getattr(self, name) for name, key in _KEYS.items()}
        return canonical.encode(fields)

    @classmethod
    def decode(cls, data: bytes) -> Statement:
        """Read a statement; the exact inverse of `encode`.

        Raises LimitError where it is longer than 4096 bytes and FormatError where it is not the one encoding of
        a statement of this version.
        """
        fields = canonical.decode(data, limit=MAX_STATEMENT)
        if not isinstance(fields, dict) or fields.get(0) != DOMAIN:
            raise FormatError(f"a statement does not start with {DOMAIN}: it is of another kind or version")
        if set(fields) != {0, *_KEYS.values()}:
            raise FormatError("a statement has missing or unknown fields: it is of another version or was altered")
        try:
            return cls(**{name: fields[key] for name, key in _KEYS.items()})
        except InputError as error:
            raise FormatError(f"a statement holds a value out of range: {error}") from None


def report_data(statement: bytes, domain: str = DOMAIN) -> bytes:
    """Return the 64 bytes that a quote must carry to vouch for `statement`: SHA-512(domain | statement)."""
    return sha512(domain.encode("ascii") + statement).digest()


def share_digest(width: int, height: int, channels: int, plane: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of a share: SHA-256 over its dimensions and its plane of most significant bits.

    plane: the bits packed most significant first, in raster order with samples interleaved, the last byte padded
    with zeros: ceil(width * height * channels / 8) bytes. Masking the low bits leaves them free for a carrier.
    Raises InputError where the plane has another length.
    """
    expected = -(-width * height * channels // 8)
    if memoryview(plane).nbytes != expected:
        raise InputError(f"a bit plane has {memoryview(plane).nbytes} bytes where {expected} belong")
    hasher = sha256(b"MPVC-DIGEST/1")
    hasher.update(width.to_bytes(4, "big") + height.to_bytes(4, "big") + channels.to_bytes(1, "big"))
    hasher.update(plane)
    return hasher.digest()


def new_pairing(rng: Randomness = SYSTEM) -> bytes:
    """Return a fresh pairing number R of 128 bits."""
    return rng.bytes(PAIRING_SIZE)


def commit(label: str, value: bytes, rng: Randomness = SYSTEM) -> tuple[bytes, bytes]:
    """Return (commitment, salt) for `value`; whoever gets the 32-byte salt can check the value."""
    salt = rng.bytes(SALT_SIZE)
    return _commitment(label, value, salt), salt


def check_commitment(statement: Statement, label: str, value: bytes, salt: bytes) -> None:
    """Check that `value` and `salt` open the commitment `label` of a statement.

    Raises TamperedError where they do not or where the statement has no such commitment.
    """
    committed = statement.commitments.get(label)
    if committed is None:
        raise TamperedError(f"the statement commits to no {label!r}: nothing proves that this value belongs to it")
    if not constant_time.bytes_eq(committed, _commitment(label, value, salt)):
        raise TamperedError(f"the value does not open the commitment {label!r}: it is not the one that was dealt")


def _commitment(label: str, value: bytes, salt: bytes) -> bytes:
    if not _LABEL.fullmatch(label):
        raise InputError("a commitment's label must be a lower-case word of at most 16 characters")
    if len(salt) != SALT_SIZE:
        raise InputError(f"a commitment's salt has {len(salt)} bytes where {SALT_SIZE} belong")
    return sha256(b"MPVC-COMMIT/1" + bytes([len(label)]) + label.encode() + salt + value).digest()


def _in_range(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"a statement's {name} must be a whole number from {low} to {high}")


def _of_length(name: str, value: object, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise InputError(f"a statement's {name} must have {size} bytes")
