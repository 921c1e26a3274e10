"""The sealed record: what a file holds beside its pixels, so that restoring gives the file back.

A DICOM header is patient data, so it travels only inside this record: AES-256-GCM under a key of its own that serves
one message (zero nonce), with the iid as associated data; each part carries a copy. The plaintext is the length of a
JSON object (u32, little endian), the object, the file's bytes ("size" of them) and zeros that fill the last row of a
picture:

- "span": the bytes before and after the uncompressed pixels; the pixels come from the shares;
- "whole": the whole file, where its pixels are compressed and could not be put back byte for byte;
- "none": nothing, for an image made in memory or on request.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.errors import FormatError, LimitError, TamperedError
from medveil.imaging.image import MedicalImage, Photometric, PixelSpan
from medveil.schemes.roi_watermark.share import MAX_RECORD

_NONCE: Final = bytes(12)
_OVERHEAD: Final = 16


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The record's contents."""

    about: dict[str, Any]
    data: bytes

    @property
    def holds_whole_file(self) -> bool:
        """Whether the record alone gives the file back."""
        return bool(self.about["file"] == "whole")


def describe(image: MedicalImage, *, keep_file: bool) -> FileRecord:
    """Return what the record of an image holds."""
    kind, data = "none", b""
    span = image.pixel_span
    if keep_file and image.original is not None:
        original = image.original
        if span is not None and _stored_bytes(image.pixels, span) == original[span.offset : span.offset + span.length]:
            kind, data = "span", original[: span.offset] + original[span.offset + span.length :]
        else:
            kind, data = "whole", original
    about: dict[str, Any] = {
        "bits_stored": image.bits_stored,
        "details": {name: _plain(value) for name, value in image.details.items() if _is_plain(value)},
        "file": kind,
        "media_type": image.media_type,
        "name": image.name,
        "photometric": image.photometric.value,
        "size": len(data),
        "spacing": list(image.spacing) if image.spacing is not None else None,
        "span": [span.offset, span.length, span.dtype, list(span.shape)] if span is not None else None,
    }
    return FileRecord(about, data)


def _stored_bytes(pixels: npt.NDArray[Any], span: PixelSpan) -> bytes:
    """Return pixels as a file stores them; empty where the span does not describe them."""
    stored = np.dtype(span.dtype)
    if stored.itemsize != pixels.dtype.itemsize or int(np.prod(span.shape)) != pixels.size:
        return b""
    return np.ascontiguousarray(pixels).astype(stored.newbyteorder("<"), copy=False).astype(stored).tobytes()


def seal(record: FileRecord, key: bytes, iid: bytes, row: int) -> bytes:
    """Return the sealed record, a multiple of `row` bytes.

    Raises LimitError where the file is larger than `MAX_RECORD`."""
    about = json.dumps(record.about, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    if len(about) + len(record.data) + 64 > MAX_RECORD:
        raise LimitError(f"a file of {len(record.data)} bytes is larger than a record holds: seal the file instead")
    plain = struct.pack("<I", len(about)) + about + record.data
    plain += bytes(-(len(plain) + _OVERHEAD) % row)
    return AESGCM(key).encrypt(_NONCE, plain, iid)


def open_record(sealed: bytes, key: bytes, iid: bytes) -> FileRecord:
    """Open a record. Raises TamperedError where it is not authentic, FormatError where it holds something else."""
    try:
        plain = AESGCM(key).decrypt(_NONCE, sealed, iid)
    except (InvalidTag, ValueError):
        raise TamperedError("the sealed file record was changed: use the other share's copy") from None
    try:
        (length,) = struct.unpack_from("<I", plain)
        about = json.loads(plain[4 : 4 + length])
        if about["file"] not in ("none", "span", "whole") or not 0 <= about["size"] <= len(plain) - 4 - length:
            raise FormatError("the sealed file record is not one that this program writes")
    except (struct.error, ValueError, KeyError, TypeError):
        raise FormatError("the sealed file record is not one that this program writes") from None
    return FileRecord(about, plain[4 + length : 4 + length + about["size"]])


def rebuild(record: FileRecord | None, pixels: npt.NDArray[Any], *, exact: bool) -> MedicalImage:
    """Put the image together; `original` is given only where every one of its bytes is right.

    pixels: as restored, native byte order. record: None where both copies are lost.
    """
    if record is None:
        photometric = Photometric.RGB if pixels.ndim == 4 else Photometric.MONOCHROME2
        return MedicalImage(pixels, 8 * pixels.dtype.itemsize, photometric)
    about, original = record.about, None
    span = _span(about["span"])
    if about["file"] == "whole" and exact:
        original = record.data
    elif about["file"] == "span" and exact and span is not None:
        original = record.data[: span.offset] + _stored_bytes(pixels, span) + record.data[span.offset :]
    spacing = about["spacing"]
    return MedicalImage(
        pixels,
        about["bits_stored"],
        Photometric(about["photometric"]),
        (float(spacing[0]), float(spacing[1]), float(spacing[2])) if spacing else None,
        original,
        about["media_type"],
        about["name"],
        span if original is not None else None,
        {name: _rich(value) for name, value in about["details"].items()},
    )


def _span(found: list[Any] | None) -> PixelSpan | None:
    if found is None:
        return None
    frames, rows, columns, samples = found[3]
    return PixelSpan(found[0], found[1], found[2], (frames, rows, columns, samples))


def _is_plain(value: object) -> bool:
    """Whether a detail is made of what a record can hold; others are left out."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(v) for name, v in value.items())
    if isinstance(value, tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, str | int | float | np.ndarray)


def _plain(value: Any) -> Any:
    """Return a JSON form: tuples become lists, arrays {"@": type, shape, hexadecimal bytes}."""
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        return {"@": [little.dtype.str, list(value.shape), little.tobytes().hex()]}
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _rich(value: Any) -> Any:
    """Undo `_plain`."""
    if isinstance(value, dict) and "@" in value:
        kind, shape, data = value["@"]
        return np.frombuffer(bytes.fromhex(data), kind).reshape(shape)
    if isinstance(value, dict):
        return {name: _rich(v) for name, v in value.items()}
    return tuple(_rich(v) for v in value) if isinstance(value, list) else value
