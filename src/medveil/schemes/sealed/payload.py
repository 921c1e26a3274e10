"""The payload: what is encrypted. A file as coded segments, the map of them, and the tile tags.

::

    payload = length of index (u32) | index | segments in the file's order | tags | zeros
              [| index | length of index (u32)]            the copy where the payload has more than one chunk
    index   = canonical {v, length, media, name, pixels, tags, rows}
    rows    = for each segment: kind u8 | coded bytes u32 | decoded bytes u32 | 16 B of BLAKE3 of the decoded bytes
    pixels  = null or {dtype, shape: [frames, rows, columns, samples], offset, stored, photometric, spacing, places}
    tags    = null or {fine, blind}

The file is the decoded segments one after the other, so a segment's place in it, and from `pixels.offset` the rows
of pixels it holds, follow from the rows before it. Segments of pixels hold whole rows of one frame or whole frames.
The padded length is Padmé's; the copy of the index lets the rest be read where the first chunk is lost.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
from blake3 import blake3

from medveil.crypto import canonical
from medveil.errors import FormatError, LimitError, TamperedError
from medveil.schemes.sealed.codec import MAX_SEGMENT, Grid, Kind
from medveil.schemes.sealed.tiles import BLIND_SIZE, TAG_SIZE, TileGrid

DIGEST_SIZE: Final = 16
"""Length of a segment's digest, in bytes."""
MAX_INDEX: Final = 16 << 20
"""Largest index, in bytes."""
MAX_RAW: Final = 1 << 30
"""Longest raw segment, in bytes."""
MAX_SIDE: Final = 1 << 20
"""Most rows, columns or frames of an image."""
MAX_PIXELS: Final = 1 << 40
"""Most pixels of an image."""

_ROW: Final = struct.Struct(">BII16s")
_INDEX_FIELDS: Final = {"v", "length", "media", "name", "pixels", "tags", "rows"}
_PIXEL_FIELDS: Final = {"dtype", "shape", "offset", "stored", "photometric", "spacing", "places"}
_DTYPES: Final = frozenset(f"{o}{k}{s}" for o in "<>" for k in "ui" for s in (2, 4, 8)) | frozenset(
    ("|u1", "|i1", "<f4", ">f4", "<f8", ">f8", "<f2", ">f2")
)


@dataclass(frozen=True, slots=True)
class Row:
    """One segment of the index."""

    kind: Kind
    coded: int
    decoded: int
    digest: bytes


@cache
def _itemsize(dtype: str) -> int:
    return np.dtype(dtype).itemsize


@dataclass(frozen=True, slots=True)
class PixelInfo:
    """What the payload knows of the pixels. offset: of uncompressed pixels in the file, else -1.

    places: where each frame of compressed pixels lies in the file, as (offset, length); may be empty.
    """

    dtype: str
    shape: tuple[int, int, int, int]
    offset: int
    stored: int
    photometric: str
    spacing: tuple[float, float, float] | None
    places: tuple[tuple[int, int], ...] = ()

    @property
    def word(self) -> int:
        """Bytes of one pixel, all samples."""
        return _itemsize(self.dtype) * self.shape[3]

    @property
    def length(self) -> int:
        """Bytes of all pixels, uncompressed."""
        frames, rows, columns, _ = self.shape
        return frames * rows * columns * self.word


@dataclass(frozen=True)
class Index:
    """The map of the payload."""

    length: int
    media_type: str
    name: str
    pixels: PixelInfo | None
    grid: TileGrid | None
    blind: bytes
    rows: tuple[Row, ...]

    def encode(self) -> bytes:
        """Return the canonical encoding. Raises LimitError where it would be larger than any reader takes."""
        packed = b"".join(_ROW.pack(row.kind, row.coded, row.decoded, row.digest) for row in self.rows)
        data = canonical.encode(
            {
                "v": 1,
                "length": self.length,
                "media": self.media_type,
                "name": self.name,
                "pixels": None if self.pixels is None else _pack_pixels(self.pixels),
                "tags": None if self.grid is None else {"fine": self.grid.fine, "blind": self.blind},
                "rows": packed,
            }
        )
        if len(data) > MAX_INDEX:
            raise LimitError(f"an index of {len(data)} bytes is larger than {MAX_INDEX}: split the file")
        return data

    @classmethod
    def decode(cls, data: bytes) -> Index:
        """Read an index from authenticated bytes; its claims are bounded all the same.

        Raises FormatError, LimitError, TamperedError.
        """
        record = canonical.decode(data, limit=MAX_INDEX)
        if not isinstance(record, dict) or set(record) != _INDEX_FIELDS or record["v"] != 1:
            raise FormatError("the payload's index is of an unknown form or version")
        if not (isinstance(record["length"], int) and isinstance(record["rows"], bytes)):
            raise FormatError("the payload's index has values of the wrong form")
        if not (isinstance(record["media"], str) and isinstance(record["name"], str)):
            raise FormatError("the payload's index has values of the wrong form")
        pixels = _unpack_pixels(record["pixels"])
        grid, blind = _unpack_tags(record["tags"], pixels)
        index = cls(
            record["length"], record["media"], record["name"], pixels, grid, blind, _unpack_rows(record["rows"])
        )
        index._check()
        return index

    def _check(self) -> None:
        if sum(row.decoded for row in self.rows if row.kind is not Kind.TAGS) != self.length:
            raise TamperedError("the segments of the payload do not add up to the file")
        tags = sum(row.decoded for row in self.rows if row.kind is Kind.TAGS)
        expected = 0 if self.grid is None else TAG_SIZE * self.grid.frames * self.grid.tags_per_frame
        if tags != expected:
            raise TamperedError("the payload does not hold one tag for each tile")
        pixels = self.pixels
        if pixels is not None and pixels.offset >= 0 and pixels.offset + pixels.length > self.length:
            raise TamperedError("the pixels reach beyond the file")

    @cached_property
    def starts(self) -> tuple[list[int], list[int]]:
        """For each segment: where it starts behind the index in the payload, and in the file."""
        coded, decoded = [0], [0]
        for row in self.rows:
            coded.append(coded[-1] + row.coded)
            decoded.append(decoded[-1] + (0 if row.kind is Kind.TAGS else row.decoded))
        return coded, decoded

    def grid_of(self, number: int) -> Grid | None:
        """Return the form of the pixels in segment `number`, or None where it holds none (or parts of a row)."""
        if self.pixels is None or self.pixels.offset < 0:
            return None
        start = self.starts[1][number] - self.pixels.offset
        width = self.pixels.shape[2] * self.pixels.word
        size = self.rows[number].decoded
        if start < 0 or start + size > self.pixels.length or start % width or size % width or not size:
            return None
        return Grid(self.pixels.dtype, size // width, self.pixels.shape[2], self.pixels.shape[3])

    def file_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Return the ranges of the file that depend on the segment bytes [start, end), counted behind the index."""
        coded, decoded = self.starts
        number = max(0, bisect_right(coded, start) - 1)
        while number < len(self.rows) and coded[number] < end:
            row = self.rows[number]
            low, high = max(start, coded[number]), min(end, coded[number + 1])
            if low < high and row.kind is not Kind.TAGS:
                if row.kind is Kind.RAW:
                    base = decoded[number] - coded[number]
                    yield base + low, base + high
                else:
                    yield decoded[number], decoded[number + 1]
            number += 1


def _pack_pixels(pixels: PixelInfo) -> dict[str, Any]:
    return {
        "dtype": pixels.dtype,
        "shape": list(pixels.shape),
        "offset": pixels.offset,
        "stored": pixels.stored,
        "photometric": pixels.photometric,
        "spacing": None if pixels.spacing is None else [value.hex() for value in pixels.spacing],
        "places": b"".join(struct.pack(">QQ", *place) for place in pixels.places),
    }


def _unpack_pixels(record: Any) -> PixelInfo | None:
    if record is None:
        return None
    wrong = FormatError("the payload's index describes pixels in an unknown form")
    if not isinstance(record, dict) or set(record) != _PIXEL_FIELDS or record["dtype"] not in _DTYPES:
        raise wrong
    shape, places, spacing = record["shape"], record["places"], record["spacing"]
    if not (isinstance(shape, list) and len(shape) == 4 and all(type(side) is int for side in shape)):
        raise wrong
    if min(shape) < 1 or max(shape[:3]) > MAX_SIDE or shape[3] > 4 or shape[0] * shape[1] * shape[2] > MAX_PIXELS:
        raise LimitError(f"an image of shape {shape} is larger than this program takes")
    if not (isinstance(places, bytes) and len(places) in (0, 16 * shape[0]) and isinstance(record["photometric"], str)):
        raise wrong
    if type(record["offset"]) is not int or type(record["stored"]) is not int or record["offset"] < -1:
        raise wrong
    return PixelInfo(
        record["dtype"],
        (shape[0], shape[1], shape[2], shape[3]),
        record["offset"],
        record["stored"],
        record["photometric"],
        None if spacing is None else _floats(spacing),
        tuple(struct.iter_unpack(">QQ", places)),
    )


def _floats(texts: Any) -> tuple[float, float, float]:
    try:
        first, second, third = (float.fromhex(text) for text in texts)
    except (TypeError, ValueError, OverflowError):
        raise FormatError("the payload's index describes the spacing in an unknown form") from None
    return first, second, third


def _unpack_tags(record: Any, pixels: PixelInfo | None) -> tuple[TileGrid | None, bytes]:
    if record is None:
        return None, b""
    if pixels is None or not isinstance(record, dict) or set(record) != {"fine", "blind"}:
        raise FormatError("the payload's index describes tile tags in an unknown form")
    if not (isinstance(record["fine"], bytes) and isinstance(record["blind"], bytes)):
        raise FormatError("the payload's index describes tile tags in an unknown form")
    if len(record["blind"]) != BLIND_SIZE:
        raise FormatError("the payload's index has a blind of a wrong length")
    grid = TileGrid(pixels.shape[0], pixels.shape[1], pixels.shape[2], record["fine"])
    grid.check()
    return grid, record["blind"]


def _unpack_rows(packed: bytes) -> tuple[Row, ...]:
    if len(packed) % _ROW.size:
        raise FormatError("the payload's index does not hold whole rows")
    rows = []
    known = set(Kind)
    for kind, coded, decoded, digest in _ROW.iter_unpack(packed):
        if kind not in known:
            raise FormatError(f"the payload has a segment of the unknown kind {kind}")
        most = MAX_RAW if kind in (Kind.RAW, Kind.TAGS) else MAX_SEGMENT
        if decoded > most or coded > most or (kind in (Kind.RAW, Kind.TAGS) and coded != decoded):
            raise LimitError(f"a segment claims {decoded} bytes: at most {most} are read")
        rows.append(Row(Kind(kind), coded, decoded, digest))
    return tuple(rows)


def digest(data: bytes | memoryview) -> bytes:
    """Return the digest that a row holds; it guards against a decoder that decodes differently some day."""
    return blake3(data).digest(DIGEST_SIZE)


def bands(pixels: PixelInfo, cell: int) -> Iterable[tuple[int, int, int, int]]:
    """Cut uncompressed pixels into segments: (first frame, frames, first row, rows).

    Frames of at least `cell` rows are cut into bands of `cell` rows; smaller ones are taken several at a time, up
    to 2 `cell` rows in all. A band wider than a segment may be is cut into fewer rows, of a single row at least.
    """
    frames, rows, columns, _ = pixels.shape
    width = columns * pixels.word
    if rows < cell:
        step = max(1, min(2 * cell // rows, MAX_SEGMENT // max(1, rows * width)))
        for frame in range(0, frames, step):
            yield frame, min(step, frames - frame), 0, rows
        return
    height = max(1, min(cell, MAX_SEGMENT // width))
    for frame in range(frames):
        for top in range(0, rows, height):
            yield frame, 1, top, min(height, rows - top)
