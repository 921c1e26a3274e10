"""The verifier's result as a signed Entity Attestation Token (RFC 9711), to be kept for years.

Collateral lives 30 days, images live for decades. So the result of an appraisal is signed once, while the
collateral is valid: a COSE_Sign1 whose payload is a CBOR claims set with the quote in a submodule. Later readers
check this signature and need no collateral. It says what was accepted, under which policy, when and by whom; it does
not say that today's policy accepts it: `reappraise` asks today's policy about what the token established, so a
measurement that was revoked in between is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from medveil.attestation import cose
from medveil.attestation.appraisal import Appraisal, Evidence, EvidenceKind, Reason, Refusal
from medveil.attestation.judgement import Facts, judge, rule_for
from medveil.attestation.policy import Policy, SimulationPolicy
from medveil.attestation.quote import Tee, parse_quote
from medveil.attestation.session import decode_evidence, encode_evidence
from medveil.attestation.snp import parse_report
from medveil.crypto import canonical
from medveil.errors import FormatError, TamperedError

PROFILE: Final = "tag:medveil,2026:attestation-result/1"
"""Profile of these tokens (claim eat_profile)."""
MAX_TOKEN: Final = 65536
"""Longest token that is read, in bytes."""

# CWT claims (RFC 8392) and EAT claims (RFC 9711) by their registered numbers.
_ISS, _IAT, _DBGSTAT, _PROFILE, _SUBMODS = 1, 6, 263, 265, 266
_DEBUG_DISABLED: Final = 1  # EAT debug status: disabled
_KIND: Final = b"medveil attestation result"
_TEXTS: Final = ("tee", "tcb_status", "measurement_name", "ppid", "evidence_sha256", "policy_sha256")
_FIELDS: Final = {*_TEXTS, "advisories", "measurement", "simulated", "valid_until", "report_data", "evidence"}


@dataclass(frozen=True, slots=True)
class Result:
    """What a token says. Fields as in `Appraisal`; issuer: who verified; issued_at: Unix seconds."""

    issuer: str
    issued_at: int
    tee: str
    tcb_status: str
    advisories: tuple[str, ...]
    measurement: Mapping[str, str]
    measurement_name: str
    ppid: str
    simulated: bool
    valid_until: int
    report_data: bytes
    evidence_sha256: str
    policy_sha256: str
    evidence: Evidence = field(repr=False)


def issue_result(appraisal: Appraisal, evidence: Evidence, key: cose.PrivateKey, issuer: str) -> bytes:
    """Return the signed token of an accepted appraisal.

    key: an Ed25519 key or medveil's hybrid signing key. issuer: who verified, at most 200 characters.
    Raises what `Appraisal.require` raises where it was refused: there is no token of a refusal.
    """
    appraisal.require()
    inner: dict[str, Any] = {name: str(getattr(appraisal, name) or "") for name in _TEXTS}
    inner["advisories"] = list(appraisal.advisories)
    inner["measurement"] = dict(appraisal.measurement)
    inner["simulated"] = appraisal.simulated
    inner["valid_until"] = appraisal.valid_until
    inner["report_data"] = appraisal.report_data
    inner["evidence"] = encode_evidence(evidence)
    claims: dict[int, Any] = {
        _ISS: issuer[:200],
        _IAT: appraisal.appraised_at,
        _DBGSTAT: _DEBUG_DISABLED,
        _PROFILE: PROFILE,
        _SUBMODS: {"quote": inner},
    }
    return cose.sign(canonical.encode(claims), key, kind=_KIND)


def verify_result(token: bytes, key: cose.PublicKey) -> Result:
    """Check a token's signature and return what it says.

    key: of the verifier that the reader trusts. Raises LimitError, FormatError or TamperedError.
    """
    payload = cose.verify(cose.parse(token, limit=MAX_TOKEN), key, kind=_KIND)
    claims = canonical.decode(payload, limit=MAX_TOKEN)
    if not isinstance(claims, dict) or claims.get(_PROFILE) != PROFILE:
        raise FormatError("the token is of another profile: it is not a result of this kind")
    inner = claims.get(_SUBMODS, {}).get("quote") if isinstance(claims.get(_SUBMODS), dict) else None
    if not isinstance(inner, dict) or set(inner) != _FIELDS:
        raise FormatError("the token's submodule does not have its fields: it is of another version")
    _check_types(claims, inner)
    evidence = decode_evidence(inner["evidence"])
    if sha256(evidence.data).hexdigest() != inner["evidence_sha256"]:
        raise TamperedError("the token holds other evidence than it speaks of: it is not used")
    if evidence.simulated != inner["simulated"]:
        raise TamperedError("the token contradicts itself about simulation: it is not used")
    return Result(
        issuer=claims[_ISS],
        issued_at=claims[_IAT],
        advisories=tuple(inner["advisories"]),
        measurement=inner["measurement"],
        simulated=inner["simulated"],
        valid_until=inner["valid_until"],
        report_data=inner["report_data"],
        evidence=evidence,
        **{name: inner[name] for name in _TEXTS},
    )


def _check_types(claims: dict[Any, Any], inner: dict[Any, Any]) -> None:
    """Raise FormatError where a claim is not of its type."""
    texts = [claims.get(_ISS), *(inner[name] for name in _TEXTS)]
    numbers = [claims.get(_IAT), inner["valid_until"]]
    advisories = inner["advisories"] if isinstance(inner["advisories"], list) else [None]
    registers = inner["measurement"] if isinstance(inner["measurement"], dict) else {None: None}
    texts += [*advisories, *registers.keys(), *registers.values()]
    right = all(isinstance(text, str) for text in texts)
    right = right and all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
    right = right and isinstance(inner["simulated"], bool) and isinstance(inner["report_data"], bytes)
    if not right or inner["tee"] not in tuple(Tee):
        raise FormatError("the token holds a claim of another type than it has: it is of another version")


def reappraise(result: Result, policy: Policy, now: int) -> Appraisal:
    """Ask today's policy about a verified result: everything but the collateral's freshness is judged again.

    result: from `verify_result` with a key that the policy trusts, which the caller has checked.
    """
    reasons: tuple[Reason, ...] = ()
    if result.simulated != isinstance(policy, SimulationPolicy):
        reasons = (Reason(Refusal.SIMULATED, "the result is of the other kind, simulated or real, than the policy"),)
    facts = Facts(
        tee=Tee(result.tee),
        measurement=result.measurement,
        svn=_security_version(result.evidence),
        debug=False,
        tcb_status=result.tcb_status,
        advisories=result.advisories,
        platform=result.ppid,
    )
    rule = rule_for(policy, facts.tee, facts.measurement, now)
    return Appraisal(
        reasons=reasons + judge(policy, facts, now),
        tee=facts.tee,
        tcb_status=result.tcb_status,
        advisories=result.advisories,
        measurement=result.measurement,
        measurement_name=rule.name if rule else "",
        ppid=result.ppid,
        simulated=result.simulated,
        valid_until=result.valid_until,
        report_data=result.report_data,
        evidence_sha256=result.evidence_sha256,
        policy_sha256=policy.sha256,
        appraised_at=now,
    )


def _security_version(evidence: Evidence) -> int | None:
    if evidence.kind is EvidenceKind.DCAP:
        return parse_quote(evidence.data).isv_svn
    return parse_report(evidence.data).guest_svn
