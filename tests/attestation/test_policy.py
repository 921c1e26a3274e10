"""Policies as files: what they must say, that empty lists deny, and that production cannot hold a simulator."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.attestation.conftest import production, rule

from medveil.attestation.policy import (
    ROOT_SHA256,
    ProductionPolicy,
    SimulationPolicy,
    VendorRoot,
    load_policy,
    parse_policy,
)
from medveil.attestation.providers.simulated import SimulatedPlatform
from medveil.attestation.quote import Tee
from medveil.errors import ConfigError, LimitError

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "attestation" / "policies"
GOOD = (VECTORS / "production.toml").read_text()


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.toml")), ids=lambda path: path.stem)
def test_vectors(path: Path) -> None:
    text = path.read_text()
    expected = text.splitlines()[0].removeprefix("# expect: ")
    if expected.startswith("refused "):
        with pytest.raises(ConfigError, match=expected.removeprefix("refused ")):
            load_policy(path)
    else:
        assert load_policy(path).kind == expected


def test_a_production_policy_cannot_hold_a_simulators_root(platform: SimulatedPlatform) -> None:
    with pytest.raises(ValidationError):
        production([], roots=(platform.root_sha256,))
    text = GOOD.replace('"intel-sgx-root"', f'"{platform.root_sha256}"')
    with pytest.raises(ConfigError, match="roots"):
        parse_policy(text)
    with pytest.raises(ConfigError, match="simulator_root_sha256"):
        parse_policy(
            GOOD.replace(
                'kind = "production"', f'kind = "production"\nsimulator_root_sha256 = "{platform.root_sha256}"'
            )
        )
    assert platform.root_sha256 not in ROOT_SHA256.values()
    assert not issubclass(SimulationPolicy, ProductionPolicy)
    assert not issubclass(ProductionPolicy, SimulationPolicy)


def test_a_simulation_policy_cannot_pin_a_vendor(simulation: object) -> None:
    for digest in ROOT_SHA256.values():
        with pytest.raises(ValidationError, match="vendor"):
            simulation(simulator_root_sha256=digest)  # type: ignore[operator]


def test_intels_root_is_the_one_of_real_quotes(samples: dict) -> None:  # type: ignore[type-arg]
    from hashlib import sha256

    from medveil.attestation.quote import parse_quote

    for sample in samples.values():
        root = parse_quote(sample.raw).certificates[2]
        assert sha256(root).hexdigest() == ROOT_SHA256[VendorRoot.INTEL_SGX]


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parse_policy(GOOD)
    for name in ("KIND", "ROOTS", "SIMULATOR_ROOT_SHA256", "MEDVEIL_KIND", "MEDVEIL_SIMULATION"):
        monkeypatch.setenv(name, "simulation")
    assert parse_policy(GOOD) == before
    assert parse_policy(GOOD).sha256 == before.sha256


def test_measurements_must_say_which_program_runs() -> None:
    for tee, registers in (
        (Tee.SGX, {"mrsigner": "00" * 32}),
        (Tee.TDX, {"mrtd": "00" * 48}),
        (Tee.TDX, {"mrtd": "00" * 48, "rtmr0": "00" * 48, "rtmr1": "00" * 48}),
        (Tee.SNP, {"host_data": "00" * 32}),
        (Tee.SGX, {"mrenclave": "00" * 31}),
        (Tee.SGX, {"mrenclave": "AA" * 32}),
        (Tee.SGX, {"mrenclave": "00" * 32, "mrtd": "00" * 48}),
    ):
        with pytest.raises(ValidationError):
            rule(tee, registers)


def test_large_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(LimitError):
        parse_policy("#" * (1 << 20) + "##")
    with pytest.raises(ConfigError):
        load_policy(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_policy(tmp_path / "binary.toml")
    (tmp_path / "broken.toml").write_text("format = ")
    with pytest.raises(ConfigError, match="TOML"):
        load_policy(tmp_path / "broken.toml")
