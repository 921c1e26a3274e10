"""Who may be recovered: shares become an `Admitted` set by one of three doors, and recovery takes nothing else.

`by_attestation`: every share's proof is verified under a policy (`medveil.attestation.sets.verify_set`); anybody can.
`by_secret`: the owner compares what came back with what he wrote himself; his secret pins every share.
`insecurely`: nothing is verified; whatever is recovered is marked, in its findings and in the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Final

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.cose import PublicKey
from medveil.attestation.policy import Policy
from medveil.attestation.proof import QuoteProof, SignedProof, read_proof
from medveil.attestation.quote import parse_quote
from medveil.attestation.session import Session
from medveil.attestation.sets import PresentedShare, VerifiedSet, verify_set
from medveil.attestation.snp import parse_report
from medveil.attestation.statement import Statement, report_data, share_digest
from medveil.attestation.verifier import AnyCollateral, Verifier
from medveil.errors import FormatError, InputError, NotAuthenticError, TamperedError, UnrecoverableError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.visual.carriers import ShareFile
from medveil.schemes.visual.signing import PACKING, POLARITY, SCHEME_COLUMNS, SCHEME_XOR

_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True, eq=False)
class Admitted:
    """Shares that recovery may work on. Made by this module only.

    shares: by index, ascending. statement: of the first share; what it says of the set holds for all.
    mark: what must stand on whatever is recovered; empty where nothing must.
    """

    key: InitVar[object]
    shares: dict[int, ShareFile] = field(repr=False)
    statement: Statement
    findings: tuple[Finding, ...] = ()
    mark: str = ""

    def __post_init__(self, key: object) -> None:
        """Raise InputError where anything but this module makes one."""
        if key is not _MADE_HERE:
            raise InputError("recovery takes verified shares only: verify them, or ask for it insecurely")


def measure(share: ShareFile) -> tuple[int, int, int, bytes]:
    """Return width, height, channels and digest of a share's pixels, as a statement has them."""
    rows, columns = share.shape[:2]
    channels = share.shape[2] if len(share.shape) == 3 else 1
    return columns, rows, channels, share_digest(columns, rows, channels, share.plane.tobytes())


def present(share: ShareFile) -> PresentedShare:
    """Return a share as `verify_set` takes it. Raises NotAuthenticError where it carries no proof."""
    if share.envelope is None:
        raise NotAuthenticError(share.reason or "the share carries no proof: it is unverified, never good by default")
    return PresentedShare(share.envelope.proof, *measure(share))


def by_attestation(
    shares: Sequence[ShareFile],
    policy: Policy,
    *,
    collateral: Callable[[Evidence], AnyCollateral],
    now: int,
    sessions: Iterable[Session] = (),
    chains: Iterable[bytes] = (),
    results: Iterable[tuple[bytes, PublicKey]] = (),
    verifier: Verifier | None = None,
) -> Admitted:
    """Verify shares under a policy at `now` (Unix seconds of the verifier's clock); arguments as `verify_set`.

    Sessions that the shares carry are used too. Raises what `verify_set` raises.
    """
    verified = verify_set(
        [present(share) for share in shares],
        policy,
        verifier=verifier or Verifier(),
        collateral=collateral,
        now=now,
        sessions=sessions_of(shares, sessions),
        chains=chains,
        results=results,
    )
    return of_verified(verified, shares)


def sessions_of(shares: Sequence[ShareFile], given: Iterable[Session] = ()) -> list[Session]:
    """Return the signing sessions that were given and those that shares carry, each once.

    Raises TamperedError where a share carries another session than its proof refers to, or two copies differ.
    """
    carried = [_carried(share) for share in shares]
    return _agreeing([*given, *(session for session in carried if session is not None)])


def _carried(share: ShareFile) -> Session | None:
    """Return the session that a share carries; TamperedError where its own proof refers to another one."""
    if share.envelope is None or not share.envelope.session:
        return None
    session, proof = share.envelope.read_session(), read_proof(share.envelope.proof)
    if session is None or not isinstance(proof, SignedProof) or proof.session_id != session.id:
        raise TamperedError("the share carries another signing session than its proof refers to: it was altered")
    return session


def _agreeing(sessions: Iterable[Session]) -> list[Session]:
    """Return each session once. Raises TamperedError where two copies of one differ: at least one was altered."""
    known: dict[bytes, Session] = {}
    for session in sessions:
        if known.setdefault(session.id, session).encode() != session.encode():
            raise TamperedError("two copies of the shares' signing session differ: one of them was altered")
    return list(known.values())


def of_verified(verified: VerifiedSet, shares: Sequence[ShareFile]) -> Admitted:
    """Return the shares that a verified set speaks of. Raises TamperedError where they are others."""
    index_of = {digest: index for index, digest in verified.digests.items()}
    found = {index_of.get(measure(share)[3], 0): share for share in shares}
    if sorted(found) != list(verified.indices):
        raise TamperedError("the shares are not those that were verified: verify these")
    check_form(verified.statements[0])
    findings: tuple[Finding, ...] = ()
    if verified.simulated:
        message = "the evidence comes from a simulator: it proves nothing about where the shares were made"
        findings = (Finding(FindingKind.UNVERIFIED, message),)
    mark = "SIMULATED - NOT FOR DIAGNOSIS" if verified.simulated else ""
    return Admitted(_MADE_HERE, dict(sorted(found.items())), verified.statements[0], findings, mark)


def by_secret(shares: dict[int, ShareFile], findings: tuple[Finding, ...], statement: Statement) -> Admitted:
    """Admit shares that `secret.match` found to be the owner's own."""
    return Admitted(_MADE_HERE, dict(sorted(shares.items())), statement, findings)


def insecurely(shares: Sequence[ShareFile]) -> Admitted:
    """Admit shares by what they say of themselves, unverified; whatever is recovered is marked.

    Raises UnrecoverableError for none or too few, InputError for a duplicate, FormatError where a share says
    nothing of itself, TamperedError where sizes differ.
    """
    found: dict[int, ShareFile] = {}
    first: Statement | None = None
    for share in shares:
        statement = claimed(share)
        if first is not None and statement.pairing != first.pairing:
            raise TamperedError("the shares belong to different images: their pairing numbers differ")
        if statement.index in found:
            raise InputError(f"share {statement.index} was given twice: give each share once")
        if measure(share)[:3] != (statement.width, statement.height, statement.channels):
            raise TamperedError(f"share {statement.index} has another size than it says: it was cut or resized")
        first = first or statement
        found[statement.index] = share
    if first is None or len(found) < first.threshold:
        needed = first.threshold if first else 2
        raise UnrecoverableError(f"{len(found)} of {needed} needed shares are there: bring more")
    check_form(first)
    finding = Finding(FindingKind.UNVERIFIED, "nothing of this was verified: anybody could have made these shares")
    return Admitted(_MADE_HERE, dict(sorted(found.items())), first, (finding,), "UNVERIFIED - NOT FOR DIAGNOSIS")


def claimed(share: ShareFile) -> Statement:
    """Return the statement that a share carries, its signature unverified where it needs something that is not there.

    With its session along, the signature is checked. Raises FormatError, TamperedError or NotAuthenticError.
    """
    if share.envelope is None:
        raise FormatError(share.reason or "the share carries no proof: it is unverified, never good by default")
    proof = read_proof(share.envelope.proof)
    if not isinstance(proof, SignedProof):
        return Statement.decode(proof.statement)
    session = share.envelope.read_session()
    if session is None:
        raise NotAuthenticError("the share refers to a signing session that was not given: give its session file")
    return session.open_share(proof.message)


def check_consistent(share: ShareFile) -> Statement:
    """Check a share as far as that goes without a policy and without a secret; returns what it says of itself.

    Form, digest, and where a session or quote is along, that it vouches for these bytes; not who made it.
    Raises FormatError, TamperedError or NotAuthenticError.
    """
    statement = claimed(share)
    width, height, channels, digest = measure(share)
    if (width, height, channels) != (statement.width, statement.height, statement.channels):
        raise TamperedError(f"share {statement.index} has another size than it says: it was cut or resized")
    if digest != statement.digest:
        raise TamperedError(f"share {statement.index} is not the one that was made: its digest differs")
    proof = read_proof(share.envelope.proof) if share.envelope else None
    if isinstance(proof, QuoteProof):
        _check_quote(proof)
    check_form(statement)
    return statement


def _check_quote(proof: QuoteProof) -> None:
    """Check that the quote carries the statement's report data; its signatures are a verifier's matter."""
    if proof.evidence.kind is EvidenceKind.DCAP:
        vouched = parse_quote(proof.evidence.data).report_data
    else:
        vouched = parse_report(proof.evidence.data).report_data
    if vouched != report_data(proof.statement):
        raise TamperedError("the quote vouches for something else than this share's statement")


def check_form(statement: Statement) -> None:
    """Raise FormatError where a statement is of shares that this version does not make."""
    k, n = statement.threshold, statement.shares
    expected = SCHEME_XOR if k == n else SCHEME_COLUMNS
    if statement.scheme != expected or statement.packing != PACKING:
        raise FormatError(
            f"shares of scheme {statement.scheme!r}, packed {statement.packing!r}: not read by this version"
        )
    if statement.polarity != POLARITY.get(statement.channels):
        raise FormatError(f"shares of polarity {statement.polarity!r} are not read by this version")
