"""Makes the payload of an input: codes its segments side by side, tags its tiles, and gives it back as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.padme import padme
from medveil.errors import InputError
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI, check
from medveil.schemes.sealed.codec import MAX_SEGMENT, Grid, Kind, encode_bytes, encode_pixels
from medveil.schemes.sealed.encapsulated import frame_places
from medveil.schemes.sealed.format import LARGE_CHUNK, SMALL_CHUNK
from medveil.schemes.sealed.payload import Index, PixelInfo, Row, bands, digest
from medveil.schemes.sealed.source import Source, span_pixels
from medveil.schemes.sealed.spool import Spool
from medveil.schemes.sealed.tiles import CELL, TagTree, TileGrid, band_tags
from medveil.schemes.sealed.workers import ALONE, THREADS, ordered

LARGE: Final = 16 << 20
"""Payloads above this are cut into large chunks, in bytes."""

_BLOCK: Final = 1 << 20
_STEP: Final = 1 << 20
_ZEROS: Final = bytes(_STEP)


@dataclass(frozen=True, slots=True)
class _Task:
    """A segment to be coded: its place in the file, and where it holds pixels, which rows of which frames."""

    offset: int
    length: int
    band: tuple[int, int, int, int] | None = None
    data: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class _Coded:
    row: Row
    offset: int
    data: bytes | memoryview
    tags: tuple[bytes, ...]


class Payload(AbstractContextManager["Payload"]):
    """The payload of one input. `padded_len`, `chunk` and `tile_root` are known once it is made; close it at the end.

    Raises InputError where the region of interest does not lie in the image.
    """

    def __init__(
        self, source: Source, *, codec: str, roi: ROI, key: bytes, blind: bytes, chunk: int | None = None
    ) -> None:
        self._source = source
        self._codec = codec
        self._key = key
        self._segments, self._tags = Spool(), Spool(memory=4 << 20)
        self._order: list[tuple[int, int, bytes]] = []  # (offset in the file or -1, length, digest)
        self._rows: list[Row] = []
        self._info = _describe(source)
        self._grid = _grid(source, self._info, roi)
        self._tree = TagTree(blind)
        self._code()
        self._tag_decoded()
        index = Index(
            source.length,
            source.media_type,
            source.name,
            self._info,
            self._grid,
            blind if self._grid else b"",
            (*self._rows, *self._tag_rows()),
        )
        encoded = index.encode()
        self._front = len(encoded).to_bytes(4, "big") + encoded
        self._back = encoded + len(encoded).to_bytes(4, "big")
        self.tile_root = self._tree.root()
        body = len(self._front) + sum(row.coded for row in index.rows)
        self.chunk = chunk or (LARGE_CHUNK if body > LARGE else SMALL_CHUNK)
        if padme(body) < self.chunk:
            self._back = b""
        self.padded_len = padme(body + len(self._back))
        self._zeros = self.padded_len - body - len(self._back)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Forget the coded segments."""
        self._segments.close()
        self._tags.close()

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Return the plaintext chunk by chunk; the last is shorter than the chunk size and may be empty.

        Raises InputError where the file changed since it was coded.
        """
        pending: list[bytes | memoryview] = []
        held = 0
        for piece in self._stream():
            view = memoryview(piece)
            while held + len(view) >= self.chunk:
                taken = self.chunk - held
                pending.append(view[:taken])
                yield b"".join(pending) if len(pending) > 1 else pending[0]
                pending, held, view = [], 0, view[taken:]
            if len(view):
                pending.append(view)
                held += len(view)
        yield b"".join(pending)

    def _stream(self) -> Iterator[bytes | memoryview]:
        yield self._front
        coded = self._segments.read()
        for offset, length, expected in self._order:
            if offset < 0:
                while length > 0:
                    piece = next(coded)
                    length -= len(piece)
                    yield piece
                continue
            data = self._source.read(offset, length)
            if digest(data) != expected:
                raise InputError("the file changed while it was being sealed: try again when it is at rest")
            yield data
        yield from self._tags.read()
        for start in range(0, self._zeros, _STEP):
            yield _ZEROS[: min(_STEP, self._zeros - start)]
        yield self._back

    # ------------------------------------------------------------------------------------------------- segments

    def _code(self) -> None:
        window = THREADS + 1 if self._source.length > ALONE else 1
        for coded in ordered(self._encode, self._read_tasks(), window=window):
            self._rows.append(coded.row)
            if coded.row.kind is Kind.RAW:
                self._order.append((coded.offset, coded.row.coded, coded.row.digest))
            else:
                self._segments.append(coded.data)
                self._order.append((-1, coded.row.coded, b""))
            for tags in coded.tags:
                self._tags.append(tags)
                self._tree.add(tags)

    def _read_tasks(self) -> Iterator[_Task]:
        for task in self._tasks():
            yield _Task(task.offset, task.length, task.band, self._source.read(task.offset, task.length))

    def _tasks(self) -> Iterator[_Task]:
        """Cut the file: bytes, bands of pixels, bytes; compressed frames begin segments of their own."""
        info = self._info
        if info is None or info.offset < 0:
            edges = {0, self._source.length}
            for offset, length in () if info is None else info.places:
                edges |= {offset, offset + length}
            places = sorted(edge for edge in edges if edge <= self._source.length)
            for start, end in pairwise(places):
                yield from self._blocks(start, end)
            return
        yield from self._blocks(0, info.offset)
        width = info.shape[2] * info.word
        for band in bands(info, CELL):
            frame, frames, top, rows = band
            offset = info.offset + (frame * info.shape[1] + top) * width
            yield _Task(offset, frames * rows * width, band)
        yield from self._blocks(info.offset + info.length, self._source.length)

    def _blocks(self, start: int, end: int) -> Iterator[_Task]:
        size = min(MAX_SEGMENT, max(_BLOCK, (end - start) >> 18))
        for offset in range(start, end, size):
            yield _Task(offset, min(size, end - offset))

    def _encode(self, task: _Task) -> _Coded:
        data = task.data
        if self._info is None or task.band is None:
            kind, coded = (Kind.RAW, data) if self._codec == "none" else encode_bytes(data)
            return _Coded(Row(kind, len(coded), len(data), digest(data)), task.offset, coded, ())
        frame, frames, top, rows = task.band
        _, _, columns, samples = self._info.shape
        kind, coded = encode_pixels(data, Grid(self._info.dtype, frames * rows, columns, samples), self._codec)
        tags: list[bytes] = []
        if self._grid is not None and self._banded:
            words = span_pixels(data, self._info.dtype, (frames, rows, columns, samples))
            for number in range(frames):
                for cell in range(0, rows, CELL):
                    tags.append(
                        band_tags(
                            self._key,
                            self._grid,
                            frame + number,
                            (top + cell) // CELL,
                            words[number, cell : cell + CELL],
                        )
                    )
        return _Coded(Row(kind, len(coded), len(data), digest(data)), task.offset, coded, tuple(tags))

    # ----------------------------------------------------------------------------------------------------- tags

    @property
    def _banded(self) -> bool:
        """Whether each segment holds whole rows of cells, so that tags are made along with it."""
        info = self._info
        return info is not None and info.offset >= 0 and CELL * info.shape[2] * info.word <= MAX_SEGMENT

    def _tag_decoded(self) -> None:
        """Tag what was not tagged along with its segments: decoded pixels of compressed files, very wide images."""
        if self._grid is None or self._info is None or self._banded:
            return
        grid, image = self._grid, self._source.image
        places = [(frame, cell) for frame in range(grid.frames) for cell in range(grid.down)]

        def tag(place: tuple[int, int, npt.NDArray[Any]]) -> bytes:
            frame, cell, band = place
            return band_tags(self._key, grid, frame, cell, band)

        def read() -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
            for frame, cell in places:
                if image is not None:
                    yield frame, cell, image.pixels[frame, cell * CELL : (cell + 1) * CELL]
                else:
                    yield frame, cell, self._band(frame, cell)

        for tags in ordered(tag, read(), window=THREADS + 1 if len(places) > 64 else 1):
            self._tags.append(tags)
            self._tree.add(tags)

    def _band(self, frame: int, cell: int) -> npt.NDArray[Any]:
        if self._info is None:
            raise InputError("there are no pixels to tag")
        _, rows, columns, samples = self._info.shape
        height = min(CELL, rows - cell * CELL)
        width = columns * self._info.word
        data = self._source.read(self._info.offset + (frame * rows + cell * CELL) * width, height * width)
        band: npt.NDArray[Any] = span_pixels(data, self._info.dtype, (1, height, columns, samples))[0]
        return band

    def _tag_rows(self) -> Iterator[Row]:
        for start in range(0, self._tags.length, _BLOCK):
            size = min(_BLOCK, self._tags.length - start)
            yield Row(Kind.TAGS, size, size, bytes(16))


def _describe(source: Source) -> PixelInfo | None:
    """Return what is known of the pixels. A span that does not hold the image's pixels is not used."""
    image, span = source.image, source.span
    if image is None:
        if span is None or span.shape[2] * span.shape[3] * np.dtype(span.dtype).itemsize > MAX_SEGMENT:
            return None
        stored = 8 * np.dtype(span.dtype).itemsize
        return PixelInfo(span.dtype, span.shape, span.offset, stored, "MONOCHROME2", None)
    shape = (image.frames, image.rows, image.columns, image.samples)
    if span is not None and span.shape == shape and _holds(source, image):
        offset, dtype = span.offset, np.dtype(span.dtype).str
        places: tuple[tuple[int, int], ...] = ()
    else:
        source.span = None
        offset, dtype = -1, image.pixels.dtype.newbyteorder("<").str
        places = frame_places(source.data or b"", image.frames)
    return PixelInfo(dtype, shape, offset, image.bits_stored, image.photometric.value, image.spacing, places)


def _holds(source: Source, image: MedicalImage) -> bool:
    span = source.span
    if span is None or image.columns * image.samples * image.pixels.dtype.itemsize > MAX_SEGMENT:
        return False
    words = span_pixels(source.read(span.offset, span.length), span.dtype, span.shape)
    return words.dtype == image.pixels.dtype and np.array_equal(
        words.view(f"u{words.dtype.itemsize}"), image.pixels.view(f"u{words.dtype.itemsize}")
    )


def _grid(source: Source, info: PixelInfo | None, roi: ROI) -> TileGrid | None:
    if info is None:
        if roi:
            raise InputError("a region of interest needs an image: this file is protected as bytes")
        return None
    if roi and source.image is not None:
        check(roi, source.image)
    return TileGrid.of(info.shape[0], info.shape[1], info.shape[2], roi)
