"""What a compressed picture says about itself before anything is decoded: kind, size, samples, bits.

Decoders allocate what the codestream asks for, so these few header bytes are read first and compared with the
limit and with what the file around them claims. Sources: ITU-T T.81 B.2.2 (JPEG), T.87 C.2 (JPEG-LS),
T.800 A.5.1 (JPEG 2000) and T.814 (high-throughput JPEG 2000), W3C PNG 11.2.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from medveil.errors import InputError, LimitError

JPEG_START = b"\xff\xd8\xff"
J2K_START = b"\xff\x4f\xff\x51"
JP2_START = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
PNG_START = b"\x89PNG\r\n\x1a\n"

DEFAULT_LIMIT = 1 << 31
"""Bytes of decoded pixels that a file may ask for: 2 GiB. Readers take another bound as `limit`."""

_JPEG_LS = 0xF7
_SOF_KINDS = {0xC0: "jpeg", 0xC1: "jpeg", 0xC2: "jpeg", 0xC3: "jpeg-lossless", _JPEG_LS: "jpeg-ls"}
_OTHER_SOF = frozenset({0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Codestream:
    """Header of one compressed picture; `kind` is jpeg, jpeg-lossless, jpeg-ls, j2k, htj2k or png.

    colour: "rgb" or "ycbcr" where a JPEG picture says so itself (component names, Adobe or JFIF segment), else None.
    header_end: where a JPEG picture's frame header stands.
    """

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    colour: str | None = None
    header_end: int = 0

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded samples, in whole bytes a sample (1, 2 or 4)."""
        word = 1 if self.bits <= 8 else 2 if self.bits <= 16 else 4
        return self.rows * self.columns * self.samples * word


def inspect(data: bytes) -> Codestream:
    """Read the header of a JPEG, JPEG-LS, JPEG 2000 (raw or JP2) or PNG picture.

    Raises InputError where it is none of them, is cut off before its size, or has no pixels.
    """
    try:
        if data.startswith(PNG_START):
            found = _png(data)
        elif data.startswith(J2K_START):
            found = _j2k(data, 2)
        elif data.startswith(JP2_START):
            found = _j2k(data, _jp2_codestream(data) + 2)
        elif data.startswith(JPEG_START):
            found = _jpeg(data)
        else:
            raise InputError("not a JPEG, JPEG-LS, JPEG 2000 or PNG picture")
    except (struct.error, IndexError) as error:
        raise InputError("a picture cut off before its size is said: the file is truncated") from error
    if found.rows == 0 or found.columns == 0 or found.samples == 0:
        raise InputError(f"a {found.kind} picture of {found.rows} x {found.columns} pixels has no pixels")
    return found


def refuse_larger(nbytes: int, limit: int, what: str) -> None:
    """Raise LimitError where `nbytes` of decoded pixels exceed `limit`; to be called before allocating them."""
    if nbytes > limit:
        raise LimitError(
            f"{what} would need {nbytes} bytes of pixels, more than the limit of {limit}: "
            "refused before allocation; raise the limit if the file is known to be good"
        )


def refuse_cut_jpeg(data: bytes, found: Codestream) -> None:
    """Raise InputError where a JPEG picture has no end marker: decoders would fill the rest with grey."""
    if found.kind.startswith("jpeg") and data.find(b"\xff\xd9", found.header_end) < 0:
        raise InputError("a JPEG picture without its end: the file is truncated")


def _png(data: bytes) -> Codestream:
    if data[12:16] != b"IHDR":
        raise InputError("a PNG file whose first chunk is not IHDR: the file is damaged")
    columns, rows, bits, colour = struct.unpack_from(">IIBB", data, 16)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour)
    if samples is None or bits not in (1, 2, 4, 8, 16):
        raise InputError(f"a PNG file of colour type {colour} and {bits} bits, which the format does not have")
    return Codestream("png", rows, columns, samples, bits)


def _jp2_codestream(data: bytes) -> int:
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if kind == b"jp2c":
            return at + header
        if length < header:
            break
        at += length
    raise InputError("a JP2 file without a codestream box: the file is truncated or damaged")


def _j2k(data: bytes, at: int) -> Codestream:
    marker, _, capability, x1, y1, x0, y0 = struct.unpack_from(">HHHIIII", data, at)
    if marker != 0xFF51:
        raise InputError("a JPEG 2000 codestream that does not begin with its size marker: the file is damaged")
    (samples,) = struct.unpack_from(">H", data, at + 38)
    depth = data[at + 40]
    if x1 < x0 or y1 < y0:
        raise InputError("a JPEG 2000 codestream of negative size: the file is damaged")
    kind = "htj2k" if capability & 0x4000 else "j2k"
    return Codestream(kind, y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def _jpeg(data: bytes) -> Codestream:
    at, colour = 2, None
    while True:
        if data[at] != 0xFF:
            raise InputError("a JPEG picture whose markers are damaged before its size is said")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE_MARKERS:
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise InputError("a JPEG picture without a frame header: the file is damaged")
        if marker in _OTHER_SOF:
            raise InputError(f"a JPEG picture of a kind that nobody decodes (marker {marker:#x})")
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _SOF_KINDS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            names = bytes(data[at + 10 + 3 * index] for index in range(samples))
            colour = "rgb" if names in (b"RGB", b"rgb") else colour
            return Codestream(_SOF_KINDS[marker], rows, columns, samples, bits, colour=colour, header_end=at)
        segment = data[at + 4 : at + 2 + length]
        if marker == 0xE0 and segment.startswith(b"JFIF\0"):
            colour = "ycbcr"
        elif marker == 0xEE and segment.startswith(b"Adobe") and len(segment) >= 12:
            colour = "ycbcr" if segment[11] else "rgb"
        at += 2 + length
