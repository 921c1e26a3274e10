"""What can be sealed, seen as bytes that are read piece by piece, with the place of the pixels where it is known."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.imaging.image import MedicalImage, OpaqueFile, PixelSpan

PIXELS_TYPE: Final = "application/x-medveil-pixels"
"""Media type of an image that was made in memory: its bytes are the pixels alone."""


@dataclass(frozen=True, slots=True, eq=False)
class FileSource:
    """A file that is read piece by piece, so that its size does not matter.

    file: a path, or an open seekable binary file (read from its start). pixel_span: where it keeps uncompressed
    pixels, where that is known. Such an image's further facts (`bits_stored`, `photometric`) are for its reader.
    """

    file: Path | BinaryIO
    pixel_span: PixelSpan | None = None
    media_type: str = "application/octet-stream"
    name: str = ""


Sealable = MedicalImage | OpaqueFile | FileSource | bytes


@dataclass(slots=True, eq=False)
class Source:
    """One input, opened: `read(offset, length)` gives its bytes; `image` is set where pixels are decoded already."""

    handle: BinaryIO
    length: int
    span: PixelSpan | None
    media_type: str
    name: str
    image: MedicalImage | None = None
    data: bytes | None = field(default=None, repr=False)
    ours: bool = True  # whether the handle is closed with it

    def read(self, offset: int, length: int) -> bytes | memoryview:
        """Return exactly `length` bytes. Raises InputError where the file has become shorter."""
        if self.data is not None:
            return memoryview(self.data)[offset : offset + length]
        self.handle.seek(offset)
        parts = []
        while length:
            piece = self.handle.read(length)
            if not piece:
                raise InputError("the file became shorter while it was being sealed: try again when it is at rest")
            parts.append(piece)
            length -= len(piece)
        return b"".join(parts)

    def close(self) -> None:
        """Close what `open_source` opened; a caller's own handle stays open."""
        if self.ours:
            self.handle.close()


def open_source(source: Sealable) -> Source:
    """Open an input. Raises InputError where a file cannot be read, or where it is nothing that can be sealed."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _in_memory(bytes(source), None, "application/octet-stream", "")
    if isinstance(source, OpaqueFile):
        return _in_memory(source.original, None, source.media_type, source.name)
    if isinstance(source, MedicalImage):
        return _from_image(source)
    if isinstance(source, FileSource):
        return _from_file(source)
    raise InputError(f"a {type(source).__name__} cannot be sealed: give an image, a file or bytes")


def _in_memory(data: bytes, span: PixelSpan | None, media_type: str, name: str) -> Source:
    return Source(io.BytesIO(), len(data), span, media_type, name, data=data)


def _from_image(image: MedicalImage) -> Source:
    if image.original is not None:
        found = _in_memory(
            image.original, _checked(image.pixel_span, len(image.original)), image.media_type, image.name
        )
    else:
        pixels = np.ascontiguousarray(image.pixels)
        little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
        shape = (image.frames, image.rows, image.columns, image.samples)
        data = little.tobytes()
        span = PixelSpan(0, len(data), little.dtype.str, shape)
        found = _in_memory(data, _checked(span, len(data)), PIXELS_TYPE, image.name)
    found.image = image
    return found


def _from_file(source: FileSource) -> Source:
    if isinstance(source.file, Path):
        try:
            handle: BinaryIO = source.file.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {source.file}: {error.strerror}") from None
        name = source.name or source.file.name
    else:
        handle, name = source.file, source.name
    length = handle.seek(0, io.SEEK_END)
    span = _checked(source.pixel_span, length)
    return Source(handle, length, span, source.media_type, name, ours=isinstance(source.file, Path))


def _checked(span: PixelSpan | None, length: int) -> PixelSpan | None:
    """Return the span where it is consistent with itself and lies in the file, else None: then bytes are bytes."""
    if span is None:
        return None
    dtype = np.dtype(span.dtype)
    size = dtype.itemsize
    for side in span.shape:
        size *= side
    fits = size == span.length > 0 and span.offset >= 0 and span.offset + span.length <= length
    return span if fits and dtype.kind in "uif" and dtype.itemsize in (1, 2, 4, 8) else None


def span_pixels(data: bytes | memoryview, dtype: str, shape: tuple[int, int, int, int]) -> npt.NDArray[Any]:
    """Return stored words as native pixels: (frames, rows, columns) or (frames, rows, columns, samples)."""
    stored = np.frombuffer(data, np.dtype(dtype))
    frames, rows, columns, samples = shape
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return native.reshape((frames, rows, columns) if samples == 1 else (frames, rows, columns, samples))
