"""Verification before recovery: from shares and a policy to a `VerifiedSet`, the only thing recovery accepts.

Checked, in this order, before any pixel of a recovered image exists: the proof's form; the digest of each share
against its statement; the signature chain from the statement to the quote; the quote against the policy; the
dealer; the times; that all statements are of one set (pairing number R and everything else equal, indices
different); that there are at least k. Paper 000, 3.2.3 (4), asks for the first, the quote and the pairing only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import constant_time

from medveil.attestation.appraisal import Appraisal, Evidence
from medveil.attestation.cose import PublicKey, fingerprint
from medveil.attestation.eat import reappraise, verify_result
from medveil.attestation.policy import Policy
from medveil.attestation.proof import CompactProof, Proof, QuoteProof, SignedProof, read_proof
from medveil.attestation.session import Session, check_dealer
from medveil.attestation.statement import MAX_SHARES, Statement, report_data
from medveil.attestation.verifier import AnyCollateral, Verifier
from medveil.errors import (
    InputError,
    LimitError,
    NotAuthenticError,
    PolicyError,
    StaleError,
    TamperedError,
    UnrecoverableError,
)

CLOCK_SKEW: Final = 300
"""How far a signer's clock may run ahead of the verifier's, in seconds."""

_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True)
class PresentedShare:
    """One share as its carrier gave it: the proof's bytes, and what the caller measured on the share itself.

    digest: `share_digest` of the pixels that were presented, computed by the caller, never taken from the proof.
    """

    proof: bytes = field(repr=False)
    width: int
    height: int
    channels: int
    digest: bytes


class VerifiedSet:
    """Shares that passed every check. Made by `verify_set` only.

    statements: in order of their indices. appraisals: of the evidence behind each, in the same order.
    simulated: whether any evidence came from a simulator; whatever is recovered must be marked so.
    """

    __slots__ = ("appraisals", "simulated", "statements")

    def __init__(self, key: object, statements: tuple[Statement, ...], appraisals: tuple[Appraisal, ...]) -> None:
        """Raises InputError where anything but `verify_set` makes one."""
        if key is not _MADE_HERE:
            raise InputError("a verified set is only made by verify_set: verify the shares")
        self.statements = statements
        self.appraisals = appraisals
        self.simulated = any(appraisal.simulated for appraisal in appraisals)

    @property
    def pairing(self) -> bytes:
        """The pairing number R of the set."""
        return self.statements[0].pairing

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of the shares, ascending."""
        return tuple(statement.index for statement in self.statements)

    @property
    def digests(self) -> dict[int, bytes]:
        """Index -> digest: recovery checks that it works on the shares that were verified."""
        return {statement.index: statement.digest for statement in self.statements}

    def __setattr__(self, name: str, value: object) -> None:
        """Set each field once."""
        if hasattr(self, name):
            raise InputError("a verified set is not changed: verify the shares again")
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        first = self.statements[0]
        return f"VerifiedSet({first.scheme}, {first.threshold} of {first.shares}, shares {self.indices})"


def verify_set(
    shares: Sequence[PresentedShare],
    policy: Policy,
    *,
    verifier: Verifier,
    collateral: Callable[[Evidence], AnyCollateral],
    now: int,
    sessions: Iterable[Session] = (),
    chains: Iterable[bytes] = (),
    results: Iterable[tuple[bytes, PublicKey]] = (),
) -> VerifiedSet:
    """Verify shares under a policy at `now` (Unix seconds of the verifier's own clock).

    collateral: gives the collateral for evidence (`CollateralCache.finder`, or a function of the caller). sessions:
    those that signed proofs may refer to. chains: PEM certificates that compact proofs may refer to. results: signed
    results (`eat`) with their verifiers' keys, whose fingerprints the policy lists; they stand for collateral that
    has expired since.
    Raises FormatError, TamperedError, NotAuthenticError, StaleError, PolicyError or LimitError as described at
    each check, InputError where a share is given twice and UnrecoverableError where there are fewer than k.
    """
    found = verify_shares(
        shares,
        policy,
        verifier=verifier,
        collateral=collateral,
        now=now,
        sessions=sessions,
        chains=chains,
        results=results,
    )
    _check_enough([statement for statement, _ in found])
    return VerifiedSet(_MADE_HERE, tuple(s for s, _ in found), tuple(a for _, a in found))


def verify_shares(
    shares: Sequence[PresentedShare],
    policy: Policy,
    *,
    verifier: Verifier,
    collateral: Callable[[Evidence], AnyCollateral],
    now: int,
    sessions: Iterable[Session] = (),
    chains: Iterable[bytes] = (),
    results: Iterable[tuple[bytes, PublicKey]] = (),
) -> tuple[tuple[Statement, Appraisal], ...]:
    """Verify shares of one set, be they fewer than k: for who keeps one and wants to know what it is.

    Returns statements and appraisals by index; recovery does not take them. Arguments and errors as `verify_set`.
    """
    if len(shares) > MAX_SHARES:
        raise LimitError(f"{len(shares)} shares are more than the {MAX_SHARES} that a set can have")
    checker = _Checker(policy, verifier, collateral, now, tuple(sessions), tuple(chains))
    for token, key in results:
        checker.learn(token, key)
    found = [checker.check(share) for share in shares]
    check_one_set([statement for statement, _ in found])
    found.sort(key=lambda pair: pair[0].index)
    return tuple(found)


def evidence_of(share: PresentedShare, sessions: Iterable[Session] = (), chains: Iterable[bytes] = ()) -> Evidence:
    """Return the evidence that a share's proof rests on; nothing is verified. Raises FormatError, NotAuthenticError."""
    proof = read_proof(share.proof)
    if isinstance(proof, SignedProof):
        return _session_of(proof, {session.id: session for session in sessions}).evidence
    return (_expand(proof, chains) if isinstance(proof, CompactProof) else proof).evidence


def _session_of(proof: SignedProof, sessions: Mapping[bytes, Session]) -> Session:
    session = sessions.get(proof.session_id)
    if session is None:
        raise NotAuthenticError("the share refers to a signing session that was not given: give its session file")
    return session


def _expand(proof: CompactProof, chains: Iterable[bytes]) -> QuoteProof:
    for chain in chains:
        try:
            return proof.expand(chain)
        except NotAuthenticError:
            continue
    raise NotAuthenticError("the share's compact proof needs its platform's certificates: give them")


class _Checker:
    """Checks shares one by one; evidence that several shares have in common is appraised once."""

    def __init__(
        self,
        policy: Policy,
        verifier: Verifier,
        collateral: Callable[[Evidence], AnyCollateral],
        now: int,
        sessions: tuple[Session, ...],
        chains: tuple[bytes, ...],
    ) -> None:
        self._policy, self._verifier, self._collateral, self._now = policy, verifier, collateral, now
        self._sessions = {session.id: session for session in sessions}
        self._chains = chains
        self._appraised: dict[bytes, Appraisal] = {}

    def learn(self, token: bytes, key: PublicKey) -> None:
        """Judge a signed result under the policy; it then stands for the appraisal of its evidence."""
        if fingerprint(key).hex() not in self._policy.result_signers:
            raise PolicyError("a verification result is signed by nobody whom the policy lists")
        result = verify_result(token, key)
        self._appraised[_key(result.evidence)] = reappraise(result, self._policy, self._now)

    def check(self, share: PresentedShare) -> tuple[Statement, Appraisal]:
        """Return the verified statement of a share and the appraisal of the evidence behind it."""
        proof = read_proof(share.proof)
        statement, evidence, reported, binding = self._unfold(proof)
        _check_share(share, statement)
        appraisal = self._appraise(evidence).require()
        if not constant_time.bytes_eq(appraisal.report_data, reported):
            raise TamperedError("the quote vouches for something else than this share's statement")
        check_dealer(statement.dealer, binding, reported)
        self._check_policy(statement)
        return statement, appraisal

    def _unfold(self, proof: Proof) -> tuple[Statement, Evidence, bytes, bytes]:
        """Return statement, evidence, the report data that the evidence must carry, and the dealer's signature."""
        if isinstance(proof, CompactProof):
            proof = _expand(proof, self._chains)
        if isinstance(proof, QuoteProof):
            return Statement.decode(proof.statement), proof.evidence, report_data(proof.statement), proof.binding
        session = _session_of(proof, self._sessions)
        if self._now > session.not_after + self._policy.maximum_share_age_days * 86400:
            raise StaleError("the share's signing session ended longer ago than the policy allows shares to be old")
        return session.open_share(proof.message), session.evidence, session.reported, session.binding

    def _appraise(self, evidence: Evidence) -> Appraisal:
        key = _key(evidence)
        if key not in self._appraised:
            collateral = self._collateral(evidence)
            self._appraised[key] = self._verifier.appraise(evidence, collateral, self._now, self._policy)
        return self._appraised[key]

    def _check_policy(self, statement: Statement) -> None:
        """Check dealer list and age."""
        dealers = self._policy.dealers
        if dealers != "any" and statement.dealer.hex() not in dealers:
            raise PolicyError("the share was dealt by nobody whom the policy lists")
        if statement.made_at > self._now + CLOCK_SKEW:
            raise NotAuthenticError("the share says that it is from the future: check the clock, or it is forged")
        limit = self._policy.maximum_share_age_days
        if self._now - statement.made_at > limit * 86400:
            raise StaleError(f"the share is older than the {limit} days that the policy allows")


def _key(evidence: Evidence) -> bytes:
    return evidence.kind.encode() + bytes([evidence.simulated]) + evidence.data


def _check_share(share: PresentedShare, statement: Statement) -> None:
    stated = (statement.width, statement.height, statement.channels)
    if (share.width, share.height, share.channels) != stated:
        raise TamperedError(
            f"the share has {share.width} x {share.height} x {share.channels} samples where its statement says "
            f"{' x '.join(map(str, stated))}"
        )
    if not constant_time.bytes_eq(share.digest, statement.digest):
        raise TamperedError(f"share {statement.index} is not the one that was made: its digest differs")


def check_one_set(statements: Sequence[Statement]) -> None:
    """Check that statements are of one set and different, be they fewer than k.

    Raises UnrecoverableError for none, TamperedError where they contradict each other, InputError for a duplicate.
    """
    if not statements:
        raise UnrecoverableError("no shares were given: give at least as many as the threshold")
    first = statements[0]
    seen: dict[int, Statement] = {}
    for statement in statements:
        if statement.pairing != first.pairing:
            raise TamperedError("the shares belong to different images: their pairing numbers differ")
        if _common(statement) != _common(first):
            raise TamperedError("the shares' statements contradict each other: they are not of one set")
        if statement.index in seen:
            if seen[statement.index] == statement:
                raise InputError(f"share {statement.index} was given twice: give each share once")
            raise TamperedError(f"two different shares claim to be share {statement.index}")
        seen[statement.index] = statement


def _check_enough(statements: Sequence[Statement]) -> None:
    threshold = statements[0].threshold
    if len(statements) < threshold:
        raise UnrecoverableError(f"{len(statements)} of {threshold} needed shares are there: bring more")


def _common(statement: Statement) -> tuple[object, ...]:
    """Return everything that shares of one set have in common."""
    return (
        statement.scheme,
        statement.threshold,
        statement.shares,
        statement.width,
        statement.height,
        statement.channels,
        statement.polarity,
        statement.packing,
        statement.halftone,
        statement.context,
        statement.dealer,
        dict(statement.commitments),
    )
