"""What every store is: a place with write-once put, get, list and delete, for bytes that it need not understand.

A store is trusted with nothing: it may lose, change, swap or replay what it holds, and the vault finds out by
hashes and signatures. What a store of ours does promise is told here once, for all of them, and tested by one
conformance suite:

- `put` is write-once and atomic: an object is absent or complete, also after a crash.
- A short read is never returned as if it were whole.
- `delete` is idempotent: deleting what is not there is no error, so that a delete can be repeated.
- `list` promises no order, and shows no unfinished object.
- A name that is also a folder of another name is refused as taken by all stores but S3 and DICOMweb, which have no
  folders.
- Names are checked before any input or output.
- Every store may be used from several threads at once.

The public methods check their arguments and hand on to hooks (`_write`, `_read`, ...), so that a new store writes
only what is its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self, TypeAlias

from medveil.errors import InputError, LimitError, StoreUnavailableError, UsageError

Bytes: TypeAlias = bytes | bytearray | memoryview
"""What holds bytes and can be sent without a copy."""

Payload: TypeAlias = Bytes | Iterable[Bytes]
"""What `put` takes. An iterable that can be iterated again (a list, or an object whose `__iter__` starts over)
can be sent again after a failure; a generator cannot."""

MAX_NAME: Final = 200
"""Characters of an object's name at most; leaves room below the 255 of common file systems."""

GET_LIMIT: Final = 256 << 20
"""Bytes that one `get` hands over at most, unless the caller says otherwise."""

PIECE: Final = 1 << 20
"""Bytes of one piece of a stream."""

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]*")
_PREFIX = re.compile(r"(?:[a-z0-9][a-z0-9._-]*/)*(?:[a-z0-9][a-z0-9._-]*)?")


def check_name(name: str) -> str:
    """Return `name` if it may name an object.

    A name is relative, of segments ``[a-z0-9][a-z0-9._-]*`` joined by ``/``: no parent folder, hidden file, NUL,
    backslash, or upper case that could collide with lower case elsewhere. Raises UsageError for any other form
    and LimitError for more than 200 characters.
    """
    if not isinstance(name, str):
        raise UsageError(f"an object's name must be text, not {type(name).__name__}")
    if len(name) > MAX_NAME:
        raise LimitError(f"an object's name of {len(name)} characters is too long: at most {MAX_NAME} are allowed")
    if not all(_SEGMENT.fullmatch(segment) for segment in name.split("/")):
        raise UsageError(
            f"{name!r} cannot name an object: use segments of a-z, 0-9, '.', '_' and '-' that begin with a letter "
            "or digit, joined by '/'"
        )
    return name


def is_name(name: str) -> bool:
    """Whether `name` may name an object; for filtering what a listing shows."""
    return len(name) <= MAX_NAME and all(_SEGMENT.fullmatch(segment) for segment in name.split("/"))


def folders_of(name: str) -> tuple[str, ...]:
    """Return the folders that `name` lies in, outermost first: ``a/b/c`` lies in ``a`` and ``a/b``."""
    return tuple(name[:at] for at, character in enumerate(name) if character == "/")


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is empty or the beginning of a name (raises as `check_name` does)."""
    if not isinstance(prefix, str):
        raise UsageError(f"a prefix must be text, not {type(prefix).__name__}")
    if len(prefix) > MAX_NAME:
        raise LimitError(f"a prefix of {len(prefix)} characters is too long: at most {MAX_NAME} are allowed")
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(f"{prefix!r} cannot begin an object's name")
    return prefix


class Source:
    """The bytes of one `put`, as flat views of at most `piece` bytes, empty ones left out.

    size: the announced total, or None. again: whether it can be iterated once more, to send it again.
    started: whether it was iterated at all.
    failure: what the caller's iterable (or its wrong total) raised; kept here because a library between us and
    it may replace the exception by its own.
    """

    def __init__(self, data: Payload | Source, size: int | None = None, piece: int = PIECE) -> None:
        known = size_of(data)
        if size is not None and (size < 0 or (known is not None and known != size)):
            raise InputError(f"an object announced with {size} bytes has {known}: nothing was stored")
        self.size = known if size is None else size
        self.failure: BaseException | None = None
        self.started = False
        self._data = data
        self._piece = piece
        self.again: bool = data.again if isinstance(data, Source) else known is not None or iter(data) is not data

    def __iter__(self) -> Iterator[memoryview]:
        self.started = True
        try:
            yield from self._pieces()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _pieces(self) -> Iterator[memoryview]:
        total = 0
        data = self._data
        for element in (data,) if isinstance(data, bytes | bytearray | memoryview) else data:
            if not isinstance(element, bytes | bytearray | memoryview):
                raise InputError(f"an object is made of bytes, not of {type(element).__name__}")
            view = memoryview(element)
            if not view.c_contiguous:
                raise InputError("an object's bytes must be contiguous in memory: copy them with bytes() first")
            view = view.cast("B")
            total += len(view)
            # Before the piece goes out, so that a store never writes more than was announced.
            if self.size is not None and total > self.size:
                raise InputError(f"an object announced with {self.size} bytes has more: nothing was stored")
            for start in range(0, len(view), self._piece):
                yield view[start : start + self._piece]
        if self.size is not None and total != self.size:
            raise InputError(f"an object announced with {self.size} bytes has only {total}: nothing was stored")


def size_of(data: Payload | Source) -> int | None:
    """Return the number of bytes where that is known without iterating, else None."""
    if isinstance(data, memoryview):
        return data.nbytes
    if isinstance(data, Source):
        return data.size
    return len(data) if isinstance(data, bytes | bytearray) else None


class Store(ABC):
    """A place for objects that are written once.

    name: what the user calls it. provider: who operates it; two parts of one object never go to one provider.
    """

    def __init__(self, name: str, provider: str | None = None) -> None:
        self.name = name
        self.provider = provider or name
        self._closed = False

    def put(self, name: str, data: Payload, *, size: int | None = None) -> None:
        """Store an object under a name that is not taken; on return it is complete and durable.

        data: bytes-like, or an iterable of bytes-like pieces; memory is bounded by the size of a piece.
        size: the total number of bytes, where known; a different total stores nothing and raises InputError.
        Raises UsageError or LimitError for the name, ObjectExistsError if it is taken, StoreFullError,
        StoreUnavailableError and StoreError; what the iterable raises passes through. After any error the name
        holds no object, or (where the store's answer was lost) the complete one.
        """
        check_name(name)
        self._check_open()
        source = Source(data, size)
        try:
            self._write(name, source)
        finally:
            if source.failure is not None:
                raise source.failure

    def get(self, name: str, *, offset: int = 0, length: int | None = None, limit: int = GET_LIMIT) -> bytes:
        """Return `length` bytes from `offset`, or everything from there on.

        Raises ObjectMissingError; LimitError where more than `limit` bytes would come (use `stream`);
        StoreUnavailableError where fewer came than the store has or than were asked for: a short read is never
        handed over.
        """
        check_name(name)
        self._check_open()
        if offset < 0 or (length is not None and length < 0):
            raise UsageError(f"a range cannot begin at {offset} with {length} bytes: both must be 0 or more")
        if length is not None and length > limit:
            raise LimitError(f"{length} bytes of {name} are more than the limit of {limit} for one read")
        data = self._read(name, offset, length, limit)
        if length is not None and len(data) != length:
            raise short_read(self.name, name, len(data), length)
        return data

    def stream(self, name: str, *, piece: int = PIECE, offset: int = 0) -> Iterator[bytes]:
        """Yield the object from `offset` on in pieces of at most `piece` bytes, in order, each verified complete.

        Raises as `get` does, possibly after some pieces were handed over. Objects are written once, so pieces
        that were read at different times belong together.
        """
        if piece < 1:
            raise UsageError(f"a piece of {piece} bytes is too small: it must hold at least 1")
        total = self.size(name)
        for start in range(offset, total, piece):
            count = min(piece, total - start)
            yield self.get(name, offset=start, length=count, limit=count)

    def size(self, name: str) -> int:
        """Return the object's size in bytes; raises ObjectMissingError."""
        check_name(name)
        self._check_open()
        return self._size(name)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of all complete objects that begin with `prefix`, in no particular order.

        What is not a valid name (foreign files, unfinished uploads) is left out.
        """
        check_prefix(prefix)
        self._check_open()
        for name in self._names(prefix):
            if name.startswith(prefix) and is_name(name):
                yield name

    def delete(self, name: str) -> None:
        """Remove the object; no error where it is not there."""
        check_name(name)
        self._check_open()
        self._remove(name)

    def check(self) -> None:
        """Make sure that the store can be reached and written; raises StoreUnavailableError or StoreFullError."""
        self._check_open()
        self._probe()

    def close(self) -> None:
        """Let go of connections; the store cannot be used afterwards. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self._shut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        # Only what the user calls it: an address can carry credentials.
        return f"{type(self).__name__}(name={self.name!r}, provider={self.provider!r})"

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"store {self.name} was closed: open it again")

    @abstractmethod
    def _write(self, name: str, source: Source) -> None:
        """Store the object atomically and durably (see `put`)."""

    @abstractmethod
    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        """Return the bytes of the range, never more than `limit`; the caller checks the count against `length`."""

    @abstractmethod
    def _size(self, name: str) -> int:
        """Return the object's size in bytes."""

    @abstractmethod
    def _names(self, prefix: str) -> Iterator[str]:
        """Yield names, at least those that begin with `prefix`; the caller filters."""

    @abstractmethod
    def _remove(self, name: str) -> None:
        """Remove the object if it is there."""

    @abstractmethod
    def _probe(self) -> None:
        """Raise StoreUnavailableError unless the store can be reached and written."""

    def _shut(self) -> None:  # noqa: B027 - most stores hold nothing open
        """Let go of connections."""


def short_read(store: str, name: str, got: int, wanted: int, *, transient: bool = True) -> StoreUnavailableError:
    """Return the error for a read that came back too short; not transient where the object itself is."""
    return StoreUnavailableError(
        f"store {store} gave {got} of {wanted} bytes of {name}: the object is cut short or the answer was",
        transient=transient,
    )


def check_range(store: str, name: str, total: int, offset: int, length: int | None, limit: int) -> int:
    """Return how many bytes the range holds in an object of `total` bytes.

    Raises StoreUnavailableError (not transient) where the object ends before the range does, and LimitError where
    more than `limit` bytes would come.
    """
    available = max(0, total - offset)
    if length is not None and available < length:
        raise short_read(store, name, available, length, transient=False)
    count = available if length is None else length
    if count > limit:
        raise LimitError(f"{count} bytes of {name} in store {store} are more than the limit of {limit} for one read")
    return count
