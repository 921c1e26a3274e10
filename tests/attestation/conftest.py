"""What the attestation tests share: a verifier, a simulated platform, real samples and policies for both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.attestation.snp_machine import SnpMachine

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.collateral import Collateral
from medveil.attestation.policy import MeasurementRule, ProductionPolicy, SimulationPolicy, TcbStatus, VendorRoot
from medveil.attestation.providers.simulated import SimulatedPlatform
from medveil.attestation.quote import Tee, parse_quote
from medveil.attestation.verifier import Verifier

NOW = 1_790_000_000
DATES = {"valid_from": date(2020, 1, 1), "valid_until": date(2040, 1, 1)}
ADVISORIES = ("INTEL-SA-00289", "INTEL-SA-00615", "INTEL-SA-00960", "INTEL-SA-00982", "INTEL-SA-00986")


@dataclass(frozen=True)
class Sample:
    """One real quote of the shared data."""

    facts: dict[str, Any]
    raw: bytes
    collateral: Collateral

    @property
    def evidence(self) -> Evidence:
        return Evidence(EvidenceKind.DCAP, self.raw, simulated=False)

    @property
    def now(self) -> int:
        return int(self.facts["verify_at"])


def read_samples(folder: Path) -> dict[str, Sample]:
    facts = json.loads((folder / "expected.json").read_text())
    return {
        f["name"]: Sample(
            f, (folder / f["quote"]).read_bytes(), Collateral.from_json((folder / f["collateral"]).read_bytes())
        )
        for f in facts
    }


def rule(tee: Tee, registers: dict[str, str], **changes: Any) -> MeasurementRule:
    fields: dict[str, Any] = {"name": "signer", "tee": tee, "registers": registers, "minimum_isv_svn": 0} | DATES
    return MeasurementRule(**(fields | changes))


def production(rules: list[MeasurementRule], **changes: Any) -> ProductionPolicy:
    """A policy that accepts everything about the samples that a policy can accept."""
    fields: dict[str, Any] = {
        "measurements": tuple(rules),
        "accepted_statuses": tuple(TcbStatus),
        "accepted_advisories": ADVISORIES,
        "minimum_tcb_evaluation_data_number": 17,
        "platforms": "any",
        "dealers": "any",
        "maximum_share_age_days": 30,
        "maximum_collateral_age_days": 31,
        "roots": (VendorRoot.INTEL_SGX,),
    }
    return ProductionPolicy(**(fields | changes))


def rule_of(sample: Sample, **changes: Any) -> MeasurementRule:
    quote = parse_quote(sample.raw)
    return rule(quote.tee, dict(quote.measurement), **changes)


@pytest.fixture(scope="session")
def samples(shared_data: Path) -> dict[str, Sample]:
    return read_samples(shared_data / "attestation")


@pytest.fixture(scope="session")
def verifier() -> Verifier:
    pytest.importorskip("dcap_qvl", reason="needs the extra attest")
    return Verifier()


@pytest.fixture(scope="session")
def platform() -> SimulatedPlatform:
    return SimulatedPlatform(bytes(range(32)), NOW - 86400)


@pytest.fixture(scope="session")
def simulation(platform: SimulatedPlatform) -> Any:
    """Make simulation policies that accept the platform's programs; keyword arguments change fields."""

    def make(**changes: Any) -> SimulationPolicy:
        rules = (
            rule(Tee.SGX, platform.measurement("signer")),
            rule(Tee.TDX, platform.measurement("signer", "tdx-4")),
        )
        fields: dict[str, Any] = {
            "measurements": rules,
            "accepted_statuses": (TcbStatus.UP_TO_DATE,),
            "minimum_tcb_evaluation_data_number": 17,
            "platforms": (platform.ppid.hex(),),
            "dealers": "any",
            "maximum_share_age_days": 30,
            "simulator_root_sha256": platform.root_sha256,
        }
        return SimulationPolicy(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def snp_machine() -> SnpMachine:
    return SnpMachine(NOW)
