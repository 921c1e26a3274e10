"""Reading a stored object again for what it says of itself: after a crash, or on a machine that did not put it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from medveil.schemes.sealed import Manifest
from medveil.vault.freshness import current
from medveil.vault.head import find_entry
from medveil.vault.reading import open_version
from medveil.vault.search.attributes import Described, describe
from medveil.vault.survey import Version, survey

if TYPE_CHECKING:
    from medveil.vault.session import Session

FRONT: Final = 64 << 20
"""Bytes of a file that are looked at."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The current version of an object, read and verified whole. size: of the file; name: what the owner calls it."""

    version: Version
    described: Described
    size: int
    name: str

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""
        return self.version.manifest


def examine(session: Session, object_id: bytes) -> Examined:
    """Read an object from the stores. Raises as `Vault.get`."""
    found = survey(session, object_id)
    version = current(session, found).version
    sink = _Front()
    opened, _ = open_version(session, found, version, cast(BinaryIO, sink))
    entry = find_entry(version.catalogues, version.manifest, session.owner())
    name = "" if entry is None else entry.name
    return Examined(version, describe(sink.held.getvalue(), name), opened.index.length, name)


class _Front:
    """A sink that keeps the beginning of a file."""

    def __init__(self) -> None:
        self.held = io.BytesIO()

    def write(self, data: bytes, /) -> int:
        room = FRONT - self.held.tell()
        if room > 0:
            self.held.write(data[:room])
        return len(data)
