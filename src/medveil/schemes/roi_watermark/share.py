"""A share as it lies in a cloud: a public header, the container planes and the sealed record of the file.

Header, 128 bytes, little endian: magic "MVRW", version, profile (1 paper, 2 hardened), index (1 or 2), flags (1: split,
2: colour axis, 4: signed), object id (16), object version (u32), frames, rows, columns (u32 each), samples (u8), bytes
of a sample (u8), 0 (u16), bytes of the record (u64), iid (16), key commitment (16), for profile paper the two peak
masks (u16 each) and the payload's length in bits (u64), else 0, checksum (16): SHA-256 of the rest of the share with
this field zero, and the header's own check (16): SHA-256 of the 112 bytes before it. Both are without a key: they find
accidents, not attackers.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import FormatError, LimitError, TamperedError
from medveil.schemes.roi_watermark.regions import padded

MAGIC: Final = b"MVRW"
VERSION: Final = 1
PAPER, HARDENED = 1, 2
SPLIT, COLOUR, SIGNED = 1, 2, 4
HEADER_SIZE: Final = 128
MAX_SAMPLES: Final = 1 << 30
"""Most samples (frames * rows * columns * samples) of an image."""
MAX_RECORD: Final = 1 << 31
"""Most bytes of the sealed record."""

_STRUCT: Final = struct.Struct("<4sBBBB16sIIIIBBHQ16s16sHHQ16s16s")
_CHECKED: Final = 112


@dataclass(frozen=True, slots=True)
class Header:
    """The public header; `checksum` is filled in by `seal_header`."""

    profile: int
    index: int
    flags: int
    object_id: bytes
    object_version: int
    frames: int
    rows: int
    columns: int
    samples: int
    sample_bytes: int
    record_size: int
    iid: bytes
    commitment: bytes
    peaks: tuple[int, int] = (0, 0)
    payload_bits: int = 0
    checksum: bytes = bytes(16)

    def pack(self) -> bytes:
        """Return the 128 bytes."""
        body = _STRUCT.pack(
            MAGIC,
            VERSION,
            self.profile,
            self.index,
            self.flags,
            self.object_id,
            self.object_version,
            self.frames,
            self.rows,
            self.columns,
            self.samples,
            self.sample_bytes,
            0,
            self.record_size,
            self.iid,
            self.commitment,
            *self.peaks,
            self.payload_bits,
            self.checksum,
            bytes(16),
        )[:_CHECKED]
        return body + hashlib.sha256(body).digest()[:16]

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read a header.

        Raises FormatError where it is no header of a version and profile that this program knows, TamperedError
        where its own check fails, LimitError where it claims a larger image than `MAX_SAMPLES`.
        """
        if len(data) < HEADER_SIZE or data[:4] != MAGIC:
            raise FormatError("not a share of this scheme: its header is missing, give the share as it was written")
        if data[4] != VERSION:
            raise FormatError(f"a share of format version {data[4]}: this program reads version {VERSION}")
        if hashlib.sha256(data[:_CHECKED]).digest()[:16] != data[_CHECKED:HEADER_SIZE]:
            raise TamperedError("a share's header was changed: its check fails, fetch the share again")
        values = _STRUCT.unpack(data[:HEADER_SIZE])
        (_, _, profile, index, flags, object_id, object_version, frames, rows, columns) = values[:10]
        (samples, sample_bytes, zero, record_size, iid, commitment, high, low, payload, checksum) = values[10:20]
        ok = (
            profile in (PAPER, HARDENED)
            and index in (1, 2)
            and flags < 8
            and min(frames, rows, columns) > 0
            and samples in (1, 3, 4)
            and (samples > 1) == bool(flags & COLOUR)
            and sample_bytes in (1, 2)
            and zero == 0
            and (profile == PAPER or (high, low, payload) == (0, 0, 0))
        )
        if not ok:
            raise FormatError("a share's header holds values that no share has: it was not written by this program")
        if frames * rows * columns * samples > MAX_SAMPLES or record_size > MAX_RECORD:
            raise LimitError(
                f"a share claims {frames} frames of {rows} by {columns} pixels and a record of {record_size} bytes: "
                "that is more than this program handles"
            )
        return cls(
            profile, index, flags, object_id, object_version, frames, rows, columns, samples, sample_bytes,
            record_size, iid, commitment, (high, low), payload, checksum,
        )  # fmt: skip

    @property
    def split(self) -> bool:
        """Whether the pair of shares is split 2 of 2 by XOR."""
        return bool(self.flags & SPLIT)

    @property
    def colour_axis(self) -> bool:
        """Whether the pixels have an axis of samples."""
        return bool(self.flags & COLOUR)

    @property
    def signed(self) -> bool:
        """Whether samples are two's complement."""
        return bool(self.flags & SIGNED)

    @property
    def word(self) -> np.dtype[Any]:
        """Type of a container word: bytes, or little-endian 16-bit words of a hardened 16-bit image."""
        return np.dtype("<u2") if self.profile == HARDENED and self.sample_bytes == 2 else np.dtype("u1")

    @property
    def container_shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns of the containers of this share."""
        planes = self.frames * self.samples
        if self.profile == PAPER:
            return planes * self.sample_bytes, self.rows, self.columns
        return planes * (2 if self.split else 1), padded(self.rows), padded(self.columns)

    @property
    def container_size(self) -> int:
        """Bytes of the containers."""
        planes, rows, columns = self.container_shape
        return planes * rows * columns * self.word.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """A share out of its carrier.

    containers: header.container_shape, words. record: as long as the header says. stray: whether the carrier
    fails its own checks or holds something in the places that are always zero.
    """

    header: Header
    containers: npt.NDArray[Any]
    record: bytes
    stray: bool = False

    @property
    def body(self) -> memoryview:
        """The containers' bytes."""
        return np.ascontiguousarray(self.containers).reshape(-1).view(np.uint8).data

    def checksum(self) -> bytes:
        """Return what the header's checksum should be."""
        digest = hashlib.sha256(replace(self.header, checksum=bytes(16)).pack()[:_CHECKED])
        digest.update(self.body)
        digest.update(self.record)
        return digest.digest()[:16]

    def sealed(self) -> Share:
        """Return the share with its checksum in the header."""
        return replace(self, header=replace(self.header, checksum=self.checksum()))
