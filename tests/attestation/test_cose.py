"""COSE_Sign1: one form, two algorithms, and an independent reading of the bytes."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from medveil.attestation import cose
from medveil.crypto import canonical
from medveil.crypto.signatures import SigningKey
from medveil.errors import FormatError, LimitError, TamperedError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HYBRID = SigningKey.from_seed(bytes(range(32)))
KIND = b"MPVC-SHARE/1"


@pytest.mark.parametrize("key", [KEY, HYBRID], ids=["ed25519", "hybrid"])
def test_sign_and_verify(key: Any) -> None:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key.public
    message = cose.sign(b"payload", key, kind=KIND)
    signed = cose.parse(message)
    assert signed.key_id == cose.key_id_of(public)
    assert cose.verify(signed, public, kind=KIND) == b"payload"
    with pytest.raises(TamperedError):
        cose.verify(signed, public, kind=b"another kind")
    other = Ed25519PrivateKey.generate().public_key()
    for wrong in (other, SigningKey.from_seed(bytes(32)).public):
        with pytest.raises(TamperedError):
            cose.verify(signed, wrong, kind=KIND)


def test_the_bytes_are_those_of_rfc_9052() -> None:
    protected, unprotected, payload, signature = cbor2.loads(cose.sign(b"payload", KEY, kind=KIND))
    assert cbor2.loads(protected) == {1: -19}
    assert set(unprotected) == {4}
    structure = cbor2.dumps(["Signature1", protected, KIND, payload], canonical=True)
    KEY.public_key().verify(signature, structure)


@given(st.data())
def test_every_altered_byte_is_refused(data: Any) -> None:
    message = bytearray(cose.sign(b"payload", KEY, kind=KIND))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        signed = cose.parse(bytes(message))
        assert signed.key_id != cose.key_id_of(KEY.public_key())  # the one field that is only a hint
        cose.verify(signed, KEY.public_key(), kind=KIND)
    except (AssertionError, FormatError, TamperedError) as error:
        if isinstance(error, AssertionError):
            with pytest.raises(TamperedError):
                cose.verify(signed, KEY.public_key(), kind=KIND)


def test_other_forms_are_refused() -> None:
    fields = canonical.decode(cose.sign(b"payload", KEY, kind=KIND))
    protected, header, payload, signature = fields
    for bad in (
        [protected, header, payload],
        [*fields, b""],
        [canonical.encode({1: -7}), header, payload, signature],
        [canonical.encode({1: -19, 3: 0}), header, payload, signature],
        [b"", header, payload, signature],
        [protected, {}, payload, signature],
        [protected, header | {5: b""}, payload, signature],
        [protected, {4: b"short"}, payload, signature],
        [protected, {4: 7}, payload, signature],
        [protected, header, None, signature],
        [protected, header, payload, signature[:-1]],
        [protected, header, payload, signature + b"\x00"],
        [{1: -19}, header, payload, signature],
        {0: 1},
    ):
        with pytest.raises(FormatError):
            cose.parse(canonical.encode(bad))
    with pytest.raises(FormatError):
        cose.parse(b"\xd2" + cose.sign(b"payload", KEY, kind=KIND))  # tag 18
    with pytest.raises(LimitError):
        cose.parse(bytes(70000))
