"""Envelopes: X-Wing and HPKE computed a second time from their definitions; one refusal for all causes."""

import copy
import hashlib
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from medveil.crypto import envelope
from medveil.crypto.envelope import RecipientKey, RecipientPrivateKey
from medveil.errors import FormatError, InputError, LimitError, WrongKeyError

PRIVATE = RecipientPrivateKey(bytes(range(32)))
CORE = b"core of an object"
ENVELOPE = envelope.seal(PRIVATE.public, b"a data encryption key", core=CORE)
LABEL = b"medveil/v1/envelope+X-Wing+HKDF-SHA256+AES-256-GCM\x00"
P = 2**255 - 19


def extract(salt: bytes, data: bytes) -> bytes:
    return hmac.new(salt or bytes(32), data, hashlib.sha256).digest()


def expand(prk: bytes, info: bytes, size: int) -> bytes:
    okm, block, counter = b"", b"", 1
    while len(okm) < size:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        okm, counter = okm + block, counter + 1
    return okm[:size]


def open_by_hand(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    """X-Wing's decapsulation and RFC 9180's base mode, written out."""
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    ct_m, ct_x, body = sealed[:1088], sealed[1088:1120], sealed[1120:]
    ss_m, ss_x = mlkem.decapsulate(ct_m), x25519.exchange(X25519PublicKey.from_public_bytes(ct_x))
    shared = hashlib.sha3_256(ss_m + ss_x + ct_x + x25519.public_key().public_bytes_raw() + rb"\.//^\ "[:6]).digest()

    suite = b"HPKE" + (0x647A).to_bytes(2, "big") + (1).to_bytes(2, "big") + (2).to_bytes(2, "big")

    def labeled_extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + ikm)

    def labeled_expand(prk: bytes, label: bytes, context: bytes, size: int) -> bytes:
        return expand(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context, size)

    context = b"\x00" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared, b"secret", b"")
    key, nonce = labeled_expand(secret, b"key", context, 32), labeled_expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, body, b"")


def test_second_computation() -> None:
    info = LABEL + CORE + PRIVATE.public.key_id
    assert open_by_hand(bytes(range(32)), ENVELOPE, info) == b"a data encryption key"


def test_fixed_vector_of_the_recipient_key() -> None:
    """The seed and public key of the first test vector of draft-connolly-cfrg-xwing-kem (start and end)."""
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    encoded = RecipientPrivateKey(seed).public.to_bytes()
    assert encoded[:16].hex() == "e2236b35a8c24b39b10aa1323a96a919"


def test_round_trip() -> None:
    assert len(ENVELOPE) == 21 + envelope.ENVELOPE_OVERHEAD
    for size in (0, 1, 32, envelope.MAX_PLAINTEXT):
        sealed = envelope.seal(PRIVATE.public, bytes(size), core=CORE)
        assert envelope.open_(PRIVATE, sealed, core=CORE) == bytes(size)
    assert envelope.seal(PRIVATE.public, b"", core=CORE) != envelope.seal(PRIVATE.public, b"", core=CORE)


def refusal(private: RecipientPrivateKey, sealed: bytes, core: bytes = CORE) -> str:
    with pytest.raises(WrongKeyError) as caught:
        envelope.open_(private, sealed, core=core)
    assert type(caught.value) is WrongKeyError
    assert caught.value.__cause__ is None
    return str(caught.value)


def flipped(at: int) -> bytes:
    changed = bytearray(ENVELOPE)
    changed[at] ^= 1
    return bytes(changed)


def small_order_points() -> list[bytes]:
    """Every 32-byte encoding of a u coordinate of order 1, 2, 4 or 8, on the curve or its twist."""
    found = set()
    a = 486662

    def double(u: int) -> int | None:  # x-only doubling; None is the neutral point
        denominator = 4 * u * (u * u + a * u + 1) % P
        return None if denominator == 0 else (u * u - 1) ** 2 * pow(denominator, -1, P) % P

    for u in (0, 1, P - 1, envelope._U_OF_ORDER_8, envelope._U_OF_ORDER_8_TOO):
        point: int | None = u
        for _ in range(3):
            point = None if point is None else double(point)
        assert point is None, "not of small order"
        for encoded in (u, u + P):
            if encoded < 2**255:
                found |= {encoded, encoded | 1 << 255}  # RFC 7748: the top bit is ignored
    return [one.to_bytes(32, "little") for one in found]


def test_every_failure_is_the_same_refusal() -> None:
    other = RecipientPrivateKey(bytes(32))
    messages = {
        refusal(PRIVATE, flipped(5)),  # ML-KEM ciphertext: implicit rejection
        refusal(PRIVATE, flipped(1100)),  # X25519
        refusal(PRIVATE, flipped(1125)),  # body
        refusal(PRIVATE, flipped(len(ENVELOPE) - 1)),  # tag
        refusal(PRIVATE, ENVELOPE[:-1]),
        refusal(PRIVATE, ENVELOPE + b"\x00"),
        refusal(PRIVATE, b""),
        refusal(PRIVATE, bytes(1136)),
        refusal(other, ENVELOPE),
        refusal(PRIVATE, ENVELOPE, b"core of another object"),
        refusal(PRIVATE, ENVELOPE, b""),
        *(refusal(PRIVATE, ENVELOPE[:1088] + point + ENVELOPE[1120:]) for point in small_order_points()),
    }
    assert len(messages) == 1


def test_the_explicit_check_covers_all_that_the_library_refuses() -> None:
    for point in small_order_points():
        assert envelope._has_small_order(point)
        with pytest.raises(ValueError):
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(point))
    assert not envelope._has_small_order(PRIVATE.public.to_bytes()[1184:])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_every_changed_byte_is_refused(at: int, change: int) -> None:
    changed = bytearray(ENVELOPE)
    changed[at] ^= change
    if at == 1119 and change == 0x80:
        return  # the top bit of X25519, tested below
    refusal(PRIVATE, bytes(changed))


def test_the_ignored_bit_of_x25519_is_bound_too() -> None:
    """X25519 ignores the top bit, X-Wing hashes the encoding: a changed bit gives another key."""
    refusal(PRIVATE, ENVELOPE[:1119] + bytes([ENVELOPE[1119] ^ 0x80]) + ENVELOPE[1120:])


def test_core_and_key_id_cannot_trade_bytes() -> None:
    sealed = envelope.seal(PRIVATE.public, b"x", core=CORE + PRIVATE.public.key_id)
    refusal(PRIVATE, sealed, CORE)


def test_limits() -> None:
    with pytest.raises(LimitError):
        envelope.seal(PRIVATE.public, bytes(envelope.MAX_PLAINTEXT + 1), core=CORE)
    with pytest.raises(LimitError):
        envelope.open_(PRIVATE, bytes(envelope.MAX_PLAINTEXT + 1137), core=CORE)


def test_recipient_keys() -> None:
    encoded = PRIVATE.public.to_bytes()
    assert len(encoded) == 1216
    again = RecipientKey.from_bytes(encoded)
    assert again == PRIVATE.public
    assert hash(again) == hash(PRIVATE.public)
    assert again.key_id == PRIVATE.public.key_id
    assert again != RecipientPrivateKey(bytes(32)).public
    assert envelope.open_(PRIVATE, envelope.seal(again, b"x", core=CORE), core=CORE) == b"x"
    for wrong in (b"", encoded[:-1], encoded + b"\x00", b"\xff" * 1184 + encoded[1184:]):
        with pytest.raises(FormatError):
            RecipientKey.from_bytes(wrong)
    for point in small_order_points():
        with pytest.raises(FormatError):
            RecipientKey.from_bytes(encoded[:1184] + point)
    with pytest.raises(InputError):
        RecipientPrivateKey(bytes(31))


def test_nothing_secret_is_shown_or_copied() -> None:
    assert repr(PRIVATE) == f"RecipientPrivateKey(<secret>, public {PRIVATE.public.key_id.hex()})"
    assert repr(PRIVATE.public) == f"RecipientKey({PRIVATE.public.key_id.hex()})"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InputError):
            attempt(PRIVATE)
