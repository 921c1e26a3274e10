"""Signed results: registered claim numbers, the quote in a submodule, and nothing for a refusal."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.attestation.conftest import NOW, Sample, production, rule_of

from medveil.attestation import cose
from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.eat import PROFILE, issue_result, reappraise, verify_result
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.verifier import Verifier
from medveil.crypto.signatures import SigningKey
from medveil.errors import FormatError, LimitError, PolicyError, TamperedError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HYBRID = SigningKey.from_seed(bytes(range(32)))


@pytest.mark.parametrize("key", [KEY, HYBRID], ids=["ed25519", "hybrid"])
@pytest.mark.parametrize("name", ["sgx_v3_processor_ca", "tdx_v4_uptodate", "tdx_v4_padded8000_outofdate"])
def test_results_of_real_quotes(key: Any, name: str, samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[name]
    policy = production([rule_of(sample)])
    appraisal = verifier.appraise(sample.evidence, sample.collateral, sample.now, policy)
    token = issue_result(appraisal, sample.evidence, key, "radiology")
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key.public
    result = verify_result(token, public)
    assert (result.issuer, result.issued_at) == ("radiology", sample.now)
    assert result.evidence == sample.evidence
    assert (result.tcb_status, result.advisories) == (appraisal.tcb_status, appraisal.advisories)
    assert (result.report_data, result.measurement) == (appraisal.report_data, appraisal.measurement)
    assert not result.simulated
    claims = cbor2.loads(cbor2.loads(token)[2])
    assert claims[265] == PROFILE
    assert claims[263] == 1
    assert claims[266]["quote"]["evidence"][1] == sample.raw
    later = sample.now + 10 * 365 * 86400
    assert reappraise(result, policy, later).ok
    assert not reappraise(result, production([rule_of(sample, revoked=True)]), later).ok


def test_there_is_no_token_of_a_refusal(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples["sgx_v3_debug_enclave"]
    appraisal = verifier.appraise(sample.evidence, sample.collateral, sample.now, production([rule_of(sample)]))
    with pytest.raises(PolicyError):
        issue_result(appraisal, sample.evidence, KEY, "radiology")


@pytest.fixture
def token(platform: SimulatedPlatform, simulation: Any, verifier: Verifier) -> bytes:
    evidence = SimulatedProvider(platform).evidence(bytes(64))
    return issue_result(verifier.appraise(evidence, platform.collateral(NOW), NOW, simulation()), evidence, KEY, "me")


def test_simulated_results_say_so(token: bytes, simulation: Any, samples: dict[str, Sample]) -> None:
    result = verify_result(token, KEY.public_key())
    assert result.simulated
    assert reappraise(result, simulation(), NOW).ok
    assert not reappraise(result, production([rule_of(samples["sgx_v3_processor_ca"])]), NOW).ok


def test_altered_tokens(token: bytes) -> None:
    for at in range(0, len(token), 97):
        bad = bytearray(token)
        bad[at] ^= 1
        if 4 < at < 20:  # the key id is a hint
            continue
        with pytest.raises((TamperedError, FormatError)):
            verify_result(bytes(bad), KEY.public_key())
    with pytest.raises(LimitError):
        verify_result(bytes(70000), KEY.public_key())
    with pytest.raises(TamperedError):
        verify_result(token, Ed25519PrivateKey.generate().public_key())


def test_tokens_of_another_content(token: bytes) -> None:
    claims = cbor2.loads(cbor2.loads(token)[2])
    quote = claims[266]["quote"]
    foreign = [EvidenceKind.DCAP.value, b"other", True, b""]
    real = [quote["evidence"][0], quote["evidence"][1], False, b""]
    for bad, error in (
        (claims | {265: "another"}, FormatError),
        (claims | {266: {}}, FormatError),
        (claims | {266: 7}, FormatError),
        (claims | {266: {"quote": quote | {"more": 1}}}, FormatError),
        (claims | {266: {"quote": quote | {"tee": "sev"}}}, FormatError),
        (claims | {266: {"quote": quote | {"advisories": 7}}}, FormatError),
        (claims | {266: {"quote": quote | {"advisories": [7]}}}, FormatError),
        (claims | {266: {"quote": quote | {"measurement": []}}}, FormatError),
        (claims | {266: {"quote": quote | {"measurement": {"mrenclave": 7}}}}, FormatError),
        (claims | {266: {"quote": quote | {"valid_until": True}}}, FormatError),
        (claims | {266: {"quote": quote | {"report_data": ""}}}, FormatError),
        (claims | {266: {"quote": quote | {"simulated": 1}}}, FormatError),
        (claims | {6: "now"}, FormatError),
        ({k: v for k, v in claims.items() if k != 1}, FormatError),
        (claims | {266: {"quote": quote | {"evidence": foreign}}}, TamperedError),
        (claims | {266: {"quote": quote | {"evidence": real}}}, TamperedError),
        ([], FormatError),
    ):
        message = cose.sign(cbor2.dumps(bad, canonical=True), KEY, kind=b"medveil attestation result")
        with pytest.raises(error):
            verify_result(message, KEY.public_key())
    share = cose.sign(cbor2.loads(token)[2], KEY, kind=b"MPVC-SHARE/1")
    with pytest.raises(TamperedError):
        verify_result(share, KEY.public_key())
    assert Evidence(EvidenceKind.DCAP, b"", simulated=True).simulated
