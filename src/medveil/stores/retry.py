"""Patience for a store that fails now and then, and an end to it for one that hangs.

Every call to the store runs in a thread of its own and is given a deadline, so that a cloud that hangs or trickles
cannot hold up the others. Errors that may pass (a lost connection, 429, 503) are tried again after a pause that
doubles, with jitter, or after as long as the store asked for; wrong credentials, a missing object or a full
disk are not. All attempts of one call share a budget.

A call that was cut off may still be running at the store. A `put` sends the same bytes under the same name when it
is repeated, and a name that then turns out to be taken is read back and compared, so a late arrival does no harm.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from medveil.errors import ObjectExistsError, StoreUnavailableError
from medveil.stores.base import Source, Store

T = TypeVar("T")

_JITTER_STEPS: Final = 1 << 20
_SLOWEST_LISTING: Final = 100  # names per second


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait and how often to try.

    attempts: tries of one call at most. deadline: seconds that one try may take, besides the time that its bytes
    take at `slowest` bytes per second. budget: seconds for all tries and pauses of one call, besides the same
    time for bytes. first_pause, longest_pause: seconds between tries, doubling from the one to the other, each
    shortened by a random half at most. hung: calls that may hang at once before the store is given up at once.
    """

    attempts: int = 5
    deadline: float = 30.0
    budget: float = 120.0
    first_pause: float = 0.2
    longest_pause: float = 20.0
    slowest: int = 64 << 10
    hung: int = 8


class RetryStore(Store):
    """Another store, with patience; name and provider are the other's."""

    def __init__(self, inner: Store, patience: Patience | None = None) -> None:
        super().__init__(inner.name, inner.provider)
        self.inner = inner
        self._patience = patience or Patience()
        self._hung = 0
        self._lock = threading.Lock()

    def _write(self, name: str, source: Source) -> None:
        tries = 0

        def send(call: _Call[None]) -> None:
            nonlocal tries
            tries += 1
            try:
                self.inner.put(name, _Watched(source, call), size=source.size)
            except ObjectExistsError:
                # An earlier try may have arrived although its answer was lost.
                if tries == 1 or not self._holds(name, source):
                    raise

        def spent() -> bool:
            return source.failure is not None or (source.started and not source.again)

        self._try("put", name, send, size=source.size or 0, spent=spent)

    def _holds(self, name: str, source: Source) -> bool:
        """Whether the object under `name` is the one that is being sent."""
        if source.size is not None and self.inner.size(name) != source.size:
            return False
        offset = 0
        for piece in source:
            if self.inner.get(name, offset=offset, length=len(piece)) != piece:
                return False
            offset += len(piece)
        return self.inner.size(name) == offset

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        def fetch(_: _Call[bytes]) -> bytes:
            return self.inner.get(name, offset=offset, length=length, limit=limit)

        # Without a length the size is asked first: the time allowed depends on it.
        expected = self._size(name) - offset if length is None else length
        return self._try("get", name, fetch, size=max(0, min(expected, limit)))

    def _size(self, name: str) -> int:
        return self._try("size", name, lambda _: self.inner.size(name))

    def _names(self, prefix: str) -> Iterator[str]:
        def collect(call: _Call[tuple[str, ...]]) -> tuple[str, ...]:
            found = []
            for name in self.inner.list(prefix):
                call.extend(1 / _SLOWEST_LISTING)
                found.append(name)
            return tuple(found)

        yield from self._try("list", prefix or "everything", collect)

    def _remove(self, name: str) -> None:
        self._try("delete", name, lambda _: self.inner.delete(name))

    def _probe(self) -> None:
        self._try("check", "itself", lambda _: self.inner.check())

    def _shut(self) -> None:
        self.inner.close()

    def _try(
        self,
        method: str,
        name: str,
        work: Callable[[_Call[T]], T],
        *,
        size: int = 0,
        spent: Callable[[], bool] = lambda: False,
    ) -> T:
        """Call `work` in a thread until it succeeds, fails for good, or patience is at its end.

        size: bytes that travel. spent: whether `work` cannot be done again.
        """
        patience = self._patience
        extra = size / patience.slowest
        end = time.monotonic() + patience.budget + extra
        for attempt in range(patience.attempts):
            allowed = min(patience.deadline + extra, end - time.monotonic())
            try:
                return self._call(method, name, work, allowed)
            except StoreUnavailableError as error:
                pause = self._pause(attempt, error.retry_after)
                last = attempt + 1 == patience.attempts or time.monotonic() + pause >= end
                if last or not error.transient or spent():
                    raise
            time.sleep(pause)
        raise StoreUnavailableError(f"store {self.name} was given no attempt for {method} of {name}")

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        patience = self._patience
        longest = min(patience.longest_pause, patience.first_pause * 2.0**attempt)
        # Not for secrecy: so that clients that failed together do not come back together.
        jittered = longest * (0.5 + 0.5 * secrets.randbelow(_JITTER_STEPS) / _JITTER_STEPS)
        return jittered if retry_after is None else max(retry_after, jittered)

    def _call(self, method: str, name: str, work: Callable[[_Call[T]], T], allowed: float) -> T:
        with self._lock:
            if self._hung >= self._patience.hung:
                raise StoreUnavailableError(
                    f"store {self.name} hangs: {self._hung} calls have not come back; restore it and open it again",
                    transient=False,
                )
        call = _Call(work, allowed, self._patience.slowest)
        thread = threading.Thread(target=self._run, args=(call,), daemon=True, name=f"{self.name} {method}")
        thread.start()
        try:
            call.wait()
        finally:
            # Also where the waiting itself was interrupted from the keyboard.
            with self._lock:
                abandoned = call.abandon()
                self._hung += abandoned
        if abandoned:
            raise StoreUnavailableError(
                f"store {self.name} did not finish {method} of {name} in {allowed:.1f} s: it hangs or is too slow"
            )
        return call.result()

    def _run(self, call: _Call[T]) -> None:
        call.run()
        with self._lock:
            if call.abandoned:
                self._hung -= 1


class _AbandonedError(Exception):
    """Stops a call that nobody waits for any more, inside its own thread."""


class _Call(Generic[T]):
    """One try of one call: its work, its clock, and what came of it."""

    def __init__(self, work: Callable[[_Call[T]], T], allowed: float, slowest: int) -> None:
        self.abandoned = False
        self._work = work
        self.slowest = slowest
        self._end = time.monotonic() + allowed
        self._paused: float | None = None
        self._value: tuple[T] | None = None
        self._error: BaseException | None = None
        self._change = threading.Condition()

    def run(self) -> None:
        """Do the work; never raises."""
        value: tuple[T] | None = None
        error: BaseException | None = None
        try:
            value = (self._work(self),)
        except BaseException as raised:  # noqa: BLE001 - it is raised again in the thread that waits
            error = raised
        with self._change:
            self._value, self._error = value, error
            self._change.notify_all()

    def wait(self) -> None:
        """Return once the work is done or its time is over."""
        with self._change:
            while not self._finished():
                left = None if self._paused is not None else self._end - time.monotonic()
                if left is not None and left <= 0:
                    return
                self._change.wait(left)

    def abandon(self) -> bool:
        """Give the call up unless it is done; returns whether it was given up."""
        with self._change:
            self.abandoned = not self._finished()
            return self.abandoned

    def result(self) -> T:
        """Return what the work returned, or raise what it raised."""
        if self._value is None:
            raise self._error or _AbandonedError
        return self._value[0]

    def extend(self, seconds: float) -> None:
        """Allow more time because something arrived."""
        with self._change:
            self._refuse_abandoned()
            self._end += seconds

    def pause(self) -> None:
        """Stop the clock: the caller is producing bytes, and the store is not to blame for the time it takes."""
        with self._change:
            self._refuse_abandoned()
            self._paused = time.monotonic()
            self._change.notify_all()

    def resume(self) -> None:
        """Start the clock again."""
        with self._change:
            if self._paused is not None:
                self._end += time.monotonic() - self._paused
                self._paused = None
            self._change.notify_all()
            self._refuse_abandoned()

    def _finished(self) -> bool:
        return self._value is not None or self._error is not None

    def _refuse_abandoned(self) -> None:
        if self.abandoned:
            raise _AbandonedError


class _Watched:
    """A source whose reader is on the clock of a call; can be iterated as often as the source."""

    def __init__(self, source: Source, call: _Call[None]) -> None:
        self._source = source
        self._call = call

    def __iter__(self) -> Iterator[memoryview]:
        pieces = iter(self._source)
        # Time for announced bytes was given at the start.
        counted = self._source.size is None
        while True:
            self._call.pause()
            try:
                piece = next(pieces, None)
            finally:
                self._call.resume()
            if piece is None:
                return
            self._call.extend(len(piece) / self._call.slowest if counted else 0)
            yield piece
