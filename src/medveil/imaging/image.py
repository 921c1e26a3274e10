"""`MedicalImage`, the one noun of medveil, and `OpaqueFile` for what cannot be decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy.typing as npt

from medveil.errors import InputError


class Photometric(StrEnum):
    """Photometric interpretation of the *decoded* pixels (DICOM PS3.3 C.7.6.3.1.2)."""

    MONOCHROME1 = "MONOCHROME1"
    MONOCHROME2 = "MONOCHROME2"
    RGB = "RGB"
    YBR_FULL = "YBR_FULL"
    PALETTE_COLOR = "PALETTE COLOR"


@dataclass(frozen=True, slots=True)
class PixelSpan:
    """Where a file keeps its pixels uncompressed: `original[offset:offset + length]`, C order.

    `dtype` is the NumPy type string of the stored words with byte order (for example ``"<u2"``) and `shape` is
    (frames, rows, columns, samples) as stored (planar colour has samples before rows and gives no span).
    """

    offset: int
    length: int
    dtype: str
    shape: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class MedicalImage:
    """Decoded pixels together with the file they came from.

    pixels: (frames, rows, columns) for one sample a pixel or (frames, rows, columns, 3) for colour, C order.
        A single 2-D image has frames = 1; a volume has its slices as frames. Integer dtype of 8, 16 or 32 bits,
        signed or not, or float32/float64 where the file holds floats. Stored values: no rescale slope, no window.
    bits_stored: significant bits of a sample, 1 to 64.
    photometric: interpretation of `pixels`; palette images keep their indices (`imaging.dicom` can apply it).
    spacing: millimetres between (frames, rows, columns) where the file says so, else None.
    original: the file's bytes, untouched; None for an image made in memory.
    media_type: of `original`, for example ``"application/dicom"``.
    pixel_span: where `original` keeps uncompressed pixels, else None.
    details: what a format wants to keep for its writer (never patient data).
    """

    pixels: npt.NDArray[Any] = field(repr=False)
    bits_stored: int
    photometric: Photometric = Photometric.MONOCHROME2
    spacing: tuple[float, float, float] | None = None
    original: bytes | None = field(default=None, repr=False)
    media_type: str = "application/octet-stream"
    name: str = ""
    pixel_span: PixelSpan | None = None
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse what is not an image: wrong rank, no pixels, a dtype that no format has.

        Raises InputError.
        """
        p = self.pixels
        if p.ndim not in (3, 4) or (p.ndim == 4 and p.shape[3] not in (3, 4)):
            raise InputError(
                f"pixels of shape {p.shape}: expected (frames, rows, columns) or (frames, rows, columns, 3 or 4)"
            )
        if 0 in p.shape:
            raise InputError(f"an image without pixels (shape {p.shape}): give at least one frame, row and column")
        if p.dtype.kind not in "uif" or p.dtype.itemsize > 8:
            raise InputError(f"pixels of dtype {p.dtype}: expected integers or floats of 8 to 64 bits")
        if not 1 <= self.bits_stored <= 8 * p.dtype.itemsize:
            raise InputError(f"bits stored {self.bits_stored} does not fit {p.dtype}")

    @property
    def frames(self) -> int:
        """Number of frames or slices."""
        return int(self.pixels.shape[0])

    @property
    def rows(self) -> int:
        """Rows of a frame."""
        return int(self.pixels.shape[1])

    @property
    def columns(self) -> int:
        """Columns of a frame."""
        return int(self.pixels.shape[2])

    @property
    def samples(self) -> int:
        """Samples of a pixel: 1 grey, 3 colour, 4 colour with alpha."""
        return int(self.pixels.shape[3]) if self.pixels.ndim == 4 else 1

    @property
    def signed(self) -> bool:
        """Whether samples are two's complement."""
        return self.pixels.dtype.kind == "i"


@dataclass(frozen=True, slots=True, eq=False)
class OpaqueFile:
    """A file that is protected as bytes because its pixels cannot be decoded; `reason` says why."""

    original: bytes = field(repr=False)
    reason: str
    name: str = ""
    media_type: str = "application/octet-stream"
