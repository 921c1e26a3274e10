"""Evidence and collateral as files, for the command line: what a file holds is found out, not guessed from its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.cache import CollateralCache
from medveil.attestation.collateral import MAX_COLLATERAL, Collateral
from medveil.attestation.policy import Policy
from medveil.attestation.quote import MAX_QUOTE, parse_quote
from medveil.attestation.session import Session
from medveil.attestation.snp import REPORT_SIZE, SnpCollateral
from medveil.attestation.verifier import SIMULATOR_NAME, AnyCollateral
from medveil.errors import FormatError, InputError, LimitError, MedveilError

_SESSION_ARRAY = 0x83
_SNP_PARTS = {"vcek", "ask", "ark", "crl"}


def read_bounded(path: Path, limit: int) -> bytes:
    """Return a file's bytes. Raises InputError where it cannot be read and LimitError past `limit` bytes."""
    try:
        with path.open("rb") as source:
            data = source.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > limit:
        raise LimitError(f"{path} is larger than the {limit} bytes allowed: it is not read")
    return data


def read_evidence(data: bytes) -> Evidence:
    """Return the evidence in a raw quote, a raw SEV-SNP report or a session file; nothing is verified.

    A raw quote is marked simulated where the simulator's name stands in it; the root decides later.
    Raises FormatError for anything else.
    """
    if data[:1] == bytes([_SESSION_ARRAY]):
        return Session.decode(data).evidence
    if len(data) == REPORT_SIZE:
        return Evidence(EvidenceKind.SNP, data, simulated=False)
    if not 0 < len(data) <= MAX_QUOTE:
        raise FormatError("the file holds no quote, report or session of an allowed size")
    return Evidence(EvidenceKind.DCAP, data, simulated=SIMULATOR_NAME.encode() in _certificates(data))


def find_collateral(path: Path, evidence: Evidence, now: int) -> AnyCollateral:
    """Return the collateral for `evidence`: `path` is a cache's folder or one file.

    A file is Intel's JSON form, or for SEV-SNP an object with vcek, ask, ark and crl as DER in hexadecimal.
    Raises what `Collateral.from_json` and `CollateralCache.get` raise.
    """
    if path.is_dir():
        return CollateralCache(path).finder(now)(evidence)
    data = read_bounded(path, MAX_COLLATERAL)
    if evidence.kind is EvidenceKind.SNP:
        return _snp_collateral(data)
    return Collateral.from_json(data)


def describe_policy(policy: Policy) -> list[str]:
    """Return, in sentences, what a policy accepts and what its empty lists deny."""
    fields: dict[str, Any] = policy.model_dump(mode="json")
    roots = ", ".join(fields.get("roots", [])) or fields.get("simulator_root_sha256", "")
    lines = [
        f"a {policy.kind} policy, sha256 {policy.sha256}",
        f"evidence must end at {roots or 'no root: everything is denied'}",
    ]
    for name in ("accepted_statuses", "accepted_advisories", "platforms", "dealers", "result_signers"):
        value = fields[name]
        said = value if isinstance(value, str) else ", ".join(value) or "none"
        lines.append(f"{name.replace('_', ' ')}: {said}")
    lines.append(f"tcbEvaluationDataNumber at least {policy.minimum_tcb_evaluation_data_number}")
    lines.append(f"shares at most {policy.maximum_share_age_days} days old")
    lines.append(f"collateral at most {policy.maximum_collateral_age_days} days old")
    if not policy.measurements:
        lines.append("no measurements: every program is denied")
    for rule in policy.measurements:
        state = "REVOKED" if rule.revoked else f"from {rule.valid_from} to {rule.valid_until}"
        lines.append(f"{rule.tee} program {rule.name!r} {state}, security version at least {rule.minimum_isv_svn}")
    return lines


def _certificates(data: bytes) -> bytes:
    try:
        return b"".join(parse_quote(data).certificates)
    except MedveilError:
        return b""  # appraising refuses it with the exact reason


def _snp_collateral(data: bytes) -> SnpCollateral:
    try:
        parts = json.loads(data)
        if not isinstance(parts, dict) or set(parts) != _SNP_PARTS:
            raise FormatError("collateral of SEV-SNP has the members vcek, ask, ark and crl, and no other")
        return SnpCollateral(**{name: bytes.fromhex(value) for name, value in parts.items()})
    except (ValueError, TypeError, RecursionError):
        raise FormatError("the collateral is not a JSON object of hexadecimal texts: write it again") from None
