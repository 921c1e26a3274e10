"""The third level of revocation: an object is sealed anew, and its old ciphertext deleted everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from medveil.errors import MedveilError, UnsupportedError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed.opening import unseal_key
from medveil.stores.base import Store
from medveil.vault.examining import examine
from medveil.vault.freshness import current, remember
from medveil.vault.grants.members import Members
from medveil.vault.head import find_entry
from medveil.vault.keys import object_key, study_key
from medveil.vault.naming import object_prefix, sort_names
from medveil.vault.reading import open_version
from medveil.vault.survey import survey

if TYPE_CHECKING:
    from medveil.vault.session import Session


def learn(session: Session, members: Members, object_id: bytes) -> None:
    """Read an object from the stores and put it into its study's list. Raises as `Vault.get`."""
    found = examine(session, object_id)
    manifest = found.manifest
    owner = session.owner()
    held = unseal_key(manifest, found.version.envelopes, owner)
    token = members.token(found.described.study_uid, object_id)
    derived = object_key(study_key(owner, session.dataset, manifest.epoch, token), object_id, manifest.version)
    own = b"" if held == derived else held
    members.note(object_id, manifest.version, manifest.epoch, found.size, found.described, found.name, own)


def reencrypt(session: Session, object_id: bytes) -> tuple[Finding, ...]:
    """Put an object's current content as a new version under the current epoch, then delete what is older.

    Raises as `Vault.get` and `Vault.put`. Interrupted, it is done again: at worst there is one version more in between.
    """
    from medveil.vault.putting import put

    found = survey(session, object_id)
    chosen = current(session, found)
    remember(session, chosen)
    version = chosen.version
    if version.manifest.epoch < session.epoch:
        entry = find_entry(version.catalogues, version.manifest, session.owner())
        with _memory() as handle:
            open_version(session, found, version, handle)
            handle.flush()
            path = Path(f"/proc/self/fd/{handle.fileno()}")
            put(
                session,
                path,
                name="" if entry is None else entry.name,
                object_id=object_id,
                base=version.manifest.version,
                again=True,
            )
    return forget_older(session, object_id)


def _memory() -> BinaryIO:
    """Return a file in memory: plaintext never touches a disk."""
    if not hasattr(os, "memfd_create"):
        raise UnsupportedError("encrypting anew needs files in memory, which this system does not have")
    return cast(BinaryIO, os.fdopen(os.memfd_create("medveil", os.MFD_CLOEXEC), "w+b"))


def forget_older(session: Session, object_id: bytes) -> tuple[Finding, ...]:
    """Delete every version but the current one at every store; a finding for each store that could not."""
    found = survey(session, object_id)
    manifest = current(session, found).version.manifest
    keep = set(manifest.share_roots)

    def job(store: Store) -> None:
        held = sort_names(store.list(object_prefix(session.dataset, object_id))).get(object_id)
        if held is None:
            return
        doomed = [name for (number, _), name in held.heads.items() if number < manifest.version]
        doomed += [name for root, names in held.shares.items() if root not in keep for name in names]
        for name in doomed:
            store.delete(name)

    outcomes = session.fleet.each(job)
    session.state.forget_older(object_id, manifest.version)
    return tuple(_left(store, outcome.error) for store, outcome in outcomes.items() if outcome.error is not None)


def _left(store: str, error: MedveilError) -> Finding:
    message = f"store {store} may still hold old ciphertext ({error}): run medveil vault scrub --prune when it is back"
    return Finding(FindingKind.UNREACHABLE, message, place=store)
