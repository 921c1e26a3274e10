"""`medveil attest`: quotes, their verification, policies, and a simulated platform for developers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json, open_owner, write_new
from medveil.errors import TamperedError, UsageError

if TYPE_CHECKING:
    from medveil.attestation.appraisal import Appraisal, Evidence
    from medveil.attestation.providers.base import Provider
    from medveil.attestation.providers.simulated import SimulatedPlatform

group = typer.Typer(help="Prove where shares were made, and check such proofs.", no_args_is_help=True)

PolicyFile = Annotated[Path, typer.Option("--policy", help="The policy, a TOML file.")]
ReportData = Annotated[str | None, typer.Option("--report-data", metavar="HEX", help="64 bytes as hexadecimal.")]


@group.command("quote")
def quote(
    out: Annotated[Path, typer.Option("--out", help="The quote to write; never overwritten.")],
    provider: Annotated[str, typer.Option(help="gramine, tsm or simulated.")] = "gramine",
    platform: Annotated[Path | None, typer.Option(help="The simulated platform (with --provider simulated).")] = None,
    statement: Annotated[Path | None, typer.Option(help="The statement to vouch for.")] = None,
    report_data: ReportData = None,
    as_json: Json = False,
) -> None:
    """Have this machine's hardware vouch for a statement, or for 64 bytes."""
    from medveil.attestation.files import read_bounded
    from medveil.attestation.statement import MAX_STATEMENT, Statement
    from medveil.attestation.statement import report_data as vouched

    if (statement is None) == (report_data is None):
        raise UsageError("say what to vouch for: either --statement or --report-data")
    if statement is not None:
        raw = read_bounded(statement, MAX_STATEMENT)
        Statement.decode(raw)
        wanted = vouched(raw)
    else:
        wanted = parse_hex(report_data or "")
    evidence = open_provider(provider, platform).evidence(wanted)
    write_new(out, evidence.data)
    result = {"ok": True, "output": str(out), "bytes": len(evidence.data), "simulated": evidence.simulated, "exit": 0}
    mark = "  SIMULATED" if evidence.simulated else ""
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(f"{out}: {len(evidence.data)} bytes{mark}"))


@group.command("verify")
def verify(
    evidence: Annotated[Path, typer.Argument(help="A quote, an SEV-SNP report or a session file.")],
    policy: PolicyFile,
    collateral: Annotated[Path, typer.Option("--collateral", help="A collateral file, or a folder of them.")],
    report_data: ReportData = None,
    result: Annotated[Path | None, typer.Option("--result", help="Write a signed result (needs --key).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The verifier's own key file.")] = None,
    issuer: Annotated[str, typer.Option(help="Who verifies, for --result.")] = "medveil",
    as_json: Json = False,
) -> None:
    """Appraise evidence under a policy, at the time of this machine's clock."""
    from medveil.attestation.files import find_collateral, read_bounded, read_evidence
    from medveil.attestation.policy import load_policy
    from medveil.attestation.session import MAX_SESSION
    from medveil.attestation.verifier import Verifier

    if (result is None) != (key is None):
        raise UsageError("a signed result needs both --result and --key")
    now = int(time.time())
    rules = load_policy(policy)
    given = read_evidence(read_bounded(evidence, MAX_SESSION))
    appraisal = Verifier().appraise(given, find_collateral(collateral, given, now), now, rules).require()
    if report_data is not None and appraisal.report_data != parse_hex(report_data):
        raise TamperedError("the evidence is good, but vouches for other report data than was given")
    signer = None if result is None or key is None else write_result(result, key, appraisal, given, issuer)
    mark = "  SIMULATED: this proves nothing" if appraisal.simulated else ""

    def text() -> None:
        terminal.out.print(f"{evidence}: accepted as {appraisal.measurement_name!r}, {appraisal.tcb_status}{mark}")

    terminal.emit(appraisal.as_dict() | {"result_signer": signer, "exit": 0}, as_json=as_json, text=text)


@group.command("policy")
def policy(path: Annotated[Path, typer.Argument(help="The policy file.")], as_json: Json = False) -> None:
    """Check a policy file and say what it accepts and denies."""
    from medveil.attestation.files import describe_policy
    from medveil.attestation.policy import load_policy

    rules = load_policy(path)
    lines = describe_policy(rules)
    result = {"ok": True, "kind": rules.kind, "sha256": rules.sha256, "says": lines, "exit": 0}
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print("\n".join(lines), markup=False))


@group.command("simulate")
def simulate(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the platform, collateral and policy.")],
    as_json: Json = False,
) -> None:
    """Make a simulated platform with collateral and a policy that accepts only it. It protects nothing."""
    from medveil.attestation.providers.simulated import SimulatedPlatform

    now = int(time.time())
    try:
        out.mkdir()
    except FileExistsError:
        raise UsageError(f"{out} exists already: choose another name") from None
    made = SimulatedPlatform.create(now - 60)
    made.save(out / "platform.json")
    write_new(out / "collateral.json", made.collateral(now - 60).text.encode())
    write_new(out / "policy.toml", simulation_policy(made).encode())
    terminal.emit(
        {"ok": True, "output": str(out), "root_sha256": made.root_sha256, "simulated": True, "exit": 0},
        as_json=as_json,
        text=lambda: terminal.out.print(f"{out}: a simulated platform; what it signs proves nothing"),
    )


def simulation_policy(platform: SimulatedPlatform) -> str:
    """Return the text of a policy that accepts one simulated platform's signer."""
    today = datetime.now(UTC).date()
    return f"""format = "medveil-attestation-policy/1"
kind = "simulation"
simulator_root_sha256 = "{platform.root_sha256}"
accepted_statuses = ["UpToDate"]
minimum_tcb_evaluation_data_number = 17
platforms = ["{platform.ppid.hex()}"]
dealers = "any"
maximum_share_age_days = 30

[[measurements]]
name = "simulated signer"
tee = "sgx"
minimum_isv_svn = 1
valid_from = {today}
valid_until = {today + timedelta(days=365)}

[measurements.registers]
mrenclave = "{platform.measurement("signer")["mrenclave"]}"
"""


def write_result(out: Path, key: Path, appraisal: Appraisal, evidence: Evidence, issuer: str) -> str:
    """Write the signed result of an accepted appraisal; return the fingerprint that a policy lists."""
    from medveil.attestation.cose import fingerprint
    from medveil.attestation.eat import issue_result

    owner = open_owner(key)
    write_new(out, issue_result(appraisal, evidence, owner.signing, issuer))
    return fingerprint(owner.signing.public).hex()


def open_provider(name: str, platform: Path | None) -> Provider:
    """Return the provider that the options name. Raises UsageError or InputError."""
    from medveil.attestation.providers.registry import open_provider as open_hardware
    from medveil.attestation.providers.simulated import SimulatedPlatform, SimulatedProvider

    if name == "simulated":
        if platform is None:
            raise UsageError("a simulated quote needs --platform: make one with medveil attest simulate")
        return SimulatedProvider(SimulatedPlatform.load(platform))
    if platform is not None:
        raise UsageError("--platform is for --provider simulated only")
    return open_hardware(name)


def parse_hex(text: str) -> bytes:
    """Return 64 bytes from hexadecimal. Raises UsageError."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != 64:
        raise UsageError("report data is 64 bytes, that is 128 hexadecimal digits")
    return data


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="attest")
