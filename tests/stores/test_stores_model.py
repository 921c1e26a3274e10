"""Stores beside a dictionary: whatever is done to them, in whatever order, they agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medveil.errors import ObjectExistsError, ObjectMissingError, StoreUnavailableError
from medveil.stores.base import Store
from medveil.stores.directory import DirectoryStore
from medveil.stores.faulty import METHODS, Fault, FaultKind, FaultyStore
from medveil.stores.memory import MemoryStore
from medveil.stores.retry import Patience, RetryStore

NAMES = st.sampled_from(["a", "b/c", "b/d", "b-c", "b.c", "e/f/g", "e/f/h"])
DATA = st.binary(max_size=40)
QUICK = Patience(attempts=6, first_pause=1e-6, longest_pause=1e-6)
PASSING = st.sampled_from([FaultKind.ERROR, FaultKind.ERROR_AFTER])


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and a dictionary; `store` is made by the subclass."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, bytes] = {}
        self.store = self.make()

    def make(self) -> Store:
        raise NotImplementedError

    @rule(name=NAMES, pieces=st.lists(DATA, max_size=3), announced=st.booleans())
    def put(self, name: str, pieces: list[bytes], announced: bool) -> None:
        size = sum(map(len, pieces)) if announced else None
        if name in self.model:
            with pytest.raises(ObjectExistsError):
                self.store.put(name, pieces, size=size)
        else:
            self.store.put(name, pieces, size=size)
            self.model[name] = b"".join(pieces)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.store.delete(name)
        self.model.pop(name, None)

    @rule(name=NAMES, offset=st.integers(0, 130), length=st.none() | st.integers(0, 130))
    def get(self, name: str, offset: int, length: int | None) -> None:
        if name not in self.model:
            with pytest.raises(ObjectMissingError):
                self.store.get(name, offset=offset, length=length)
        elif length is not None and offset + length > max(len(self.model[name]), offset):
            with pytest.raises(StoreUnavailableError):
                self.store.get(name, offset=offset, length=length)
        else:
            end = None if length is None else offset + length
            assert self.store.get(name, offset=offset, length=length) == self.model[name][offset:end]

    @rule(name=NAMES, piece=st.integers(1, 50))
    def stream(self, name: str, piece: int) -> None:
        if name in self.model:
            assert b"".join(self.store.stream(name, piece=piece)) == self.model[name]

    @rule(prefix=st.sampled_from(["", "a", "b", "b/", "b/c", "e/f/", "z"]))
    def list(self, prefix: str) -> None:
        assert sorted(self.store.list(prefix)) == sorted(n for n in self.model if n.startswith(prefix))

    @invariant()
    def sizes_agree(self) -> None:
        for name, data in self.model.items():
            assert self.store.size(name) == len(data)

    def teardown(self) -> None:
        self.store.close()


class DirectoryMachine(StoreMachine):
    def make(self) -> Store:
        self.folder = tempfile.TemporaryDirectory()
        return DirectoryStore(Path(self.folder.name) / "store")

    @rule()
    def open_again(self) -> None:
        self.store.close()
        self.store = DirectoryStore(Path(self.folder.name) / "store")

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class PatientMachine(StoreMachine):
    """Errors that pass, at any call, never show."""

    def make(self) -> Store:
        self.faulty = FaultyStore(MemoryStore())
        return RetryStore(self.faulty, QUICK)

    @rule(method=st.sampled_from(METHODS), kind=PASSING, ahead=st.integers(1, 3), times=st.integers(1, 2))
    def schedule(self, method: str, kind: FaultKind, ahead: int, times: int) -> None:
        self.faulty.clear()
        self.faulty.add(Fault(kind, method, call=self.faulty.calls[method] + ahead, times=times))


QUIET = settings(max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
for machine in (DirectoryMachine, PatientMachine):
    machine.TestCase.settings = QUIET  # type: ignore[attr-defined]

TestDirectory = DirectoryMachine.TestCase
TestPatient = PatientMachine.TestCase
