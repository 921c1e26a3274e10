"""Collateral: malformed in any part is one typed refusal; the cache never goes back and never writes half."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attestation.conftest import NOW, Sample, rule

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.cache import CollateralCache
from medveil.attestation.collateral import Collateral
from medveil.attestation.policy import SimulationPolicy
from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider
from medveil.attestation.quote import Tee
from medveil.attestation.verifier import Verifier
from medveil.errors import FormatError, InputError, LimitError, StaleError, UnsupportedError


def changed(text: str, **members: Any) -> str:
    parts = json.loads(text) | members
    return json.dumps({name: value for name, value in parts.items() if value != "absent"})


def inner(text: str, member: str, **fields: Any) -> str:
    parts = json.loads(text)
    record = json.loads(parts[member]) | fields
    record = {name: value for name, value in record.items() if value != "absent"}
    return json.dumps(parts | {member: json.dumps(record)})


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "",
        lambda t: "[]",
        lambda t: "[" * 100_000,
        lambda t: t[:-1],
        lambda t: t + "\ud800",
        lambda t: '{"tcb_info": ' + "9" * 5000 + "}",
        lambda t: t[:-1] + ', "tcb_info": ""}',
        lambda t: changed(t, extra="x"),
        lambda t: changed(t, pck_crl="absent"),
        lambda t: changed(t, pck_crl=7),
        lambda t: changed(t, pck_crl="zz"),
        lambda t: changed(t, pck_crl="00"),
        lambda t: changed(t, root_ca_crl=""),
        lambda t: changed(t, tcb_info="no json"),
        lambda t: changed(t, tcb_info="7"),
        lambda t: changed(t, qe_identity="{}"),
        lambda t: changed(t, tcb_info_issuer_chain=""),
        lambda t: changed(t, tcb_info_issuer_chain="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        lambda t: changed(t, pck_crl_issuer_chain="é"),
        lambda t: inner(t, "tcb_info", id="SEV"),
        lambda t: inner(t, "tcb_info", id="TDX"),
        lambda t: inner(t, "qe_identity", id="QVE"),
        lambda t: inner(t, "tcb_info", issueDate="yesterday"),
        lambda t: inner(t, "tcb_info", nextUpdate="absent"),
        lambda t: inner(t, "tcb_info", nextUpdate="2027-01-01T00:00:00+02:00"),
        lambda t: inner(t, "tcb_info", fmspc="00"),
        lambda t: inner(t, "tcb_info", fmspc="zz" * 6),
        lambda t: inner(t, "tcb_info", fmspc=7),
        lambda t: inner(t, "tcb_info", tcbEvaluationDataNumber="17"),
        lambda t: inner(t, "qe_identity", tcbEvaluationDataNumber=-1),
        lambda t: inner(t, "tcb_info", tcbLevels=[{"tcb": {}}]),
    ],
)
def test_malformed_collateral(change: Any, platform: SimulatedPlatform) -> None:
    text = platform.collateral(NOW).text
    Collateral.from_json(text)
    with pytest.raises(FormatError):
        Collateral.from_json(change(text))


@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    with pytest.raises(FormatError):
        Collateral.from_json(text)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_collateral_is_refused_or_harmless(data: Any) -> None:
    parts = json.loads(COLLATERAL.text)
    name = data.draw(st.sampled_from(sorted(parts)))
    text = list(parts[name])
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from('0123456789abcdefABZ{}[]",:\n -é'))
    parts[name] = "".join(text)
    try:
        collateral = Collateral.from_json(json.dumps(parts))
    except FormatError:
        return
    evidence = SimulatedProvider(PLATFORM).evidence(bytes(64))
    policy = SimulationPolicy(
        measurements=(rule(Tee.SGX, PLATFORM.measurement("signer")),), accepted_statuses=("UpToDate",),
        minimum_tcb_evaluation_data_number=17, platforms="any", dealers="any", maximum_share_age_days=1,
        simulator_root_sha256=PLATFORM.root_sha256,
    )  # fmt: skip
    appraisal = Verifier().appraise(evidence, collateral, NOW, policy)
    # What is signed did not change where it is accepted: hexadecimal in capitals, texts that nothing rests on.
    signed = ("tcb_info", "qe_identity")
    assert not appraisal.ok or all(parts[n] == json.loads(COLLATERAL.text)[n] for n in signed)


PLATFORM = SimulatedPlatform(bytes(range(32)), NOW - 86400)
COLLATERAL = PLATFORM.collateral(NOW)


def test_sizes_and_encodings() -> None:
    with pytest.raises(LimitError):
        Collateral.from_json(" " * ((1 << 19) + 1))
    with pytest.raises(FormatError):
        Collateral.from_json(b"\xff\xfe")


def test_the_cache_keeps_and_finds(tmp_path: Path, samples: dict[str, Sample]) -> None:
    cache = CollateralCache(tmp_path)
    for name in ("sgx_v3_processor_ca", "tdx_v4_uptodate", "tdx_v4_padded8000_outofdate"):
        sample = samples[name]
        assert cache.put(sample.collateral.text) == sample.collateral
        assert cache.finder(sample.now)(sample.evidence) == sample.collateral
        assert CollateralCache(tmp_path).finder(sample.now)(sample.evidence) == sample.collateral
        for now in (sample.collateral.valid_from - 1, sample.collateral.valid_until):
            with pytest.raises(StaleError):
                cache.finder(now)(sample.evidence)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_cache_never_goes_back(tmp_path: Path, platform: SimulatedPlatform) -> None:
    cache = CollateralCache(tmp_path)
    cache.put(platform.collateral(NOW, evaluation_number=18).text)
    for older in (
        platform.collateral(NOW + 86400, evaluation_number=17),
        platform.collateral(NOW - 3600, evaluation_number=18),
    ):
        with pytest.raises(StaleError, match="newer"):
            cache.put(older.text)
    newest = cache.put(platform.collateral(NOW + 3600, evaluation_number=18).text)
    assert cache.get(Tee.SGX, platform.fmspc.hex(), NOW + 4000) == newest


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, platform: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = CollateralCache(tmp_path)
    kept = cache.put(platform.collateral(NOW).text)

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        cache.put(platform.collateral(NOW + 60).text)
    assert cache.get(Tee.SGX, platform.fmspc.hex(), NOW + 100) == kept
    assert len(list(tmp_path.iterdir())) == 1


def test_what_the_cache_refuses(tmp_path: Path, platform: SimulatedPlatform) -> None:
    cache = CollateralCache(tmp_path)
    evidence = SimulatedProvider(platform).evidence(bytes(64))
    with pytest.raises(InputError, match="no collateral"):
        cache.finder(NOW)(evidence)
    with pytest.raises(UnsupportedError):
        cache.finder(NOW)(Evidence(EvidenceKind.SNP, b"", simulated=False))
    for name in ("../../etc", "", "00A067110000"):
        with pytest.raises(InputError):
            cache.get(Tee.SGX, name, NOW)
    with pytest.raises(InputError):
        CollateralCache(tmp_path / "nowhere")
    (tmp_path / f"sgx-{platform.fmspc.hex()}.json").write_bytes(b"{" * 600_000)
    with pytest.raises(LimitError):
        cache.finder(NOW)(evidence)
