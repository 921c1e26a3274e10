"""Grants and epochs in the stores: what they are called, and how they get there and away.

::

    <dataset>/g/<recipient key id>/<serial>-<hash>      a grant record
    <dataset>/e/<epoch>-<hash>                          the owner's statement that an epoch began

Serial and epoch: 16 hex digits; hash (of the whole record): 64.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import (
    FormatError,
    LimitError,
    MedveilError,
    NotAuthenticError,
    ObjectExistsError,
    ObjectMissingError,
    StoreUnavailableError,
)
from medveil.schemes.base import Finding, FindingKind
from medveil.stores.base import Store
from medveil.vault.fleet import Fleet
from medveil.vault.grants.records import MAX_RECORD

MAX_NAMES: Final = 20_000
"""Names that are read from one listing of grants; more is a store that floods its reader."""

_NAME: Final = re.compile(r"[0-9a-f]{32}/g/[0-9a-f]{32}/([0-9a-f]{16})-([0-9a-f]{64})")
_EPOCH: Final = re.compile(r"[0-9a-f]{32}/e/([0-9a-f]{16})-([0-9a-f]{64})")
_DOMAIN: Final = "dataset epoch"


def grants_prefix(dataset: bytes, recipient: bytes) -> str:
    """Return the beginning of the names of a recipient's grants."""
    return f"{dataset.hex()}/g/{recipient.hex()}/"


def grant_name(dataset: bytes, recipient: bytes, serial: int, content: bytes) -> str:
    """Return the name of a grant record."""
    return f"{grants_prefix(dataset, recipient)}{serial:016x}-{content.hex()}"


def parse_grant_name(name: str) -> tuple[int, bytes] | None:
    """Return (serial, hash) of a grant's name, or None."""
    match = _NAME.fullmatch(name)
    return None if match is None else (int(match[1], 16), bytes.fromhex(match[2]))


def publish(
    fleet: Fleet, name: str, data: bytes, needed: int, *, as_good: Callable[[bytes], bool] | None = None
) -> tuple[Finding, ...]:
    """Put a record into every store. Raises StoreUnavailableError where fewer than `needed` took it.

    as_good: whether other bytes that are there under the name are as good as these.
    """

    def job(store: Store) -> bool:
        try:
            store.put(name, data)
        except ObjectExistsError:
            held = store.get(name, limit=MAX_RECORD)
            return held == data or (as_good is not None and as_good(held))
        return True

    outcomes = fleet.each(job, deadline=fleet.allowance(len(data)))
    good = [store for store, outcome in outcomes.items() if outcome.ok and outcome.value]
    found = []
    for store, outcome in outcomes.items():
        if outcome.ok and not outcome.value:
            message = f"store {store} holds other bytes under the name of a grant"
            found.append(Finding(FindingKind.TAMPER, message, place=store))
        elif not outcome.ok:
            message = f"store {store} did not take a grant: {outcome.error}"
            found.append(Finding(FindingKind.DEGRADED, message, place=store))
    if len(good) < needed:
        reasons = "; ".join(one.message for one in found)
        raise StoreUnavailableError(
            f"{len(good)} of {needed} stores took a grant, and it is kept for the next try ({reasons}): run the same "
            "command again when they are back"
        )
    return tuple(found)


def withdraw(fleet: Fleet, name: str) -> tuple[Finding, ...]:
    """Remove a record from every store; a finding for each that could not do it."""

    def job(store: Store) -> None:
        try:
            store.delete(name)
        except ObjectMissingError:
            return

    outcomes = fleet.each(job)
    return tuple(
        Finding(FindingKind.UNREACHABLE, f"store {store} still holds a withdrawn grant: {outcome.error}", place=store)
        for store, outcome in outcomes.items()
        if not outcome.ok
    )


def listed(fleet: Fleet, prefix: str) -> tuple[dict[str, set[str]], dict[str, MedveilError]]:
    """Return what each store lists under a prefix, and which did not answer."""

    def job(store: Store) -> set[str]:
        names = set(islice(store.list(prefix), MAX_NAMES + 1))
        if len(names) > MAX_NAMES:
            raise LimitError(f"store {store.name} lists more than {MAX_NAMES} grants")
        return names

    outcomes = fleet.each(job)
    down = {store: outcome.error for store, outcome in outcomes.items() if outcome.error is not None}
    return {store: outcome.value for store, outcome in outcomes.items() if outcome.ok}, down


def copies(fleet: Fleet, name: str, stores: list[str]) -> Iterator[tuple[str, bytes | MedveilError]]:
    """Yield what each of these stores gives under a name."""
    outcomes = fleet.each(lambda store: store.get(name, limit=MAX_RECORD), only=stores)
    for store, outcome in outcomes.items():
        yield store, outcome.value if outcome.ok else (outcome.error or StoreUnavailableError("no answer"))


def epoch_record(owner: OwnerKey, dataset: bytes, epoch: int) -> tuple[str, bytes]:
    """Return the name and bytes of the statement that an epoch began."""
    body = canonical.encode({"v": 1, "dataset": dataset, "epoch": epoch})
    data = body + owner.signing.sign(_DOMAIN, body)
    return f"{dataset.hex()}/e/{epoch:016x}-{tagged('epoch record', body).hex()}", data


def says_epoch(data: bytes, dataset: bytes, owner: OwnerPublic, epoch: int) -> bool:
    """Whether this is the owner's statement of that epoch: signatures differ each time, so bytes may."""
    try:
        return _read_epoch(data, dataset, owner) == epoch
    except (NotAuthenticError, LimitError):
        return False


def newest_epoch(fleet: Fleet, dataset: bytes, owner: OwnerPublic) -> int:
    """Return the highest epoch that any store shows a signed statement of; 1 where there is none."""
    held, _ = listed(fleet, f"{dataset.hex()}/e/")
    names = {name: store for store, names in held.items() for name in names if _EPOCH.fullmatch(name)}
    for name in sorted(names, reverse=True)[:16]:
        stores = [store for store, listing in held.items() if name in listing]
        for _, data in copies(fleet, name, stores):
            if isinstance(data, bytes):
                try:
                    return max(1, _read_epoch(data, dataset, owner))
                except (NotAuthenticError, LimitError):
                    continue
    return 1


def _read_epoch(data: bytes, dataset: bytes, owner: OwnerPublic) -> int:
    body, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
    owner.verifying.verify(_DOMAIN, body, signature)
    record = canonical.decode(body, limit=4096)
    if not isinstance(record, dict) or set(record) != {"v", "dataset", "epoch"} or record["dataset"] != dataset:
        raise FormatError("a statement of an epoch is of an unknown form")
    if record["v"] != 1 or type(record["epoch"]) is not int or not 1 <= record["epoch"] < 1 << 62:
        raise FormatError("a statement of an epoch is of an unknown form")
    return int(record["epoch"])
