"""Sizes and types of the pages of a TIFF file, read before anything is decoded (TIFF 6.0 and BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medveil.errors import InputError, LimitError

MAX_PAGES = 1 << 16
"""Pages that a TIFF file may have."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q"}
_COLUMNS, _ROWS, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _COLOURS, _FORMAT = 256, 257, 258, 262, 277, 284, 320, 339


@dataclass(frozen=True, slots=True)
class Page:
    """One image file directory; `photometric` and `sample_format` are TIFF's codes."""

    rows: int
    columns: int
    samples: int
    bits: int
    sample_format: int
    photometric: int
    planar: bool
    palette: dict[str, Any] | None = field(default=None, compare=False)


def starts_tiff(data: bytes) -> bool:
    """Whether the bytes begin like TIFF or BigTIFF, of either byte order."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(data: bytes) -> list[Page]:
    """Read all directories of a TIFF file.

    Raises InputError where it is damaged or has no page, LimitError where it has more than `MAX_PAGES`.
    """
    if not starts_tiff(data):
        raise InputError("not a TIFF file")
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    found: list[Page] = []
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        while at:
            if at in seen:
                raise InputError("a TIFF file whose pages form a circle: it is damaged")
            if len(found) >= MAX_PAGES:
                raise LimitError(f"a TIFF file of more than {MAX_PAGES} pages: split it")
            seen.add(at)
            tags, at = _directory(data, at, order, big)
            found.append(_page(tags))
    except struct.error as error:
        raise InputError("a TIFF file cut off inside a page's header: it is truncated") from error
    if not found:
        raise InputError("a TIFF file without a page")
    return found


def _directory(data: bytes, at: int, order: str, big: bool) -> tuple[dict[int, list[int]], int]:
    count_code, entry_size, inline = ("Q", 20, 8) if big else ("H", 12, 4)
    (count,) = struct.unpack_from(order + count_code, data, at)
    at += struct.calcsize(order + count_code)
    tags: dict[int, list[int]] = {}
    for index in range(count):
        entry = at + index * entry_size
        tag, kind, number = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, entry)
        if kind not in _CODES or tag not in (
            _COLUMNS, _ROWS, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _COLOURS, _FORMAT,
        ):  # fmt: skip
            continue
        if number > 3 << 16:
            raise InputError(f"a TIFF file whose tag {tag} has {number} values: it is damaged")
        place = entry + (12 if big else 8)
        if number * _SIZES[kind] > inline:
            (place,) = struct.unpack_from(order + ("Q" if big else "I"), data, place)
        tags[tag] = list(struct.unpack_from(f"{order}{number}{_CODES[kind]}", data, place))
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + count * entry_size)
    return tags, following


def _page(tags: dict[int, list[int]]) -> Page:
    def one(tag: int, default: int) -> int:
        values = tags.get(tag) or [default]
        if any(value != values[0] for value in values):
            raise InputError(f"a TIFF page whose samples differ in type (tag {tag}): not a medical image")
        return values[0]

    rows, columns, samples = one(_ROWS, 0), one(_COLUMNS, 0), one(_SAMPLES, 1)
    bits = one(_BITS, 1)
    if min(rows, columns, samples, bits) < 1:
        raise InputError(f"a TIFF page of {rows} x {columns} pixels, {samples} samples, {bits} bits has no pixels")
    palette = None
    colours = tags.get(_COLOURS)
    if one(_PHOTOMETRIC, 1) == 3:
        if colours is None or len(colours) != 3 << bits:
            raise InputError("a TIFF palette image without its whole palette: it is damaged")
        tables = tuple(np.asarray(colours, dtype=np.uint16).reshape(3, -1))
        palette = {"bits": 16, "first": (0, 0, 0), "tables": tables}
    planar = one(_PLANAR, 1) == 2
    return Page(rows, columns, samples, bits, one(_FORMAT, 1), one(_PHOTOMETRIC, 1), planar, palette)
