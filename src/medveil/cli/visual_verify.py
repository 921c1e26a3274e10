"""`medveil visual verify`: what shares say of themselves, and whether a policy believes it; even of a single one."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.files import show
from medveil.cli.keys import Json
from medveil.cli.visual_shares import Sessions, read_session, read_share
from medveil.errors import UsageError

if TYPE_CHECKING:
    from medveil.attestation.appraisal import Appraisal
    from medveil.attestation.statement import Statement


def verify(
    shares: Annotated[list[Path], typer.Argument(metavar="SHARE...", help="Shares of one picture, one or more.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="An attestation policy.")] = None,
    collateral: Annotated[Path | None, typer.Option("--collateral", help="Its collateral, a file or folder.")] = None,
    session: Sessions = None,
    as_json: Json = False,
) -> None:
    """Verify shares without recovering anything; fewer than the threshold will do.

    Without a policy only form and digests are checked: who made the shares stays unknown, which is a finding.
    """
    from medveil.attestation.files import find_collateral
    from medveil.attestation.policy import load_policy
    from medveil.attestation.sets import check_one_set, verify_shares
    from medveil.attestation.verifier import Verifier
    from medveil.schemes.base import Finding, FindingKind
    from medveil.schemes.visual import admission

    if (policy is None) != (collateral is None):
        raise UsageError("--policy and --collateral belong together")
    read = [read_share(path) for path in shares]
    found: list[tuple[Statement, Appraisal | None]] = []
    said: list[str] = []
    if policy is None or collateral is None:
        found += [(admission.check_consistent(share), None) for share in read]
        check_one_set([statement for statement, _ in found])
        said.append("form and digests only: give --policy to know who made the shares")
    else:
        now, folder = int(time.time()), collateral
        known = admission.sessions_of(read, [read_session(path) for path in session or ()])
        found += verify_shares(
            [admission.present(share) for share in read],
            load_policy(policy),
            verifier=Verifier(),
            collateral=lambda evidence: find_collateral(folder, evidence, now),
            now=now,
            sessions=known,
        )
        for statement, _ in found:
            admission.check_form(statement)
        if any(appraisal is not None and appraisal.simulated for _, appraisal in found):
            said.append("the evidence comes from a SIMULATOR: it proves nothing about where the shares were made")
    findings = [Finding(FindingKind.UNVERIFIED, message) for message in said]
    code = terminal.exit_code(findings)
    result = {
        "ok": True,
        "shares": [describe(statement, appraisal) for statement, appraisal in found],
        "findings": [finding.as_dict() for finding in findings],
        "exit": code,
    }

    def text() -> None:
        for one in result["shares"]:  # type: ignore[attr-defined]
            terminal.out.print(
                f"share {one['index']} of {one['shares']}, any {one['threshold']} show the picture: {one['width']} x "
                f"{one['height']}, {one['channels']} channel{'s' * (one['channels'] != 1)}, {one['halftone']}, "
                f"{one['made_at']}"
            )
            if "measurement" in one:
                terminal.out.print(f"  made by {one['measurement']!r}, {one['tcb_status']}")
        show(findings)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


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
