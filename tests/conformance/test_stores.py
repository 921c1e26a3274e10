"""The conformance suite on the stores that need no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.store_suite import Conformance

from medveil.errors import UsageError
from medveil.stores.base import Store
from medveil.stores.directory import DirectoryStore
from medveil.stores.faulty import FaultyStore
from medveil.stores.memory import MemoryStore
from medveil.stores.retry import RetryStore

OPENERS: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "directory": lambda path: DirectoryStore(path / "store"),
    "retry over memory": lambda _: RetryStore(MemoryStore()),
    "retry over directory": lambda path: RetryStore(DirectoryStore(path / "store")),
    "faulty without faults": lambda _: FaultyStore(MemoryStore()),
    "retry over faulty over directory": lambda path: RetryStore(FaultyStore(DirectoryStore(path / "store"))),
}


class TestLocalStores(Conformance):
    @pytest.fixture(params=OPENERS.values(), ids=OPENERS.keys())
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
        with request.param(tmp_path) as store:
            yield store

    def test_a_closed_store_does_nothing(self, store: Store) -> None:
        store.put("object", b"x")
        store.close()
        store.close()
        for ask in (store.get, store.size, store.delete, lambda n: list(store.list(n)), lambda _: store.check()):
            with pytest.raises(UsageError, match="closed"):
                ask("object")
