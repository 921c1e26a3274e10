"""The faulty store fails as scheduled, and only then."""

from __future__ import annotations

import contextlib
import threading

import pytest

from medveil.errors import (
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    UsageError,
)
from medveil.stores.base import Store
from medveil.stores.faulty import METHODS, Fault, FaultKind, FaultyStore
from medveil.stores.memory import MemoryStore

DATA = bytes(range(100))


def ask(store: Store, method: str, name: str = "object") -> object:
    match method:
        case "put":
            return store.put(name, DATA)
        case "get":
            return store.get(name)
        case "size":
            return store.size(name)
        case "list":
            return list(store.list())
        case "delete":
            return store.delete(name)
        case _:
            return store.check()


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore("cloud", "provider"))


@pytest.mark.parametrize("method", METHODS)
def test_errors_come_at_their_call_and_leave_things_alone(store: FaultyStore, method: str) -> None:
    if method not in ("put", "list", "check"):
        store.inner.put("object", DATA)
    store.add(Fault(FaultKind.ERROR, method, call=2, times=2))
    first = method if method != "put" else "list"
    ask(store, first)
    if first != method:
        store.put("other", DATA)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="cloud"):
            ask(store, method)
    ask(store, method)


@pytest.mark.parametrize("method", METHODS)
def test_the_work_is_done_but_the_answer_lost(store: FaultyStore, method: str) -> None:
    if method != "put":
        store.inner.put("object", DATA)
    store.add(Fault(FaultKind.ERROR_AFTER, method, error=lambda: StoreError("lost")))
    with pytest.raises(StoreError, match="lost"):
        ask(store, method)
    assert set(store.inner.list()) == (set() if method == "delete" else {"object"})


@pytest.mark.parametrize(
    ("fault", "stored"),
    [
        (Fault(FaultKind.BIT_FLIP, "put", position=8), b"\x00\x00" + DATA[2:]),
        (Fault(FaultKind.BIT_FLIP, "put", position=-1), DATA[:-1] + bytes([99 ^ 128])),
        (Fault(FaultKind.BIT_FLIP, "put", position=800), DATA),
        (Fault(FaultKind.TRUNCATE, "put", position=7), DATA[:7]),
        (Fault(FaultKind.EXTEND, "put", position=3), DATA + bytes(3)),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_put_stores_something_else_and_says_nothing(store: FaultyStore, fault: Fault, stored: bytes) -> None:
    store.add(fault)
    store.put("object", DATA)
    assert store.get("object") == stored


@pytest.mark.parametrize(
    ("fault", "error", "stored"),
    [
        (Fault(FaultKind.FULL, "put", position=50), StoreFullError, None),
        (Fault(FaultKind.PARTIAL_WRITE, "put", position=50), StoreUnavailableError, DATA[:50]),
        (Fault(FaultKind.LATE_PUT, "put"), StoreUnavailableError, None),
        (Fault(FaultKind.DROP_PUT, "put"), None, None),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_put_fails(store: FaultyStore, fault: Fault, error: type[StoreError] | None, stored: bytes | None) -> None:
    store.add(fault)
    if error is None:
        store.put("object", DATA)
    else:
        with pytest.raises(error):
            store.put("object", DATA)
    if stored is None:
        assert list(store.list()) == []
    else:
        assert store.get("object") == stored


def test_a_late_put_arrives_at_the_restart(store: FaultyStore) -> None:
    store.add(Fault(FaultKind.LATE_PUT, "put", call=1))
    with pytest.raises(StoreUnavailableError):
        store.put("object", DATA)
    assert list(store.list()) == []
    store.restart()
    assert store.get("object") == DATA
    store.restart()


def test_a_late_put_does_not_overwrite(store: FaultyStore) -> None:
    store.add(Fault(FaultKind.LATE_PUT, "put", call=1))
    with pytest.raises(StoreUnavailableError):
        store.put("object", DATA)
    store.put("object", b"newer")
    with pytest.raises(ObjectExistsError):
        store.restart()
    assert store.get("object") == b"newer"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault(FaultKind.BIT_FLIP, "get", position=0), b"\x01" + DATA[1:]),
        (Fault(FaultKind.TRUNCATE, "get", position=60), DATA[:60]),
        (Fault(FaultKind.SWAP, "get", other="other"), b"the other object"),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Fault) else "",
)
def test_get_lies(store: FaultyStore, fault: Fault, seen: bytes) -> None:
    store.put("object", DATA)
    store.put("other", b"the other object")
    store.add(fault)
    assert store.get("object") == seen
    assert store.get("object", offset=3, length=5) == seen[3:8]
    with pytest.raises(StoreUnavailableError):
        store.get("object", offset=len(seen) - 1, length=2)
    assert store.inner.get("object") == DATA


def test_a_short_read_is_reported(store: FaultyStore) -> None:
    store.put("object", DATA)
    store.add(Fault(FaultKind.SHORT_READ, "get", call=1))
    with pytest.raises(StoreUnavailableError, match="99 of 100"):
        store.get("object")
    assert store.get("object") == DATA


def test_the_old_version_comes_back(store: FaultyStore) -> None:
    store.put("object", b"first")
    store.delete("object")
    store.put("object", b"second version")
    store.overwrite("object", b"third")
    assert store.get("object") == b"third"
    store.add(Fault(FaultKind.OLD_VERSION, "get"))
    store.add(Fault(FaultKind.OLD_VERSION, "size"))
    assert store.get("object") == b"first"
    assert store.size("object") == 5
    store.clear()
    assert store.get("object") == b"third"


def test_lists_lie(store: FaultyStore) -> None:
    store.put("object", DATA)
    store.add(Fault(FaultKind.STALE_LIST, "list", call=1))
    store.add(Fault(FaultKind.EMPTY_LIST, "list", call=2))
    store.put("other", DATA)
    assert list(store.list()) == ["object"]
    assert list(store.list()) == []
    assert set(store.list()) == {"object", "other"}


def test_a_delete_is_dropped(store: FaultyStore) -> None:
    store.put("object", DATA)
    store.add(Fault(FaultKind.DROP_DELETE, "delete", call=1))
    store.delete("object")
    assert store.get("object") == DATA
    store.delete("object")
    with pytest.raises(ObjectMissingError):
        store.get("object")


def test_faults_can_be_for_one_name(store: FaultyStore) -> None:
    store.put("part-1", DATA)
    store.put("part-2", DATA)
    store.add(Fault(FaultKind.ERROR, "get", name="part-2"))
    assert store.get("part-1") == DATA
    with pytest.raises(StoreUnavailableError):
        store.get("part-2")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", ["resume", "clear", "close"])
def test_hangs_until_let_go(store: FaultyStore, method: str, end: str) -> None:
    store.inner.put("there", DATA)
    store.add(Fault(FaultKind.HANG, method, call=1))

    def work() -> None:
        with contextlib.suppress(UsageError):  # the store below may be closed by now
            ask(store, method, "object" if method == "put" else "there")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    getattr(store, end)()
    thread.join(10)
    assert not thread.is_alive()


def test_the_schedule_repeats_itself() -> None:
    histories = []
    for _ in range(2):
        store = FaultyStore(
            MemoryStore(), [Fault(FaultKind.ERROR, "put", call=2), Fault(FaultKind.FULL, "put", call=3)]
        )
        outcomes = []
        for number in range(4):
            try:
                store.put(f"object-{number}", DATA)
                outcomes.append("stored")
            except StoreError as error:
                outcomes.append(type(error).__name__)
        histories.append((outcomes, store.history, store.calls))
    assert histories[0] == histories[1]
    assert histories[0][0] == ["stored", "StoreUnavailableError", "StoreFullError", "stored"]


def test_damage_behind_the_back(store: FaultyStore) -> None:
    store.put("one", DATA)
    store.put("two", b"two")
    store.flip("one", 800 - 1)
    assert store.get("one") == DATA[:-1] + bytes([99 ^ 128])
    store.truncate("one", 10)
    assert store.get("one") == DATA[:10]
    store.exchange("one", "two")
    assert (store.get("one"), store.get("two")) == (b"two", DATA[:10])


@pytest.mark.parametrize(
    ("kind", "method"),
    [(FaultKind.FULL, "get"), (FaultKind.SWAP, "put"), (FaultKind.STALE_LIST, "get"), (FaultKind.ERROR, "open")],
)
def test_refuses_faults_that_cannot_be(kind: FaultKind, method: str) -> None:
    with pytest.raises(UsageError, match="cannot happen"):
        Fault(kind, method)
