"""Lossless coding of one segment: what is stored of a piece of a file.

Kinds: 0 raw, 1 Zstandard, 2 HTJ2K (ISO/IEC 15444-15, reversible), 3 JPEG XL lossless (ISO/IEC 18181), 4 Zstandard
over byte planes (all first bytes of the words, all second bytes, ...). Pixels are coded in bands of rows, so that
damage of one band shows in that band alone.

Coding is checked at once by decoding; what does not come back equal is stored in another kind. Before anything is
decoded its claimed dimensions are read from the coded bytes and compared with what is expected.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from medveil.errors import LimitError, TamperedError

MAX_SEGMENT: Final = 16 << 20
"""Most decoded bytes of one coded segment; the one codec frame that is held in memory."""

_ZSTD_LEVEL: Final = 3
# Its stubs do not know that buffers of any kind are taken.
_codecs: Any = imagecodecs
_first_use = threading.Lock()
_ERRORS: Final = (
    imagecodecs.Htj2kError,
    imagecodecs.JpegxlError,
    imagecodecs.ZstdError,
    ValueError,
    TypeError,
    NotImplementedError,
)


class Kind(IntEnum):
    """How a segment is coded; the value stands in the index."""

    RAW = 0
    ZSTD = 1
    HTJ2K = 2
    JPEGXL = 3
    PLANES = 4
    TAGS = 16  # tile tags, raw, not part of the file


@dataclass(frozen=True, slots=True)
class Grid:
    """The form of the pixels in a segment: words of `dtype` in `rows` x `columns` x `samples`."""

    dtype: str
    rows: int
    columns: int
    samples: int


@cache
def _warm_up() -> None:
    """Use OpenJPH once in one thread: it fills its tables at first use, and two first uses at once spoil each other."""
    for sample in (np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint16), np.zeros((8, 8, 3), np.uint16)):
        _codecs.htj2k_decode(_codecs.htj2k_encode(sample, reversible=True, rgb=sample.ndim == 3))


def _ready() -> None:
    with _first_use:
        _warm_up()


def encode_bytes(data: bytes | memoryview) -> tuple[Kind, bytes | memoryview]:
    """Code bytes of any kind: Zstandard where it saves at least 1/32, else raw."""
    coded: bytes = _codecs.zstd_encode(data, level=_ZSTD_LEVEL)
    return (Kind.ZSTD, coded) if len(coded) < len(data) - (len(data) >> 5) else (Kind.RAW, data)


def encode_pixels(data: bytes | memoryview, grid: Grid, codec: str) -> tuple[Kind, bytes | memoryview]:
    """Code a band of pixels: HTJ2K ("archive") or JPEG XL ("ingest") where they take it, else Zstandard or raw."""
    if codec == "none":
        return Kind.RAW, data
    kind = _picture_kind(grid, codec)
    if kind is not None:
        try:
            coded = _ENCODERS[kind](_native(data, grid), grid)
        except _ERRORS:
            kind = None
        else:
            if len(coded) < len(data) and _decodes_to(kind, coded, grid, data):
                return kind, coded
    if np.dtype(grid.dtype).itemsize > 1:
        coded = _codecs.zstd_encode(_planes(data, grid), level=_ZSTD_LEVEL)
        if len(coded) < len(data) - (len(data) >> 5):
            return Kind.PLANES, coded
        return Kind.RAW, data
    return encode_bytes(data)


def decode(kind: Kind, coded: bytes | memoryview, length: int, grid: Grid | None) -> bytes | memoryview:
    """Return the `length` bytes that were coded. Nothing larger is ever allocated.

    Raises LimitError where the coded bytes claim more than `length` or `length` is beyond MAX_SEGMENT, and
    TamperedError where they do not decode to exactly that.
    """
    if kind in (Kind.RAW, Kind.TAGS):
        if len(coded) != length:
            raise TamperedError("a segment of the payload has a wrong length")
        return coded
    if length > MAX_SEGMENT:
        raise LimitError(f"a coded segment claims {length} bytes: at most {MAX_SEGMENT} are decoded at once")
    try:
        if kind is Kind.ZSTD:
            return _exact(_zstd(coded, length), length)
        if grid is None:
            raise TamperedError("a segment of the payload is coded as pixels where there are none")
        if kind is Kind.PLANES:
            return _unplanes(_exact(_zstd(coded, length), length), grid)
        _check_dimensions(kind, coded, grid)
        pixels = _DECODERS[kind](coded)
    except _ERRORS:
        raise TamperedError("a segment of the payload does not decode: it was not made by this program") from None
    return _exact(_stored(pixels, grid), length)


def _zstd(coded: bytes | memoryview, length: int) -> bytes:
    decoded: bytes = _codecs.zstd_decode(coded, out=length) if length else b""
    return decoded


def _exact(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise TamperedError("a segment of the payload decodes to another length than the index says")
    return data


def _picture_kind(grid: Grid, codec: str) -> Kind | None:
    """Return the picture codec that takes these words without loss, or None."""
    dtype = np.dtype(grid.dtype)
    if dtype.kind not in "ui" or dtype.itemsize > 2 or grid.samples not in (1, 3):
        return None
    if min(grid.rows, grid.columns) < 4:
        return None
    return Kind.JPEGXL if codec == "ingest" else Kind.HTJ2K


def _native(data: bytes | memoryview, grid: Grid) -> npt.NDArray[Any]:
    stored: npt.NDArray[Any] = np.frombuffer(data, np.dtype(grid.dtype))
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    shape = (grid.rows, grid.columns) if grid.samples == 1 else (grid.rows, grid.columns, grid.samples)
    shaped: npt.NDArray[Any] = native.reshape(shape)
    return shaped


def _stored(pixels: npt.NDArray[Any], grid: Grid) -> bytes:
    dtype = np.dtype(grid.dtype)
    if dtype.kind == "i" and pixels.dtype.kind == "u":
        pixels = (pixels ^ pixels.dtype.type(1 << (8 * dtype.itemsize - 1))).view(dtype.newbyteorder("="))
    return pixels.astype(dtype, copy=False).tobytes()


def _decodes_to(kind: Kind, coded: bytes, grid: Grid, data: bytes | memoryview) -> bool:
    try:
        _check_dimensions(kind, coded, grid)
        decoded = _DECODERS[kind](coded)
    except (*_ERRORS, LimitError, TamperedError):
        return False
    wanted = _biased(_native(data, grid)) if kind is Kind.JPEGXL else _native(data, grid)
    return decoded.dtype == wanted.dtype and np.array_equal(decoded, wanted)


def _biased(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return signed words as unsigned ones with the sign bit flipped: the same order, no negative values."""
    if pixels.dtype.kind != "i":
        return pixels
    unsigned: npt.NDArray[Any] = pixels.view(np.dtype(f"u{pixels.dtype.itemsize}"))
    flipped: npt.NDArray[Any] = unsigned ^ unsigned.dtype.type(1 << (8 * pixels.dtype.itemsize - 1))
    return flipped


def _htj2k(pixels: npt.NDArray[Any], grid: Grid) -> bytes:
    _ready()
    coded: bytes = _codecs.htj2k_encode(pixels, reversible=True, rgb=grid.samples == 3)
    return coded


def _jpegxl(pixels: npt.NDArray[Any], grid: Grid) -> bytes:
    del grid
    coded: bytes = _codecs.jpegxl_encode(
        np.ascontiguousarray(_biased(pixels)), lossless=True, effort=1, usecontainer=False, numthreads=1
    )
    return coded


def _htj2k_decode(coded: bytes | memoryview) -> npt.NDArray[Any]:
    _ready()
    decoded: npt.NDArray[Any] = _codecs.htj2k_decode(coded)
    return decoded


def _jpegxl_decode(coded: bytes | memoryview) -> npt.NDArray[Any]:
    decoded: npt.NDArray[Any] = _codecs.jpegxl_decode(coded, numthreads=1)
    return decoded


_ENCODERS: Final[dict[Kind, Callable[[npt.NDArray[Any], Grid], bytes]]] = {Kind.HTJ2K: _htj2k, Kind.JPEGXL: _jpegxl}
_DECODERS: Final[dict[Kind, Callable[[bytes | memoryview], npt.NDArray[Any]]]] = {
    Kind.HTJ2K: _htj2k_decode,
    Kind.JPEGXL: _jpegxl_decode,
}


def _planes(data: bytes | memoryview, grid: Grid) -> bytes:
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(-1, np.dtype(grid.dtype).itemsize).T).tobytes()


def _unplanes(data: bytes, grid: Grid) -> bytes:
    size = np.dtype(grid.dtype).itemsize
    if len(data) % size:
        raise TamperedError("a segment of the payload holds no whole number of words")
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(size, -1).T).tobytes()


def _check_dimensions(kind: Kind, coded: bytes | memoryview, grid: Grid) -> None:
    """Compare the dimensions that coded pixels claim with the expected ones, before a decoder sees them."""
    head = bytes(coded[:128])
    claimed = _htj2k_size(head) if kind is Kind.HTJ2K else _jpegxl_size(head)
    if claimed != (grid.rows, grid.columns):
        raise LimitError(
            f"a coded segment claims {claimed[0]} x {claimed[1]} pixels where {grid.rows} x {grid.columns} belong"
        )


def _htj2k_size(head: bytes) -> tuple[int, int]:
    """Return (rows, columns) from the SIZ marker, which follows SOC (ISO/IEC 15444-1, A.5.1)."""
    if head[:4] != b"\xff\x4f\xff\x51" or len(head) < 40:
        raise TamperedError("a segment of the payload is no HTJ2K codestream")
    x1, y1, x0, y0 = (int.from_bytes(head[at : at + 4], "big") for at in (8, 12, 16, 20))
    return y1 - y0, x1 - x0


def _jpegxl_size(head: bytes) -> tuple[int, int]:
    """Return (rows, columns) from the SizeHeader (ISO/IEC 18181-1, annex D.2) behind the boxes of 18181-2."""
    start = 0
    while head[start : start + 2] != b"\xff\x0a":
        size, name = int.from_bytes(head[start : start + 4], "big"), head[start + 4 : start + 8]
        start += 8 if name == b"jxlc" else size
        if (size < 8 and name != b"jxlc") or start + 16 > len(head):
            raise TamperedError("a segment of the payload is no JPEG XL image")
    bits, at = int.from_bytes(head[start + 2 : start + 16], "little"), 0

    def take(count: int) -> int:
        nonlocal at
        value = bits >> at & ((1 << count) - 1)
        at += count
        return value

    def side(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    rows = side(small)
    ratio = take(3)
    if ratio == 0:
        return rows, side(small)
    over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return rows, rows * over // under
