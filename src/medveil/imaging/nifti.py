"""NIfTI-1 and NIfTI-2 volumes, compressed or not, of either byte order, to and from `MedicalImage`.

NIfTI stores x fastest, then y, z, t and further axes. Pixels keep that order of bytes: frames = every index beyond
y, slices fastest (frame = t * slices + z), rows = y, columns = x, so an uncompressed file's data block *is* the
array. Stored values: `scl_slope` and `scl_inter` go to details, not into the pixels.
Header fields are parsed by nibabel (extra ``nifti``); data blocks are read here, so that sizes are bounded first.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError, UnsupportedError
from medveil.imaging import codestream
from medveil.imaging.image import MedicalImage, Photometric, PixelSpan

MEDIA_TYPE = "application/x-nifti"
GZIP_MEDIA_TYPE = "application/gzip"

_GZIP = b"\x1f\x8b\x08"
_HEADER_BYTES = 544
_SIZES = {1: 348, 2: 540}
_MAX_OFFSET = 1 << 24
_MAX_SIDE = 32_767
_RGB, _RGBA = 128, 2304
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def looks_like(data: bytes) -> bool:
    """Whether the bytes are a NIfTI file, gzipped or not."""
    return _version(_head(data)) is not None


def decode(data: bytes, *, name: str = "", limit: int = codestream.DEFAULT_LIMIT) -> MedicalImage:
    """Decode a NIfTI file held in memory.

    pixels: (frames, rows, columns) or (frames, rows, columns, 3 or 4) for RGB24 and RGBA32. details: dim, and
    rescale and windows where the header has them.

    Raises InputError where the file is damaged, UnsupportedError for header/image pairs and complex or 128-bit
    values, LimitError where its pixels would take more than `limit` bytes, MissingExtraError without nibabel.
    """
    head = _head(data)
    header = _parse(head)
    dim = [int(v) for v in header["dim"]]
    shape, dtype, samples = _shape(dim), *_dtype(header)
    size = int(np.prod(shape, dtype=object)) * samples * dtype.itemsize
    codestream.refuse_larger(size, limit, f"a NIfTI volume of {shape}")
    offset = int(header["vox_offset"]) or (544 if _version(head) == 2 else 352)
    if not len(header.binaryblock) <= offset <= _MAX_OFFSET:
        raise InputError(f"a NIfTI file whose data begins at byte {offset}: it is damaged")
    body = _plain(data, offset + size)
    if len(body) < offset + size:
        raise InputError(f"a NIfTI file of {len(body)} bytes where {offset + size} are declared: it is truncated")
    stored = np.frombuffer(body, dtype, size // dtype.itemsize, offset)
    full = (*shape, samples) if samples > 1 else shape
    pixels = stored.reshape(full).astype(dtype.newbyteorder("="))
    zipped = data.startswith(_GZIP)
    return MedicalImage(
        pixels=pixels,
        bits_stored=8 * dtype.itemsize,
        photometric=Photometric.RGB if samples > 1 else Photometric.MONOCHROME2,
        spacing=_spacing(header),
        original=data,
        media_type=GZIP_MEDIA_TYPE if zipped else MEDIA_TYPE,
        name=name,
        pixel_span=None if zipped else PixelSpan(offset, size, dtype.str, (*shape, samples)),
        details=_details(header, dim),
    )


def _head(data: bytes) -> bytes:
    """Return the first bytes of the file, unzipped where need be; empty where they cannot be."""
    if not data.startswith(_GZIP):
        return data[:_HEADER_BYTES]
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data[:65536], _HEADER_BYTES)
    except zlib.error:
        return b""


def _version(head: bytes) -> int | None:
    if head[344:348] in (b"n+1\0", b"ni1\0") and head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return 1
    if head[4:8] in (b"n+2\0", b"ni2\0") and head[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        return 2
    return None


def _parse(head: bytes) -> Any:
    version = _version(head)
    if version is None:
        raise InputError("not a NIfTI file")
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        raise UnsupportedError("a NIfTI header whose pixels are in another file: save the pair as one .nii file")
    try:
        import nibabel
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ImportError as error:
        raise MissingExtraError("reading NIfTI volumes", "nifti") from error
    kind: Any = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    order = "<" if head[0] else ">"
    try:
        return kind(head[: _SIZES[version]], order, check=False)
    except (HeaderDataError, WrapStructError, ValueError) as error:
        raise InputError(f"a NIfTI header that cannot be parsed ({error}): the file is damaged") from error


def _shape(dim: list[int]) -> tuple[int, int, int]:
    axes = dim[0]
    if not 1 <= axes <= 7 or min(dim[1 : axes + 1]) < 1:
        raise InputError(f"a NIfTI volume of dimensions {dim[1:]} has no pixels: the file is damaged")
    sides = [*dim[1 : axes + 1], 1, 1]
    columns, rows = sides[0], sides[1] if axes > 1 else 1
    frames = 1
    for side in dim[3 : axes + 1]:
        frames *= side
    return frames, rows, columns


def _dtype(header: Any) -> tuple[np.dtype[Any], int]:
    code = int(header["datatype"])
    if code in (_RGB, _RGBA):
        return np.dtype(np.uint8), 3 if code == _RGB else 4
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (KeyError, ValueError, TypeError) as error:
        raise UnsupportedError(f"a NIfTI volume of data type {code}, which medveil does not know") from error
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise UnsupportedError(f"a NIfTI volume of {dtype.name} values: only integers and floats up to 64 bits")
    return dtype.newbyteorder(header.endianness), 1


def _plain(data: bytes, needed: int) -> bytes:
    """Return at least the first `needed` bytes of the unzipped file, and no more where it is gzipped."""
    if not data.startswith(_GZIP):
        return data
    parts, got, rest = [], 0, data
    try:
        while rest and got < needed:  # a gzip file may have several members
            engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
            piece = engine.decompress(rest, needed - got)
            parts.append(piece)
            got += len(piece)
            if not engine.eof:
                break
            rest = engine.unused_data
    except zlib.error as error:
        raise InputError("a NIfTI file whose gzip data is damaged") from error
    return b"".join(parts)


def _spacing(header: Any) -> tuple[float, float, float] | None:
    scale = _MM.get(int(header["xyzt_units"]) & 7)
    zooms = [float(v) for v in header["pixdim"][1:4]]
    if scale is None or not np.isfinite(zooms).all() or min(zooms) <= 0:
        return None
    return zooms[2] * scale, zooms[1] * scale, zooms[0] * scale


def _details(header: Any, dim: list[int]) -> dict[str, Any]:
    found: dict[str, Any] = {"dim": tuple(dim)}
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isfinite([slope, intercept]).all() and slope != 0:
        found["rescale"] = (slope, intercept)
    low, high = float(header["cal_min"]), float(header["cal_max"])
    if np.isfinite([low, high]).all() and high > low:
        found["windows"] = (((low + high) / 2, high - low, "LINEAR_EXACT"),)
    return found


def encode(image: MedicalImage, *, pixels: npt.NDArray[Any] | None = None, compress: bool = False) -> bytes:
    """Return a NIfTI file of the image's pixels, or of `pixels` of the same number of values.

    An image that was read from NIfTI keeps its header, extensions and byte order; any other gets a NIfTI-1 header
    with its shape and spacing. Raises InputError where shape or type do not fit the header that is kept.
    """
    values = image.pixels if pixels is None else pixels
    kept = _kept_header(image.original or b"")
    if not kept:
        data = (
            _fresh_header(image, values)
            + np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        )
    else:
        header = _parse(kept)
        dtype, samples = _dtype(header)
        shape = _shape([int(v) for v in header["dim"]])
        if values.size != int(np.prod(shape)) * samples or values.dtype != dtype.newbyteorder("="):
            raise InputError(f"pixels {values.dtype} {values.shape} do not fit the file's header {dtype} {shape}")
        data = kept + np.ascontiguousarray(values).astype(dtype, copy=False).tobytes()
    if not compress:
        return data
    packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def _kept_header(original: bytes) -> bytes:
    """Return what stands before the data block of a NIfTI file, extensions included; empty for other files."""
    head = _head(original)
    if _version(head) is None:
        return b""
    offset = int(_parse(head)["vox_offset"]) or (544 if _version(head) == 2 else 352)
    return _plain(original, offset)[:offset]


def _fresh_header(image: MedicalImage, values: npt.NDArray[Any]) -> bytes:
    try:
        import nibabel
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise MissingExtraError("writing NIfTI volumes", "nifti") from error
    kind: Any = nibabel.Nifti1Header
    header = kind(endianness="<")
    frames, rows, columns = values.shape[:3]
    if max(columns, rows, frames) > _MAX_SIDE:
        raise InputError(f"pixels {values.shape} do not fit a NIfTI file: its sides are at most {_MAX_SIDE}")
    try:
        if values.ndim == 4:
            header["datatype"], header["bitpix"] = (_RGB, 24) if values.shape[3] == 3 else (_RGBA, 32)
        else:
            header.set_data_dtype(values.dtype)
        header.set_data_shape((columns, rows, frames))
        if image.spacing is not None:
            between, down, across = image.spacing
            header.set_zooms((across, down, between))
            header.set_xyzt_units("mm")
    except (HeaderDataError, ValueError) as error:
        raise InputError(f"pixels {values.dtype} {values.shape} do not fit a NIfTI file ({error})") from error
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + b"\0\0\0\0"
