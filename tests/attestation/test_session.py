"""The session-key form and the three forms of proof."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.conftest import NOW, Sample

from medveil.attestation import cose
from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.proof import CompactProof, QuoteProof, SignedProof, attest_statement, compact, read_proof
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.quote import parse_quote
from medveil.attestation.session import MAX_LIFETIME, DealerKey, Session, SessionSigner, check_dealer
from medveil.attestation.statement import Statement, report_data
from medveil.crypto import canonical
from medveil.errors import FormatError, InputError, LimitError, MedveilError, NotAuthenticError, TamperedError

DEALER = DealerKey(bytes(range(32)))


def statement(**changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "scheme": "visual-xor", "threshold": 2, "shares": 2, "index": 1, "width": 786, "height": 512, "channels": 3,
        "polarity": "rgb", "packing": "msb-first", "halftone": "floyd-steinberg", "pairing": bytes(range(16)),
        "digest": bytes(range(32)), "made_at": NOW + 10, "dealer": DEALER.public,
    }  # fmt: skip
    return Statement(**(fields | changes))


@pytest.fixture(scope="module")
def signer(platform: SimulatedPlatform) -> SessionSigner:
    return SessionSigner(SimulatedProvider(platform), NOW, dealer=DEALER)


def test_a_share_is_signed_and_opened(signer: SessionSigner) -> None:
    message = signer.sign(statement())
    assert signer.session.open_share(message) == statement()
    quote = parse_quote(signer.session.evidence.data)
    assert quote.report_data == signer.session.reported
    assert quote.report_data == report_data(signer.session.statement, "MPVC-SESSION/1")
    check_dealer(signer.session.dealer, signer.session.binding, signer.session.reported)


def test_session_round_trip(signer: SessionSigner) -> None:
    raw = signer.session.encode()
    assert Session.decode(raw) == signer.session
    assert len(raw) < 4400
    for size in (0, 1, 100, len(raw) - 1):
        with pytest.raises(FormatError):
            Session.decode(raw[:size])
    with pytest.raises(LimitError):
        Session.decode(bytes(30000))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: [f[0], f[1]],
        lambda f: [b"", f[1], f[2]],
        lambda f: [f[0], f[1], b"short"],
        lambda f: [f[0], f[1][:3], f[2]],
        lambda f: [f[0], ["other", *f[1][1:]], f[2]],
        lambda f: [f[0], [f[1][0], f[1][1], 1, f[1][3]], f[2]],
        lambda f: [f[0], [f[1][0], bytes(16385), f[1][2], f[1][3]], f[2]],
        lambda f: [f[0], [*f[1][:3], None], f[2]],
        lambda f: [canonical.encode(["MPVC-SESSION/2", *canonical.decode(f[0])[1:]]), f[1], f[2]],
        lambda f: [canonical.encode([*canonical.decode(f[0])[:3], NOW, NOW]), f[1], f[2]],
        lambda f: [canonical.encode([*canonical.decode(f[0])[:3], NOW, NOW + MAX_LIFETIME + 1]), f[1], f[2]],
        lambda f: [canonical.encode([*canonical.decode(f[0])[:3], True, NOW]), f[1], f[2]],
        lambda f: [canonical.encode(["MPVC-SESSION/1", b"", *canonical.decode(f[0])[2:]]), f[1], f[2]],
    ],
)
def test_sessions_of_another_form(change: Any, signer: SessionSigner) -> None:
    fields = canonical.decode(signer.session.encode())
    with pytest.raises(FormatError):
        Session.decode(canonical.encode(change(fields)))


def test_shares_of_another_session_dealer_or_time(signer: SessionSigner, platform: SimulatedPlatform) -> None:
    other = SessionSigner(SimulatedProvider(platform), NOW, dealer=DEALER)
    with pytest.raises(NotAuthenticError, match="another signing session"):
        other.session.open_share(signer.sign(statement()))
    for bad in (statement(dealer=b""), statement(made_at=NOW - 1), statement(made_at=NOW + 86401)):
        with pytest.raises(InputError):
            signer.sign(bad)
        forged = cose.sign(bad.encode(), signer._key, kind=b"MPVC-SHARE/1", key_id=signer.session.id)
        with pytest.raises(NotAuthenticError):
            signer.session.open_share(forged)
    for lifetime in (0, MAX_LIFETIME + 1):
        with pytest.raises(InputError):
            SessionSigner(SimulatedProvider(platform), NOW, lifetime=lifetime)


@given(data=st.data())
def test_altered_shares_are_refused(data: Any) -> None:
    signer = ALTERED
    message = bytearray(signer.sign(statement()))
    message[data.draw(st.integers(0, len(message) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MedveilError):
        signer.session.open_share(bytes(message))


ALTERED = SessionSigner(SimulatedProvider(SimulatedPlatform(bytes(32), NOW - 86400)), NOW, dealer=DEALER)


def test_keys_are_never_shown_or_copied(signer: SessionSigner) -> None:
    for secret in (signer, DEALER):
        with pytest.raises(InputError):
            pickle.dumps(secret)
        with pytest.raises(InputError):
            copy.deepcopy(secret)
        assert "<secret>" in repr(secret)
    assert bytes(range(32)).hex() not in repr(DEALER)


def test_dealers() -> None:
    reported = bytes(64)
    check_dealer(DEALER.public, DEALER.bind(reported), reported)
    check_dealer(b"", b"", reported)
    for dealer, binding in (
        (DEALER.public, b""),
        (DEALER.public, DEALER.bind(bytes([1]) * 64)),
        (DEALER.public, DealerKey(bytes(32)).bind(reported)),
        (b"", DEALER.bind(reported)),
        (bytes([255]) * 32, bytes(64)),
    ):
        with pytest.raises(TamperedError):
            check_dealer(dealer, binding, reported)
    with pytest.raises(InputError):
        DealerKey(bytes(31))
    with pytest.raises(InputError):
        DEALER.bind(bytes(63))


def test_the_three_forms(signer: SessionSigner, platform: SimulatedPlatform) -> None:
    raw = statement().encode()
    evidence = SimulatedProvider(platform).evidence(report_data(raw))
    whole = attest_statement(statement(), evidence, DEALER)
    assert read_proof(whole.encode()) == whole
    small, chain = compact(whole)
    assert read_proof(small.encode()) == small
    assert small.expand(chain) == whole
    assert chain.count(b"BEGIN CERTIFICATE") == 3
    with pytest.raises(NotAuthenticError):
        small.expand(chain + b"\n")
    signed = read_proof(signer.sign(statement()))
    assert signed == SignedProof(signer.sign(statement()), signer.session.id)
    assert signed.encode() == signer.sign(statement())
    sizes = [len(proof.encode()) for proof in (signed, small, whole)]
    assert sizes[0] < 300 < sizes[1] < 1400 < sizes[2]
    with pytest.raises(InputError):
        attest_statement(statement(), evidence)


def test_real_quotes_have_a_compact_form(samples: dict[str, Sample]) -> None:
    for sample in samples.values():
        proof = QuoteProof(statement(dealer=b"").encode(), sample.evidence)
        small, chain = compact(proof)
        assert parse_quote(small.expand(chain).evidence.data) == parse_quote(sample.raw)
        assert len(small.encode()) < 1480
    with pytest.raises(InputError):
        compact(QuoteProof(b"", Evidence(EvidenceKind.SNP, b"", simulated=False)))


@given(st.binary(max_size=400))
def test_random_bytes_are_no_proof(data: bytes) -> None:
    with pytest.raises(FormatError):
        read_proof(data)


def test_proofs_of_another_form(platform: SimulatedPlatform) -> None:
    whole = attest_statement(statement(), SimulatedProvider(platform).evidence(bytes(64)), DEALER)
    small, _ = compact(whole)
    first, second = canonical.decode(whole.encode()), canonical.decode(small.encode())
    for bad in (
        [],
        ["MPVC-EVIDENCE/2", *first[1:]],
        [first[0], 3, *first[2:]],
        [*first, 0],
        [*first[:4], b"short"],
        [*first[:2], bytes(4097), *first[3:]],
        [*first[:3], [], first[4]],
        [*second[:3], bytes(16385), *second[4:]],
        [*second[:4], 1, *second[5:]],
        [*second[:5], bytes(15), second[6]],
        {0: 1},
        "text",
    ):
        with pytest.raises(FormatError):
            read_proof(canonical.encode(bad))
    with pytest.raises(LimitError):
        read_proof(bytes(65537))
    assert isinstance(small, CompactProof)
