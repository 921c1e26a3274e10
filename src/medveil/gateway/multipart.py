"""multipart/related (RFC 2387) as DICOMweb uses it: read as it arrives, within bounds, and written part by part."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import Message
from typing import Final

from medveil.crypto.prg import SYSTEM
from medveil.errors import InputError, LimitError

_MOST_HEADERS: Final = 8 << 10
_LONGEST_BOUNDARY: Final = 70
_LONGEST_PADDING: Final = 256


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type with its parameters, names in lower case."""

    name: str
    parameters: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> MediaType:
        """Read a Content-Type or one element of Accept; what is no media type becomes an empty name."""
        message = Message()
        message["content-type"] = text.replace("\r", " ").replace("\n", " ")
        pairs = message.get_params(failobj=[]) or []
        name = pairs[0][0].strip().lower() if pairs else ""
        return cls(name, {key.lower(): value.strip('"') for key, value in pairs[1:] if isinstance(value, str)})


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its headers (names in lower case) and its body."""

    headers: dict[str, str]
    body: bytes


class MultipartReader:
    """Takes a body piece by piece and gives the parts that are complete. max_part: bytes of one part at most."""

    def __init__(self, content_type: str, max_part: int) -> None:
        boundary = MediaType.parse(content_type).parameters.get("boundary", "")
        if not boundary or len(boundary) > _LONGEST_BOUNDARY or not boundary.isascii():
            raise InputError("the multipart body has no usable boundary")
        self._mark = b"\r\n--" + boundary.encode()
        self._max_part = max_part
        self._held = bytearray(b"\r\n")  # so that the first boundary is found like the others
        self._looked = 0
        self._inside = False
        self.ended = False

    def feed(self, piece: bytes) -> list[Part]:
        """Return the parts that this piece completes. Raises InputError, LimitError."""
        if self.ended:
            return []  # an epilogue is passed over
        self._held += piece
        parts: list[Part] = []
        while not self.ended:
            at = self._held.find(self._mark, self._looked)
            if at < 0:
                self._looked = max(0, len(self._held) - len(self._mark))
                if self._inside and self._looked > self._max_part + _MOST_HEADERS:
                    raise LimitError("a part of the body is larger than the largest instance")
                if not self._inside and self._looked > _MOST_HEADERS:
                    raise InputError("the multipart body does not begin with its boundary")
                break
            after = at + len(self._mark)
            end = self._end_of_line(after)
            if end is None:
                self._looked = at
                break
            if end < 0:  # bytes of a part that only look like a boundary
                self._looked = at + 1
                continue
            if self._inside:
                parts.append(self._part(bytes(self._held[:at])))
            self.ended = self._held[after : after + 2] == b"--"
            del self._held[:end]
            self._looked, self._inside = 0, True
        if self.ended:
            self._held.clear()
        return parts

    def _end_of_line(self, after: int) -> int | None:
        """Return where the line of a boundary ends, -1 where it is no boundary, None where that is not known yet."""
        if self._held[after : after + 2] == b"--":
            return after + 2
        end = self._held.find(b"\r\n", after, after + _LONGEST_PADDING)
        padding = self._held[after : end if end >= 0 else after + _LONGEST_PADDING]
        if padding.strip(b" \t\r-" if end < 0 else b" \t"):
            return -1
        if end < 0:
            return None if len(padding) < _LONGEST_PADDING else -1
        return end + 2

    def finish(self) -> None:
        """Raise InputError unless the last boundary has come."""
        if not self.ended:
            raise InputError("the multipart body ends before its last boundary")

    def _part(self, data: bytes) -> Part:
        head, blank, body = (b"", b"\r\n", data[2:]) if data.startswith(b"\r\n") else data.partition(b"\r\n\r\n")
        if not blank or len(head) > _MOST_HEADERS:
            raise InputError("a part of the multipart body has no end of its headers")
        if len(body) > self._max_part:
            raise LimitError("a part of the body is larger than the largest instance")
        headers = {}
        for line in head.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if line and not colon:
                raise InputError("a part of the multipart body has a header that is none")
            headers[name.strip().lower()] = value.strip()
        return Part(headers, body)


class MultipartWriter:
    """Writes parts with a fresh boundary."""

    def __init__(self, kind: str) -> None:
        self._boundary = SYSTEM.bytes(16).hex()
        self.content_type = f'multipart/related; type="{kind}"; boundary={self._boundary}'

    def part(self, content_type: str, body: bytes, location: str = "") -> bytes:
        """Return one part."""
        where = f"Content-Location: {location}\r\n" if location else ""
        head = f"--{self._boundary}\r\nContent-Type: {content_type}\r\n{where}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body + b"\r\n"

    def end(self) -> bytes:
        """Return the last boundary."""
        return f"--{self._boundary}--\r\n".encode()
