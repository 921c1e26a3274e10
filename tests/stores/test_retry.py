"""Patience: what is tried again, what is not, and that nothing can hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from medveil.errors import (
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores.base import Store
from medveil.stores.faulty import METHODS, Fault, FaultKind, FaultyStore
from medveil.stores.memory import MemoryStore
from medveil.stores.retry import Patience, RetryStore

DATA = bytes(range(200))
QUICK = Patience(attempts=4, deadline=5, budget=20, first_pause=0.001, longest_pause=0.01)


def patient(*faults: Fault, patience: Patience = QUICK) -> tuple[RetryStore, FaultyStore]:
    faulty = FaultyStore(MemoryStore(), faults)
    return RetryStore(faulty, patience), faulty


def ask(store: Store, method: str) -> object:
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("new", DATA),
        "get": lambda: store.get("object", length=200),
        "size": lambda: store.size("object"),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete("object"),
        "check": store.check,
    }
    return calls[method]()


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.ERROR_AFTER])
@pytest.mark.parametrize("method", METHODS)
def test_tries_again_what_may_pass(method: str, kind: FaultKind) -> None:
    store, faulty = patient(Fault(kind, method, call=1, times=3))
    faulty.inner.put("object", DATA)
    ask(store, method)
    # A put whose answer was lost is found complete at the second try.
    assert faulty.calls[method] == (2 if (method, kind) == ("put", FaultKind.ERROR_AFTER) else 4)
    if method == "put":
        assert store.get("new") == DATA


@pytest.mark.parametrize("method", METHODS)
def test_gives_up_after_its_attempts(method: str) -> None:
    store, faulty = patient(Fault(FaultKind.ERROR, method))
    faulty.inner.put("object", DATA)
    with pytest.raises(StoreUnavailableError):
        ask(store, method)
    assert faulty.calls[method] == 4


FINAL: dict[str, Callable[[], MedveilError]] = {
    "credentials": lambda: StoreUnavailableError("expired", transient=False),
    "full": lambda: StoreFullError("full"),
    "missing": lambda: ObjectMissingError("missing"),
    "taken": lambda: ObjectExistsError("taken"),
}


@pytest.mark.parametrize("error", FINAL.values(), ids=FINAL.keys())
@pytest.mark.parametrize("method", METHODS)
def test_does_not_repeat_what_cannot_pass(method: str, error: Callable[[], MedveilError]) -> None:
    store, faulty = patient(Fault(FaultKind.ERROR, method, error=error))
    faulty.inner.put("object", DATA)
    with pytest.raises(type(error())):
        ask(store, method)
    assert faulty.calls[method] == 1


def test_a_put_whose_answer_was_lost_is_recognised() -> None:
    store, faulty = patient(Fault(FaultKind.ERROR_AFTER, "put", call=1))
    store.put("object", [DATA, DATA])
    assert faulty.calls["put"] == 2
    assert store.get("object") == DATA + DATA


@pytest.mark.parametrize("theirs", [b"", DATA[:-1], DATA + b"x", DATA[:-1] + b"x"])
def test_a_name_that_someone_else_took_is_not_taken_for_ours(theirs: bytes) -> None:
    store, faulty = patient(Fault(FaultKind.ERROR, "put", call=1))
    faulty.inner.put("object", theirs)
    for payload in (DATA, [DATA]):
        with pytest.raises(ObjectExistsError):
            store.put("object", payload)
    assert faulty.inner.get("object") == theirs


def test_a_partial_write_is_no_success() -> None:
    store, _ = patient(Fault(FaultKind.PARTIAL_WRITE, "put", call=1, position=10))
    with pytest.raises(ObjectExistsError):
        store.put("object", DATA)


def test_a_generator_is_sent_again_only_while_untouched() -> None:
    store, faulty = patient(Fault(FaultKind.ERROR, "put", call=1))
    store.put("untouched", iter([DATA]))
    assert store.get("untouched") == DATA
    faulty.add(Fault(FaultKind.LATE_PUT, "put", call=3))
    with pytest.raises(StoreUnavailableError):
        store.put("begun", iter([DATA]))
    assert faulty.calls["put"] == 3


def test_an_error_of_the_source_is_not_the_stores() -> None:
    """Copying from one store to another: the failure of the first must not be repeated at the second."""

    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            yield DATA
            raise StoreUnavailableError("the other store is away")

    store, faulty = patient()
    with pytest.raises(StoreUnavailableError, match="the other store"):
        store.put("object", Broken())
    assert faulty.calls["put"] == 1
    assert list(store.list()) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_hanging_store_is_cut_off(method: str) -> None:
    patience = Patience(attempts=2, deadline=0.1, budget=1, first_pause=0.001, longest_pause=0.01)
    store, faulty = patient(Fault(FaultKind.HANG, method), patience=patience)
    faulty.inner.put("object", DATA)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="hangs or is too slow"):
        ask(store, method)
    assert time.monotonic() - begun < 5
    faulty.clear()


def test_others_are_used_while_one_hangs() -> None:
    patience = Patience(attempts=1, deadline=0.3, budget=1)
    hanging, faulty = patient(Fault(FaultKind.HANG, "get"), patience=patience)
    fine, _ = patient(patience=patience)
    for store in (faulty.inner, fine):
        store.put("object", DATA)
    got: list[bytes] = []
    refused: list[MedveilError] = []

    def read(store: Store) -> None:
        try:
            got.append(store.get("object", length=200))
        except StoreUnavailableError as error:
            refused.append(error)

    threads = [threading.Thread(target=read, args=(store,)) for store in (hanging, fine)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [DATA]
    assert len(refused) == 1
    faulty.clear()


def test_a_store_that_hangs_often_is_given_up_and_comes_back() -> None:
    patience = Patience(attempts=1, deadline=0.02, budget=1, hung=3)
    store, faulty = patient(Fault(FaultKind.HANG, "size"), patience=patience)
    faulty.inner.put("object", DATA)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="too slow"):
            store.size("object")
    with pytest.raises(StoreUnavailableError, match="have not come back") as caught:
        store.size("object")
    assert not caught.value.transient
    assert faulty.calls["size"] == 3
    faulty.clear()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            assert store.size("object") == 200
            break
        except StoreUnavailableError:
            time.sleep(0.01)
    else:
        pytest.fail("the store did not come back")


def test_time_that_the_source_takes_is_not_the_stores() -> None:
    def slow() -> Iterator[bytes]:
        for _ in range(4):
            time.sleep(0.1)
            yield DATA

    store, _ = patient(patience=Patience(attempts=1, deadline=0.2, budget=60))
    store.put("object", slow())
    assert store.get("object") == DATA * 4


def test_a_call_that_was_cut_off_sends_nothing_more() -> None:
    """The thread that still holds the caller's iterable stops at its next piece."""
    taken = []

    class Counted:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(1000):
                taken.append(number)
                yield DATA

    class Trickling(MemoryStore):
        def _write(self, name, source):  # type: ignore[no-untyped-def]
            for _ in source:
                time.sleep(0.02)

    store = RetryStore(Trickling(), Patience(attempts=1, deadline=0.1, budget=10, slowest=1 << 20))
    with pytest.raises(StoreUnavailableError):
        store.put("object", Counted(), size=200_000)
    time.sleep(0.2)
    count = len(taken)
    time.sleep(0.2)
    assert len(taken) == count < 100


def test_bytes_have_time_to_travel() -> None:
    class Slow(MemoryStore):
        def _read(self, name, offset, length, limit):  # type: ignore[no-untyped-def]
            time.sleep(0.3)
            return super()._read(name, offset, length, limit)

    inner = Slow()
    inner.put("object", bytes(100_000))
    store = RetryStore(inner, Patience(attempts=1, deadline=0.1, budget=0.1, slowest=100_000))
    assert len(store.get("object", length=100_000)) == 100_000
    with pytest.raises(StoreUnavailableError):
        store.get("object", length=10)


def test_waits_as_long_as_the_store_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("medveil.stores.retry.time.sleep", pauses.append)
    busy = Fault(FaultKind.ERROR, "get", call=1, times=2, error=lambda: StoreUnavailableError("busy", retry_after=7.0))
    store, faulty = patient(busy)
    faulty.inner.put("object", DATA)
    assert store.get("object", length=200) == DATA
    assert pauses == [7.0, 7.0]


def test_does_not_wait_longer_than_its_budget() -> None:
    busy = Fault(FaultKind.ERROR, "get", error=lambda: StoreUnavailableError("busy", retry_after=3600.0))
    store, faulty = patient(busy)
    faulty.inner.put("object", DATA)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="busy"):
        store.get("object", length=200)
    assert time.monotonic() - begun < 5
    assert faulty.calls["get"] == 1


def test_pauses_grow_with_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("medveil.stores.retry.time.sleep", pauses.append)
    patience = Patience(attempts=8, first_pause=1.0, longest_pause=16.0, budget=1000)
    store, _ = patient(Fault(FaultKind.ERROR, "check"), patience=patience)
    with pytest.raises(StoreUnavailableError):
        store.check()
    longest = [1, 2, 4, 8, 16, 16, 16]
    assert len(pauses) == 7
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len(set(pauses)) == 7


def test_an_object_read_to_its_end_needs_no_length() -> None:
    store, faulty = patient(Fault(FaultKind.ERROR, "get", call=1), Fault(FaultKind.ERROR, "size", call=1))
    faulty.inner.put("object", DATA)
    assert store.get("object", offset=10) == DATA[10:]
    assert b"".join(store.stream("object", piece=30)) == DATA


def test_closing_closes_the_other() -> None:
    store, faulty = patient()
    store.close()
    assert faulty._closed
    assert faulty.inner._closed
