"""A part (what a cloud gets) and a secret (what the owner keeps) of the deep schemes.

::

    part    codes | canonical CBOR {v, method, id, size, digest} | length of it u32 | "MVDP" | 1
    secret  canonical CBOR {v, method, id, part, dtype, shape, bits, photometric, spacing, grid, codes, loss, key}

Codes stand first, row by row, so that a part's bytes laid out in the picture's size are what the method's authors call
the encrypted image. `id` is random for each protected image. `digest` is an unkeyed hash of the codes and finds
accidents; `part` is a hash of the whole part, kept by the owner, and finds everything else: the methods themselves
authenticate nothing. `grid` is (frames or planes, tiles down, tiles across, side of a tile or 0 for whole planes),
`codes` their shape as they are stored, `loss` the PSNR in dB as text or "" where nothing is lost, `key` the body of
the decoding half of the `DeepKey`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.errors import FormatError, TamperedError, WrongKeyError
from medveil.imaging.image import MedicalImage, Photometric
from medveil.schemes.base import Secret
from medveil.schemes.deep.key import MAX_BODY

MAGIC: Final = b"MVDP\x01"
MEDIA_TYPE: Final = "application/vnd.medveil.deep"
ID_SIZE: Final = 16
_MAX_RECORD: Final = 4096
_PART: Final[dict[str, type]] = {"v": int, "method": str, "id": bytes, "size": int, "digest": bytes}
_SECRET: Final[dict[str, type]] = {
    "v": int, "method": str, "id": bytes, "part": bytes, "dtype": str, "shape": list, "bits": int, "photometric": str,
    "spacing": list, "grid": list, "codes": list, "loss": str, "key": bytes,
}  # fmt: skip
_WRONG: Final = "the secret does not open this part: it belongs to another image, or the part was replaced"


@dataclass(frozen=True, slots=True)
class Grid:
    """How codes lie in the picture: planes (frames), tiles down and across, side of a tile; 0 for whole planes."""

    planes: int
    down: int
    across: int
    side: int


@dataclass(frozen=True, slots=True, eq=False)
class ImageSecret:
    """What restoring one image needs; never shown."""

    method: str
    image_id: bytes
    part_digest: bytes = field(repr=False)
    dtype: str
    shape: tuple[int, ...]
    bits: int
    photometric: str
    spacing: tuple[float, float, float] | None
    grid: Grid
    codes: tuple[int, ...]
    loss: float | None
    key: bytes = field(repr=False)

    def pack(self) -> bytes:
        """Return the secret's bytes."""
        return canonical.encode(
            {
                "v": 1,
                "method": self.method,
                "id": self.image_id,
                "part": self.part_digest,
                "dtype": self.dtype,
                "shape": list(self.shape),
                "bits": self.bits,
                "photometric": self.photometric,
                "spacing": [repr(float(s)) for s in self.spacing or ()],
                "grid": [self.grid.planes, self.grid.down, self.grid.across, self.grid.side],
                "codes": list(self.codes),
                "loss": "" if self.loss is None else repr(self.loss),
                "key": self.key,
            }
        )

    def image(self, pixels: npt.NDArray[Any]) -> MedicalImage:
        """Return pixels as the image that was protected, without its file."""
        return MedicalImage(pixels, self.bits, Photometric(self.photometric), self.spacing)


def unpack_secret(secret: Secret, name: str, method: str) -> ImageSecret:
    """Read a secret. Raises WrongKeyError for another scheme's, FormatError where it is not in canonical form."""
    if secret.scheme != name:
        raise WrongKeyError(f"a secret of scheme {secret.scheme!r} where one of {name!r} is needed")
    record = canonical.decode(secret.data, limit=MAX_BODY)
    if not _has(record, _SECRET) or record["v"] != 1 or record["method"] != method:
        raise FormatError("not a secret of this scheme in a version that this program reads")
    try:
        numbers = [tuple(_size(n) for n in record[field_]) for field_ in ("shape", "grid", "codes")]
        spacing = tuple(_finite(text) for text in record["spacing"])
        loss = _finite(record["loss"]) if record["loss"] else None
        photometric = Photometric(record["photometric"]).value
        kind = np.dtype(record["dtype"])
    except (TypeError, ValueError):
        raise FormatError("a secret holds values that no secret has: it was not written by this program") from None
    shape, grid, codes = numbers
    whole = len(grid) == 4 and len(shape) in (3, 4) and len(spacing) in (0, 3) and kind.kind in "uif"
    if not whole or prod(codes) < 1 or not 1 <= record["bits"] <= 8 * kind.itemsize:
        raise FormatError("a secret holds values that no secret has: it was not written by this program")
    return ImageSecret(
        method, record["id"], record["part"], record["dtype"], shape, record["bits"], photometric,
        (spacing[0], spacing[1], spacing[2]) if spacing else None, Grid(*grid), codes, loss, record["key"],
    )  # fmt: skip


def pack_part(method: str, image_id: bytes, codes: npt.NDArray[np.uint8]) -> bytes:
    """Return the bytes that a cloud gets."""
    data = codes.tobytes()
    record = canonical.encode(
        {"v": 1, "method": method, "id": image_id, "size": len(data), "digest": tagged("deep codes", data)}
    )
    return data + record + len(record).to_bytes(4, "big") + MAGIC


def unpack_part(part: bytes, method: str) -> tuple[bytes, bytes]:
    """Return a part's id and codes, checked against accidents only.

    Raises FormatError where it is no part of this method, TamperedError where it is cut, grown or changed.
    """
    end = len(part) - len(MAGIC) - 4
    length = int.from_bytes(part[max(end, 0) : end + 4], "big")
    if part[-len(MAGIC) :] != MAGIC or not 0 < length <= min(_MAX_RECORD, end):
        raise FormatError("not a part of a deep-learning scheme in a version that this program reads, or cut short")
    record = canonical.decode(part[end - length : end], limit=_MAX_RECORD)
    if not _has(record, _PART) or record["v"] != 1 or len(record["id"]) != ID_SIZE:
        raise FormatError("a part holds a record of an unknown form or version")
    if record["method"] != method:
        raise FormatError(f"a part of method {record['method']!r} where one of {method!r} is needed")
    codes = part[: end - length]
    if len(codes) != record["size"] or tagged("deep codes", codes) != record["digest"]:
        raise TamperedError("the part is not what was written: it was changed, cut or grown")
    return record["id"], codes


def codes_in(part: bytes) -> bytes:
    """Return a part's codes, unchecked, for somebody who only looks at it. Raises as `unpack_part`."""
    end = len(part) - len(MAGIC) - 4
    if part[-len(MAGIC) :] != MAGIC or end < 0:
        raise FormatError("not a part of a deep-learning scheme in a version that this program reads, or cut short")
    return part[: max(0, end - int.from_bytes(part[end : end + 4], "big"))]


def part_digest(part: bytes) -> bytes:
    """Return the hash of a whole part that its owner keeps."""
    return tagged("deep part", part)


def open_part(part: bytes, secret: ImageSecret) -> npt.NDArray[np.uint8]:
    """Return the codes of the part that this secret was made with, in their shape.

    Raises WrongKeyError for the part of another image, TamperedError or FormatError for one that was changed.
    """
    image_id, codes = unpack_part(part, secret.method)
    if image_id != secret.image_id:
        raise WrongKeyError(_WRONG)
    if part_digest(part) != secret.part_digest or len(codes) != prod(secret.codes):
        raise TamperedError("the part is not the one that was protected: somebody changed it")
    return np.frombuffer(codes, np.uint8).reshape(secret.codes)


def _has(record: object, fields: dict[str, type]) -> bool:
    return (
        isinstance(record, dict)
        and set(record) == set(fields)
        and all(type(record[name]) is kind for name, kind in fields.items())
    )


def _size(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number < 1 << 31:
        raise ValueError
    return number


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError
    return value
