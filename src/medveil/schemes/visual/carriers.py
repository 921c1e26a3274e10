"""How a share travels: as PNG or DICOM, with its proof in the lowest bits, a chunk, an element, or a file beside it.

==========  ==================================================================================================
carrier     where the envelope (proof and session) is
==========  ==================================================================================================
``lsb``     the frame of `frame` in the lowest bits of a PNG; survives every lossless copy
``chunk``   PNG chunk ``mvPF``, for pictures that are too small; survives programs that keep unknown chunks
``dicom``   private element (0099,xx01), creator MEDVEIL VISUAL, of a Secondary Capture
``sidecar`` a file of its own; the picture carries nothing
==========  ==================================================================================================

The lossless layer is PNG chunk ``mvLS`` or private element (0099,xx02). All lowest bits that hold no frame are random.
The length of a PNG share depends on its dimensions and payloads only: chunk ``mvPD`` fills what compression saved.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, InputError, LimitError, TamperedError, UnsupportedError
from medveil.imaging.image import MedicalImage, Photometric
from medveil.schemes.visual import frame
from medveil.schemes.visual.envelope import MAX_ENVELOPE, Envelope
from medveil.schemes.visual.sharing import Packed

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CARRIERS: Final = ("lsb", "chunk", "dicom", "sidecar")
MAX_SAMPLES: Final = 1 << 28
"""Most samples of a share."""
SUFFIX: Final = {"lsb": ".png", "chunk": ".png", "dicom": ".dcm", "sidecar": ".png"}
SIDECAR_SUFFIX: Final = ".proof"
"""What is added to a share's file name for its sidecar."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_PROOF, _LAYER, _PADDING = b"mvPF", b"mvLS", b"mvPD"
_CRITICAL: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_GROUP, _CREATOR = 0x0099, "MEDVEIL VISUAL"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ShareFile:
    """A share as its carrier gave it; nothing of it is verified.

    pixels: uint8 (rows, columns) or (rows, columns, 3), values 0, 1, 254 and 255. envelope: None where it carries
    none. layer: of the lossless layer, empty where it carries none. reason: why there is no envelope.
    """

    pixels: Pixels = field(repr=False)
    envelope: Envelope | None
    layer: bytes = field(repr=False)
    reason: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return tuple(self.pixels.shape)

    @property
    def plane(self) -> Packed:
        """The packed most significant bits."""
        return np.packbits(self.pixels.reshape(-1) >> 7)


def pixels_of(plane: Packed, shape: tuple[int, ...], framed: bytes, rng: Randomness = SYSTEM) -> Pixels:
    """Return a share's pixels: `plane` above, the frame's bits and then random ones below; uint8 of `shape`."""
    samples = int(np.prod(shape))
    low = np.frombuffer(framed + rng.bytes(len(plane) - len(framed)), np.uint8)
    out = np.unpackbits(plane, count=samples)
    out *= 254
    out |= np.unpackbits(low, count=samples)
    return out.reshape(shape)


def render(
    carrier: str, plane: Packed, shape: tuple[int, ...], envelope: Envelope, rng: Randomness = SYSTEM
) -> tuple[Pixels, bytes]:
    """Return a share's pixels and what travels outside them (empty for ``lsb``).

    Raises InputError, with need and capacity, where the picture is too small for its frame.
    """
    if carrier not in CARRIERS:
        raise InputError(f"there is no carrier {carrier!r}: choose one of {', '.join(CARRIERS)}")
    payload = envelope.encode()
    framed = frame.write(payload, int(np.prod(shape))) if carrier == "lsb" else b""
    return pixels_of(plane, shape, framed, rng), b"" if carrier == "lsb" else payload


def write(carrier: str, pixels: Pixels, outside: bytes, layer: bytes) -> bytes:
    """Return the file of a share (PNG or DICOM); `outside` and `layer` as `render` and `lossless.deal` gave them."""
    if carrier == "dicom":
        return _write_dicom(pixels, outside, layer)
    return _write_png(pixels, b"" if carrier == "sidecar" else outside, layer)


def read(data: bytes, sidecar: bytes | None = None) -> ShareFile:
    """Read a share from a PNG, lossless WebP or DICOM file, with its proof from wherever it is; nothing is verified.

    Raises FormatError for what is no share (a JPEG, another picture), LimitError for one that is too large,
    TamperedError for a damaged file, a frame that was cut, or a chunk that fails its check. A share without any
    proof is returned with `envelope` None and the reason.
    """
    if data.startswith(_JPEG):
        raise FormatError("the share was stored as JPEG, which changes every pixel: bring the PNG or DICOM file")
    if data.startswith(_PNG):
        pixels, payload, layer = _read_png(data)
    elif data[:4] + data[8:12] == b"RIFFWEBP":
        pixels, payload, layer = _read_webp(data), b"", b""
    else:
        pixels, payload, layer = _read_dicom(data)
    if ((pixels + np.uint8(2)) >> 2).any():  # only 254, 255, 0 and 1 come out as 0 to 3
        raise TamperedError("the picture has values besides 0, 1, 254 and 255: it is no share, or was stored with loss")
    if sidecar is not None:
        payload = sidecar
    if payload:
        return ShareFile(pixels, Envelope.decode(payload), layer)
    try:
        payload = frame.read(_low_bits(pixels))
    except FormatError as error:
        return ShareFile(pixels, None, layer, str(error))
    return ShareFile(pixels, Envelope.decode(payload), layer)


def _low_bits(pixels: Pixels) -> bytes:
    most = 8 * (frame.MAX_PAYLOAD + frame.OVERHEAD)
    return np.packbits(pixels.reshape(-1)[:most] & 1).tobytes()


def _check_shape(rows: int, columns: int, channels: int) -> None:
    if channels not in (1, 3):
        raise FormatError(f"a picture of {channels} channels is no share: shares are grey or RGB")
    if rows * columns * channels > MAX_SAMPLES:
        raise LimitError(f"a share of {rows} x {columns} x {channels} samples is larger than the {MAX_SAMPLES} allowed")


def _write_png(pixels: Pixels, proof: bytes, layer: bytes) -> bytes:
    rows, columns = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    lines = np.zeros((rows, 1 + pixels.size // rows), np.uint8)  # each begins with filter 0: none
    lines[:, 1:] = pixels.reshape(rows, -1)
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    packed = packer.compress(lines.data) + packer.flush()
    room = 3 * lines.size // 8 + lines.size // 256 + 1024  # four values need at most three bits each
    pieces = [_PNG, _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, colour, 0, 0, 0))]
    if proof:
        pieces.append(_chunk(_PROOF, proof))
    pieces.append(_chunk(b"IDAT", packed))
    if layer:
        pieces.append(_chunk(_LAYER, layer))
    pieces += [_chunk(_PADDING, bytes(max(0, room - len(packed)))), _chunk(b"IEND", b"")]
    return b"".join(pieces)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(data, zlib.crc32(kind)).to_bytes(4, "big")


def _read_png(data: bytes) -> tuple[Pixels, bytes, bytes]:
    from medveil.imaging import raster

    found: dict[bytes, bytes] = {}
    at = len(_PNG)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if at + 12 + length > len(data) or (not found and kind != b"IHDR"):
            raise TamperedError("the share's PNG file ends in the middle or does not begin as one: it was cut")
        if int.from_bytes(data[at + 8 + length : at + 12 + length], "big") != zlib.crc32(body, zlib.crc32(kind)):
            raise TamperedError("a chunk of the share's PNG file does not pass its check: the file is damaged")
        if kind in found and kind not in (b"IDAT", b"tEXt", b"zTXt", b"iTXt", b"sPLT"):
            raise TamperedError("a chunk of the share's PNG file stands twice: the file was put together")
        if kind[:1].isupper() and kind not in _CRITICAL:
            raise FormatError("the PNG file has a critical chunk that no share has")
        found[kind] = body
        at += 12 + length
        if kind == b"IEND":
            break
    if at != len(data) or b"IEND" not in found:
        raise TamperedError("bytes follow the end of the share's PNG file, or it has none: it was cut or put together")
    header = found[b"IHDR"]
    if len(header) != 13 or header[8] != 8 or header[9] not in (0, 2):
        raise FormatError("the PNG file is not of 8-bit grey or RGB samples: it is no share, or was converted")
    columns, rows = struct.unpack(">II", header[:8])
    _check_shape(rows, columns, 3 if header[9] == 2 else 1)
    try:
        pixels = raster.decode(data).pixels[0]
    except InputError:
        raise TamperedError("the share's PNG file cannot be decoded: it is damaged") from None
    proof = found.get(_PROOF, b"")
    if len(proof) > MAX_ENVELOPE:
        raise LimitError(f"a proof of {len(proof)} bytes is larger than the {MAX_ENVELOPE} allowed")
    return np.ascontiguousarray(pixels), proof, found.get(_LAYER, b"")


def _read_webp(data: bytes) -> Pixels:
    """Return the pixels of a lossless WebP copy; our chunks did not survive the conversion, the lowest bits did."""
    import imagecodecs

    if data[12:16] == b"VP8L" and len(data) > 25:
        bits = int.from_bytes(data[21:25], "little")
        columns, rows = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif data[12:16] == b"VP8X" and len(data) > 30:
        columns, rows = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        raise FormatError(
            "the share was stored as WebP with loss, which changes every pixel: bring the PNG or DICOM file"
        )
    _check_shape(rows, columns, 3)
    try:
        pixels = np.asarray(imagecodecs.webp_decode(data), np.uint8)
    except (ValueError, RuntimeError):
        raise TamperedError("the share's WebP file cannot be decoded: it is damaged") from None
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or (pixels.shape[2] == 4 and (pixels[..., 3] != 255).any()):
        raise FormatError("the WebP file is not an opaque picture: it is no share")
    pixels = pixels[..., :3]
    grey = pixels[..., :1]
    return np.ascontiguousarray(grey[..., 0] if (pixels == grey).all() else pixels)  # WebP has no grey


def _write_dicom(pixels: Pixels, proof: bytes, layer: bytes) -> bytes:
    from medveil.imaging import dicom, dicom_writer

    photometric = Photometric.RGB if pixels.ndim == 3 else Photometric.MONOCHROME2
    plain = dicom_writer.write_secondary_capture(
        MedicalImage(pixels[np.newaxis], 8, photometric), description="visual cryptography share, not for diagnosis"
    )
    dataset = dicom.open_dataset(plain)
    block = dataset.private_block(_GROUP, _CREATOR, create=True)
    for number, value in ((1, proof), (2, layer)):
        if value:
            framed = len(value).to_bytes(4, "big") + value
            block.add_new(number, "OB", framed + bytes(len(framed) % 2))
    return dicom_writer.save(dataset)


def _read_dicom(data: bytes) -> tuple[Pixels, bytes, bytes]:
    from medveil.imaging import dicom

    try:
        dataset = dicom.open_dataset(data)
        rows, columns = int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0))
        channels = int(dataset.get("SamplesPerPixel", 1))
        _check_shape(rows, columns, channels)
        image = dicom.decode(data)
    except (InputError, ValueError, TypeError):
        raise FormatError("the file is neither a PNG nor a DICOM picture that can be read: it is no share") from None
    except UnsupportedError as error:
        raise FormatError(f"the file holds no share: {error}") from None
    if image.frames != 1 or image.pixels.dtype != np.uint8 or image.samples not in (1, 3):
        raise FormatError("the DICOM file is not one frame of 8-bit grey or RGB samples: it is no share")
    proof, layer = _private(dataset, 1), _private(dataset, 2)
    if len(proof) > MAX_ENVELOPE:
        raise LimitError(f"a proof of {len(proof)} bytes is larger than the {MAX_ENVELOPE} allowed")
    return np.ascontiguousarray(image.pixels[0]), proof, layer


def _private(dataset: Dataset, number: int) -> bytes:
    """Return what an element of our private block holds; empty where it is not there."""
    try:
        value: Any = dataset.private_block(_GROUP, _CREATOR)[number].value
    except KeyError:
        return b""
    if (
        not isinstance(value, bytes)
        or len(value) < 4
        or int.from_bytes(value[:4], "big")
        not in (
            len(value) - 4,
            len(value) - 5,
        )
    ):
        raise TamperedError("a private element of the share's DICOM file has another length than it says: it was cut")
    return value[4 : 4 + int.from_bytes(value[:4], "big")]
