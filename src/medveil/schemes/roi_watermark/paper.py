"""Profile `paper`: the scheme of paper 003 made portable and reversible. NO SECURITY CLAIM.

Its keys are unkeyed hashes of the ROI, nothing outside the ROI is checked, and nothing is authenticated; see
docs/schemes/roi-watermark.md for the attacks. 16-bit images are two byte planes a frame, each treated as a picture.

ROI blocks are cut from each rectangle's (or polygon's bounding box's) own corner; blocks at the far edges may be
smaller than 16x16. H_i is SHA-256 of the block's bytes, folded to 128 bits (equation 4). All H_i are embedded in both
half planes. With m blocks and t = floor(m / 2), share 1's key is H_1 xor .. xor H_t and share 2's is
H_(t+1) xor .. xor H_m; the first 64 bits of a key drive the Sine-Sine, the last 64 the Chebyshev-Chebyshev map.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.imaging.roi import ROI, Rectangle
from medveil.schemes.roi_watermark import chaos_kernels, histogram_shift, keys
from medveil.schemes.roi_watermark.chaos import MapKey
from medveil.schemes.roi_watermark.regions import BLOCK, Mask, Words
from medveil.schemes.roi_watermark.secret import ImageSecret
from medveil.schemes.roi_watermark.share import Share
from medveil.schemes.roi_watermark.substitution import INVERSE_SBOX, SBOX

Array = npt.NDArray[Any]

HASH_BITS = 128


@dataclass(frozen=True, slots=True)
class RoiBlock:
    """A block of the ROI: plane, and the half-open rows and columns."""

    plane: int
    top: int
    left: int
    bottom: int
    right: int

    def cut(self, planes: Array) -> Array:
        """Return the block's view of (planes, rows, columns)."""
        return planes[self.plane, self.top : self.bottom, self.left : self.right]


def byte_planes(planes: Words) -> Array:
    """Return (planes * bytes of a word, rows, columns) uint8; of a 16-bit plane its high bytes, then its low ones."""
    if planes.dtype.itemsize == 1:
        return planes
    return np.stack([(planes >> 8).astype(np.uint8), planes.astype(np.uint8)], axis=1).reshape(-1, *planes.shape[1:])


def from_byte_planes(planes: Array, sample_bytes: int) -> Array:
    """Undo `byte_planes`."""
    if sample_bytes == 1:
        return planes
    pairs = planes.reshape(-1, 2, *planes.shape[1:]).astype(np.uint16)
    return pairs[:, 0] << 8 | pairs[:, 1]


def roi_blocks(roi: ROI, planes: int, rows: int, columns: int) -> list[RoiBlock]:
    """Return the ROI's blocks, plane by plane, region by region, in raster order."""
    boxes = []
    for region in roi or (Rectangle(0, 0, rows, columns),):
        if isinstance(region, Rectangle):
            boxes.append((region.top, region.left, region.bottom, region.right))
        else:
            ys, xs = zip(*region.vertices, strict=True)
            boxes.append((math.floor(min(ys)), math.floor(min(xs)), math.ceil(max(ys)), math.ceil(max(xs))))
    return [
        RoiBlock(plane, y, x, min(y + BLOCK, bottom), min(x + BLOCK, right))
        for plane in range(planes)
        for top, left, bottom, right in boxes
        for y in range(top, bottom, BLOCK)
        for x in range(left, right, BLOCK)
    ]


def folded_hash(block: Array) -> bytes:
    """Return SHA-256 of a block's bytes with its halves XORed, 16 bytes (equation 4)."""
    digest = hashlib.sha256(np.ascontiguousarray(block).tobytes()).digest()
    return _xor(digest[:16], digest[16:])


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(len(a), "big")


def diffusion_keys(hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return both shares' 128-bit keys. Raises InputError for fewer than two blocks."""
    if len(hashes) < 2:
        raise InputError(
            "profile paper takes each share's key from half of the region's 16x16 blocks: a region of one block has "
            "no second half, choose a larger one"
        )
    out, half = [], len(hashes) // 2
    for group in (hashes[:half], hashes[half:]):
        key = bytes(16)
        for value in group:
            key = _xor(key, value)
        out.append(key)
    return out[0], out[1]


def keystreams(pair: Sequence[bytes], count: int) -> list[tuple[Array, Array]]:
    """Return A (Sine-Sine) and B (Chebyshev-Chebyshev) for each 128-bit key, `count` bytes each."""
    a = chaos_kernels.streams([MapKey.from_half(key[:8]) for key in pair], count, chebyshev=False)
    b = chaos_kernels.streams([MapKey.from_half(key[8:]) for key in pair], count, chebyshev=True)
    return list(zip(a, b, strict=True))


def embedded_planes(planes: Array, roi_mask: Mask, roi: ROI) -> tuple[list[Array], tuple[int, int], list[bytes]]:
    """Return both watermarked containers before diffusion, the peak masks and the hashes.

    planes: (planes, rows, columns) uint8.
    """
    blocks = roi_blocks(roi, *planes.shape)
    hashes = [folded_hash(block.cut(planes)) for block in blocks]
    payload = np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8))
    substituted = np.where(roi_mask, SBOX[planes], planes)
    halves = [substituted >> 4, substituted & 15]
    peaks = [histogram_shift.choose_peaks(half, payload.size) for half in halves]
    containers = [
        histogram_shift.embed(half, payload, mask, high=high)
        for half, mask, high in zip(halves, peaks, (True, False), strict=True)
    ]
    return containers, (peaks[0], peaks[1]), hashes


def diffuse(containers: Sequence[Array], pair: Sequence[bytes]) -> list[Array]:
    """Return ((P + A) mod 256) XOR B (equation 10) of containers of one shape, each under its own key."""
    streams = keystreams(pair, containers[0].size)
    return [((c.reshape(-1) + a) ^ b).reshape(c.shape) for c, (a, b) in zip(containers, streams, strict=True)]


def undiffuse(containers: Sequence[Array], pair: Sequence[bytes]) -> list[Array]:
    """Undo `diffuse`."""
    streams = keystreams(pair, containers[0].size)
    return [((c.reshape(-1) ^ b) - a).reshape(c.shape) for c, (a, b) in zip(containers, streams, strict=True)]


def make_shares(
    planes: Words, roi_mask: Mask, secret: ImageSecret, record: bytes
) -> tuple[tuple[Share, Share], ImageSecret]:
    """Return both shares and the completed secret. Raises InputError where the ROI is too small or too large."""
    containers, peaks, hashes = embedded_planes(byte_planes(planes), roi_mask, secret.roi)
    pair = diffusion_keys(hashes)
    header = replace(secret.header, peaks=peaks, payload_bits=HASH_BITS * len(hashes), record_size=len(record))
    k = keys.derive(secret.key, secret.salt)
    public = replace(header, commitment=k.commitment)
    mixed = diffuse(containers, pair)
    first = Share(public, mixed[0], record).sealed()
    second = Share(replace(public, index=2), mixed[1], record).sealed()
    return (first, second), replace(secret, header=header, diffusion_keys=pair)


@dataclass(frozen=True, slots=True, eq=False)
class PaperBlocks:
    """What restoring found: pixels (planes, rows, columns) words, the ROI's blocks, and which of them disagree."""

    planes: Array
    blocks: list[RoiBlock]
    changed: Array


def read_blocks(first: Share, second: Share, roi_mask: Mask, secret: ImageSecret) -> PaperBlocks:
    """Undo everything and compare each ROI block's hash with both embedded ones.

    Pixels outside the ROI come back unverified: this profile has nothing to check them with.
    """
    h = secret.header
    halves, marks = [], []
    plain = undiffuse([first.containers, second.containers], secret.diffusion_keys)
    for containers, mask, high in zip(plain, h.peaks, (True, False), strict=True):
        plane, payload, _ = histogram_shift.extract(containers, mask, h.payload_bits, high=high)
        halves.append(plane)
        marks.append(np.packbits(payload).reshape(-1, HASH_BITS // 8))
    whole = halves[0] << 4 | halves[1]
    planes = np.where(roi_mask, INVERSE_SBOX[whole], whole)
    blocks = roi_blocks(secret.roi, *planes.shape)
    computed = np.frombuffer(b"".join(folded_hash(b.cut(planes)) for b in blocks), np.uint8).reshape(-1, 16)
    changed = (computed != marks[0]).any(axis=1) | (computed != marks[1]).any(axis=1)
    return PaperBlocks(planes, blocks, changed)
