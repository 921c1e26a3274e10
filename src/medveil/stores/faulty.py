"""A store that fails on schedule: what the tests of the vault run on, and of anyone who writes a store.

A `Fault` names a method and one of its calls; the schedule has no randomness, so a failing test fails again.
Faults at a cloud are of two sorts: those that it reports (errors, no space, hanging) and those that it hides
(short, flipped, truncated, swapped, old or dropped data); both are here.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from medveil.errors import MedveilError, ObjectMissingError, StoreFullError, StoreUnavailableError, UsageError
from medveil.stores.base import Bytes, Source, Store, check_range, short_read


class FaultKind(StrEnum):
    """What goes wrong, at which methods, and how the caller sees it."""

    ERROR = "error"  # any method: raises, nothing was done
    ERROR_AFTER = "error-after"  # any method: done, but the answer is lost: raises
    DELAY = "delay"  # any method: works, after `seconds`
    HANG = "hang"  # any method: does not come back before `resume` or `close`
    FULL = "full"  # put: StoreFullError after `position` bytes, nothing stored
    PARTIAL_WRITE = "partial-write"  # put: the first `position` bytes are stored under the name, then an error
    DROP_PUT = "drop-put"  # put: reports success, stores nothing
    LATE_PUT = "late-put"  # put: raises, and the object arrives at `restart`
    DROP_DELETE = "drop-delete"  # delete: reports success, removes nothing
    SHORT_READ = "short-read"  # get: the last byte of what was asked for is missing, reported as an error
    BIT_FLIP = "bit-flip"  # put, get: bit `position` of the object is inverted
    TRUNCATE = "truncate"  # put, get, size: the object ends after `position` bytes
    EXTEND = "extend"  # put: `position` zero bytes follow the object
    OLD_VERSION = "old-version"  # get, size: what was first stored under the name
    SWAP = "swap"  # get, size: the object `other` is given instead
    STALE_LIST = "stale-list"  # list: what the store held when the fault was added
    EMPTY_LIST = "empty-list"  # list: nothing


METHODS: Final = ("put", "get", "size", "list", "delete", "check")

_EVERYWHERE = frozenset(METHODS)
_APPLIES: Final = {
    FaultKind.ERROR: _EVERYWHERE,
    FaultKind.ERROR_AFTER: _EVERYWHERE,
    FaultKind.DELAY: _EVERYWHERE,
    FaultKind.HANG: _EVERYWHERE,
    FaultKind.FULL: {"put"},
    FaultKind.PARTIAL_WRITE: {"put"},
    FaultKind.DROP_PUT: {"put"},
    FaultKind.LATE_PUT: {"put"},
    FaultKind.DROP_DELETE: {"delete"},
    FaultKind.SHORT_READ: {"get"},
    FaultKind.BIT_FLIP: {"put", "get"},
    FaultKind.TRUNCATE: {"put", "get", "size"},
    FaultKind.EXTEND: {"put"},
    FaultKind.OLD_VERSION: {"get", "size"},
    FaultKind.SWAP: {"get", "size"},
    FaultKind.STALE_LIST: {"list"},
    FaultKind.EMPTY_LIST: {"list"},
}
_CHANGES_PUT: Final = {kind for kind, methods in _APPLIES.items() if "put" in methods and methods != _EVERYWHERE}
_CHANGES_GET: Final = {FaultKind.BIT_FLIP, FaultKind.TRUNCATE, FaultKind.OLD_VERSION, FaultKind.SWAP}


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the schedule.

    kind: what goes wrong. method: at which method. call: at its how manieth call, counted from 1 since the store was
    opened; None for every call. times: for how many calls from there on. name: only for names that contain this.
    position: bytes, or the number of a bit for `BIT_FLIP`. seconds: of a `DELAY`. other: the name of a `SWAP`.
    error: makes what `ERROR` and its like raise; a `StoreUnavailableError` that may pass unless told otherwise.
    """

    kind: FaultKind
    method: str
    call: int | None = None
    times: int = 1
    name: str = ""
    position: int = 0
    seconds: float = 0.0
    other: str = ""
    error: Callable[[], MedveilError] | None = None

    def __post_init__(self) -> None:
        if self.method not in _APPLIES[self.kind]:
            raise UsageError(f"a fault of kind {self.kind} cannot happen at {self.method!r}")

    def hits(self, method: str, call: int, name: str) -> bool:
        """Whether this call of the method is to go wrong."""
        due = self.call is None or self.call <= call < self.call + self.times
        return method == self.method and due and self.name in name


class FaultyStore(Store):
    """Another store with a schedule of faults; name and provider are the other's.

    calls: how often each method was called. history: (method, name) of each call, in order.
    """

    def __init__(self, inner: Store, faults: Iterable[Fault] = ()) -> None:
        super().__init__(inner.name, inner.provider)
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.history: list[tuple[str, str]] = []
        self._faults: list[Fault] = []
        self._first: dict[str, bytes] = {}
        self._late: list[tuple[str, bytes]] = []
        self._stale: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._resumed = threading.Event()
        for fault in faults:
            self.add(fault)

    # The schedule, and what a test does behind the vault's back

    def add(self, fault: Fault) -> None:
        """Put a fault on the schedule; its `call` counts from when the store was opened."""
        if fault.kind is FaultKind.STALE_LIST:
            self._stale = tuple(self.inner.list())
        self._faults.append(fault)

    def clear(self) -> None:
        """Take all faults off the schedule and let hanging calls go on."""
        self._faults.clear()
        self.resume()

    def resume(self) -> None:
        """Let the calls that hang now go on; they then do what they were asked."""
        self._resumed.set()
        self._resumed = threading.Event()

    def restart(self) -> None:
        """Let the puts arrive that were late, as after a crash of the one who sent them."""
        late, self._late = self._late, []
        for name, data in late:
            self.inner.put(name, data)

    def overwrite(self, name: str, data: Bytes) -> None:
        """Replace an object as no honest store would."""
        self._remember(name)
        self.inner.delete(name)
        self.inner.put(name, bytes(data))

    def flip(self, name: str, bit: int = 0) -> None:
        """Invert one bit of a stored object; negative numbers count from its end."""
        self.overwrite(name, _flipped(self.inner.get(name), bit))

    def truncate(self, name: str, length: int) -> None:
        """Cut a stored object down to `length` bytes."""
        self.overwrite(name, self.inner.get(name)[:length])

    def exchange(self, one: str, other: str) -> None:
        """Swap the contents of two stored objects."""
        first, second = self.inner.get(one), self.inner.get(other)
        self.overwrite(one, second)
        self.overwrite(other, first)

    # The methods of a store

    def _write(self, name: str, source: Source) -> None:
        faults = self._enter("put", name)
        if any(fault.kind in _CHANGES_PUT for fault in faults):
            self._write_badly(name, source, faults)
        else:
            self.inner.put(name, source, size=source.size)
        self._leave(faults)

    def _write_badly(self, name: str, source: Source, faults: tuple[Fault, ...]) -> None:
        data = b"".join(source)
        for fault in faults:
            match fault.kind:
                case FaultKind.FULL:
                    raise StoreFullError(f"store {self.name} is full after {fault.position} bytes of {name}")
                case FaultKind.DROP_PUT:
                    return
                case FaultKind.LATE_PUT:
                    self._late.append((name, data))
                    raise self._failure(fault)
                case FaultKind.PARTIAL_WRITE:
                    self.inner.put(name, data[: fault.position])
                    raise self._failure(fault)
                case _:
                    data = _changed(data, fault)
        self.inner.put(name, data)

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        faults = self._enter("get", name)
        if not any(fault.kind in _CHANGES_GET for fault in faults):
            data = self.inner.get(name, offset=offset, length=length, limit=limit)
        else:
            whole = self._seen(name, faults)
            count = check_range(self.name, name, len(whole), offset, length, limit)
            data = whole[offset : offset + count]
        if any(fault.kind is FaultKind.SHORT_READ for fault in faults):
            raise short_read(self.name, name, max(0, len(data) - 1), len(data))
        self._leave(faults)
        return data

    def _size(self, name: str) -> int:
        faults = self._enter("size", name)
        changed = any(fault.kind in _CHANGES_GET for fault in faults)
        size = len(self._seen(name, faults)) if changed else self.inner.size(name)
        self._leave(faults)
        return size

    def _seen(self, name: str, faults: tuple[Fault, ...]) -> bytes:
        """Return the whole object as the faults show it."""
        for fault in faults:
            if fault.kind is FaultKind.SWAP:
                name = fault.other
        old = any(fault.kind is FaultKind.OLD_VERSION for fault in faults)
        data = self._first[name] if old and name in self._first else self.inner.get(name)
        for fault in faults:
            data = _changed(data, fault)
        return data

    def _names(self, prefix: str) -> Iterator[str]:
        faults = self._enter("list", prefix)
        kinds = {fault.kind for fault in faults}
        if FaultKind.EMPTY_LIST in kinds:
            return
        yield from self._stale if FaultKind.STALE_LIST in kinds else self.inner.list(prefix)
        self._leave(faults)

    def _remove(self, name: str) -> None:
        faults = self._enter("delete", name)
        if not any(fault.kind is FaultKind.DROP_DELETE for fault in faults):
            self._remember(name)
            self.inner.delete(name)
        self._leave(faults)

    def _probe(self) -> None:
        faults = self._enter("check", "")
        self.inner.check()
        self._leave(faults)

    def _shut(self) -> None:
        self.clear()
        self.inner.close()

    # The schedule at work

    def _enter(self, method: str, name: str) -> tuple[Fault, ...]:
        """Count the call, and let those faults happen that come before any work; returns all that apply."""
        with self._lock:
            self.calls[method] += 1
            self.history.append((method, name))
            call = self.calls[method]
            due = tuple(fault for fault in self._faults if fault.hits(method, call, name))
            resumed = self._resumed
        for fault in due:
            match fault.kind:
                case FaultKind.ERROR:
                    raise self._failure(fault)
                case FaultKind.DELAY:
                    resumed.wait(fault.seconds)
                case FaultKind.HANG:
                    resumed.wait()
                case _:
                    pass
        return due

    def _leave(self, faults: tuple[Fault, ...]) -> None:
        for fault in faults:
            if fault.kind is FaultKind.ERROR_AFTER:
                raise self._failure(fault)

    def _failure(self, fault: Fault) -> MedveilError:
        if fault.error is not None:
            return fault.error()
        return StoreUnavailableError(f"store {self.name} lost the connection during {fault.method}")

    def _remember(self, name: str) -> None:
        """Keep the first version of a name that is about to lose it, for `OLD_VERSION`."""
        if name not in self._first:
            with contextlib.suppress(ObjectMissingError):
                self._first[name] = self.inner.get(name)


def _flipped(data: bytes, bit: int) -> bytes:
    """Return `data` with one bit inverted; bit 0 is the lowest of the first byte, -1 the highest of the last."""
    if not -8 * len(data) <= bit < 8 * len(data):
        return data
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _changed(data: bytes, fault: Fault) -> bytes:
    match fault.kind:
        case FaultKind.BIT_FLIP:
            return _flipped(data, fault.position)
        case FaultKind.TRUNCATE:
            return data[: fault.position]
        case FaultKind.EXTEND:
            return data + bytes(fault.position)
        case _:
            return data
