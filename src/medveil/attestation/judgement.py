"""How a policy judges what verification has established; every rule that is broken gives its own reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medveil.attestation.appraisal import Reason, Refusal
from medveil.attestation.policy import MeasurementRule, Policy, TcbStatus
from medveil.attestation.quote import Tee


@dataclass(frozen=True, slots=True)
class Facts:
    """What verification has established about evidence; fields as in `Appraisal`.

    svn: ISVSVN of an SGX enclave or guest SVN of an SNP guest, None for TDX. evaluation_number and issued_at: of
    Intel's collateral, None for SNP, whose reports have no such thing.
    """

    tee: Tee
    measurement: Mapping[str, str]
    svn: int | None
    debug: bool
    tcb_status: str
    advisories: tuple[str, ...]
    platform: str
    evaluation_number: int | None = None
    issued_at: int | None = None


def judge(policy: Policy, facts: Facts, now: int) -> tuple[Reason, ...]:
    """Return every reason that `policy` has against `facts` at `now` (Unix seconds); empty where it accepts them."""
    return tuple(_reasons(policy, facts, now))


def rule_for(policy: Policy, tee: Tee, measurement: Mapping[str, str], now: int) -> MeasurementRule | None:
    """Return the rule that accepts a measurement at `now`, or None. A revoked rule that matches beats all others."""
    matching = [rule for rule in policy.measurements if rule.matches(tee, measurement)]
    if any(rule.revoked for rule in matching):
        return None
    return next((rule for rule in matching if rule.covers(now)), None)


def _reasons(policy: Policy, facts: Facts, now: int) -> Iterator[Reason]:
    if facts.debug:
        yield Reason(Refusal.DEBUG, "the enclave runs in debug mode: its host can read and change it")
    yield from _collateral(policy, facts, now)
    yield from _status(policy, facts)
    yield from _measurement(policy, facts, now)
    if policy.platforms != "any" and facts.platform not in policy.platforms:
        yield Reason(Refusal.PLATFORM, f"the platform {facts.platform} is not one that the policy lists")


def _collateral(policy: Policy, facts: Facts, now: int) -> Iterator[Reason]:
    number, minimum = facts.evaluation_number, policy.minimum_tcb_evaluation_data_number
    if number is not None and number < minimum:
        yield Reason(
            Refusal.COLLATERAL_ROLLED_BACK,
            f"the collateral has tcbEvaluationDataNumber {number} where at least {minimum} is asked: it was rolled "
            "back, or the clock was",
        )
    limit = policy.maximum_collateral_age_days
    if facts.issued_at is not None and now - facts.issued_at > limit * 86400:
        yield Reason(Refusal.COLLATERAL_TOO_OLD, f"the collateral is older than {limit} days: fetch it again")


def _status(policy: Policy, facts: Facts) -> Iterator[Reason]:
    status = facts.tcb_status
    if status not in (*TcbStatus, "Revoked"):
        yield Reason(Refusal.STATUS_UNKNOWN, f"the TCB status {status!r} is not known: it is not accepted")
    elif status not in policy.accepted_statuses:
        yield Reason(Refusal.STATUS, f"the platform's TCB status is {status}, which the policy does not accept")
    refused = [name for name in facts.advisories if name not in policy.accepted_advisories]
    if refused:
        yield Reason(
            Refusal.ADVISORY,
            f"the platform is open to {', '.join(refused)}, which the policy does not accept: update the platform",
        )
    elif status == TcbStatus.SW_HARDENING_NEEDED and not policy.accepted_advisories:
        yield Reason(Refusal.ADVISORY, "SWHardeningNeeded is only accepted with a list of advisories")


def _measurement(policy: Policy, facts: Facts, now: int) -> Iterator[Reason]:
    matching = [rule for rule in policy.measurements if rule.matches(facts.tee, facts.measurement)]
    if not matching:
        yield Reason(Refusal.MEASUREMENT_UNLISTED, "the program that made this is not one that the policy lists")
        return
    revoked = [rule.name for rule in matching if rule.revoked]
    if revoked:
        yield Reason(Refusal.MEASUREMENT_REVOKED, f"the program {revoked[0]!r} is revoked by the policy")
        return
    current = [rule for rule in matching if rule.covers(now)]
    if not current:
        yield Reason(
            Refusal.MEASUREMENT_DATES,
            f"the program {matching[0].name!r} is accepted from {matching[0].valid_from} to "
            f"{matching[0].valid_until} only",
        )
        return
    minimum = min(rule.minimum_isv_svn for rule in current)
    if facts.svn is not None and facts.svn < minimum:
        yield Reason(
            Refusal.SECURITY_VERSION,
            f"the program has security version {facts.svn} where at least {minimum} is asked",
        )
