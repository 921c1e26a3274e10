"""DICOM files to `MedicalImage`: stored values, frames first, colour as RGB.

What comes out (PS3.3 C.7.6.3, PS3.5 8): no rescale slope and no window is applied (`imaging.windowing` does);
planar colour becomes pixel-interleaved; YBR_FULL, YBR_FULL_422, YBR_ICT and YBR_RCT become RGB by the standard's
conversion; PALETTE COLOR keeps its indices (`apply_palette`); bits beyond Bits Stored are cleared; 1-bit data is
unpacked to bytes of 0 and 1; float and double float pixel data keep their type. `original` stays the file itself.

Decoders: pydicom's own for native data, imagecodecs for JPEG of 8 to 16 bits and RLE, CharLS for JPEG-LS, OpenJPEG
for JPEG 2000 (HTJ2K too). Never used: pylibjpeg-libjpeg, which is GPL; GDCM, whose exceptions on damaged JPEG data
end the whole process; pylibjpeg-rle, whose panics on damaged data are no `Exception`.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import codestream, dicom_details, dicom_frames
from medveil.imaging.image import MedicalImage, Photometric, PixelSpan

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MEDIA_TYPE = "application/dicom"

_DECODER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip

_PIXEL_TAGS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_PHOTOMETRIC = {
    "MONOCHROME1": Photometric.MONOCHROME1,
    "MONOCHROME2": Photometric.MONOCHROME2,
    "RGB": Photometric.RGB,
    "PALETTE COLOR": Photometric.PALETTE_COLOR,
}
_DEFLATED = "1.2.840.10008.1.2.1.99"

_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_stack: Any = None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings about odd files from the caller's terminal while a file is read.

    Filters are the interpreter's, not the thread's: the first reader in adds one for pydicom's modules only and
    the last one out takes it away, so that concurrent readers do not undo each other's.
    """
    global _quiet_depth, _quiet_stack
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_stack = warnings.catch_warnings()
            _quiet_stack.__enter__()
            warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_stack.__exit__(None, None, None)


def decoder_errors() -> tuple[type[Exception], ...]:
    """Return what pydicom and the decoders under it raise on damaged files: none of them promises less."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    return (*_DECODER_ERRORS, BytesLengthException, InvalidDicomError)


def looks_like(data: bytes) -> bool:
    """Whether the bytes begin like a DICOM file, with or without the 128-byte preamble of PS3.10 7.1."""
    if data[128:132] == b"DICM":
        return True
    if len(data) < 16:
        return False
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        group = int.from_bytes(data[0:2], order)
        element = int.from_bytes(data[2:4], order)
        if group in (0x0002, 0x0008) and element <= 0x0100:
            explicit = data[4:6].isalpha() and data[4:6].isupper()
            length = int.from_bytes(data[4:8], order)
            if explicit or (length < 256 and length % 2 == 0):
                return True
    return False


def open_dataset(data: bytes, *, limit: int = codestream.DEFAULT_LIMIT) -> Dataset:
    """Parse a DICOM file held in memory.

    Raises InputError where it is not one, LimitError where a deflated data set would inflate beyond `limit`.
    """
    from pydicom import dcmread

    if not looks_like(data):
        raise InputError("not a DICOM file: neither a DICM prefix nor a data set at its start")
    start, syntax = _file_meta(data)
    if syntax == _DEFLATED:
        _refuse_inflation(data, start, limit)
    try:
        with quiet():
            dataset = dcmread(BytesIO(data), force=True)
    except decoder_errors() as error:
        raise InputError(f"a DICOM file that cannot be parsed ({_brief(error)}): it is truncated or damaged") from error
    if len(dataset) == 0:
        raise InputError("a DICOM file without a data set: it is truncated or damaged")
    return dataset


def decode(data: bytes, *, name: str = "", limit: int = codestream.DEFAULT_LIMIT) -> MedicalImage:
    """Decode the pixels of a DICOM file.

    Raises InputError where the file is damaged, UnsupportedError where it holds no pixels or an unknown encoding,
    LimitError where its pixels would take more than `limit` bytes.
    """
    dataset = open_dataset(data, limit=limit)
    try:
        with quiet():
            return _decode(dataset, data, name, limit)
    except decoder_errors() as error:
        raise InputError(f"DICOM pixels that cannot be decoded ({_brief(error)})") from error


def _decode(dataset: Dataset, data: bytes, name: str, limit: int) -> MedicalImage:
    keyword = next((word for tag, word in _PIXEL_TAGS.items() if tag in dataset), None)
    if keyword is None:
        raise UnsupportedError(f"a DICOM file without pixel data ({_kind(dataset)}): protect it as bytes")
    syntax = _transfer_syntax(dataset)
    shape, word = _declared_shape(dataset, keyword)
    codestream.refuse_larger(int(np.prod(shape, dtype=object)) * word, limit, f"a DICOM image of {shape}")
    place = _pixel_place(dataset, syntax) if keyword == "PixelData" else None
    pixels, photometric = _pixels(dataset, syntax, shape, keyword)
    bits = 8 * pixels.dtype.itemsize if keyword != "PixelData" else int(dataset.BitsStored)
    return MedicalImage(
        pixels=pixels,
        bits_stored=bits,
        photometric=photometric,
        spacing=dicom_details.spacing(dataset),
        original=data,
        media_type=MEDIA_TYPE,
        name=name,
        pixel_span=_verified_span(data, place, pixels),
        details=dicom_details.details(dataset, syntax),
    )


def _declared_shape(dataset: Dataset, keyword: str) -> tuple[tuple[int, int, int, int], int]:
    """Return (frames, rows, columns, samples) as the header says, and bytes a decoded sample."""
    frames = dataset.get("NumberOfFrames")
    shape = (
        1 if frames is None or frames == "" else int(frames),
        int(dataset.Rows),
        int(dataset.Columns),
        int(dataset.get("SamplesPerPixel") or 1),
    )
    if min(shape) < 1:
        raise InputError(f"a DICOM image of {shape} frames, rows, columns and samples has no pixels")
    if shape[3] not in (1, 3):
        raise UnsupportedError(f"a DICOM image with {shape[3]} samples a pixel: only 1 and 3 are defined")
    allocated = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.BitsAllocated)
    return shape, (allocated + 7) // 8


def _pixels(
    dataset: Dataset, syntax: str, shape: tuple[int, int, int, int], keyword: str
) -> tuple[npt.NDArray[Any], Photometric]:
    if keyword != "PixelData":
        array, photometric = dicom_frames.native_floats(dataset, shape, keyword), "MONOCHROME2"
    else:
        from pydicom.uid import UID

        uid = UID(syntax)
        if not _known(uid):
            raise UnsupportedError(f"a DICOM file in the transfer syntax {syntax}, which medveil does not know")
        if syntax == dicom_frames.DEFLATED_FRAMES or uid.is_encapsulated:
            dicom_frames.check(dataset, syntax, shape)
        array, photometric = dicom_frames.decode(dataset, syntax, shape)
    known = _PHOTOMETRIC.get(photometric)
    if known is None:
        raise UnsupportedError(f"a DICOM image in the colour space {photometric!r}, which medveil does not know")
    array = array.reshape(shape if shape[3] > 1 else shape[:3])
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)), known


def _pixel_place(dataset: Dataset, syntax: str) -> tuple[int, PixelSpan] | None:
    """Return where native, interleaved, whole-byte pixels should stand in the file; to be verified."""
    from pydicom.dataelem import RawDataElement
    from pydicom.uid import UID

    raw: Any = dataset.get_item(0x7FE00010)
    allocated = int(dataset.BitsAllocated)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    planar = samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1
    if not isinstance(raw, RawDataElement) or allocated not in (8, 16, 32, 64) or planar:
        return None
    uid = UID(syntax)
    if syntax in (_DEFLATED, dicom_frames.DEFLATED_FRAMES) or not _known(uid) or uid.is_encapsulated:
        return None
    order = "<" if uid.is_little_endian else ">"
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    dtype = np.dtype(f"{order}{kind}{allocated // 8}")
    shape = _declared_shape(dataset, "PixelData")[0]
    length = int(np.prod(shape)) * dtype.itemsize
    return length, PixelSpan(int(raw.value_tell), length, dtype.str, shape)


def _verified_span(data: bytes, place: tuple[int, PixelSpan] | None, pixels: npt.NDArray[Any]) -> PixelSpan | None:
    """Return the span only where these bytes of the file are the decoded pixels, value for value."""
    if place is None:
        return None
    length, span = place
    if span.offset + length > len(data):
        return None
    stored = np.frombuffer(data, dtype=span.dtype, count=int(np.prod(span.shape)), offset=span.offset)
    same = stored.dtype.newbyteorder("=") == pixels.dtype and np.array_equal(stored, pixels.reshape(-1))
    return span if same else None


def apply_palette(image: MedicalImage) -> MedicalImage:
    """Return the colours of a palette image: pixels (frames, rows, columns, 3), uint8 or uint16 (PS3.3 C.7.6.3.1.5).

    The result has no `original` and no `pixel_span`: its pixels are no longer those of the file.
    Raises InputError where the image has no palette.
    """
    palette = image.details.get("palette")
    if image.photometric is not Photometric.PALETTE_COLOR or palette is None:
        raise InputError("an image without a colour palette: only palette images can be coloured")
    bits = int(palette["bits"])
    tables = [np.asarray(table) for table in palette["tables"]]
    first = np.asarray(palette["first"], dtype=np.int64)
    index = image.pixels.astype(np.int64)
    channels = [table[np.clip(index - start, 0, len(table) - 1)] for table, start in zip(tables, first, strict=True)]
    dtype = np.uint8 if bits <= 8 else np.uint16
    pixels = np.stack(channels, axis=-1).astype(dtype)
    return MedicalImage(pixels, bits, Photometric.RGB, image.spacing, name=image.name)


def _transfer_syntax(dataset: Dataset) -> str:
    syntax = _meta(dataset, "TransferSyntaxUID")
    if not syntax:
        raise UnsupportedError("a DICOM file that names no transfer syntax: its pixels cannot be read without guessing")
    return str.__str__(syntax)


def _meta(dataset: Dataset, keyword: str) -> Any:
    meta = getattr(dataset, "file_meta", None)
    return None if meta is None else meta.get(keyword)


def _known(uid: Any) -> bool:
    return uid == dicom_frames.DEFLATED_FRAMES or (not uid.is_private and bool(uid.is_transfer_syntax))


def _kind(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID") or _meta(dataset, "MediaStorageSOPClassUID")
    return str(getattr(uid, "name", "")) or "no SOP class"


def _brief(error: BaseException) -> str:
    """Return the kind and first line of a decoder's complaint; such messages hold sizes and tags, no patient data."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def _file_meta(data: bytes) -> tuple[int, str | None]:
    """Return where the data set begins and the transfer syntax, from the file meta group (PS3.10 7.1)."""
    at = 132 if data[128:132] == b"DICM" else 0
    syntax = None
    while data[at : at + 2] == b"\x02\x00" and at + 8 <= len(data):
        element = int.from_bytes(data[at + 2 : at + 4], "little")
        if data[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ"):
            length, begin = int.from_bytes(data[at + 8 : at + 12], "little"), at + 12
        else:
            length, begin = int.from_bytes(data[at + 6 : at + 8], "little"), at + 8
        if element == 0x0010:
            syntax = data[begin : begin + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = begin + length
    return at, syntax


def _refuse_inflation(data: bytes, start: int, limit: int) -> None:
    """Count what a deflated data set inflates to, keeping nothing, and raise LimitError beyond `limit`."""
    engine, total, pending = zlib.decompressobj(-zlib.MAX_WBITS), 0, data[start:]
    try:
        while pending and not engine.eof:
            total += len(engine.decompress(pending, 1 << 20))
            codestream.refuse_larger(total, limit, "a deflated DICOM file")
            pending = engine.unconsumed_tail
    except zlib.error as error:
        raise InputError("a deflated DICOM file whose compressed data is damaged") from error
