"""From a configuration to an open vault: its stores, local state, index, audit log and ledger of grants."""

from __future__ import annotations

from collections.abc import Sequence

from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.errors import ConfigError, WrongKeyError
from medveil.stores.base import Store
from medveil.stores.config import open_store
from medveil.stores.settings import StoreConfig
from medveil.vault.audit import AuditLog
from medveil.vault.config import VaultConfig
from medveil.vault.fleet import Fleet, Opener
from medveil.vault.grants.ledger import Ledger
from medveil.vault.grants.members import Members
from medveil.vault.indexing import Indexing
from medveil.vault.search.settings import SearchConfig
from medveil.vault.session import Session
from medveil.vault.state import State


def open_fleet(config: VaultConfig, stores: Sequence[Store] | None) -> Fleet:
    """Open the stores of a configuration, or take open ones. Raises ConfigError where they are too few."""
    if stores is not None:
        given = {store.provider for store in stores}
        if len(given) < config.n:
            raise ConfigError(f"{config.n} parts need {config.n} different providers, and there are {len(given)}")
        return Fleet(stores, deadline=config.deadline, workers=config.workers)
    openers: dict[str, tuple[str, Opener]] = {
        one.name: (one.provider or one.name, _opener(one)) for one in config.stores
    }
    return Fleet(openers=openers, deadline=config.deadline, workers=config.workers)


def _opener(config: StoreConfig) -> Opener:
    return lambda: open_store(config)


def open_session(config: VaultConfig, fleet: Fleet, state: State, owner: OwnerKey | None) -> Session:
    """Put together what work on a vault needs. Raises WrongKeyError (another owner), ConfigError (another dataset)."""
    public = OwnerPublic.from_bytes(state.meta("owner"))
    if owner is not None and owner.public.to_bytes() != public.to_bytes():
        raise WrongKeyError("this key is not the one that the vault was initialised with: use its owner's key file")
    if state.meta("label") != config.dataset.encode():
        raise ConfigError("the local state is of another dataset: name its folder, or run vault init for this one")
    return Session(
        dataset=state.meta("dataset"),
        fleet=fleet,
        state=state,
        public=public,
        key=owner,
        k=config.k,
        n=config.n,
        mode=config.mode,
        codec=config.codec,
        orphan_age=config.orphan_age,
        indexing=None if config.search is None or owner is None else _indexing(config.search, state, owner),
        audit=AuditLog(state.folder, state.meta("dataset"), owner) if config.audit else None,
        members=None if owner is None else Members(Ledger(state.folder), owner, state.meta("dataset")),
    )


def _indexing(config: SearchConfig, state: State, owner: OwnerKey) -> Indexing:
    return Indexing(config, state.folder, owner, state.meta("dataset"))
