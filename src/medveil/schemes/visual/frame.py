"""The frame in a share's lowest bits, as paper 000, 3.2.3 (3), with a beginning, a length and a check.

::

    "MVSH" | version 1 (1 byte) | flags 0 (1 byte) | length u32 big endian | payload | CRC-32 (4 bytes, big endian)

The CRC covers everything before it. Bits are taken most significant first, one a sample, in raster order with
channels interleaved; the lowest bits behind the frame are random. So black samples become 0 or 1 and white ones 254
or 255. A frame survives every lossless copy and no lossy one; whoever finds none knows nothing about the share.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from medveil.errors import FormatError, InputError, LimitError, TamperedError

MAGIC: Final = b"MVSH"
MAX_PAYLOAD: Final = 1 << 16
"""Longest payload, in bytes."""
OVERHEAD: Final = 14
"""Bytes of a frame besides its payload."""

_HEAD: Final = struct.Struct(">4sBBI")
_VERSION: Final = 1


def capacity(samples: int) -> int:
    """Return how many bytes of payload the lowest bits of `samples` samples hold, at most 64 KiB."""
    return max(0, min(samples // 8 - OVERHEAD, MAX_PAYLOAD))


def write(payload: bytes, samples: int) -> bytes:
    """Return the frame around `payload`.

    Raises LimitError past 64 KiB and InputError, with need and capacity, where `samples` are too few.
    """
    if len(payload) > MAX_PAYLOAD:
        raise LimitError(f"a payload of {len(payload)} bytes is larger than the {MAX_PAYLOAD} of a frame")
    if len(payload) > capacity(samples):
        raise InputError(
            f"the image is too small for its proof: {8 * (len(payload) + OVERHEAD)} samples are needed for "
            f"{len(payload)} bytes and {samples} are there, room for {capacity(samples)}: choose the chunk or sidecar "
            "carrier"
        )
    framed = _HEAD.pack(MAGIC, _VERSION, 0, len(payload)) + payload
    return framed + zlib.crc32(framed).to_bytes(4, "big")


def read(data: bytes | memoryview) -> bytes:
    """Return the payload of the frame that `data`, the packed lowest bits of a share, begins with.

    Raises FormatError where there is no frame of this version, and TamperedError where its length or check is wrong.
    """
    head = bytes(data[: _HEAD.size])
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        raise FormatError("the share carries no proof in its lowest bits: it is unverified, never good by default")
    _, version, flags, length = _HEAD.unpack(head)
    if (version, flags) != (_VERSION, 0):
        raise FormatError(f"the share's proof is in a frame of version {version} and flags {flags}: only 1 and 0 are")
    if length > MAX_PAYLOAD or _HEAD.size + length + 4 > len(data):
        raise TamperedError(f"the share's proof claims {length} bytes, more than the picture holds: it was cut")
    end = _HEAD.size + length
    if zlib.crc32(data[:end]) != int.from_bytes(data[end : end + 4], "big"):
        raise TamperedError("the share's proof does not pass its check: the share was edited or stored with loss")
    return bytes(data[_HEAD.size : end])
