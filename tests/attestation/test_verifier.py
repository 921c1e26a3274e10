"""Real quotes give their expected verdict, and each way of being wrong its own typed refusal."""

from __future__ import annotations

import json
import sys
from datetime import date
from typing import Any

import pytest
from tests.attestation.conftest import NOW, Sample, production, rule, rule_of

from medveil.attestation.appraisal import Evidence, EvidenceKind, Refusal
from medveil.attestation.collateral import Collateral
from medveil.attestation.policy import ProductionPolicy, SimulationPolicy, TcbStatus, VendorRoot
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.quote import Tee
from medveil.attestation.verifier import Verifier
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    MissingExtraError,
    NotAuthenticError,
    PolicyError,
    StaleError,
    TamperedError,
)

SGX, TDX, DEBUG, OLD = "sgx_v3_processor_ca", "tdx_v4_uptodate", "sgx_v3_debug_enclave", "tdx_v4_padded8000_outofdate"
REPORT = bytes(range(64))


def codes(verifier: Verifier, sample: Sample, policy: Any, **changes: Any) -> set[Refusal]:
    now = changes.pop("now", sample.now)
    collateral = changes.pop("collateral", sample.collateral)
    evidence = changes.pop("evidence", sample.evidence)
    return {reason.code for reason in verifier.appraise(evidence, collateral, now, policy).reasons}


@pytest.mark.parametrize("name", [SGX, TDX, DEBUG, OLD])
def test_real_quotes_give_their_expected_verdict(name: str, samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[name]
    appraisal = verifier.appraise(sample.evidence, sample.collateral, sample.now, production([rule_of(sample)]))
    if sample.facts["verdict"] == "invalid":
        assert sample.facts["reason"] == "debug"
        assert [r.code for r in appraisal.reasons] == [Refusal.DEBUG]
        with pytest.raises(PolicyError, match="debug"):
            appraisal.require()
        return
    assert appraisal.require() is appraisal
    _, status, advisories = sample.facts["expected"].split(" ")
    assert appraisal.tcb_status == status
    assert sorted(appraisal.advisories) == sorted(a for a in advisories.split(",") if a)
    assert appraisal.report_data.hex() == sample.facts["report_data"]
    assert appraisal.valid_until == sample.facts["valid_until"]
    assert not appraisal.simulated
    assert len(appraisal.ppid) == 32


@pytest.mark.parametrize("name", [SGX, TDX, DEBUG, OLD])
def test_collateral_windows_are_those_of_the_samples(name: str, samples: dict[str, Sample]) -> None:
    sample = samples[name]
    assert sample.collateral.valid_from == sample.facts["valid_from"]
    assert sample.collateral.valid_until == sample.facts["valid_until"]
    assert sample.collateral.fmspc.upper() == sample.facts["fmspc"]


@pytest.mark.parametrize("name", [SGX, TDX, OLD])
def test_time_outside_the_collateral_is_refused(name: str, samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[name]
    policy = production([rule_of(sample)])
    for now, code, error in (
        (sample.facts["valid_from"] - 1, Refusal.COLLATERAL_FUTURE, NotAuthenticError),
        (0, Refusal.COLLATERAL_FUTURE, NotAuthenticError),
        (sample.facts["valid_until"], Refusal.COLLATERAL_EXPIRED, StaleError),
        (4_000_000_000, Refusal.COLLATERAL_EXPIRED, StaleError),
    ):
        appraisal = verifier.appraise(sample.evidence, sample.collateral, now, policy)
        assert {r.code for r in appraisal.reasons} == {code}
        with pytest.raises(error):
            appraisal.require()
    for now in (sample.facts["valid_from"], sample.facts["valid_until"] - 1):
        assert verifier.appraise(sample.evidence, sample.collateral, now, policy).ok


def test_rolled_back_collateral_is_refused(samples: dict[str, Sample], verifier: Verifier) -> None:
    # Old collateral is genuine, and verifies where the clock was set back; its number gives it away.
    sample = samples[TDX]
    assert codes(verifier, sample, production([rule_of(sample)])) == set()
    newer = production([rule_of(sample)], minimum_tcb_evaluation_data_number=18)
    assert codes(verifier, sample, newer) == {Refusal.COLLATERAL_ROLLED_BACK}
    with pytest.raises(StaleError, match="rolled back"):
        verifier.appraise(sample.evidence, sample.collateral, sample.now, newer).require()


def test_collateral_older_than_the_policy_allows(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[TDX]
    assert codes(verifier, sample, production([rule_of(sample)], maximum_collateral_age_days=10)) == {
        Refusal.COLLATERAL_TOO_OLD
    }


def test_statuses_are_accepted_only_where_listed(samples: dict[str, Sample], verifier: Verifier) -> None:
    strict = {"accepted_statuses": (TcbStatus.UP_TO_DATE,)}
    assert codes(verifier, samples[TDX], production([rule_of(samples[TDX])], **strict)) == set()
    for name in (SGX, OLD):
        assert codes(verifier, samples[name], production([rule_of(samples[name])], **strict)) == {Refusal.STATUS}
    nothing = production([rule_of(samples[TDX])], accepted_statuses=())
    assert codes(verifier, samples[TDX], nothing) == {Refusal.STATUS}


def test_every_advisory_has_to_be_listed(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    policy = production([rule_of(sample)], accepted_advisories=("INTEL-SA-00289",))
    appraisal = verifier.appraise(sample.evidence, sample.collateral, sample.now, policy)
    assert [r.code for r in appraisal.reasons] == [Refusal.ADVISORY]
    assert "INTEL-SA-00615" in appraisal.reasons[0].message
    assert "INTEL-SA-00289" not in appraisal.reasons[0].message


def test_software_hardening_needs_a_list_of_advisories(
    platform: SimulatedPlatform, simulation: Any, verifier: Verifier
) -> None:
    evidence = SimulatedProvider(platform).evidence(REPORT)
    collateral = platform.collateral(NOW, status="SWHardeningNeeded")
    without = simulation(accepted_statuses=tuple(TcbStatus))
    assert [r.code for r in verifier.appraise(evidence, collateral, NOW, without).reasons] == [Refusal.ADVISORY]
    listed = simulation(accepted_statuses=tuple(TcbStatus), accepted_advisories=("INTEL-SA-00615",))
    assert verifier.appraise(evidence, collateral, NOW, listed).ok


@pytest.mark.parametrize("status", list(TcbStatus))
def test_each_status_of_a_platform_is_reported(
    status: TcbStatus, platform: SimulatedPlatform, simulation: Any, verifier: Verifier
) -> None:
    evidence = SimulatedProvider(platform).evidence(REPORT)
    collateral = platform.collateral(NOW, status=status)
    lenient = simulation(accepted_statuses=tuple(TcbStatus), accepted_advisories=("INTEL-SA-00615",))
    appraisal = verifier.appraise(evidence, collateral, NOW, lenient)
    assert appraisal.ok
    assert appraisal.tcb_status == status
    strict = verifier.appraise(evidence, collateral, NOW, simulation())
    assert strict.ok == (status is TcbStatus.UP_TO_DATE)


def test_revoked_and_unknown_statuses_are_refused(
    platform: SimulatedPlatform, simulation: Any, verifier: Verifier
) -> None:
    evidence = SimulatedProvider(platform).evidence(REPORT)
    lenient = simulation(accepted_statuses=tuple(TcbStatus), accepted_advisories=("INTEL-SA-00615",))
    revoked = verifier.appraise(evidence, platform.collateral(NOW, status="Revoked"), NOW, lenient)
    assert [r.code for r in revoked.reasons] == [Refusal.STATUS]
    unknown = verifier.appraise(evidence, platform.collateral(NOW, status="Splendid"), NOW, lenient)
    assert [r.code for r in unknown.reasons] == [Refusal.STATUS_UNKNOWN]
    with pytest.raises(PolicyError, match="not known"):
        unknown.require()
    listed = verifier.appraise(evidence, platform.collateral(NOW, revoked=True), NOW, lenient)
    assert [r.code for r in listed.reasons] == [Refusal.NOT_AUTHENTIC]


def test_collateral_of_another_tee_or_platform(samples: dict[str, Sample], verifier: Verifier) -> None:
    sgx, tdx, old = samples[SGX], samples[TDX], samples[OLD]
    assert codes(verifier, sgx, production([rule_of(sgx)]), collateral=tdx.collateral) == {Refusal.COLLATERAL_OTHER_TEE}
    assert codes(verifier, tdx, production([rule_of(tdx)]), collateral=old.collateral, now=old.now) == {
        Refusal.COLLATERAL_OTHER_PLATFORM
    }


def test_collateral_that_was_altered_is_refused(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[TDX]
    policy = production([rule_of(sample)])
    parts = json.loads(sample.collateral.text)
    for name, old, new in (
        ("tcb_info", '"OutOfDate"', '"UpToDate"'),
        ("qe_identity", '"isvsvn":4', '"isvsvn":3'),
        ("tcb_info_signature", parts["tcb_info_signature"][:2], "ff"),
        ("pck_crl", parts["pck_crl"][-4:], "0000"),
    ):
        assert old in parts[name]
        altered = parts | {name: parts[name].replace(old, new)}
        collateral = Collateral.from_json(json.dumps(altered))
        found = codes(verifier, sample, policy, collateral=collateral)
        assert found == {Refusal.NOT_AUTHENTIC}, name


def test_measurements(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    other = rule(Tee.SGX, {"mrenclave": "00" * 32})
    cases: list[tuple[list[Any], Refusal]] = [
        ([], Refusal.MEASUREMENT_UNLISTED),
        ([other], Refusal.MEASUREMENT_UNLISTED),
        ([rule_of(samples[TDX])], Refusal.MEASUREMENT_UNLISTED),
        ([rule_of(sample, revoked=True)], Refusal.MEASUREMENT_REVOKED),
        ([rule_of(sample), rule_of(sample, revoked=True)], Refusal.MEASUREMENT_REVOKED),
        ([rule_of(sample, valid_until=date(2025, 7, 3))], Refusal.MEASUREMENT_DATES),
        ([rule_of(sample, valid_from=date(2025, 7, 5))], Refusal.MEASUREMENT_DATES),
        ([rule_of(sample, minimum_isv_svn=1)], Refusal.SECURITY_VERSION),
    ]
    assert date.fromtimestamp(sample.now).isoformat() == "2025-07-04"
    for rules, code in cases:
        policy = production(rules)
        assert codes(verifier, sample, policy) == {code}
        with pytest.raises(PolicyError):
            verifier.appraise(sample.evidence, sample.collateral, sample.now, policy).require()


def test_platforms(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    ppid = "d04ec06d4e6d92dc90d0ad3cf5ee2ddf"
    assert codes(verifier, sample, production([rule_of(sample)], platforms=(ppid,))) == set()
    assert codes(verifier, sample, production([rule_of(sample)], platforms=("00" * 16,))) == {Refusal.PLATFORM}
    assert codes(verifier, sample, production([rule_of(sample)], platforms=())) == {Refusal.PLATFORM}


def test_no_root_pinned_means_nothing_accepted(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    for roots in ((), (VendorRoot.AMD_MILAN,)):
        assert codes(verifier, sample, production([rule_of(sample)], roots=roots)) == {Refusal.ROOT}


def test_truncated_and_oversized_quotes(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    policy = production([rule_of(sample)])
    for size in (0, 1, 47, 48, 435, 436, 1051, 1052, 4599):
        evidence = Evidence(EvidenceKind.DCAP, sample.raw[:size], simulated=False)
        appraisal = verifier.appraise(evidence, sample.collateral, sample.now, policy)
        assert [r.code for r in appraisal.reasons] == [Refusal.MALFORMED]
        with pytest.raises(FormatError):
            appraisal.require()
    large = Evidence(EvidenceKind.DCAP, sample.raw + bytes(16384), simulated=False)
    appraisal = verifier.appraise(large, sample.collateral, sample.now, policy)
    assert [r.code for r in appraisal.reasons] == [Refusal.TOO_LARGE]
    with pytest.raises(LimitError):
        appraisal.require()


def test_forged_quote_raises_tampered(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    forged = bytearray(sample.raw)
    forged[368] ^= 1  # report data
    evidence = Evidence(EvidenceKind.DCAP, bytes(forged), simulated=False)
    appraisal = verifier.appraise(evidence, sample.collateral, sample.now, production([rule_of(sample)]))
    with pytest.raises(TamperedError):
        appraisal.require()


@pytest.mark.parametrize("form", ["sgx-3", "tdx-4", "tdx-5"])
def test_simulated_evidence_is_verified_by_the_same_code_and_marked(
    form: Any, platform: SimulatedPlatform, simulation: Any, verifier: Verifier
) -> None:
    tee = Tee.SGX if form == "sgx-3" else Tee.TDX
    evidence = SimulatedProvider(platform, form=form).evidence(REPORT)
    appraisal = verifier.appraise(evidence, platform.collateral(NOW, tee=tee), NOW, simulation()).require()
    assert appraisal.simulated
    assert appraisal.report_data == REPORT
    assert appraisal.tee is tee
    debug = Evidence(EvidenceKind.DCAP, platform.quote(REPORT, form=form, debug=True), simulated=True)
    refused = verifier.appraise(debug, platform.collateral(NOW, tee=tee), NOW, simulation())
    assert [r.code for r in refused.reasons] == [Refusal.DEBUG]


@pytest.mark.parametrize("honest", [True, False])
def test_every_production_policy_refuses_the_simulator(
    honest: bool, platform: SimulatedPlatform, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not even where the evidence denies that it is simulated, and whatever the environment says.
    for name in ("MEDVEIL_SIMULATION", "MEDVEIL_ATTESTATION", "MEDVEIL_POLICY", "SGX_MODE", "DEBUG"):
        monkeypatch.setenv(name, "simulated")
    evidence = Evidence(EvidenceKind.DCAP, platform.quote(REPORT), simulated=honest)
    rules = [rule(Tee.SGX, platform.measurement("signer"))]
    for roots in ((), tuple(VendorRoot), (VendorRoot.INTEL_SGX,)):
        appraisal = verifier.appraise(evidence, platform.collateral(NOW), NOW, production(rules, roots=roots))
        assert [r.code for r in appraisal.reasons] == [Refusal.SIMULATED]
        with pytest.raises(PolicyError, match="never accepts"):
            appraisal.require()


def test_real_evidence_under_a_simulation_policy(
    samples: dict[str, Sample], simulation: Any, verifier: Verifier
) -> None:
    sample = samples[SGX]
    assert codes(verifier, sample, simulation()) == {Refusal.SIMULATED}
    lying = Evidence(EvidenceKind.DCAP, sample.raw, simulated=True)
    assert codes(verifier, sample, simulation(), evidence=lying) == {Refusal.ROOT}


def test_another_simulator_is_refused(simulation: Any, verifier: Verifier) -> None:
    stranger = SimulatedPlatform(bytes(32), NOW - 86400)
    evidence = SimulatedProvider(stranger).evidence(REPORT)
    appraisal = verifier.appraise(evidence, stranger.collateral(NOW), NOW, simulation())
    assert [r.code for r in appraisal.reasons] == [Refusal.ROOT]


def test_policies_that_went_around_validation_are_refused(
    platform: SimulatedPlatform, simulation: Any, verifier: Verifier
) -> None:
    evidence = Evidence(EvidenceKind.DCAP, platform.quote(REPORT), simulated=False)
    good = production([rule(Tee.SGX, platform.measurement("signer"))])
    forged = ProductionPolicy.model_construct(**(dict(good) | {"roots": (platform.root_sha256,)}))
    with pytest.raises(PolicyError, match="no vendor"):
        verifier.appraise(evidence, platform.collateral(NOW), NOW, forged)

    class Sneaky(ProductionPolicy):
        def pins(self) -> frozenset[str]:
            return frozenset({platform.root_sha256})

    with pytest.raises(InputError, match="ProductionPolicy"):
        verifier.appraise(evidence, platform.collateral(NOW), NOW, Sneaky(**dict(good)))
    assert isinstance(simulation(), SimulationPolicy)


def test_wrong_arguments(samples: dict[str, Sample], verifier: Verifier) -> None:
    sample = samples[SGX]
    policy = production([rule_of(sample)])
    for now in (-1, True, 1.5, None):
        with pytest.raises(InputError):
            verifier.appraise(sample.evidence, sample.collateral, now, policy)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        verifier.appraise(sample.raw, sample.collateral, 1, policy)  # type: ignore[arg-type]


def test_a_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'medveil\[attest\]'"):
        Verifier()
