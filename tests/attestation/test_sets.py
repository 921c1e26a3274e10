"""Verification before recovery: every way in which a set of shares can be wrong has its typed refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.attestation.conftest import NOW, Sample, production, rule, rule_of

from medveil.attestation.appraisal import Evidence
from medveil.attestation.cose import fingerprint
from medveil.attestation.eat import issue_result
from medveil.attestation.proof import QuoteProof, attest_statement, compact
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.quote import Tee
from medveil.attestation.session import DealerKey, SessionSigner
from medveil.attestation.sets import CLOCK_SKEW, PresentedShare, VerifiedSet, verify_set
from medveil.attestation.statement import Statement, report_data, share_digest
from medveil.attestation.verifier import Verifier
from medveil.crypto.signatures import SigningKey
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    NotAuthenticError,
    PolicyError,
    StaleError,
    TamperedError,
    UnrecoverableError,
)

DEALER = DealerKey(bytes(range(32)))
SIZE = (64, 32, 3)


def plane(index: int) -> bytes:
    return bytes([index]) * (64 * 32 * 3 // 8)


def statement(index: int = 1, **changes: Any) -> Statement:
    fields: dict[str, Any] = {
        "scheme": "visual-xor", "threshold": 2, "shares": 3, "index": index, "width": 64, "height": 32, "channels": 3,
        "polarity": "rgb", "packing": "msb-first", "halftone": "floyd-steinberg", "pairing": bytes(range(16)),
        "digest": share_digest(*SIZE, plane(index)), "made_at": NOW + 10, "dealer": DEALER.public,
    }  # fmt: skip
    return Statement(**(fields | changes))


class Bench:
    """A signer, its session, and the call under test with everything right unless changed."""

    def __init__(self, platform: SimulatedPlatform, verifier: Verifier, simulation: Callable[..., Any]) -> None:
        self.platform, self.verifier, self.simulation = platform, verifier, simulation
        self.signer = SessionSigner(SimulatedProvider(platform), NOW, dealer=DEALER)
        self.collateral = platform.collateral(NOW)

    def share(self, index: int, **changes: Any) -> PresentedShare:
        stated = statement(index, **changes)
        return PresentedShare(self.signer.sign(stated), *SIZE, share_digest(*SIZE, plane(index)))

    def quoted(self, index: int, **changes: Any) -> PresentedShare:
        stated = statement(index, **changes)
        evidence = SimulatedProvider(self.platform).evidence(report_data(stated.encode()))
        proof = attest_statement(stated, evidence, DEALER).encode()
        return PresentedShare(proof, *SIZE, share_digest(*SIZE, plane(index)))

    def verify(self, *shares: PresentedShare, **changes: Any) -> VerifiedSet:
        arguments: dict[str, Any] = {
            "verifier": self.verifier,
            "collateral": lambda evidence: self.collateral,
            "now": NOW + 60,
            "sessions": [self.signer.session],
        }
        policy = changes.pop("policy", None) or self.simulation(dealers=(DEALER.public.hex(),))
        return verify_set(shares, policy, **(arguments | changes))


@pytest.fixture(scope="module")
def bench(platform: SimulatedPlatform, verifier: Verifier, simulation: Any) -> Bench:
    return Bench(platform, verifier, simulation)


def test_a_good_set(bench: Bench) -> None:
    verified = bench.verify(bench.share(3), bench.share(1))
    assert verified.indices == (1, 3)
    assert verified.simulated
    assert verified.pairing == bytes(range(16))
    assert verified.digests == {i: share_digest(*SIZE, plane(i)) for i in (1, 3)}
    assert [a.ok for a in verified.appraisals] == [True, True]
    assert "2 of 3" in repr(verified)


def test_forms_can_be_mixed(bench: Bench) -> None:
    quoted = bench.quoted(2)
    assert bench.verify(bench.share(1), quoted).indices == (1, 2)
    evidence = SimulatedProvider(bench.platform).evidence(report_data(statement(3).encode()))
    small, chain = compact(attest_statement(statement(3), evidence, DEALER))
    short = PresentedShare(small.encode(), *SIZE, share_digest(*SIZE, plane(3)))
    assert bench.verify(bench.share(1), short, chains=[b"other", chain]).indices == (1, 3)
    with pytest.raises(NotAuthenticError, match="certificates"):
        bench.verify(bench.share(1), short)


def test_verified_sets_are_made_nowhere_else(bench: Bench) -> None:
    verified = bench.verify(bench.share(1), bench.share(2))
    for key in (None, object(), verified):
        with pytest.raises(InputError, match="verify_set"):
            VerifiedSet(key, verified.statements, verified.appraisals)
    with pytest.raises(InputError, match="not changed"):
        verified.statements = ()
    with pytest.raises(InputError, match="not changed"):
        verified.simulated = False


def test_too_few_shares(bench: Bench) -> None:
    with pytest.raises(UnrecoverableError, match="no shares"):
        bench.verify()
    with pytest.raises(UnrecoverableError, match="1 of 2"):
        bench.verify(bench.share(1))
    with pytest.raises(LimitError):
        bench.verify(*[bench.share(1)] * 256)


def test_duplicates(bench: Bench) -> None:
    with pytest.raises(InputError, match="twice"):
        bench.verify(bench.share(1), bench.share(1))
    with pytest.raises(TamperedError, match="claim to be share 1"):
        bench.verify(bench.share(1), bench.share(1, made_at=NOW + 11))


def test_mixed_sets(bench: Bench) -> None:
    with pytest.raises(TamperedError, match="different images"):
        bench.verify(bench.share(1), bench.share(2, pairing=bytes(16)))
    for change in (
        {"scheme": "visual-or"}, {"threshold": 3}, {"shares": 4}, {"polarity": "cmy"}, {"packing": "lsb-first"},
        {"halftone": "stucki"}, {"context": bytes([1]) * 32}, {"commitments": {"original": bytes(32)}},
    ):  # fmt: skip
        with pytest.raises(TamperedError, match="contradict"):
            bench.verify(bench.share(1), bench.share(2, **change))


def test_the_share_itself_was_changed(bench: Bench) -> None:
    good = bench.share(1)
    for bad in (
        replace(good, digest=share_digest(*SIZE, plane(9))),
        replace(good, digest=b""),
        replace(good, width=32, height=64),
        replace(good, channels=1),
    ):
        with pytest.raises(TamperedError):
            bench.verify(bad, bench.share(2))


def test_a_share_without_proof_is_never_verified(bench: Bench) -> None:
    for proof in (b"", b"\x00", bytes(1000), bench.share(1).proof[:-1]):
        with pytest.raises(FormatError):
            bench.verify(replace(bench.share(1), proof=proof), bench.share(2))


def test_proofs_of_other_shares_and_sessions(bench: Bench) -> None:
    swapped = replace(bench.share(1), proof=bench.share(2).proof)
    with pytest.raises(TamperedError):
        bench.verify(swapped, bench.share(2))
    with pytest.raises(NotAuthenticError, match="was not given"):
        bench.verify(bench.share(1), bench.share(2), sessions=[])
    stranger = Bench(bench.platform, bench.verifier, bench.simulation)
    with pytest.raises(NotAuthenticError, match="was not given"):
        bench.verify(bench.share(1), stranger.share(2))


def test_a_quote_over_something_else(bench: Bench) -> None:
    evidence = SimulatedProvider(bench.platform).evidence(report_data(statement(2).encode()))
    stated = statement(1).encode()
    proof = QuoteProof(stated, evidence, DEALER.bind(report_data(stated))).encode()
    share = PresentedShare(proof, *SIZE, share_digest(*SIZE, plane(1)))
    with pytest.raises(TamperedError, match="something else"):
        bench.verify(share, bench.quoted(2))


def test_a_session_whose_quote_vouches_for_another_key(bench: Bench, platform: SimulatedPlatform) -> None:
    # An outsider takes a genuine quote and puts a key of his own beside it.
    other = SessionSigner(SimulatedProvider(platform), NOW, dealer=DEALER)
    forged = replace(other.session, evidence=bench.signer.session.evidence)
    shares = [PresentedShare(other.sign(statement(i)), *SIZE, statement(i).digest) for i in (1, 2)]
    with pytest.raises(TamperedError, match="something else"):
        bench.verify(*shares, sessions=[forged])


def test_dealers(bench: Bench, platform: SimulatedPlatform) -> None:
    shares = (bench.share(1), bench.share(2))
    with pytest.raises(PolicyError, match="dealt by nobody"):
        bench.verify(*shares, policy=bench.simulation(dealers=()))
    with pytest.raises(PolicyError, match="dealt by nobody"):
        bench.verify(*shares, policy=bench.simulation(dealers=("00" * 32,)))
    assert bench.verify(*shares, policy=bench.simulation(dealers="any"))
    # Anybody can run the listed program and name our dealer; without the dealer's signature that is worth nothing.
    impostor = DealerKey(bytes(32))
    session = bench.signer.session
    for binding in (b"", impostor.bind(session.reported), DEALER.bind(bytes(64))):
        with pytest.raises(TamperedError, match="dealer"):
            bench.verify(*shares, sessions=[replace(session, binding=binding)])


def test_times(bench: Bench) -> None:
    shares = (bench.share(1), bench.share(2))
    with pytest.raises(StaleError, match="older than the 5 days"):
        bench.verify(
            *shares,
            now=NOW + 10 + 5 * 86400 + 1,
            policy=bench.simulation(maximum_share_age_days=5),
        )
    earlier = bench.platform.collateral(NOW - 9999)
    assert bench.verify(*shares, now=NOW + 10 - CLOCK_SKEW, collateral=lambda e: earlier)
    with pytest.raises(NotAuthenticError, match="from the future"):
        bench.verify(*shares, now=NOW + 9 - CLOCK_SKEW, collateral=lambda e: earlier)
    with pytest.raises(StaleError, match="session ended"):
        bench.verify(*shares, now=NOW + 40 * 86400, policy=bench.simulation(maximum_share_age_days=5))


def test_policy_refusals_reach_the_caller(bench: Bench, platform: SimulatedPlatform) -> None:
    shares = (bench.share(1), bench.share(2))
    with pytest.raises(PolicyError, match="not one that the policy lists"):
        bench.verify(*shares, policy=bench.simulation(measurements=()))
    with pytest.raises(StaleError, match="expired"):
        bench.verify(*shares, collateral=lambda e: platform.collateral(NOW - 5 * 86400, days=1))
    policy = production([rule(Tee.SGX, platform.measurement("signer"))])
    with pytest.raises(PolicyError, match="never accepts"):
        bench.verify(*shares, policy=policy)


@pytest.mark.parametrize("key", [Ed25519PrivateKey.generate(), SigningKey.generate()], ids=["ed25519", "hybrid"])
def test_signed_results_stand_for_expired_collateral(key: Any, bench: Bench, verifier: Verifier) -> None:
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key.public
    signers = (fingerprint(public).hex(),)
    evidence = bench.signer.session.evidence
    policy = bench.simulation(maximum_share_age_days=3650, result_signers=signers)
    appraisal = verifier.appraise(evidence, bench.collateral, NOW, policy)
    token = issue_result(appraisal, evidence, key, "radiology")
    shares, later = (bench.share(1), bench.share(2)), NOW + 300 * 86400
    with pytest.raises(StaleError):
        bench.verify(*shares, now=later, policy=policy)
    assert bench.verify(*shares, now=later, policy=policy, results=[(token, public)]).simulated
    for change, error in (
        ({"result_signers": ()}, PolicyError),
        ({"result_signers": ("00" * 32,)}, PolicyError),
        ({"measurements": (rule(Tee.SGX, bench.platform.measurement("signer"), revoked=True),)}, PolicyError),
        ({"platforms": ()}, PolicyError),
    ):
        changed = bench.simulation(**({"maximum_share_age_days": 3650, "result_signers": signers} | change))
        with pytest.raises(error):
            bench.verify(*shares, now=later, policy=changed, results=[(token, public)])
    stranger = SigningKey.generate().public
    with pytest.raises(PolicyError, match="signed by nobody"):
        bench.verify(*shares, now=later, policy=policy, results=[(token, stranger)])
    real = production([rule(Tee.SGX, bench.platform.measurement("signer"))], result_signers=signers)
    with pytest.raises(PolicyError, match="other kind"):
        bench.verify(*shares, policy=real, results=[(token, public)])
    with pytest.raises(TamperedError):
        bench.verify(*shares, now=later, policy=policy, results=[(token[:-1] + bytes([token[-1] ^ 1]), public)])


def test_a_real_quote_does_not_vouch_for_our_share(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples["tdx_v4_uptodate"]
    stated = statement(1, made_at=sample.now, dealer=b"")
    share = PresentedShare(QuoteProof(stated.encode(), sample.evidence).encode(), *SIZE, stated.digest)

    def collateral(evidence: Evidence) -> Any:
        return sample.collateral

    with pytest.raises(TamperedError, match="something else"):
        verify_set([share], production([rule_of(sample)]), verifier=verifier, collateral=collateral, now=sample.now)
