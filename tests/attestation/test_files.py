"""What a file of evidence or collateral holds is found out from its bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.attestation.conftest import NOW, Sample, production, rule_of

from medveil.attestation.appraisal import EvidenceKind
from medveil.attestation.cache import CollateralCache
from medveil.attestation.files import describe_policy, find_collateral, read_bounded, read_evidence
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.session import SessionSigner
from medveil.errors import FormatError, InputError, LimitError


def test_evidence_of_each_kind(samples: dict[str, Sample], platform: SimulatedPlatform, snp_machine: Any) -> None:
    for sample in samples.values():
        assert read_evidence(sample.raw) == sample.evidence
    evidence = SimulatedProvider(platform).evidence(bytes(64))
    assert read_evidence(evidence.data) == evidence
    session = SessionSigner(SimulatedProvider(platform), NOW).session
    assert read_evidence(session.encode()) == session.evidence
    assert read_evidence(snp_machine.report(bytes(64))).kind is EvidenceKind.SNP
    for bad in (b"", bytes(20000), b"\x83" + bytes(10)):
        with pytest.raises(FormatError):
            read_evidence(bad)


def test_the_simulators_name_elsewhere_in_a_quote_means_nothing(samples: dict[str, Sample]) -> None:
    raw = samples["sgx_v3_processor_ca"].raw
    tail = raw + b"NOT INTEL - DEVELOPER SIMULATION"
    assert not read_evidence(tail).simulated


def test_collateral_files_and_folders(tmp_path: Path, samples: dict[str, Sample], snp_machine: Any) -> None:
    sample = samples["tdx_v4_uptodate"]
    path = tmp_path / "collateral.json"
    path.write_text(sample.collateral.text)
    assert find_collateral(path, sample.evidence, sample.now) == sample.collateral
    cache = tmp_path / "cache"
    cache.mkdir()
    CollateralCache(cache).put(sample.collateral.text)
    assert find_collateral(cache, sample.evidence, sample.now) == sample.collateral
    good = snp_machine.collateral()
    evidence = read_evidence(snp_machine.report(bytes(64)))
    parts = {name: getattr(good, name).hex() for name in ("vcek", "ask", "ark", "crl")}
    path.write_text(json.dumps(parts))
    assert find_collateral(path, evidence, NOW) == good
    for bad in ("", "[]", "{}", json.dumps(parts | {"crl": 7}), json.dumps(parts | {"crl": "zz"}), "[" * 100_000):
        path.write_text(bad)
        with pytest.raises(FormatError):
            find_collateral(path, evidence, NOW)


def test_bounds(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(11))
    assert read_bounded(tmp_path / "large", 11) == bytes(11)
    with pytest.raises(LimitError):
        read_bounded(tmp_path / "large", 10)
    with pytest.raises(InputError):
        read_bounded(tmp_path / "absent", 10)


def test_policies_are_described(samples: dict[str, Sample]) -> None:
    said = "\n".join(describe_policy(production([rule_of(samples["sgx_v3_processor_ca"], revoked=True)])))
    assert "REVOKED" in said
    assert "intel-sgx-root" in said
    empty = "\n".join(describe_policy(production([], roots=(), platforms=())))
    assert "everything is denied" in empty
    assert "every program is denied" in empty
    assert "platforms: none" in empty
