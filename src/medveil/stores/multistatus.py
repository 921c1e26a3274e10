"""Reads the answer to PROPFIND (RFC 4918, section 13) as it arrives, from a server that is not trusted.

A document type declaration, and with it every entity, is refused; what is kept is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.parsers import expat

from medveil.errors import LimitError, StoreError

_TEXT_LIMIT: Final = 8 << 10
_ENTRY_LIMIT: Final = 1_000_000
_RESPONSE, _HREF, _TYPE, _LENGTH = ("DAV: response", "DAV: href", "DAV: collection", "DAV: getcontentlength")


@dataclass(frozen=True, slots=True)
class Entry:
    """One object or folder: its address as the server wrote it, its size where it has one."""

    href: str
    size: int | None
    folder: bool


class MultistatusParser:
    """Collects the entries of one answer; `store` is named in errors."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._entries: list[Entry] = []
        self._href = ""
        self._size = ""
        self._folder = False
        self._text: list[str] = []
        self._length = 0
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, data: bytes) -> None:
        """Read the next bytes; raises StoreError for what is no XML or has a document type."""
        self._parse(data, final=False)

    def finish(self) -> tuple[Entry, ...]:
        """Return the entries of the complete answer; raises StoreError where it is cut off."""
        self._parse(b"", final=True)
        return tuple(self._entries)

    def _parse(self, data: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError:
            raise StoreError(
                f"store {self._store} sends a listing that is no XML: check that it speaks WebDAV"
            ) from None

    def _refuse_doctype(self, *_: object) -> None:
        raise StoreError(f"store {self._store} sends a listing with a document type, which is refused")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        self._text.clear()
        self._length = 0
        if tag == _RESPONSE:
            self._href, self._size, self._folder = "", "", False
        elif tag == _TYPE:
            self._folder = True

    def _characters(self, text: str) -> None:
        self._length += len(text)
        if self._length > _TEXT_LIMIT:
            raise LimitError(f"store {self._store} sends a listing with a field of more than {_TEXT_LIMIT} characters")
        self._text.append(text)

    def _end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        if tag == _HREF and not self._href:
            self._href = text
        elif tag == _LENGTH and text:
            self._size = text
        elif tag == _RESPONSE:
            if len(self._entries) == _ENTRY_LIMIT:
                raise LimitError(f"store {self._store} lists more than {_ENTRY_LIMIT} entries in one folder")
            sized = self._size.isascii() and self._size.isdigit() and len(self._size) < 19
            self._entries.append(Entry(self._href, int(self._size) if sized else None, self._folder))
