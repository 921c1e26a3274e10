"""The owner's secret for one protected image, in a versioned binary form.

Little endian: magic "MVRS", version, profile, flags (as in a share's header), 0, object id (16), object version (u32),
frames, rows, columns (u32 each), samples (u8), bytes of a sample (u8), 0 (u16), bytes of the record (u64), iid (16),
K (32), salt (48), then for profile

- hardened: the MACs of both shares (32 each), and the placement of the copies: mode (u8; + 4 where
  every block is copied and not only the ROI's), fill (u16), two rotations
  (u32 each);
- paper: the two 128-bit keys (16 each), the two peak masks (u16 each), the payload's length in bits (u64);

then the region (see `pack_region`) after its length (u32), and HMAC-SHA-256(K, all of this)[:16].
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from medveil.errors import FormatError, InputError, LimitError, WrongKeyError
from medveil.imaging.roi import ROI, Polygon, Rectangle
from medveil.schemes.roi_watermark.copies import DOUBLE, Placement
from medveil.schemes.roi_watermark.share import HARDENED, PAPER, Header

MAGIC: Final = b"MVRS"
VERSION: Final = 1
MAX_REGION: Final = 60_000
"""Most bytes of a packed region, so that a secret fits an envelope."""

_HEAD: Final = struct.Struct("<4sBBBB16sIIIIBBHQ16s32s48s")
_KEY: Final = _HEAD.size - 80
_HARDENED: Final = struct.Struct("<32s32sBHII")
_WHOLE: Final = 4
_PAPER: Final = struct.Struct("<16s16sHHQ")
_WRONG: Final = "the secret does not open these shares: it is damaged or belongs to another image"


@dataclass(frozen=True, slots=True)
class ImageSecret:
    """What restoring needs; never shown.

    header: of share 1, without commitment and checksum, which derive from the rest.
    share_macs, placement: of the hardened profile. diffusion_keys: of the paper profile.
    """

    header: Header
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    roi: ROI
    share_macs: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)
    placement: Placement = field(default=Placement(0, 0, (0, 0)))
    diffusion_keys: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)

    def pack(self) -> bytes:
        """Return the binary form."""
        h = self.header
        head = _HEAD.pack(
            MAGIC, VERSION, h.profile, h.flags, 0, h.object_id, h.object_version, h.frames, h.rows, h.columns,
            h.samples, h.sample_bytes, 0, h.record_size, h.iid, self.key, self.salt,
        )  # fmt: skip
        if h.profile == HARDENED:
            p = self.placement
            own = _HARDENED.pack(*self.share_macs, p.mode | _WHOLE * p.whole, p.fill, *p.rotations)
        else:
            own = _PAPER.pack(*self.diffusion_keys, *h.peaks, h.payload_bits)
        region = pack_region(self.roi)
        body = head + own + struct.pack("<I", len(region)) + region
        return body + hmac.digest(self.key, body, hashlib.sha256)[:16]

    @classmethod
    def unpack(cls, data: bytes) -> ImageSecret:
        """Read a secret.

        Raises FormatError where it is no secret of a version that this program knows or not in the one form that
        `pack` writes, WrongKeyError where its check fails.
        """
        if len(data) < _HEAD.size + 20 or data[:4] != MAGIC:
            raise FormatError("not a secret of this scheme: give the one that protecting returned")
        if data[4] != VERSION:
            raise FormatError(f"a secret of format version {data[4]}: this program reads version {VERSION}")
        key = data[_KEY : _KEY + 32]
        if not hmac.compare_digest(hmac.digest(key, data[:-16], hashlib.sha256)[:16], data[-16:]):
            raise WrongKeyError(_WRONG)
        try:
            secret = cls._read(data[:-16])
        except (struct.error, InputError):
            raise FormatError("a secret holds values that no secret has: it was not written by this program") from None
        if secret.pack() != data:
            raise FormatError("a secret is not in canonical form: it was not written by this program")
        return secret

    @classmethod
    def _read(cls, data: bytes) -> ImageSecret:
        (_, _, profile, flags, _, object_id, object_version, frames, rows, columns, samples, sample_bytes, _,
         record_size, iid, key, salt) = _HEAD.unpack_from(data)  # fmt: skip
        header = Header(
            profile, 1, flags, object_id, object_version, frames, rows, columns, samples, sample_bytes,
            record_size, iid, bytes(16),
        )  # fmt: skip
        at = _HEAD.size
        own = _HARDENED if profile == HARDENED else _PAPER
        fields = own.unpack_from(data, at)
        at += own.size
        (length,) = struct.unpack_from("<I", data, at)
        secret = cls(header, key, salt, unpack_region(data[at + 4 :], length))
        if profile == HARDENED:
            mode = fields[2] & ~_WHOLE
            if mode > DOUBLE:
                raise InputError("unknown placement")
            placement = Placement(mode, fields[3], (fields[4], fields[5]), bool(fields[2] & _WHOLE))
            return replace(secret, share_macs=(fields[0], fields[1]), placement=placement)
        if profile != PAPER:
            raise InputError("unknown profile")
        marked = replace(header, peaks=(fields[2], fields[3]), payload_bits=fields[4])
        return replace(secret, header=marked, diffusion_keys=(fields[0], fields[1]))


def pack_region(roi: ROI) -> bytes:
    """Return a region's bytes: count (u32); a rectangle is 0 and top, left, bottom, right (u32 each).

    A polygon is 1, its number of vertices (u32) and row, column of each (IEEE 754 double, little endian).
    Raises LimitError where that takes more than `MAX_REGION` bytes.
    """
    out = [struct.pack("<I", len(roi))]
    for region in roi:
        if isinstance(region, Rectangle):
            out.append(struct.pack("<BIIII", 0, region.top, region.left, region.bottom, region.right))
        else:
            out.append(struct.pack("<BI", 1, len(region.vertices)))
            out.extend(struct.pack("<dd", *vertex) for vertex in region.vertices)
    packed = b"".join(out)
    if len(packed) > MAX_REGION:
        raise LimitError(f"a region that takes {len(packed)} bytes: at most {MAX_REGION} are taken, draw it simpler")
    return packed


def unpack_region(data: bytes, length: int) -> ROI:
    """Undo `pack_region`; `data` must be exactly `length` bytes. Raises InputError or struct.error where it is not."""
    if len(data) != length or length > MAX_REGION:
        raise InputError("a region's bytes are cut or too many")
    (count,) = struct.unpack_from("<I", data)
    return tuple(_regions(data, count))


def _regions(data: bytes, count: int) -> Iterator[Rectangle | Polygon]:
    at = 4
    for _ in range(count):
        (kind,) = struct.unpack_from("<B", data, at)
        if kind == 0:
            yield Rectangle(*struct.unpack_from("<IIII", data, at + 1))
            at += 17
        elif kind == 1:
            (vertices,) = struct.unpack_from("<I", data, at + 1)
            if 16 * vertices > len(data):
                raise InputError("a polygon's vertices are cut")
            at += 5
            yield Polygon(tuple(struct.unpack_from("<dd", data, at + 16 * i) for i in range(vertices)))
            at += 16 * vertices
        else:
            raise InputError("unknown kind of region")
    if at != len(data):
        raise InputError("a region has bytes too many")
