"""What the vault's verbs write into the audit log: one entry for each, and one for each thing that was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from medveil.errors import MedveilError, RefusedError, StoreError
from medveil.schemes.base import Finding, FindingKind
from medveil.vault.audit import Action, Outcome
from medveil.vault.reports import ObjectReport

if TYPE_CHECKING:
    from medveil.vault.session import Session

ALARMING: Final = frozenset(
    {FindingKind.TAMPER, FindingKind.TRUNCATED, FindingKind.STALE, FindingKind.FOREIGN, FindingKind.SWAPPED,
     FindingKind.MISSING, FindingKind.LOST, FindingKind.MODIFIED}
)  # fmt: skip
"""Findings that get an entry of their own: somebody did something, or lost something."""
MOST: Final = 32
"""Findings of one operation that get an entry of their own; of the rest, the number."""

_ACTOR: ContextVar[str] = ContextVar("medveil audit actor", default="")


@contextmanager
def acting_for(actor: str) -> Iterator[None]:
    """Name the person for whom the vault works inside the block: entries carry a hash of it."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


@dataclass(slots=True)
class Note:
    """What is known of an operation at its end."""

    subject: bytes = b""
    detail: dict[str, str | int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    objects: Sequence[ObjectReport] = ()  # of work on many: each is a subject of its own


@contextmanager
def audited(session: Session, action: Action, subject: bytes = b"") -> Iterator[Note]:
    """Write an entry when the block ends, whether it succeeded or not. Its result counts only once that is written.

    Raises StoreFullError where the log cannot be written, even though the operation was done.
    """
    note = Note(subject)
    if session.audit is None:
        yield note
        return
    actor = _ACTOR.get()
    try:
        yield note
    except (MedveilError, KeyboardInterrupt) as error:
        outcome = Outcome.REFUSED if isinstance(error, RefusedError) else Outcome.FAILED
        detail = note.detail | {"code": type(error).__name__}
        try:
            session.audit.append(action, outcome, actor=actor, subject=note.subject, detail=detail)
        except StoreError:
            raise error from None
        raise
    found = [(note.subject, one) for one in alarming(note.findings)]
    for report in note.objects:
        found += [(bytes.fromhex(report.object_id), one) for one in alarming(report.findings)]
    for subject, one in found[:MOST]:
        session.audit.append(Action.FINDING, actor=actor, subject=subject, detail=_described(one))
    detail = note.detail | ({"count": len(found)} if found else {})
    session.audit.append(action, Outcome.SUCCESS, actor=actor, subject=note.subject, detail=detail)


def alarming(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that get an entry of their own."""
    return [one for one in dict.fromkeys(findings) if one.kind in ALARMING]


def _described(finding: Finding) -> dict[str, str | int]:
    detail: dict[str, str | int] = {"kind": finding.kind.value}
    for key, value in (("store", finding.place), ("part", finding.part), ("chunk", finding.chunk)):
        if value is not None:
            detail[key] = value
    return detail
