"""Appraising evidence: strict parser, then signatures by an independent verifier, then the policy.

Intel quotes are verified by `dcap-qvl` under the root that the policy pins; a return of that library is not
acceptance, only claims. Whatever it claims to have verified is compared with what our own parser read, so a
difference between the two parsers is refused. SEV-SNP reports are verified by `snp`.
"""

from __future__ import annotations

import json
import warnings
from hashlib import sha256
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.utils import CryptographyDeprecationWarning

from medveil.attestation import snp
from medveil.attestation.appraisal import Appraisal, Evidence, EvidenceKind, Reason, Refusal
from medveil.attestation.collateral import UNREADABLE, Collateral
from medveil.attestation.judgement import Facts, judge, rule_for
from medveil.attestation.policy import Policy, ProductionPolicy, SimulationPolicy, TcbStatus
from medveil.attestation.quote import Quote, Tee, parse_quote
from medveil.attestation.snp import SnpCollateral
from medveil.errors import FormatError, InputError, LimitError, MissingExtraError, NotAuthenticError

SIMULATOR_NAME: Final = "NOT INTEL - DEVELOPER SIMULATION"
"""Common name in every certificate of the simulated provider."""

AnyCollateral = Collateral | SnpCollateral
_CACHE_SIZE: Final = 8


class _Refused(Exception):  # noqa: N818 - control flow inside this module, never seen outside
    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = Reason(code, message)


class Verifier:
    """Appraises evidence. Keeps parsed collateral of the last few platforms, nothing else; one per thread."""

    def __init__(self) -> None:
        """Raises MissingExtraError where `dcap-qvl` is not installed."""
        try:
            import dcap_qvl
        except ImportError:
            raise MissingExtraError("verifying attestation", "attest") from None
        self._qvl = dcap_qvl
        self._collateral: dict[str, Any] = {}
        self._roots: dict[bytes, Any] = {}
        self._chains: dict[tuple[bytes, bytes, bytes], Any] = {}

    def appraise(self, evidence: Evidence, collateral: AnyCollateral, now: int, policy: Policy) -> Appraisal:
        """Appraise `evidence` at `now`; the result holds every reason for refusing it, none where it is accepted.

        now: Unix seconds from the verifier's own trusted clock, never from a share or its statement.
        Raises InputError where the arguments are of the wrong type and PolicyError where the policy was put together
        without validation; evidence of any content only gives reasons.
        """
        if type(policy) not in (ProductionPolicy, SimulationPolicy):
            raise InputError("a policy must be a ProductionPolicy or a SimulationPolicy: load it from its file")
        if not isinstance(evidence, Evidence) or isinstance(now, bool) or not isinstance(now, int) or now < 0:
            raise InputError("appraising takes Evidence and the time as whole Unix seconds")
        policy.pins()  # raises PolicyError for a policy that went around validation
        common: dict[str, Any] = {
            "evidence_sha256": sha256(evidence.data).hexdigest(),
            "policy_sha256": policy.sha256,
            "appraised_at": now,
            "simulated": evidence.simulated,
        }
        try:
            if evidence.simulated != (type(policy) is SimulationPolicy):
                raise _wrong_world(policy)
            if evidence.kind is EvidenceKind.SNP:
                return self._appraise_snp(evidence, collateral, now, policy, common)
            return self._appraise_dcap(evidence, collateral, now, policy, common)
        except _Refused as refused:
            return Appraisal(reasons=(refused.reason,), **common)

    def _appraise_dcap(
        self, evidence: Evidence, collateral: AnyCollateral, now: int, policy: Policy, common: dict[str, Any]
    ) -> Appraisal:
        quote = _parse(parse_quote, evidence.data)
        root = quote.certificates[2]
        _check_root(root, policy)
        if quote.debug:
            raise _Refused(Refusal.DEBUG, "the enclave runs in debug mode: its host can read and change it")
        if not isinstance(collateral, Collateral) or collateral.tee is not quote.tee:
            raise _Refused(Refusal.COLLATERAL_OTHER_TEE, f"the collateral is not for {quote.tee}: fetch the right one")
        if collateral.fmspc != quote.fmspc:
            raise _Refused(
                Refusal.COLLATERAL_OTHER_PLATFORM,
                f"the collateral is for platform {collateral.fmspc}, the quote is from {quote.fmspc or 'none'}",
            )
        if not collateral.statuses <= {*TcbStatus, "Revoked"}:
            raise _Refused(Refusal.STATUS_UNKNOWN, "the collateral holds a TCB status that is not known")
        _check_time(collateral.valid_from, collateral.valid_until, now)
        _remember(self._chains, quote.certificates, _check_chain)
        claims = self._claims(quote, collateral, root, now)
        facts = _dcap_facts(quote, claims, collateral)
        until = min(collateral.valid_until, int(claims["earliest_expiration_date"]))
        return _conclude(policy, facts, now, until, quote.report_data, common)

    def _appraise_snp(
        self, evidence: Evidence, collateral: AnyCollateral, now: int, policy: Policy, common: dict[str, Any]
    ) -> Appraisal:
        report = _parse(snp.parse_report, evidence.data)
        if not isinstance(collateral, SnpCollateral):
            raise _Refused(Refusal.COLLATERAL_OTHER_TEE, "the collateral is not for SEV-SNP: fetch the right one")
        _check_root(collateral.ark, policy)
        try:
            start, end = snp.validity(collateral)
            _check_time(start, end, now)
            snp.verify_report(report, collateral)
        except (FormatError, LimitError) as error:
            raise _Refused(Refusal.COLLATERAL_MALFORMED, str(error)) from None
        except NotAuthenticError as error:
            raise _Refused(Refusal.NOT_AUTHENTIC, str(error)) from None
        minimum = policy.minimum_snp_tcb
        current = minimum is not None and all(report.tcb[n] >= v for n, v in minimum.model_dump().items())
        facts = Facts(
            tee=Tee.SNP,
            measurement=report.measurement,
            svn=report.guest_svn,
            debug=report.debug,
            tcb_status=TcbStatus.UP_TO_DATE if current else TcbStatus.OUT_OF_DATE,
            advisories=(),
            platform=report.chip_id,
        )
        return _conclude(policy, facts, now, end, report.report_data, common)

    def _claims(self, quote: Quote, collateral: Collateral, root: bytes, now: int) -> dict[str, Any]:
        """Return what dcap-qvl verified, under `root` and without its own judgement of statuses."""
        try:
            parsed = _remember(self._collateral, collateral.text, self._qvl.QuoteCollateralV3.from_json)
        except ValueError:
            raise _Refused(Refusal.COLLATERAL_MALFORMED, "the collateral cannot be read: fetch it again") from None
        verifier = _remember(self._roots, root, self._qvl.QuoteVerifier)
        lenient = self._qvl.QuotePolicy.claims_only(now)
        try:
            found = verifier.verify_with_policy(quote.raw, parsed, now, lenient).to_json()
        except ValueError as error:
            cause = str(error).splitlines()[0].removeprefix("Verification failed: ").lower()[:160]
            if cause.startswith("tcb status is invalid"):
                raise _Refused(Refusal.STATUS, "the platform's TCB is revoked: no policy accepts it") from None
            raise _Refused(Refusal.NOT_AUTHENTIC, f"the quote or its collateral is not authentic: {cause}") from None
        claims: dict[str, Any] = json.loads(found)
        return claims


def _remember(cache: dict[Any, Any], key: Any, make: Any) -> Any:
    """Return `make(key)`, from the cache where it is there; the cache keeps the last few."""
    if key not in cache:
        if len(cache) >= _CACHE_SIZE:
            cache.pop(next(iter(cache)))
        cache[key] = make(key)
    return cache[key]


def _parse(parser: Any, data: bytes) -> Any:
    try:
        return parser(data)
    except LimitError as error:
        raise _Refused(Refusal.TOO_LARGE, str(error)) from None
    except FormatError as error:
        raise _Refused(Refusal.MALFORMED, str(error)) from None


def _wrong_world(policy: Policy) -> _Refused:
    if type(policy) is ProductionPolicy:
        return _Refused(Refusal.SIMULATED, "the evidence is simulated: a production policy never accepts it")
    return _Refused(Refusal.SIMULATED, "the evidence is from real hardware: a simulation policy never accepts it")


def _check_root(root: bytes, policy: Policy) -> None:
    """Check that a root certificate is pinned by the policy."""
    if sha256(root).hexdigest() in policy.pins():
        return
    if (SIMULATOR_NAME.encode() in root) and type(policy) is ProductionPolicy:
        raise _wrong_world(policy)
    raise _Refused(Refusal.ROOT, "the evidence does not end at a root that the policy pins")


def _check_chain(certificates: tuple[bytes, bytes, bytes]) -> None:
    """Check the signatures of leaf and intermediate by a second implementation, before the collateral's are.

    Time and revocation are the library's to check.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            leaf, intermediate, root = (x509.load_der_x509_certificate(der) for der in certificates)
            leaf.verify_directly_issued_by(intermediate)
            intermediate.verify_directly_issued_by(root)
    except (InvalidSignature, *UNREADABLE, TypeError):
        raise _Refused(Refusal.NOT_AUTHENTIC, "the quote's certificates do not lead to its root") from None


def _check_time(start: int, end: int, now: int) -> None:
    if now < start:
        raise _Refused(
            Refusal.COLLATERAL_FUTURE, "the collateral is from the future: check the clock, then fetch it again"
        )
    if now >= end:  # revocation lists are no longer valid at the second they name
        raise _Refused(Refusal.COLLATERAL_EXPIRED, "the collateral has expired: fetch it again")


def _dcap_facts(quote: Quote, claims: dict[str, Any], collateral: Collateral) -> Facts:
    """Turn claims into facts, refusing where they differ from what our parser read."""
    report = claims["report"]
    inner = next(iter(report.values()))
    base = inner.get("base", inner)
    names = {"mrenclave": "mr_enclave", "mrsigner": "mr_signer", "mrtd": "mr_td", "mrseam": "mr_seam"}
    names |= {f"rtmr{i}": f"rt_mr{i}" for i in range(4)}
    same = base["report_data"] == quote.report_data.hex()
    same = same and all(base[names[name]] == value for name, value in quote.measurement.items())
    pck = claims["platform"]["pck"]
    if not same or bytes(pck["fmspc"]).hex() != collateral.fmspc:
        raise _Refused(Refusal.NOT_AUTHENTIC, "two parsers read different things in this quote: it was forged")
    number = min(claims["tcb"]["eval_data_number"], claims["qe"]["tcb_eval_data_number"])
    return Facts(
        tee=quote.tee,
        measurement=quote.measurement,
        svn=quote.isv_svn,
        debug=quote.debug,
        tcb_status=claims["tcb"]["status"],
        advisories=tuple(claims["tcb"]["advisory_ids"]),
        platform=bytes(pck["ppid"]).hex(),
        evaluation_number=min(number, collateral.evaluation_number),
        issued_at=collateral.issued_at,
    )


def _conclude(
    policy: Policy, facts: Facts, now: int, valid_until: int, report_data: bytes, common: dict[str, Any]
) -> Appraisal:
    rule = rule_for(policy, facts.tee, facts.measurement, now)
    return Appraisal(
        reasons=judge(policy, facts, now),
        tee=facts.tee,
        tcb_status=facts.tcb_status,
        advisories=facts.advisories,
        measurement=dict(facts.measurement),
        measurement_name=rule.name if rule else "",
        ppid=facts.platform,
        valid_until=valid_until,
        report_data=report_data,
        **common,
    )
