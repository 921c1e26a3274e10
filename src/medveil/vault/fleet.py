"""All stores of a vault at once: calls in parallel, each with a deadline, so that no single cloud holds up the rest.

Calls run in threads of their own that do not keep the program alive; a call that outlives its deadline is
abandoned and its store counted as unreachable for the rest of the operation. The stores themselves retry
(`medveil.stores.retry`); here is the last line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, NoReturn, TypeVar

from medveil.errors import MedveilError, StoreUnavailableError
from medveil.stores.base import Source, Store

K = TypeVar("K")
T = TypeVar("T")


class Outcome(Generic[T]):
    """What came of one call: `value`, or `error`."""

    __slots__ = ("_value", "error")

    def __init__(self, value: tuple[T] | None, error: MedveilError | None) -> None:
        self._value = value
        self.error = error

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self._value is not None

    @property
    def value(self) -> T:
        """What the call returned; raises the call's error where it failed."""
        if self._value is None:
            raise self.error or StoreUnavailableError("a call to a store gave no answer")
        return self._value[0]


Opener = Callable[[], Store]
"""Opens one store; raises StoreUnavailableError where it cannot be reached."""


class Fleet:
    """The stores of a vault by name, and how to ask several at once.

    stores: open ones. openers: how to open others, and to open a store again that was lost, by name -> (provider,
    opener). deadline: seconds for one call, besides the time that its bytes take at 64 KiB/s. workers: calls at once.
    """

    def __init__(
        self,
        stores: Sequence[Store] = (),
        *,
        openers: Mapping[str, tuple[str, Opener]] | None = None,
        deadline: float = 60.0,
        workers: int = 8,
    ) -> None:
        self.stores: dict[str, Store] = {store.name: store for store in stores}
        self.deadline = deadline
        self._openers = dict(openers or {})
        self._slots = threading.BoundedSemaphore(workers)
        for name, (provider, opener) in self._openers.items():
            try:
                self.stores[name] = opener()
            except StoreUnavailableError as error:
                # One cloud that is down must not keep the vault shut.
                self.stores[name] = UnopenedStore(name, provider, error)

    @property
    def providers(self) -> dict[str, str]:
        """Name of each store -> its provider."""
        return {name: store.provider for name, store in self.stores.items()}

    def reopen(self, name: str) -> None:
        """Open a store again that was lost, so that a new disk or a restored server is used from now on."""
        if name not in self._openers:
            return
        provider, opener = self._openers[name]
        try:
            self.stores[name] = opener()
        except StoreUnavailableError as error:
            self.stores[name] = UnopenedStore(name, provider, error)

    def begin(self, job: Callable[[], T]) -> Call[T]:
        """Start one call and return at once."""
        call = Call(job, self._slots)
        call.start()
        return call

    def ask(self, work: Mapping[K, Callable[[], T]], *, deadline: float | None = None) -> dict[K, Outcome[T]]:
        """Do all `work` in parallel; returns an outcome for each once all are done or out of time.

        Errors of medveil become outcomes; any other error (a defect) is raised here.
        """
        allowed = self.deadline if deadline is None else deadline
        calls = {key: self.begin(job) for key, job in work.items()}
        end = time.monotonic() + allowed
        return {key: call.outcome(end, allowed) for key, call in calls.items()}

    def each(
        self, job: Callable[[Store], T], *, only: Sequence[str] | None = None, deadline: float | None = None
    ) -> dict[str, Outcome[T]]:
        """Do one job at each store (or at those named) in parallel."""
        names = self.stores if only is None else only
        work = {name: _bound(job, self.stores[name]) for name in names}
        return self.ask(work, deadline=deadline)

    def allowance(self, size: int) -> float:
        """Return the deadline for a call that moves `size` bytes."""
        return self.deadline + size / (64 << 10)

    def close(self) -> None:
        """Close all stores."""
        for store in self.stores.values():
            store.close()


class UnopenedStore(Store):
    """Stands for a store that could not be opened; every call says why."""

    def __init__(self, name: str, provider: str, error: StoreUnavailableError) -> None:
        super().__init__(name, provider)
        self._reason = str(error)

    def _refuse(self, *_asked: object) -> NoReturn:
        raise StoreUnavailableError(self._reason, transient=False)

    def _write(self, name: str, source: Source) -> None:
        self._refuse(name, source)

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        self._refuse(name, offset, length, limit)

    def _size(self, name: str) -> int:
        self._refuse(name)

    def _names(self, prefix: str) -> Iterator[str]:
        self._refuse(prefix)

    def _remove(self, name: str) -> None:
        self._refuse(name)

    def _probe(self) -> None:
        self._refuse()


def _bound(job: Callable[[Store], T], store: Store) -> Callable[[], T]:
    return lambda: job(store)


class Call(Generic[T]):
    """One call at work in a thread of its own; `outcome` waits for it."""

    def __init__(self, job: Callable[[], T], slots: threading.BoundedSemaphore) -> None:
        self._job = job
        self._slots = slots
        self._done = threading.Event()
        self._value: tuple[T] | None = None
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._holds = False  # whether it has a slot
        self._abandoned = False

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, daemon=True, name="vault call").start()

    def outcome(self, end: float, allowed: float) -> Outcome[T]:
        """Wait until the time `end` (monotonic seconds) and return what came of the call by then."""
        if not self._done.wait(max(0.0, end - time.monotonic())):
            self._abandon()
            return Outcome(None, StoreUnavailableError(f"no answer within {allowed:.1f} s: it hangs or trickles"))
        if self._error is not None and not isinstance(self._error, MedveilError):
            raise self._error
        return Outcome(self._value, self._error)

    def _abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            held, self._holds = self._holds, False
        if held:  # a call that never comes back must not hold up those that would
            self._slots.release()

    def _run(self) -> None:
        self._slots.acquire()
        with self._lock:
            self._holds = not self._abandoned
        if self._abandoned:
            self._slots.release()
            return
        try:
            self._value = (self._job(),)
        except BaseException as error:  # noqa: BLE001 - raised again, or kept, by the thread that waits
            self._error = error
        finally:
            with self._lock:
                held, self._holds = self._holds, False
            if held:
                self._slots.release()
            self._done.set()
