"""Frames of DICOM pixel data: checked before they are decoded; JPEG and RLE by imagecodecs, the rest by pydicom."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import codestream

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Shape = tuple[int, int, int, int]

_JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70))
_PLUGINS = {  # one decoder a syntax, so that lossy pictures do not depend on what else is installed
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg",
}
_RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_VIDEO = range(100, 113)


def check(dataset: Dataset, syntax: str, shape: Shape) -> None:
    """Compare every compressed frame's own header with the data set before a decoder allocates what it asks for.

    Raises InputError where frames are missing or differ in size from the data set, UnsupportedError for video.
    """
    if syntax.startswith(_JPEG_FAMILY) and int(syntax.rsplit(".", maxsplit=1)[-1]) in _VIDEO:
        raise UnsupportedError("a DICOM video (MPEG): protect it as bytes")
    frames = _frames(dataset, shape)
    if len(frames) < shape[0]:
        raise InputError(f"{len(frames)} of {shape[0]} frames are in the file: it is truncated")
    if not syntax.startswith(_JPEG_FAMILY):
        return
    for number, frame in enumerate(frames, start=1):
        found = codestream.inspect(frame)
        if (found.rows, found.columns, found.samples) != shape[1:]:
            raise InputError(
                f"frame {number} is {found.rows} x {found.columns} x {found.samples} in its own header and "
                f"{shape[1]} x {shape[2]} x {shape[3]} in the data set: the file is damaged"
            )


def decode(dataset: Dataset, syntax: str, shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """Return the pixels (any layout of `shape`'s size) and their photometric interpretation after decoding."""
    from pydicom.pixels.decoders.base import get_decoder

    if syntax in _JPEG_SYNTAXES:
        return _jpeg(dataset, shape)
    if syntax == _RLE:
        return _run_lengths(dataset, shape)
    if syntax == DEFLATED_FRAMES:
        return _deflated(dataset, shape), str(dataset.PhotometricInterpretation)
    try:
        array, meta = get_decoder(syntax).as_array(dataset, decoding_plugin=_PLUGINS.get(syntax, ""))
    except NotImplementedError as error:
        lines = str(error).strip().splitlines() or [""]
        raise UnsupportedError(f"DICOM pixels that no decoder here reads ({lines[0][:160]})") from error
    expected = int(np.prod(shape))
    if array.size > expected:  # files with more frames than they declare
        array = array.reshape(-1)[:expected]
    return array, str(meta["photometric_interpretation"])


def native_floats(dataset: Dataset, shape: Shape, keyword: str) -> npt.NDArray[Any]:
    """Return Float Pixel Data or Double Float Pixel Data (PS3.3 C.7.6.24 and .25).

    Raises InputError where the file holds fewer values than it declares.
    """
    little = dataset.original_encoding[1] is not False
    dtype = np.dtype(("<" if little else ">") + ("f4" if keyword == "FloatPixelData" else "f8"))
    data = dataset[keyword].value
    count = int(np.prod(shape))
    if len(data) < count * dtype.itemsize:
        raise InputError(f"{len(data)} bytes of pixels where {count * dtype.itemsize} are declared: truncated")
    return np.frombuffer(data, dtype, count)


def _frames(dataset: Dataset, shape: Shape) -> list[bytes]:
    from pydicom.encaps import generate_frames

    table = dataset.get("ExtendedOffsetTable")
    lengths = dataset.get("ExtendedOffsetTableLengths")
    extended = (table, lengths) if table and lengths else None
    found = []
    for frame in generate_frames(dataset.PixelData, number_of_frames=shape[0], extended_offsets=extended):
        found.append(frame)
        if len(found) == shape[0]:
            break
    return found


def _jpeg(dataset: Dataset, shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """JPEG of 8, 12 or 16 bits, lossy or lossless, by libjpeg-turbo (PS3.5 8.2.1).

    Colour follows the picture where it says itself whether it is YCbCr, else the data set.
    """
    import imagecodecs

    photometric = str(dataset.PhotometricInterpretation)
    bits = int(dataset.BitsStored)
    out = np.empty(shape if shape[3] > 1 else shape[:3], _dtype(dataset))
    for index, frame in enumerate(_frames(dataset, shape)):
        header = codestream.inspect(frame)
        if header.kind not in ("jpeg", "jpeg-lossless"):
            raise InputError(f"frame {index + 1} is {header.kind} where the data set says JPEG: the file is damaged")
        codestream.refuse_cut_jpeg(frame, header)
        if header.samples == 1:
            picture = imagecodecs.jpeg8_decode(frame)
        else:
            ycbcr = header.colour == "ycbcr" if header.colour else photometric.startswith("YBR")
            stored = "YCBCR" if ycbcr else "RGB"
            picture = imagecodecs.jpeg8_decode(frame, colorspace=stored, outcolorspace="RGB")
        if picture.shape != out.shape[1:] or picture.dtype.itemsize > out.dtype.itemsize:
            raise InputError(f"frame {index + 1} decodes to {picture.dtype} {picture.shape}: the file is damaged")
        out[index] = _with_sign(picture, bits, out.dtype)
    return out, photometric if shape[3] == 1 else "RGB"


def _with_sign(picture: npt.NDArray[Any], bits: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return values in the data set's type; JPEG has no sign, so two's complement of `bits` bits is extended."""
    if dtype.kind == "u":
        return picture.astype(dtype)
    spare = 8 * dtype.itemsize - bits
    return (picture.astype(f"u{dtype.itemsize}") << spare).view(dtype) >> spare


def _dtype(dataset: Dataset) -> np.dtype[Any]:
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    return np.dtype(f"{kind}{int(dataset.BitsAllocated) // 8}")


def _deflated(dataset: Dataset, shape: Shape) -> npt.NDArray[Any]:
    """Deflated Image Frame Compression (PS3.5 Annex A.4): raw deflate a frame, little-endian words."""
    if int(dataset.BitsAllocated) == 1:
        return _packed_bits(_frames(dataset, shape), _inflate, shape)
    if shape[3] != 1:
        raise UnsupportedError("deflated frames in colour")
    dtype = _dtype(dataset).newbyteorder("<")
    size = shape[1] * shape[2] * dtype.itemsize
    data = b"".join(_inflate(frame, size, number) for number, frame in enumerate(_frames(dataset, shape), start=1))
    return np.frombuffer(data, dtype)


def _run_lengths(dataset: Dataset, shape: Shape) -> tuple[npt.NDArray[Any], str]:
    """RLE Lossless (PS3.5 Annex G): byte planes a sample, samples one after the other."""
    photometric, bits = str(dataset.PhotometricInterpretation), int(dataset.BitsStored)
    frames = _frames(dataset, shape)
    if int(dataset.BitsAllocated) == 1:
        return _packed_bits(frames, _unpack_bytes, shape), photometric
    dtype = _dtype(dataset)
    stored = np.dtype(f"<u{dtype.itemsize}")
    out = np.empty(shape, dtype)
    for index, frame in enumerate(frames):
        planes = _unpack(frame, out[index].nbytes, index + 1, stored).reshape(shape[3], *shape[1:3])
        if stored.itemsize * 8 > bits:
            planes = planes & stored.type((1 << bits) - 1)
        out[index] = _with_sign(np.moveaxis(planes, 0, -1), bits, dtype)
    if not photometric.startswith("YBR"):
        return out, photometric
    from pydicom.pixels.processing import convert_color_space

    return np.asarray(convert_color_space(out, photometric, "RGB")), "RGB"


def _unpack(frame: bytes, size: int, number: int, stored: np.dtype[Any]) -> npt.NDArray[Any]:
    import imagecodecs

    if len(frame) < 64:
        raise InputError(f"frame {number} is shorter than its own RLE header: the file is truncated")
    data = imagecodecs.dicomrle_decode(frame, stored, out=size)
    if len(data) != size:
        raise InputError(f"frame {number} holds {len(data)} of {size} bytes: the file is truncated")
    return np.frombuffer(data, stored)


def _unpack_bytes(frame: bytes, size: int, number: int) -> bytes:
    return _unpack(frame, size, number, np.dtype(np.uint8)).tobytes()


def _packed_bits(
    frames: list[bytes], unpack: Callable[[bytes, int, int], bytes], shape: Shape
) -> npt.NDArray[np.uint8]:
    """1-bit frames, each compressed on its own after packing, first pixel in the lowest bit (PS3.5 8.1.1)."""
    pixels = shape[1] * shape[2] * shape[3]
    size = (pixels + 7) // 8
    out = np.empty((shape[0], pixels), np.uint8)
    for index, frame in enumerate(frames):
        packed = np.frombuffer(unpack(frame, size, index + 1), np.uint8)
        out[index] = np.unpackbits(packed[:size], bitorder="little")[:pixels]
    return out


def _inflate(frame: bytes, size: int, number: int) -> bytes:
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, size)
    if len(data) < size:
        raise InputError(f"frame {number} inflates to {len(data)} of {size} bytes: the file is truncated")
    return data
