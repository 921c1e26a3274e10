"""Envelopes: a key sealed to one recipient, with HPKE in base mode.

RFC 9180 with X-Wing (ML-KEM-768 and X25519, draft-connolly-cfrg-xwing-kem), HKDF-SHA-256 and AES-256-GCM::

    envelope = enc (1088 + 32 bytes) | AES-256-GCM ciphertext,   info = label | core | key id of the recipient

`info` binds the envelope to one object (`core`) and one recipient. It stays secret as long as one of the two
key agreements holds. Base mode says nothing about who sealed it: an envelope is signed as part of a grant.
All causes of failure give one error with one message.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, InputError, LimitError, WrongKeyError

SEED_SIZE: Final = 32
"""Length of the seed that a recipient's private key is expanded from, in bytes (the X-Wing private key)."""
RECIPIENT_KEY_SIZE: Final = 1184 + 32
"""Length of an encoded recipient key, in bytes (the X-Wing public key)."""
ENVELOPE_OVERHEAD: Final = 1088 + 32 + 16
"""Bytes that an envelope is longer than what it holds."""
MAX_PLAINTEXT: Final = 65536
"""Most bytes that an envelope holds."""
KEY_ID_SIZE: Final = 16
"""Length of a key id, in bytes."""

_LABEL: Final = b"medveil/v1/envelope+X-Wing+HKDF-SHA256+AES-256-GCM\x00"
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_MLKEM: Final = 1184
_WRONG: Final = "this key does not open the envelope: it is for another recipient or object, or was altered"
_PRIME: Final = (1 << 255) - 19
# u coordinates of the points of small order of Curve25519 and its twist (RFC 7748, section 6.1 asks to refuse them).
_U_OF_ORDER_8: Final = 325606250916557431795983626356110631294008115727848805560023387167927233504
_U_OF_ORDER_8_TOO: Final = 39382357235489614581723060781553021112529911719440698176882885853963445705823
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _U_OF_ORDER_8, _U_OF_ORDER_8_TOO})


class RecipientKey:
    """The public half: others seal to it. Compared and hashed by its encoding."""

    def __init__(self, mlkem: MLKEM768PublicKey, x25519: X25519PublicKey) -> None:
        self._mlkem = mlkem
        self._x25519 = x25519
        self._hpke = hpke.MLKEM768X25519PublicKey(mlkem, x25519)

    @classmethod
    def from_bytes(cls, data: bytes) -> RecipientKey:
        """Read a key of 1216 bytes: ML-KEM-768, then X25519.

        Raises FormatError for another length, an ML-KEM key that is not reduced (FIPS 203, 7.2), or an X25519
        point of small order.
        """
        if len(data) != RECIPIENT_KEY_SIZE:
            raise FormatError(f"a recipient key has {len(data)} bytes where {RECIPIENT_KEY_SIZE} belong")
        if _has_small_order(data[_MLKEM:]):
            raise FormatError("a recipient key holds an X25519 point of small order: it is not accepted")
        try:
            return cls(
                MLKEM768PublicKey.from_public_bytes(data[:_MLKEM]), X25519PublicKey.from_public_bytes(data[_MLKEM:])
            )
        except ValueError:
            raise FormatError("a recipient key does not hold two valid public keys: it is damaged") from None

    def to_bytes(self) -> bytes:
        """Return the 1216-byte encoding."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return self._mlkem.public_bytes_raw() + self._x25519.public_bytes_raw()

    @cached_property
    def key_id(self) -> bytes:
        """16-byte tagged hash of the encoding."""
        return tagged("recipient key", self._encoded)[:KEY_ID_SIZE]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecipientKey) and self._encoded == other._encoded

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __repr__(self) -> str:
        return f"RecipientKey({self.key_id.hex()})"


class RecipientPrivateKey:
    """The private half: opens envelopes. Never shown, compared or pickled.

    `seed` (32 bytes, secret) is the whole key; X-Wing expands it with SHAKE-256.
    """

    __slots__ = ("_hpke", "_public", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise InputError(f"a recipient's seed has {len(seed)} bytes where {SEED_SIZE} belong")
        expanded = hashlib.shake_256(seed).digest(96)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.seed = seed
        self._hpke = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self._public = RecipientKey(mlkem.public_key(), x25519.public_key())

    @classmethod
    def generate(cls, rng: Randomness = SYSTEM) -> RecipientPrivateKey:
        """Make a fresh key."""
        return cls(rng.bytes(SEED_SIZE))

    @property
    def public(self) -> RecipientKey:
        """The public half."""
        return self._public

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise InputError("a private key is not serialised this way: use a key file")

    def __repr__(self) -> str:
        return f"RecipientPrivateKey(<secret>, public {self._public.key_id.hex()})"


def seal(recipient: RecipientKey, plaintext: bytes, *, core: bytes) -> bytes:
    """Seal `plaintext` (at most 64 KiB) to a recipient, for the object that `core` describes.

    Returns len(plaintext) + 1136 bytes. The recipient's key must be pinned or owner-signed, never one that a
    cloud handed out. Raises LimitError where `plaintext` is too long.
    """
    if len(plaintext) > MAX_PLAINTEXT:
        raise LimitError(f"an envelope holds at most {MAX_PLAINTEXT} bytes: got {len(plaintext)}")
    return _SUITE.encrypt(plaintext, recipient._hpke, info=_info(core, recipient))


def open_(private: RecipientPrivateKey, envelope: bytes, *, core: bytes) -> bytes:
    """Open an envelope for the object that `core` describes.

    Raises WrongKeyError, always with the same message, where it is for another recipient or object, was altered
    anywhere, or carries an X25519 point of small order; LimitError where it is longer than any envelope.
    """
    if len(envelope) > MAX_PLAINTEXT + ENVELOPE_OVERHEAD:
        raise LimitError(f"an envelope of {len(envelope)} bytes is longer than any that this program makes")
    if len(envelope) < ENVELOPE_OVERHEAD or _has_small_order(envelope[1088:1120]):
        raise WrongKeyError(_WRONG)
    try:
        return _SUITE.decrypt(envelope, private._hpke, info=_info(core, private.public))
    except (InvalidTag, ValueError):  # ValueError: the library refuses an all-zero key agreement
        raise WrongKeyError(_WRONG) from None


def _info(core: bytes, recipient: RecipientKey) -> bytes:
    return _LABEL + core + recipient.key_id


def _has_small_order(point: bytes) -> bool:
    u = int.from_bytes(point, "little") & ((1 << 255) - 1)  # RFC 7748: the top bit is ignored
    return u % _PRIME in _SMALL_ORDER
