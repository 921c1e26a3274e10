"""`medveil visual verify`: what shares say of themselves, and whether a policy believes it; even of a single one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.attest import write_result
from medveil.cli.files import show
from medveil.cli.keys import Json
from medveil.cli.visual_shares import Chains, ResultKey, Results, Sessions, attesting, read_share
from medveil.errors import UsageError

if TYPE_CHECKING:
    from medveil.attestation.appraisal import Appraisal, Evidence
    from medveil.attestation.session import Session
    from medveil.attestation.sets import PresentedShare
    from medveil.attestation.statement import Statement


def verify(
    shares: Annotated[list[Path], typer.Argument(metavar="SHARE...", help="Shares of one picture, one or more.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="An attestation policy.")] = None,
    collateral: Annotated[Path | None, typer.Option("--collateral", help="Its collateral, a file or folder.")] = None,
    session: Sessions = None,
    chain: Chains = None,
    result: Results = None,
    result_key: ResultKey = None,
    sign: Annotated[
        Path | None, typer.Option("--sign-result", help="Write a signed result that outlives the collateral.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The verifier's own key file, for --sign-result.")] = None,
    issuer: Annotated[str, typer.Option(help="Who verifies, for --sign-result.")] = "medveil",
    as_json: Json = False,
) -> None:
    """Verify shares without recovering anything; fewer than the threshold will do.

    Without a policy only form and digests are checked: who made the shares stays unknown, which is a finding.
    """
    from medveil.attestation.sets import check_one_set, verify_shares
    from medveil.attestation.verifier import Verifier
    from medveil.schemes.base import Finding, FindingKind
    from medveil.schemes.visual import admission

    if policy is None and (collateral or session or chain or result or result_key or sign):
        raise UsageError("without --policy nothing is attested: give it, or leave the other options out")
    if (sign is None) != (key is None):
        raise UsageError("a signed result needs both --sign-result and --key")
    read = [read_share(path) for path in shares]
    found: list[tuple[Statement, Appraisal | None]] = []
    said: list[str] = []
    signer = ""
    if policy is None:
        found += [(admission.check_consistent(share), None) for share in read]
        check_one_set([statement for statement, _ in found])
        said.append("form and digests only: give --policy to know who made the shares")
    else:
        given = attesting(policy, collateral, session, chain, result, result_key)
        sessions, arguments = admission.sessions_of(read, given.sessions), given.arguments(shares)
        presented = [admission.present(share) for share in read]
        verified = verify_shares(presented, given.policy, verifier=Verifier(), sessions=sessions, **arguments)
        found += verified
        for statement, _ in found:
            admission.check_form(statement)
        if any(appraisal.simulated for _, appraisal in verified):
            said.append("the evidence comes from a SIMULATOR: it proves nothing about where the shares were made")
        if sign is not None and key is not None:
            behind = evidence_behind(presented, sessions, arguments["chains"])
            signer = write_result(sign, key, verified[0][1], behind, issuer)
    findings = [Finding(FindingKind.UNVERIFIED, message) for message in said]
    code = terminal.exit_code(findings)
    output = {
        "ok": True,
        "shares": [describe(statement, appraisal) for statement, appraisal in found],
        "result_signer": signer or None,
        "findings": [finding.as_dict() for finding in findings],
        "exit": code,
    }

    def text() -> None:
        for one in output["shares"]:  # type: ignore[attr-defined]
            terminal.out.print(
                f"share {one['index']} of {one['shares']}, any {one['threshold']} show the picture: {one['width']} x "
                f"{one['height']}, {one['channels']} channel{'s' * (one['channels'] != 1)}, {one['halftone']}, "
                f"{one['made_at']}"
            )
            if "measurement" in one:
                terminal.out.print(f"  made by {one['measurement']!r}, {one['tcb_status']}")
        if signer:
            terminal.out.print(f'{sign}: signed; a policy that believes it has result_signers = ["{signer}"]')
        show(findings)

    terminal.emit(output, as_json=as_json, text=text)
    terminal.finish(code)


def evidence_behind(
    presented: Sequence[PresentedShare], sessions: Sequence[Session], chains: Sequence[bytes]
) -> Evidence:
    """Return the one piece of evidence behind verified shares. Raises UsageError where there are several."""
    from medveil.attestation.sets import evidence_of

    found = [evidence_of(share, sessions, chains) for share in presented]
    if any(evidence != found[0] for evidence in found):
        raise UsageError("each of these shares has a quote of its own: sign the result of one share at a time")
    return found[0]


def describe(statement: Statement, appraisal: Appraisal | None) -> dict[str, Any]:
    """Return what a share says, and under a policy what made it."""
    said: dict[str, Any] = {
        "index": statement.index,
        "threshold": statement.threshold,
        "shares": statement.shares,
        "width": statement.width,
        "height": statement.height,
        "channels": statement.channels,
        "halftone": statement.halftone,
        "made_at": datetime.fromtimestamp(statement.made_at, UTC).isoformat(),
        "pairing": statement.pairing.hex(),
        "dealer": statement.dealer.hex(),
        "lossless": "original" in statement.commitments,
    }
    if appraisal is not None:
        said |= {
            "measurement": appraisal.measurement_name,
            "tcb_status": str(appraisal.tcb_status),
            "simulated": appraisal.simulated,
        }
    return said


def add_to(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("verify")(verify)
