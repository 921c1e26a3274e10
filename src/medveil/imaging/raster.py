"""PNG, TIFF, JPEG, JPEG-LS and JPEG 2000 pictures to and from `MedicalImage`, through imagecodecs.

Grey stays grey and colour stays colour, as the file stores it; alpha is kept as a fourth sample; PNG pixels of 1,
2 and 4 bits are scaled to 8 by libpng and PNG palettes become RGB; TIFF palettes keep their indices. Pages of a
TIFF file become frames. Resolution tags speak of printing, not of anatomy, so `spacing` stays None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import codestream, tiff_header
from medveil.imaging.image import MedicalImage, Photometric

MEDIA_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "jpeg-lossless": "image/jpeg",
    "jpeg-ls": "image/jls",
    "j2k": "image/j2c",
    "htj2k": "image/jphc",
}
TIFF_MEDIA_TYPE = "image/tiff"

_CODEC_ERRORS = (MemoryError, NotImplementedError, RuntimeError, TypeError, ValueError)


def decode(data: bytes, *, name: str = "", limit: int = codestream.DEFAULT_LIMIT) -> MedicalImage:
    """Decode a PNG, JPEG, JPEG-LS or JPEG 2000 picture held in memory; frames = 1.

    Raises InputError where the file is damaged, UnsupportedError for CMYK and animated pictures, LimitError where
    its pixels would take more than `limit` bytes.
    """
    found = codestream.inspect(data)
    codestream.refuse_larger(found.decoded_bytes, limit, f"a {found.kind} picture of {found.rows} x {found.columns}")
    if found.kind == "png" and b"acTL" in data[:4096]:
        raise UnsupportedError("an animated PNG file: save its frames as a TIFF file with several pages")
    if found.samples == 4 and found.kind.startswith("jpeg"):
        raise UnsupportedError("a JPEG picture in CMYK: medical images are grey or RGB, so convert it first")
    codestream.refuse_cut_jpeg(data, found)
    try:
        pixels = _decoder(found)(data)
    except _CODEC_ERRORS as error:
        raise InputError(f"a damaged {found.kind} picture ({error})") from error
    if pixels.shape[:2] != (found.rows, found.columns):
        raise InputError(f"a {found.kind} picture whose pixels {pixels.shape} differ from its header: it is damaged")
    if pixels.ndim == 3 and pixels.shape[2] == 2:  # grey with alpha: the same information as RGBA
        pixels = pixels[:, :, [0, 0, 0, 1]]
    bits = 8 * pixels.dtype.itemsize if found.kind == "png" else found.bits
    return MedicalImage(
        pixels=np.ascontiguousarray(pixels)[np.newaxis],
        bits_stored=bits,
        photometric=Photometric.RGB if pixels.ndim == 3 else Photometric.MONOCHROME2,
        original=data,
        media_type="image/jp2" if data.startswith(codestream.JP2_START) else MEDIA_TYPES[found.kind],
        name=name,
    )


def decode_tiff(data: bytes, *, name: str = "", limit: int = codestream.DEFAULT_LIMIT) -> MedicalImage:
    """Decode a TIFF or BigTIFF file held in memory; pages of one size and type become frames.

    Raises InputError where the file is damaged, UnsupportedError where pages differ or samples are of a kind that
    no medical image has, LimitError where its pixels would take more than `limit` bytes.
    """
    import imagecodecs

    pages = tiff_header.pages(data)
    first = pages[0]
    if any(page != first for page in pages):
        raise UnsupportedError("a TIFF file whose pages differ in size or type: save them as separate files")
    if first.samples not in (1, 3, 4) or first.photometric not in (0, 1, 2, 3, 6):
        raise UnsupportedError(f"a TIFF file of {first.samples} samples and colour space {first.photometric}")
    size = len(pages) * first.rows * first.columns * first.samples * ((first.bits + 7) // 8)
    codestream.refuse_larger(size, limit, f"a TIFF file of {len(pages)} pages, {first.rows} x {first.columns}")
    try:
        pixels = imagecodecs.tiff_decode(data, index=None if len(pages) > 1 else 0)
    except _CODEC_ERRORS as error:
        raise InputError(f"a damaged TIFF file ({error})") from error
    shape = (len(pages), first.rows, first.columns) + ((first.samples,) if first.samples > 1 else ())
    if pixels.size != np.prod(shape, dtype=object):
        raise InputError(f"a TIFF file whose pixels {pixels.shape} differ from its header {shape}: it is damaged")
    if first.samples > 1 and first.planar and pixels.shape[-1] != first.samples:
        pixels = np.moveaxis(pixels, -3, -1)
    colours = {0: Photometric.MONOCHROME1, 1: Photometric.MONOCHROME2, 3: Photometric.PALETTE_COLOR}
    bits = min(first.bits, 8 * pixels.dtype.itemsize)
    return MedicalImage(
        pixels=np.ascontiguousarray(pixels.reshape(shape)),
        bits_stored=bits,
        photometric=colours.get(first.photometric, Photometric.RGB),
        original=data,
        media_type=TIFF_MEDIA_TYPE,
        name=name,
        details={"palette": first.palette} if first.palette is not None else {},
    )


def encode_png(pixels: npt.NDArray[Any], *, level: int = 6) -> bytes:
    """Return a PNG file of (rows, columns) or (rows, columns, 2 to 4) pixels, uint8 or uint16, lossless.

    Raises InputError for other shapes or types: PNG has no signed, float or multi-frame pixels.
    """
    import imagecodecs

    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise InputError(f"PNG holds 8 or 16 unsigned bits of one frame, not {pixels.dtype} {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] not in (2, 3, 4):
        raise InputError(f"PNG holds 1 to 4 samples a pixel, not {pixels.shape[2]}")
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels), level))


def encode_tiff(pixels: npt.NDArray[Any]) -> bytes:
    """Return a deflate-compressed TIFF file of (frames, rows, columns[, 3 or 4]) pixels, lossless.

    Integers of 8 to 64 bits, signed or not, and floats. Raises InputError for other shapes or types.
    """
    import imagecodecs

    colour = pixels.ndim == 4
    if pixels.ndim not in (3, 4) or 0 in pixels.shape or (colour and pixels.shape[3] not in (3, 4)):
        raise InputError(f"a TIFF file is written from (frames, rows, columns[, 3 or 4]), not {pixels.shape}")
    if pixels.dtype.kind not in "uif" or pixels.dtype.itemsize > 8:
        raise InputError(f"a TIFF file is written from integers or floats, not {pixels.dtype}")
    native = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))
    return bytes(
        imagecodecs.tiff_encode(native, 6, photometric="rgb" if colour else "minisblack", compression="deflate")
    )


def _decoder(found: codestream.Codestream) -> Callable[[bytes], npt.NDArray[Any]]:
    import imagecodecs

    decoders: dict[str, Callable[[bytes], npt.NDArray[Any]]] = {
        "png": imagecodecs.png_decode,
        "jpeg": imagecodecs.jpeg8_decode,
        "jpeg-lossless": imagecodecs.jpeg8_decode,
        "jpeg-ls": imagecodecs.jpegls_decode,
        "j2k": imagecodecs.jpeg2k_decode,
        "htj2k": imagecodecs.jpeg2k_decode,
    }
    return decoders[found.kind]
