"""`medveil attest`: a simulated platform end to end, and the refusals of wrong files, as a script would see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dcap_qvl", reason="needs the extra attest")

REPORT = bytes(range(64)).hex()


@pytest.fixture
def simulated(medveil: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "sim"
    assert medveil("attest", "simulate", folder).code == 0
    return folder


def make_quote(medveil: Any, folder: Path, *more: object) -> Path:
    out = folder / "share.quote"
    done = medveil(
        "attest",
        "quote",
        "--provider",
        "simulated",
        "--platform",
        folder / "platform.json",
        "--out",
        out,
        *more,
        "--json",
    )
    assert done.code == 0
    assert done.json["simulated"] is True
    return out


def verify(medveil: Any, evidence: Path, folder: Path, *more: object) -> Any:
    return medveil(
        "attest", "verify", evidence, "--policy", folder / "policy.toml", "--collateral", folder / "collateral.json",
        *more, "--json",
    )  # fmt: skip


def test_quote_and_verify(medveil: Any, simulated: Path) -> None:
    quote = make_quote(medveil, simulated, "--report-data", REPORT)
    done = verify(medveil, quote, simulated, "--report-data", REPORT)
    assert done.code == 0
    assert done.json["ok"] is True
    assert done.json["simulated"] is True
    assert done.json["report_data"] == REPORT
    plain = medveil(
        "attest", "verify", quote, "--policy", simulated / "policy.toml", "--collateral", simulated / "collateral.json"
    )
    assert "SIMULATED" in plain.out
    other = verify(medveil, quote, simulated, "--report-data", "00" * 64)
    assert other.code == 3
    assert other.json["error"] == "TamperedError"


def test_a_signed_result(medveil: Any, simulated: Path, key: Path) -> None:
    from medveil.attestation.eat import verify_result
    from medveil.cli.keys import open_owner

    quote = make_quote(medveil, simulated, "--report-data", REPORT)
    assert verify(medveil, quote, simulated, "--result", simulated / "result").code == 2
    done = verify(medveil, quote, simulated, "--result", simulated / "result", "--key", key, "--issuer", "radiology")
    assert done.code == 0
    assert len(done.json["result_signer"]) == 64
    said = verify_result((simulated / "result").read_bytes(), open_owner(key).signing.public)
    assert (said.issuer, said.simulated, said.report_data.hex()) == ("radiology", True, REPORT)
    assert verify(medveil, quote, simulated, "--result", simulated / "result", "--key", key).code == 2


def test_quote_over_a_statement(medveil: Any, simulated: Path) -> None:
    vectors = Path(__file__).resolve().parents[2] / "vectors" / "attestation" / "statements"
    import json

    vector = json.loads((vectors / "plain.json").read_text())
    (simulated / "statement").write_bytes(bytes.fromhex(vector["statement"]))
    quote = make_quote(medveil, simulated, "--statement", simulated / "statement")
    assert verify(medveil, quote, simulated, "--report-data", vector["report_data"]).code == 0
    (simulated / "statement").write_bytes(b"no statement")
    done = medveil(
        "attest", "quote", "--provider", "simulated", "--platform", simulated / "platform.json",
        "--statement", simulated / "statement", "--out", simulated / "other",
    )  # fmt: skip
    assert done.code == 3
    assert not (simulated / "other").exists()


def test_a_production_policy_refuses_it(medveil: Any, simulated: Path) -> None:
    quote = make_quote(medveil, simulated, "--report-data", REPORT)
    text = (simulated / "policy.toml").read_text().replace("simulation", "production")
    lines = [line for line in text.splitlines() if not line.startswith("simulator_root")]
    lines.insert(2, 'roots = ["intel-sgx-root", "amd-ark-milan", "amd-ark-genoa"]')
    (simulated / "policy.toml").write_text("\n".join(lines))
    done = verify(medveil, quote, simulated)
    assert done.code == 3
    assert "never accepts" in done.json["message"]


def test_forged_evidence_and_wrong_files(medveil: Any, simulated: Path) -> None:
    quote = make_quote(medveil, simulated, "--report-data", REPORT)
    data = bytearray(quote.read_bytes())
    data[400] ^= 1
    quote.write_bytes(data)
    assert verify(medveil, quote, simulated).code == 3
    assert verify(medveil, simulated / "policy.toml", simulated).code == 3
    assert verify(medveil, simulated / "absent", simulated).code == 2
    (simulated / "collateral.json").write_text("{}")
    assert verify(medveil, quote, simulated).code == 3


def test_policy_says_what_it_denies(medveil: Any, simulated: Path) -> None:
    done = medveil("attest", "policy", simulated / "policy.toml", "--json")
    assert done.json["kind"] == "simulation"
    assert "accepted advisories: none" in done.json["says"]
    assert medveil("attest", "policy", simulated / "policy.toml").code == 0
    (simulated / "policy.toml").write_text('format = "medveil-attestation-policy/1"\nkind = "both"\n')
    assert medveil("attest", "policy", simulated / "policy.toml").code == 2


def test_usage(medveil: Any, simulated: Path) -> None:
    platform = simulated / "platform.json"
    base = ("attest", "quote", "--out", simulated / "q")
    for arguments, code in (
        (base, 2),
        ((*base, "--report-data", REPORT, "--statement", platform), 2),
        ((*base, "--report-data", "00"), 2),
        ((*base, "--report-data", REPORT, "--provider", "simulated"), 2),
        ((*base, "--report-data", REPORT, "--provider", "tsm", "--platform", platform), 2),
        ((*base, "--report-data", REPORT, "--provider", "unknown"), 2),
        (("attest", "simulate", simulated), 2),
    ):
        assert medveil(*arguments).code == code
    for provider in ("gramine", "tsm"):  # this machine has neither
        if not Path("/dev/attestation").exists() and not Path("/sys/kernel/config/tsm").exists():
            assert medveil(*base, "--report-data", REPORT, "--provider", provider).code == 5
    assert not (simulated / "q").exists()
