"""Deterministic CBOR: one value, one encoding.

The core deterministic encoding of RFC 8949, 4.2.1: shortest form of every head, definite lengths, map keys
sorted by the bytes of their encodings. Of CBOR's types only these are used: integers of -2^64 to 2^64-1, byte
strings, text strings (UTF-8), arrays, maps with integer or text keys, false, true, null. Tags, floats,
indefinite lengths and every other simple value are refused, so a signed or hashed record has exactly one form.

`decode` recognises before it builds: the size first, then each claimed length against the bytes that are there,
then the depth. A head that claims 2^60 elements costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medveil.errors import FormatError, InputError, LimitError

MAX_DEPTH: Final = 16
"""Arrays and maps nest at most this deep."""

DEFAULT_LIMIT: Final = 65536
"""Largest record that `decode` takes unless told otherwise, in bytes."""

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_CONSTANTS: Final = {20: False, 21: True, 22: None}


def encode(value: Any) -> bytes:
    """Return the one encoding of `value` (int, bytes, str, bool, None, list, tuple, dict with int or str keys).

    Raises InputError for any other type, an integer outside 64 bits, a key of another type, text that is not
    Unicode, or nesting deeper than MAX_DEPTH.
    """
    out = bytearray()
    _write(value, out, 0)
    return bytes(out)


def decode(data: bytes | bytearray | memoryview, *, limit: int = DEFAULT_LIMIT) -> Any:
    """Return the value that `data` encodes: the exact inverse of `encode`.

    Raises LimitError where `data` is longer than `limit` bytes, and FormatError where it is not the one
    deterministic encoding of a value of the types above: duplicate or unsorted keys, longer heads than needed,
    bytes after the end, tags, floats, nesting deeper than MAX_DEPTH, lengths that run past the end.
    """
    size = memoryview(data).nbytes
    if size > limit:
        raise LimitError(f"a record of {size} bytes is larger than the {limit} allowed here: it is not read")
    raw = bytes(data)
    value, end = _read(raw, 0, 0)
    if end != size:
        raise FormatError(f"{size - end} bytes follow the end of a record: it was altered or damaged")
    if encode(value) != raw:
        raise FormatError("a record is not in its one canonical form: it was altered or made by another program")
    return value


def _head(major: int, argument: int) -> bytes:
    """Return the shortest head of a major type with its argument."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for code, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << (8 * width):
            return bytes([major << 5 | code]) + argument.to_bytes(width, "big")
    raise InputError("an integer does not fit 64 bits: canonical records hold none that large")


def _write(value: Any, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InputError(f"a record nests deeper than {MAX_DEPTH} levels: flatten it")
    if value is None or isinstance(value, bool):
        out.append(_SIMPLE << 5 | (22 if value is None else 20 + value))
    elif isinstance(value, int):
        out += _head(_UINT, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    elif isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
        out += _head(_BYTES, len(raw))
        out += raw
    elif isinstance(value, str):
        raw = _utf8(value)
        out += _head(_TEXT, len(raw))
        out += raw
    elif isinstance(value, list | tuple):
        out += _head(_ARRAY, len(value))
        for item in value:
            _write(item, out, depth + 1)
    elif isinstance(value, Mapping):
        _write_map(value, out, depth)
    else:
        raise InputError(f"a value of type {type(value).__name__} has no canonical encoding")


def _write_map(value: Mapping[Any, Any], out: bytearray, depth: int) -> None:
    entries: list[tuple[bytes, Any]] = []
    for key, item in value.items():
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise InputError(f"a map key of type {type(key).__name__} has no canonical encoding: use int or str")
        entries.append((encode(key), item))
    out += _head(_MAP, len(entries))
    for raw, item in sorted(entries, key=lambda entry: entry[0]):
        out += raw
        _write(item, out, depth + 1)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("a text holds characters that are not valid Unicode") from None


def _read_head(raw: bytes, at: int) -> tuple[int, int, int]:
    """Return major type, argument and the place after the head; refuses a longer head than needed."""
    if at >= len(raw):
        raise FormatError("a record ends in the middle: it was truncated")
    major, code = raw[at] >> 5, raw[at] & 31
    at += 1
    if code < 24:
        return major, code, at
    if code > 27 or major == _SIMPLE:
        raise FormatError("a record holds a float, an indefinite length or an unassigned form: none is allowed")
    width = 1 << (code - 24)
    if at + width > len(raw):
        raise FormatError("a record ends in the middle: it was truncated")
    argument = int.from_bytes(raw[at : at + width], "big")
    if argument < (24 if width == 1 else 1 << (4 * width)):
        raise FormatError("a record is not in its one canonical form: a number is longer than needed")
    return major, argument, at + width


def _read(raw: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value at `at` and the place after it."""
    if depth > MAX_DEPTH:
        raise FormatError(f"a record nests deeper than {MAX_DEPTH} levels: it was not made by this program")
    major, argument, at = _read_head(raw, at)
    if major == _UINT:
        return argument, at
    if major == _NEGATIVE:
        return -1 - argument, at
    if major == _SIMPLE:
        if argument not in _CONSTANTS:
            raise FormatError("a record holds an unknown simple value: only false, true and null are allowed")
        return _CONSTANTS[argument], at
    if major == _TAG:
        raise FormatError("a record holds a tag: none is allowed")
    # Every element takes at least one byte, so a claim beyond the rest is refused before a list is built.
    if argument > len(raw) - at:
        raise FormatError("a record claims more elements than it has bytes: it was truncated or forged")
    if major == _ARRAY:
        return _read_array(raw, at, argument, depth)
    if major == _MAP:
        return _read_map(raw, at, argument, depth)
    piece = raw[at : at + argument]
    return (piece if major == _BYTES else _text(piece)), at + argument


def _read_array(raw: bytes, at: int, count: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _read(raw, at, depth + 1)
        items.append(item)
    return items, at


def _read_map(raw: bytes, at: int, count: int, depth: int) -> tuple[dict[int | str, Any], int]:
    entries: dict[int | str, Any] = {}
    previous = b""
    for _ in range(count):
        start = at
        key, at = _read(raw, at, depth + 1)
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise FormatError("a record has a map key that is neither an integer nor text")
        if raw[start:at] <= previous:
            raise FormatError("a record has duplicate or unsorted map keys: it is not in its one canonical form")
        previous = raw[start:at]
        entries[key], at = _read(raw, at, depth + 1)
    return entries, at


def _text(piece: bytes) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError("a record holds text that is not UTF-8: it was altered or damaged") from None
