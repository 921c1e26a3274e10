"""A store in this process's memory: the reference that the others are measured against, and a real member.

Nothing survives the process. `limit` bounds what it holds, as a quota does elsewhere.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from medveil.errors import ObjectExistsError, ObjectMissingError, StoreFullError
from medveil.stores.base import Source, Store, check_range, folders_of
from medveil.stores.settings import StoreConfig

DEFAULT_LIMIT: Final = 1 << 30
"""Bytes that a memory store holds at most, unless told otherwise."""


class MemoryConfig(StoreConfig):
    """A table of type ``memory``; limit: bytes that it holds at most."""

    type: Literal["memory"]
    limit: Annotated[int, Field(ge=0)] = DEFAULT_LIMIT


class MemoryStore(Store):
    """Objects in a dictionary. Write-once is exact: a name is taken under a lock."""

    Config: ClassVar[type[StoreConfig]] = MemoryConfig

    def __init__(self, name: str = "memory", provider: str | None = None, *, limit: int = DEFAULT_LIMIT) -> None:
        super().__init__(name, provider)
        self._limit = limit
        self._used = 0
        self._objects: dict[str, bytes] = {}
        self._folders: Counter[str] = Counter()  # how many objects lie in each folder
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, config: MemoryConfig) -> Self:
        """Open the store that a table describes."""
        return cls(config.name, config.provider, limit=config.limit)

    def _write(self, name: str, source: Source) -> None:
        self._refuse_taken(name)
        held = bytearray()
        for piece in source:
            self._refuse_full(len(held) + len(piece))
            held += piece
        with self._lock:
            self._refuse_taken(name)
            self._refuse_full(len(held))
            self._objects[name] = bytes(held)
            self._folders.update(folders_of(name))
            self._used += len(held)

    def _refuse_taken(self, name: str) -> None:
        folders = folders_of(name)
        if name in self._objects or self._folders[name] or any(folder in self._objects for folder in folders):
            raise ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    def _refuse_full(self, more: int) -> None:
        if self._used + more > self._limit:
            raise StoreFullError(f"store {self.name} is full: its limit is {self._limit} bytes")

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        held = self._held(name)
        count = check_range(self.name, name, len(held), offset, length, limit)
        return held[offset : offset + count]

    def _held(self, name: str) -> bytes:
        try:
            return self._objects[name]
        except KeyError:
            raise ObjectMissingError(f"store {self.name} holds no object {name}") from None

    def _size(self, name: str) -> int:
        return len(self._held(name))

    def _names(self, prefix: str) -> Iterator[str]:
        with self._lock:
            names = tuple(name for name in self._objects if name.startswith(prefix))
        yield from names

    def _remove(self, name: str) -> None:
        with self._lock:
            held = self._objects.pop(name, None)
            if held is not None:
                self._folders.subtract(folders_of(name))
                self._used -= len(held)

    def _probe(self) -> None:
        self._refuse_full(0)


STORE = MemoryStore
