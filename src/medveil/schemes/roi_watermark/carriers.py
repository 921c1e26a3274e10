"""How a share travels: as bytes, as a PNG of 8 or 16 bits, or as a DICOM Secondary Capture.

bytes: header | containers | record. The pictures hold the same bytes as rows of words: the header in the first rows,
the planes one below the other, the record in the last rows; the rest of the header's last row is zero, and the record
fills whole rows. A picture
may be stored again without loss by another program; a lossy one is refused by its pixels. A DICOM file's attributes
and the band with the warning are a wrapper that nothing vouches for.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import FormatError, InputError, LimitError, TamperedError, UnsupportedError
from medveil.imaging.image import MedicalImage
from medveil.schemes.base import Part
from medveil.schemes.roi_watermark.share import HEADER_SIZE, MAGIC, Header, Share

CARRIERS: Final = ("png", "dicom", "bytes")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_PREAMBLE: Final = 128
_IDAT: Final = 1 << 30
_DICOM_ROWS: Final = 4096
_LOSSY: Final = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 81, 91, 203))  # PS3.5 A.4
WARNING: Final = "PROTECTED - not for diagnosis"
"""What a share's DICOM file says, in words and in a band below the picture, to whoever opens it."""

Array = npt.NDArray[Any]


def pack(share: Share, carrier: str) -> Part:
    """Return the part that one cloud gets. Raises InputError for an unknown carrier."""
    if carrier == "bytes":
        body = np.ascontiguousarray(share.containers).tobytes()
        return Part(share.header.index, share.header.pack() + body + share.record, "application/octet-stream", ".bin")
    if carrier == "png":
        return Part(share.header.index, _write_png(_to_rows(share)), "image/png", ".png")
    if carrier == "dicom":
        return Part(share.header.index, _write_dicom(share), "application/dicom", ".dcm")
    raise InputError(f"there is no carrier {carrier!r}: choose one of {', '.join(CARRIERS)}")


def unpack(data: bytes) -> Share:
    """Read a share from whatever carrier it is in.

    Raises FormatError for what is no share, TamperedError for one that was cut, changed beyond reading or resized,
    LimitError for one that claims more than the documented bounds.
    """
    if data[:4] == MAGIC:
        return _from_bytes(data)
    if data.startswith(_PNG):
        rows, damaged = _read_png(data)
        share = _from_rows(rows)
        return replace(share, stray=share.stray or damaged)
    if data.startswith(_JPEG):
        raise FormatError("a share was stored again as JPEG, which loses bits: fetch the share as it was written")
    if data[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
        return _from_rows(_read_dicom(data), banner=True)
    raise FormatError("not a share of this scheme: expected its bytes, a PNG or a DICOM file")


def looks_protected(pixels: Array, original: bytes | None) -> bool:
    """Whether an image, or the file that it came from, is itself a share of this scheme."""
    start = np.ascontiguousarray(pixels).reshape(-1)[:4].tobytes()[:4]
    return start == MAGIC or (original is not None and original[:4] == MAGIC)


def _from_bytes(data: bytes) -> Share:
    header = Header.unpack(data[:HEADER_SIZE])
    body = header.container_size
    if len(data) != HEADER_SIZE + body + header.record_size:
        raise TamperedError(
            f"share {header.index} has {len(data)} bytes where {HEADER_SIZE + body + header.record_size} belong: "
            "it was truncated or added to"
        )
    containers = np.frombuffer(data, header.word, body // header.word.itemsize, HEADER_SIZE)
    return Share(header, containers.reshape(header.container_shape), data[HEADER_SIZE + body :])


def _to_rows(share: Share) -> Array:
    """Lay a share out as (rows, columns) words."""
    header, word = share.header, share.header.word
    width = header.container_shape[2]
    top = _filled_rows(header.pack(), word, width)
    bottom = _filled_rows(share.record, word, width)
    return np.concatenate((top, share.containers.reshape(-1, width), bottom))


def _filled_rows(data: bytes, word: np.dtype[Any], width: int) -> Array:
    row = width * word.itemsize
    return np.frombuffer(data.ljust(-(-len(data) // row) * row, b"\x00"), word).reshape(-1, width)


def _write_dicom(share: Share) -> bytes:
    """Write a share as frames of at most 4096 rows, zero rows at the end, the warning below each."""
    from medveil.imaging import dicom_writer

    rows = _to_rows(share)
    height = min(rows.shape[0], _DICOM_ROWS)
    frames = np.pad(rows, ((0, -rows.shape[0] % height), (0, 0))).reshape(-1, height, rows.shape[1])
    note = WARNING.upper() if rows.shape[1] >= 16 else ""  # narrower than a letter
    image = MedicalImage(frames, 8 * rows.dtype.itemsize)
    return dicom_writer.write_secondary_capture(image, annotation=note, description=WARNING)


def _read_dicom(data: bytes) -> Array:
    """Return a share's rows from a DICOM file in any lossless transfer syntax; the warning's rows may follow."""
    from medveil.imaging import dicom

    try:
        image = dicom.decode(data, limit=_decoded_limit(data))
    except (InputError, UnsupportedError) as error:
        raise TamperedError(f"a share's DICOM file cannot be read ({error}): fetch the share again") from None
    pixels = image.pixels
    lossy = image.details.get("lossy") or image.details.get("transfer_syntax") in _LOSSY
    if lossy or pixels.ndim != 3 or pixels.dtype.kind != "u" or pixels.dtype.itemsize > 2:
        raise FormatError("a share was stored again with loss or converted: fetch the share as it was written")
    rows: Array = pixels[0] if pixels.shape[0] == 1 else pixels[:, :_DICOM_ROWS].reshape(-1, pixels.shape[2])
    return rows


def _from_rows(rows: Array, *, banner: bool = False) -> Share:
    """Read a share from (rows, columns) words; rows of zeros, or a banner, may follow."""
    width, size = rows.shape[1], rows.dtype.itemsize
    little = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
    head_rows = -(-HEADER_SIZE // (width * size))
    head = little[:head_rows].tobytes()
    header = Header.unpack(head[:HEADER_SIZE])
    planes, height, columns = header.container_shape
    record_rows = -(-header.record_size // (width * size))
    needed = head_rows + planes * height + record_rows
    if columns != width or header.word.itemsize != size:
        raise TamperedError(f"share {header.index} is {width} columns wide where {columns} belong: it was resized")
    if rows.shape[0] < needed:
        raise TamperedError(f"share {header.index} has {rows.shape[0]} rows where {needed} belong: it was truncated")
    body = little[head_rows : head_rows + planes * height].reshape(planes, height, columns)
    tail = little[head_rows + planes * height : needed if banner else None].tobytes()
    stray = any(head[HEADER_SIZE:]) or any(tail[header.record_size :])
    return Share(header, body.view(header.word), tail[: header.record_size], stray)


def _write_png(rows: Array) -> bytes:
    """Write (rows, columns) words as a grey PNG with stored (not deflated) blocks: noise does not compress."""
    height, width = rows.shape
    raw = np.zeros((height, 1 + width * rows.dtype.itemsize), np.uint8)
    big = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder(">")).view(np.uint8)
    raw[:, 1:] = big.reshape(height, -1)
    stream = memoryview(zlib.compress(raw.reshape(-1).data, 0))
    pieces = [_PNG, _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * rows.dtype.itemsize, 0, 0, 0, 0))]
    pieces += [_chunk(b"IDAT", stream[i : i + _IDAT]) for i in range(0, len(stream), _IDAT)]
    return b"".join([*pieces, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes | memoryview) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _read_png(data: bytes) -> tuple[Array, bool]:
    """Read a grey PNG of 8 or 16 bits into (rows, columns) words, and whether its pixels fail the file's own checks.

    Pixels that fail are read all the same where the file is laid out as we write it: their blocks are judged by keys.
    """
    chunks, damaged = _png_chunks(data)
    width, height, depth, colour = struct.unpack(">IIBB", chunks[0][1][:10])
    if colour != 0 or depth not in (8, 16) or not width or not height:
        raise FormatError("a share's PNG is not grey of 8 or 16 bits: it was converted, fetch it as it was written")
    if width * height * (depth // 8) > _decoded_limit(data):
        raise LimitError(f"a share's PNG claims {height} rows of {width} pixels: more than its file can hold")
    rows = None if damaged else _decode_png(data)
    if rows is None:
        damaged, rows = True, _inflate_rows(chunks, width, height, depth // 8)
    if rows.shape != (height, width) or rows.dtype.itemsize * 8 != depth:
        raise FormatError("a share's PNG is not grey of 8 or 16 bits: it was converted, fetch it as it was written")
    return np.ascontiguousarray(rows), damaged


def _png_chunks(data: bytes) -> tuple[list[tuple[bytes, memoryview]], bool]:
    """Return a PNG's chunks, and whether the check of one that holds pixels fails; other failures are refused."""
    chunks: list[tuple[bytes, memoryview]] = []
    at, damaged, view = len(_PNG), False, memoryview(data)
    while at < len(data) and (not chunks or chunks[-1][0] != b"IEND"):
        length = struct.unpack_from(">I", data, at)[0] if at + 12 <= len(data) else len(data)
        end = at + 12 + length
        if end > len(data):
            raise TamperedError("a share's PNG was truncated: fetch the share again")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(view[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            if kind != b"IDAT":
                raise TamperedError("a share's PNG was changed: a chunk's check fails, fetch the share again")
            damaged = True
        chunks.append((kind, view[at + 8 : end - 4]))
        at = end
    kinds = [kind for kind, _ in chunks]
    if at != len(data) or kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise TamperedError("a share's PNG was truncated or added to: fetch the share again")
    if len(chunks[0][1]) != 13:
        raise TamperedError("a share's PNG was changed: its header is not one, fetch the share again")
    return chunks, damaged


def _decoded_limit(data: bytes) -> int:
    """Return the most pixel bytes that a share's picture file can hold: noise does not compress, so a bomb is none."""
    return 2 * len(data) + (1 << 16)


def _decode_png(data: bytes) -> Array | None:
    import imagecodecs

    try:
        rows: Array = imagecodecs.png_decode(data)
    except (RuntimeError, ValueError):
        return None
    return rows


def _inflate_rows(chunks: list[tuple[bytes, memoryview]], width: int, height: int, word: int) -> Array:
    """Read unfiltered rows out of a damaged PNG, its checksums unheeded."""
    size = height * (1 + width * word)
    inflate = zlib.decompressobj(-15)
    try:
        raw = inflate.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT")[2:], size)
    except zlib.error:
        raw = b""
    lines = np.frombuffer(raw, np.uint8)
    if lines.size != size or lines.reshape(height, -1)[:, 0].any():
        raise TamperedError("a share's PNG cannot be read: it was changed, fetch the share again")
    pixels = np.ascontiguousarray(lines.reshape(height, -1)[:, 1:])
    return pixels.view(f">u{word}").astype(f"=u{word}").reshape(height, width)
