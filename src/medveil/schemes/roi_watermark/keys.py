"""Keys of one protected image, and the MACs over blocks and shares.

HKDF-SHA-256 (RFC 5869) of the 32-byte K with salt = SHA-256(image | shape | roi) | iid gives, in order: the stream
keys A1, B1, A2, B2, the block-MAC key, the share-MAC key, the half-MAC key, the record key and a commitment. The
commitment is public in every share's header; it tells a wrong key from a damaged share.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
_INFO: Final = b"medveil/v1/roi-watermark"


@dataclass(frozen=True, slots=True)
class ImageKeys:
    """All keys of one protected image; never shown."""

    streams: tuple[bytes, bytes, bytes, bytes] = field(repr=False)  # A1, B1, A2, B2
    block_mac: bytes = field(repr=False)
    share_mac: bytes = field(repr=False)
    half_mac: bytes = field(repr=False)
    record: bytes = field(repr=False)
    commitment: bytes = field(repr=False)  # 16 bytes


def derive(key: bytes, salt: bytes) -> ImageKeys:
    """Derive the keys of one image from K (32 bytes) and the salt (48 bytes)."""
    raw = HKDF(algorithm=SHA256(), length=9 * KEY_SIZE, salt=salt, info=_INFO).derive(key)
    k = [raw[i * KEY_SIZE : (i + 1) * KEY_SIZE] for i in range(9)]
    return ImageKeys((k[0], k[1], k[2], k[3]), k[4], k[5], k[6], k[7], k[8][:TAG_SIZE])


def keystream(key: bytes, count: int) -> npt.NDArray[np.uint8]:
    """Return `count` bytes of AES-256-CTR from a zero counter; each key serves one stream of one image."""
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(count)), np.uint8)


def row_macs(key: bytes, prefix: bytes, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return HMAC-SHA-256(key, prefix | i | row_i)[:16] for every row, (N, 16) uint8.

    rows: (N, 256) words, hashed little endian; i: the row's number, 8 bytes, little endian.
    """
    count = rows.shape[0]
    little = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<")).view(np.uint8).reshape(count, -1)
    width = 8 + little.shape[1]
    numbered = np.empty((count, width), np.uint8)
    numbered[:, :8] = np.arange(count, dtype="<u8").view(np.uint8).reshape(count, 8)
    numbered[:, 8:] = little
    block = key.ljust(64, b"\x00")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + prefix)
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in block))
    view = numbered.reshape(-1).data
    digests = []
    for start in range(0, count * width, width):  # HMAC by its definition: a copy of a hash costs less than a new HMAC
        first, second = inner.copy(), outer.copy()
        first.update(view[start : start + width])
        second.update(first.digest())
        digests.append(second.digest())
    return np.ascontiguousarray(np.frombuffer(b"".join(digests), np.uint8).reshape(count, 32)[:, :TAG_SIZE])


def share_mac(key: bytes, index: int, iid: bytes, region: bytes, *pieces: bytes | memoryview) -> bytes:
    """Return the 32-byte HMAC-SHA-256 over a share's index, iid, region and bytes (its header holds the shape)."""
    mac = hmac.new(key, bytes([index]) + iid + len(region).to_bytes(8, "little") + region, hashlib.sha256)
    for piece in pieces:
        mac.update(piece)
    return mac.digest()
