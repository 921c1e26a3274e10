"""Time of verifying and signing shares, sizes of the proofs, and with `--flips` every single-bit flip."""

from __future__ import annotations

import sys
import time

import dcap_qvl
from tests.attestation.conftest import ADVISORIES, NOW, production, read_samples, rule, rule_of
from tests.attestation.flips import all_flips
from tests.conftest import find_shared_data

from benchmarks.measure import time_in_turn
from medveil.attestation.policy import SimulationPolicy, TcbStatus
from medveil.attestation.proof import attest_statement, compact
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.quote import Tee, parse_quote
from medveil.attestation.session import DealerKey, SessionSigner
from medveil.attestation.sets import PresentedShare, verify_set
from medveil.attestation.statement import Statement, report_data
from medveil.attestation.verifier import Verifier

RUNS = 200
DEALER = DealerKey(bytes(range(32)))


def statement(index: int) -> Statement:
    return Statement(
        scheme="visual-xor", threshold=2, shares=2, index=index, width=786, height=512, channels=3, polarity="rgb",
        packing="msb", halftone="floyd-steinberg", pairing=bytes(16), digest=bytes([index]) * 32, made_at=NOW + 1,
        dealer=DEALER.public,
    )  # fmt: skip


def real_quotes() -> None:
    folder = find_shared_data()
    if folder is None:
        print("real quotes: not measured, the shared data is not there")
        return
    verifier = Verifier()
    print(f"{'real quote':32} {'parser':>9} {'dcap-qvl':>9} {'appraise':>9}   (processor time, ms, {RUNS} runs)")
    for name, sample in read_samples(folder / "attestation").items():
        if sample.facts["verdict"] != "valid":
            continue
        policy = production([rule_of(sample)])
        parsed = dcap_qvl.QuoteCollateralV3.from_json(sample.collateral.text)
        calls = {
            "parser": lambda s=sample: parse_quote(s.raw),
            "dcap": lambda s=sample, c=parsed: dcap_qvl.verify(s.raw, c, s.now),
            "appraise": lambda s=sample, p=policy: verifier.appraise(s.evidence, s.collateral, s.now, p).require(),
        }
        taken = time_in_turn(calls, runs=RUNS, clock=time.process_time)
        print(f"{name:32} " + " ".join(f"{1000 * taken[c].median:9.3f}" for c in calls))


def shares() -> None:
    platform, verifier = SimulatedPlatform(bytes(32), NOW - 86400), Verifier()
    provider, collateral = SimulatedProvider(platform), platform.collateral(NOW)
    policy = SimulationPolicy(
        measurements=(rule(Tee.SGX, platform.measurement("signer")),),
        accepted_statuses=tuple(TcbStatus),
        accepted_advisories=ADVISORIES,
        minimum_tcb_evaluation_data_number=17,
        platforms=(platform.ppid.hex(),),
        dealers=(DEALER.public.hex(),),
        maximum_share_age_days=30,
        simulator_root_sha256=platform.root_sha256,
    )
    signer = SessionSigner(provider, NOW, dealer=DEALER)
    stated = [statement(1), statement(2)]
    whole = [attest_statement(s, provider.evidence(report_data(s.encode())), DEALER) for s in stated]
    small, chain = compact(whole[0])
    signed = [signer.sign(s) for s in stated]
    quoted = [proof.encode() for proof in whole]
    print(f"\nbytes: statement {len(stated[0].encode())}, COSE_Sign1 {len(signed[0])}, compact {len(small.encode())}, "
          f"whole quote {len(quoted[0])}, session file {len(signer.session.encode())}, chain {len(chain)}")  # fmt: skip

    def verify(proofs: list[bytes]) -> object:
        presented = [PresentedShare(p, 786, 512, 3, s.digest) for p, s in zip(proofs, stated, strict=True)]
        return verify_set(
            presented,
            policy,
            verifier=verifier,
            collateral=lambda _: collateral,
            now=NOW + 9,
            sessions=[signer.session],
        )

    calls = {
        "sign a share with a session key": lambda: signer.sign(stated[0]),
        "make a quote (simulated hardware)": lambda: provider.evidence(bytes(64)),
        "verify a set of 2, session form": lambda: verify(signed),
        "verify a set of 2, a quote each": lambda: verify(quoted),
    }
    taken = time_in_turn(calls, runs=RUNS, clock=time.process_time)
    print(f"\n{'step':36} {'median ms':>9}   (processor time)")
    for name in calls:
        print(f"{name:36} {1000 * taken[name].median:9.3f}")


def flips() -> None:
    folder = find_shared_data()
    if folder is None:
        print("bit flips: not tried, the shared data is not there")
        return
    start = time.perf_counter()
    found = all_flips(folder / "attestation")
    print(f"\nevery single-bit flip, {time.perf_counter() - start:.0f} s with 2 processes")
    for name, outcomes in found.items():
        detail = ", ".join(f"{code} {count}" for code, count in sorted(outcomes.items()))
        print(f"{name:32} {outcomes.total():6} flips, {outcomes['accepted']} accepted ({detail})")


if __name__ == "__main__":
    real_quotes()
    shares()
    if "--flips" in sys.argv[1:]:
        flips()
