"""Hybrid signatures: both halves count, every change is refused."""

import copy
import hashlib
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from medveil.crypto import signatures
from medveil.crypto.hashing import tagged
from medveil.crypto.signatures import SigningKey, VerifyingKey
from medveil.errors import FormatError, InputError, TamperedError

LABEL = b"medveil/v1/signature+Ed25519+ML-DSA-65\x00"
SEED = bytes(range(32))
KEY = SigningKey.from_seed(SEED)
OTHER = SigningKey.from_seed(bytes(32))
SIGNATURE = KEY.sign("manifest", b"message")


def test_second_computation() -> None:
    """Keys, framing and both signatures computed with `cryptography` and `hmac` alone."""
    info = LABEL + b"seeds"
    seeds = hmac.new(SEED, info + b"\x01", hashlib.sha512).digest()
    ed25519, mldsa = Ed25519PrivateKey.from_private_bytes(seeds[:32]), MLDSA65PrivateKey.from_seed_bytes(seeds[32:])
    encoded = ed25519.public_key().public_bytes_raw() + mldsa.public_key().public_bytes_raw()
    assert KEY.public.to_bytes() == encoded
    assert KEY.public.key_id == tagged("verifying key", encoded)[:16]
    framed = LABEL + b"\x08manifest" + KEY.public.key_id + b"message"
    assert SIGNATURE[:64] == ed25519.sign(framed)
    mldsa.public_key().verify(SIGNATURE[64:], framed)
    KEY.public.verify("manifest", b"message", ed25519.sign(framed) + mldsa.sign(framed))


def test_fixed_vector() -> None:
    assert KEY.public.key_id.hex() == "55a36a7dddd2ddda814ae9002cda8808"


def test_lengths_and_round_trip() -> None:
    encoded = KEY.public.to_bytes()
    assert (len(encoded), len(SIGNATURE)) == (signatures.VERIFYING_KEY_SIZE, signatures.SIGNATURE_SIZE) == (1984, 3373)
    again = VerifyingKey.from_bytes(encoded)
    assert again == KEY.public
    assert hash(again) == hash(KEY.public)
    assert again != OTHER.public
    again.verify("manifest", b"message", SIGNATURE)
    KEY.public.verify("manifest", b"message", KEY.sign("manifest", b"message"))


def halves(key: SigningKey, domain: str = "manifest", message: bytes = b"message") -> tuple[bytes, bytes]:
    signature = key.sign(domain, message)
    return signature[:64], signature[64:]


def test_both_halves_must_be_valid() -> None:
    ours, theirs = halves(KEY), halves(OTHER)
    old = halves(KEY, message=b"older message")
    for forged in (
        ours[0] + theirs[1], theirs[0] + ours[1], ours[0] + old[1], old[0] + ours[1], ours[0] + bytes(3309),
        bytes(64) + ours[1],
    ):  # fmt: skip
        with pytest.raises(TamperedError):
            KEY.public.verify("manifest", b"message", forged)


def test_halves_of_other_keys_do_not_mix() -> None:
    """A key made of one half of ours and one of another's accepts neither signature nor a mixture."""
    mixed = VerifyingKey.from_bytes(KEY.public.to_bytes()[:32] + OTHER.public.to_bytes()[32:])
    for forged in (SIGNATURE, halves(KEY)[0] + halves(OTHER)[1]):
        with pytest.raises(TamperedError):
            mixed.verify("manifest", b"message", forged)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3372), st.integers(1, 255))
def test_every_changed_byte_is_refused(at: int, change: int) -> None:
    forged = bytearray(SIGNATURE)
    forged[at] ^= change
    with pytest.raises(TamperedError):
        KEY.public.verify("manifest", b"message", bytes(forged))


def test_other_messages_domains_keys_and_lengths_are_refused() -> None:
    for key, domain, message, signature in (
        (KEY, "manifest", b"messagE", SIGNATURE),
        (KEY, "grant", b"message", SIGNATURE),
        (KEY, "manifes", b"tmessage", SIGNATURE),
        (OTHER, "manifest", b"message", SIGNATURE),
        (KEY, "manifest", b"message", SIGNATURE[:-1]),
        (KEY, "manifest", b"message", SIGNATURE + b"\x00"),
        (KEY, "manifest", b"message", b""),
    ):
        with pytest.raises(TamperedError):
            key.public.verify(domain, message, signature)


def test_weak_keys_are_refused() -> None:
    """The eight small-order points of Ed25519, derived here from the curve, in every encoding of 32 bytes."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    # Order 8 doubles to order 4 (y = 0): y^2 = -x^2, and with the curve's equation d y^4 + 2 y^2 - 1 = 0.
    root = pow(1 + d, (p + 3) // 8, p)
    if root * root % p != (1 + d) % p:
        root = root * pow(2, (p - 1) // 4, p) % p
    weak = {0, 1, p - 1}
    for sign in (1, -1):
        square = (-1 + sign * root) * pow(d, -1, p) % p
        y = pow(square, (p + 3) // 8, p)
        for candidate in (y, y * pow(2, (p - 1) // 4, p) % p):
            if candidate * candidate % p == square:
                weak |= {candidate, p - candidate}
    assert len(weak) == 5
    rest = KEY.public.to_bytes()[32:]
    for y in weak:
        for encoded in (one for one in (y, y + p) if one < 2**255):
            for sign in (0, 1 << 255):
                with pytest.raises(FormatError):
                    VerifyingKey.from_bytes((encoded | sign).to_bytes(32, "little") + rest)


def test_a_weak_key_would_have_been_dangerous() -> None:
    """Why weak keys are refused: under the neutral point, one signature fits every message."""
    neutral = Ed25519PublicKey.from_public_bytes(b"\x01" + bytes(31))
    forged = b"\x01" + bytes(31) + bytes(32)
    neutral.verify(forged, b"one message")
    neutral.verify(forged, b"any other message")


def test_bad_encodings_are_refused() -> None:
    encoded = KEY.public.to_bytes()
    for wrong in (b"", encoded[:-1], encoded + b"\x00"):
        with pytest.raises(FormatError):
            VerifyingKey.from_bytes(wrong)
    with pytest.raises(InputError):
        SigningKey.from_seed(bytes(31))
    for domain in ("", "x" * 256):
        with pytest.raises(InputError):
            KEY.sign(domain, b"")


def test_nothing_secret_is_shown_or_copied() -> None:
    assert SEED.hex() not in repr(KEY)
    assert repr(KEY) == f"SigningKey(<secret>, public {KEY.public.key_id.hex()})"
    assert repr(KEY.public) == f"VerifyingKey({KEY.public.key_id.hex()})"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(InputError):
            attempt(KEY)


def test_generated_keys_differ() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public
