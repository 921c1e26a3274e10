"""Who may write the next version of an object: exactly one of several writers, also on machines that share nothing.

A claim is an object under a name that depends on nothing but the version, so stores, which take a name once, decide.
A writer puts its claim (its attempt's number) at all n stores. With a majority it goes on. Without one, the claims
are read: they never change, so all writers see the same and the one with most claims, then the lowest number, wins.
Where a store did not answer and the rest does not decide, nobody wins.

Claims are never taken back: a freed name would change what others have seen. Claims of an attempt that this machine
knows to be over are passed over by claiming the next number; those of another machine only with `takeover`, since its
writer may still be alive. Numbers may have gaps; the chain of hashes has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from medveil.errors import ConflictError, ObjectExistsError, StoreUnavailableError
from medveil.stores.base import Store
from medveil.vault.naming import claim_name
from medveil.vault.session import Session

ATTEMPT: Final = 16
"""Length of an attempt's number, in bytes."""

_MAX_SKIPS: Final = 64


def claim(
    session: Session, object_id: bytes, version: int, attempt: bytes, stores: Sequence[str], *, takeover: bool = False
) -> int:
    """Claim `version` or, past the claims of attempts that are over, a higher number; returns the number won.

    Raises ConflictError where another writer has it or it cannot be decided, StoreUnavailableError where too few
    stores answered although nobody else claims it.
    """
    for number in range(version, version + _MAX_SKIPS):
        winner = _decide(session, object_id, number, attempt, stores)
        if winner == attempt:
            return number
        if winner is None or not (takeover or session.state.abandoned(winner)):
            break
    raise ConflictError(
        f"another writer has claimed the next version of object {object_id.hex()}: look at the new version and put "
        "again, or, if that writer is known to be dead, take its place with takeover"
    )


def _decide(session: Session, object_id: bytes, number: int, attempt: bytes, stores: Sequence[str]) -> bytes | None:
    name = claim_name(session.dataset, object_id, number)

    def job(store: Store) -> bytes:
        try:
            store.put(name, attempt)
        except ObjectExistsError:
            return store.get(name, limit=4 * ATTEMPT)
        return attempt

    outcomes = session.fleet.each(job, only=stores)
    votes = Counter(outcome.value for outcome in outcomes.values() if outcome.ok)
    silent = len(stores) - votes.total()
    if silent and set(votes) <= {attempt} and votes.total() <= silent:
        raise StoreUnavailableError(
            f"{votes.total()} of {len(stores)} stores answered, and a new version of an object that exists needs a "
            "majority, so that no two writers both win: try again when more do"
        )
    if not votes:
        return None
    order = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))
    first, count = order[0]
    second = order[1][1] if len(order) > 1 else 0
    if count > len(stores) // 2 or silent == 0 or count > second + silent:
        return first
    return None
