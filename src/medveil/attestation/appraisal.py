"""What appraising evidence gives: an `Appraisal` with every reason for refusing, each with its own code and error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from medveil.attestation.quote import Tee
from medveil.errors import (
    FormatError,
    LimitError,
    MedveilError,
    NotAuthenticError,
    PolicyError,
    StaleError,
    TamperedError,
)


class Refusal(StrEnum):
    """Why evidence is refused; the value is what `--json` prints."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"  # the evidence is not in canonical form
    NOT_AUTHENTIC = "not-authentic"  # a signature, chain or revocation check failed
    ROOT = "root"  # it does not end at a root that the policy pins
    SIMULATED = "simulated"  # a simulator's evidence under a policy for real hardware, or the reverse
    COLLATERAL_MALFORMED = "collateral-malformed"
    COLLATERAL_OTHER_TEE = "collateral-other-tee"
    COLLATERAL_OTHER_PLATFORM = "collateral-other-platform"
    COLLATERAL_EXPIRED = "collateral-expired"
    COLLATERAL_FUTURE = "collateral-future"
    COLLATERAL_ROLLED_BACK = "collateral-rolled-back"
    COLLATERAL_TOO_OLD = "collateral-too-old"
    DEBUG = "debug"
    STATUS_UNKNOWN = "status-unknown"
    STATUS = "status"  # a known TCB status that the policy does not accept
    ADVISORY = "advisory"  # a security advisory that the policy does not accept
    MEASUREMENT_UNLISTED = "measurement-unlisted"
    MEASUREMENT_REVOKED = "measurement-revoked"
    MEASUREMENT_DATES = "measurement-dates"  # listed, but not for today
    SECURITY_VERSION = "security-version"  # ISVSVN or SNP firmware below the minimum
    PLATFORM = "platform"  # a PPID or chip that is not listed


_ERRORS: Final[Mapping[Refusal, type[MedveilError]]] = MappingProxyType(
    {
        Refusal.TOO_LARGE: LimitError,
        Refusal.MALFORMED: FormatError,
        Refusal.NOT_AUTHENTIC: TamperedError,
        Refusal.ROOT: NotAuthenticError,
        Refusal.COLLATERAL_MALFORMED: FormatError,
        Refusal.COLLATERAL_OTHER_TEE: NotAuthenticError,
        Refusal.COLLATERAL_OTHER_PLATFORM: NotAuthenticError,
        Refusal.COLLATERAL_EXPIRED: StaleError,
        Refusal.COLLATERAL_FUTURE: NotAuthenticError,
        Refusal.COLLATERAL_ROLLED_BACK: StaleError,
        Refusal.COLLATERAL_TOO_OLD: StaleError,
    }
)


class EvidenceKind(StrEnum):
    """Form of evidence; the value stands in encodings."""

    DCAP = "intel-dcap"
    SNP = "amd-sev-snp"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a provider gives for 64 bytes of report data.

    simulated: what the provider says of itself; whether evidence is simulated is decided by the root that it ends
    at, and evidence that says otherwise is refused. auxiliary: certificates that came with it, not verified.
    """

    kind: EvidenceKind
    data: bytes = field(repr=False)
    simulated: bool
    auxiliary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason for refusing: a code and a sentence."""

    code: Refusal
    message: str


@dataclass(frozen=True, slots=True)
class Appraisal:
    """The result of appraising evidence under a policy.

    tcb_status: Intel's word for the platform, or for SNP `UpToDate`/`OutOfDate` by the policy's minimum; empty
    where it was not reached. measurement: register -> hexadecimal. ppid: of the platform (SNP: chip id), hex.
    simulated: the evidence ends at a simulator's root. valid_until: Unix seconds before which collateral and
    certificates are valid, 0 where not reached. report_data: what the evidence vouches for.
    Everything but `reasons` is only meaningful as far as verification came; use `require`.
    """

    reasons: tuple[Reason, ...]
    tee: Tee | None = None
    tcb_status: str = ""
    advisories: tuple[str, ...] = ()
    measurement: Mapping[str, str] = field(default_factory=dict)
    measurement_name: str = ""
    ppid: str = ""
    simulated: bool = False
    valid_until: int = 0
    report_data: bytes = b""
    evidence_sha256: str = ""
    policy_sha256: str = ""
    appraised_at: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against the evidence."""
        return not self.reasons

    def require(self) -> Appraisal:
        """Return this appraisal where it is ok.

        Raises the error of the first reason otherwise: LimitError, FormatError, TamperedError, StaleError,
        NotAuthenticError or PolicyError.
        """
        if self.reasons:
            raise error_of(self.reasons[0].code)("; ".join(reason.message for reason in self.reasons))
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "ok": self.ok,
            "reasons": [{"code": reason.code.value, "message": reason.message} for reason in self.reasons],
            "tee": self.tee.value if self.tee else None,
            "tcb_status": self.tcb_status,
            "advisories": list(self.advisories),
            "measurement": dict(self.measurement),
            "measurement_name": self.measurement_name,
            "platform": self.ppid,
            "simulated": self.simulated,
            "valid_until": self.valid_until,
            "report_data": self.report_data.hex(),
            "evidence_sha256": self.evidence_sha256,
            "policy_sha256": self.policy_sha256,
            "appraised_at": self.appraised_at,
        }


def error_of(code: Refusal) -> type[MedveilError]:
    """Return the class of error that a refusal is raised as; PolicyError where the evidence itself is authentic."""
    return _ERRORS.get(code, PolicyError)
