"""Hybrid signatures: Ed25519 (RFC 8032) and ML-DSA-65 (FIPS 204), both of which must be valid.

Both components sign the same bytes::

    label | length of domain (1 byte) | domain | key id of the hybrid key | message

`label` names the pair, so that neither half passes as a signature of its own; `domain` says what kind of record
is signed; the key id binds both halves to the pair of keys, so that halves of different keys cannot be mixed.
Forging needs breaking both, the curve and the lattice. Encodings are of fixed length:
verifying key 32 + 1952 bytes, signature 64 + 3309 bytes.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, InputError, TamperedError

SEED_SIZE: Final = 32
"""Length of the seed that a signing key is derived from, in bytes."""
VERIFYING_KEY_SIZE: Final = 32 + 1952
"""Length of an encoded verifying key, in bytes."""
SIGNATURE_SIZE: Final = 64 + 3309
"""Length of a signature, in bytes."""
KEY_ID_SIZE: Final = 16
"""Length of a key id, in bytes."""

_LABEL: Final = b"medveil/v1/signature+Ed25519+ML-DSA-65\x00"
_CURVE: Final = 32
_PRIME: Final = (1 << 255) - 19
# y coordinates of the eight points of small order: under such a key many messages share a signature.
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _PRIME - 1, _Y_OF_ORDER_8, _PRIME - _Y_OF_ORDER_8})


class VerifyingKey:
    """The public half: checks signatures. Compared and hashed by its encoding."""

    def __init__(self, ed25519: Ed25519PublicKey, mldsa: MLDSA65PublicKey) -> None:
        self._ed25519 = ed25519
        self._mldsa = mldsa

    @classmethod
    def from_bytes(cls, data: bytes) -> VerifyingKey:
        """Read a key of 1984 bytes.

        Raises FormatError for another length, and for an Ed25519 point of small order or in a second encoding.
        """
        if len(data) != VERIFYING_KEY_SIZE:
            raise FormatError(f"a verifying key has {len(data)} bytes where {VERIFYING_KEY_SIZE} belong")
        y = int.from_bytes(data[:_CURVE], "little") & ((1 << 255) - 1)
        if y >= _PRIME or y in _SMALL_ORDER:
            raise FormatError("a verifying key holds a weak or non-canonical Ed25519 point: it is not accepted")
        try:
            return cls(
                Ed25519PublicKey.from_public_bytes(data[:_CURVE]), MLDSA65PublicKey.from_public_bytes(data[_CURVE:])
            )
        except ValueError:
            raise FormatError("a verifying key does not hold two valid public keys: it is damaged") from None

    def to_bytes(self) -> bytes:
        """Return the 1984-byte encoding."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return self._ed25519.public_bytes_raw() + self._mldsa.public_bytes_raw()

    @cached_property
    def key_id(self) -> bytes:
        """16-byte tagged hash of the encoding."""
        return tagged("verifying key", self._encoded)[:KEY_ID_SIZE]

    def verify(self, domain: str, message: bytes, signature: bytes) -> None:
        """Check that `signature` is one of this key over `message` in `domain`.

        Raises TamperedError unless both component signatures are valid.
        """
        refusal = TamperedError(f"the signature of this {domain} is not valid: it was altered or signed by another key")
        if len(signature) != SIGNATURE_SIZE:
            raise refusal
        signed = _framed(domain, self.key_id, message)
        try:
            self._ed25519.verify(signature[:64], signed)
            self._mldsa.verify(signature[64:], signed)
        except InvalidSignature:
            raise refusal from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and self._encoded == other._encoded

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __repr__(self) -> str:
        return f"VerifyingKey({self.key_id.hex()})"


class SigningKey:
    """The private half: signs. Never shown, compared or pickled."""

    __slots__ = ("_ed25519", "_mldsa", "_public")

    def __init__(self, ed25519: Ed25519PrivateKey, mldsa: MLDSA65PrivateKey) -> None:
        self._ed25519 = ed25519
        self._mldsa = mldsa
        self._public = VerifyingKey(ed25519.public_key(), mldsa.public_key())

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Derive both component keys from a 32-byte seed: HKDF-Expand-SHA-512 under the pair's label.

        Raises InputError for another length.
        """
        if len(seed) != SEED_SIZE:
            raise InputError(f"a signing key's seed has {len(seed)} bytes where {SEED_SIZE} belong")
        seeds = HKDFExpand(hashes.SHA512(), 64, _LABEL + b"seeds").derive(seed)
        return cls(Ed25519PrivateKey.from_private_bytes(seeds[:32]), MLDSA65PrivateKey.from_seed_bytes(seeds[32:]))

    @classmethod
    def generate(cls, rng: Randomness = SYSTEM) -> SigningKey:
        """Make a fresh key."""
        return cls.from_seed(rng.bytes(SEED_SIZE))

    @property
    def public(self) -> VerifyingKey:
        """The public half."""
        return self._public

    def sign(self, domain: str, message: bytes) -> bytes:
        """Return the 3373-byte signature of `message` in `domain` (1 to 255 bytes of UTF-8, a constant).

        ML-DSA signs in its hedged form, so two signatures of one message differ.
        Raises InputError for a domain of another length.
        """
        signed = _framed(domain, self._public.key_id, message)
        return self._ed25519.sign(signed) + self._mldsa.sign(signed)

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise InputError("a signing key is not serialised this way: use a key file")

    def __repr__(self) -> str:
        return f"SigningKey(<secret>, public {self._public.key_id.hex()})"


def _framed(domain: str, key_id: bytes, message: bytes) -> bytes:
    name = domain.encode()
    if not 1 <= len(name) <= 255:
        raise InputError("a signature's domain has 1 to 255 bytes")
    return _LABEL + bytes([len(name)]) + name + key_id + message
