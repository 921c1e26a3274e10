"""The verifier's result as a signed Entity Attestation Token (RFC 9711), to be kept for years.

Collateral lives 30 days, images live for decades. So the result of an appraisal is signed once, while the
collateral is valid: a COSE_Sign1 whose payload is a CBOR claims set with the quote in a submodule. Later readers
check this signature and need no collateral. It says what was accepted, under which policy, when and by whom; it does
not say that the policy would accept it today.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from medveil.attestation import cose
from medveil.attestation.appraisal import Appraisal, Evidence
from medveil.attestation.session import decode_evidence, encode_evidence
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
    if not isinstance(inner, dict) or set(inner) != {
        *_TEXTS,
        "advisories",
        "measurement",
        "simulated",
        "valid_until",
        "report_data",
        "evidence",
    }:
        raise FormatError("the token's submodule does not have its fields: it is of another version")
    evidence = decode_evidence(inner["evidence"])
    if evidence.simulated != inner["simulated"]:
        raise TamperedError("the token contradicts itself about simulation: it is not used")
    return Result(
        issuer=str(claims.get(_ISS)),
        issued_at=int(claims.get(_IAT, 0)),
        advisories=tuple(str(name) for name in inner["advisories"]),
        measurement={str(k): str(v) for k, v in inner["measurement"].items()},
        simulated=inner["simulated"],
        valid_until=inner["valid_until"],
        report_data=inner["report_data"],
        evidence=evidence,
        **{name: str(inner[name]) for name in _TEXTS},
    )
