"""What the learnable schemes share: which images are taken, keys of images and data sets, the part and its record."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM
from medveil.errors import FormatError, InputError, MedveilError, TamperedError, UnsupportedError, UsageError
from medveil.imaging import roi as regions
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.imaging.roi import ROI
from medveil.schemes.base import Claim, Finding, Part, Protected, Restored, Scheme, Secret
from medveil.schemes.learnable import keystream

Array = npt.NDArray[Any]

ONE_WAY: Final = "learnable encryption is one-way: nothing is ever decrypted, so keep the originals"
_DIGEST: Final = "learnable part"
_FIELDS: Final = {"v": int, "scheme": str, "bits": int, "rows": int, "columns": int, "samples": int, "digest": bytes}


def claim_of(notes: str, bit_depths: tuple[int, ...] = tuple(range(8, 17))) -> Claim:
    """Return the claim of a learnable scheme; `notes` says which attack breaks it."""
    return Claim(
        lossless=False,
        authenticated=False,
        learnable=True,
        one_way=True,
        bit_depths=bit_depths,
        colour=True,
        secure=False,
        notes=notes,
    )


class LearnableScheme(Scheme):
    """A learnable scheme; subclasses say how one picture is encrypted under its key.

    key: 32 bytes of a data set; without one, every call draws its own. per: whether images of one data set have keys
    of their own (`image`, derived from the key and the image's samples) or share it (`dataset`). grey: whether a grey
    image is encrypted as `one` channel or as `three` equal ones (the published schemes; three leak more).
    """

    version: ClassVar[int] = 1
    data_set_key: ClassVar[bool] = True  # the option `key` is one key for many images
    default_per: ClassVar[str]

    def __init__(self, *, key: bytes | None = None, per: str | None = None, grey: str = "one") -> None:
        if key is not None:
            keystream.check_key(key)
        chosen = self.default_per if per is None else per
        if chosen not in ("image", "dataset"):
            raise UsageError(f"keys per {chosen!r}: choose image or dataset")
        if grey not in ("one", "three"):
            raise UsageError(f"grey images as {grey!r} channels: choose one or three")
        self._key, self.per, self.grey = key, chosen, grey

    @property
    def options(self) -> dict[str, Any]:
        """The public options, JSON-ready; never the key."""
        return {"per": self.per, "grey": self.grey}

    @abstractmethod
    def encrypt_one(self, pixels: Array, key: bytes, bits: int) -> Array:
        """Encrypt (rows, columns, channels) under the picture's own key; may be padded to whole blocks."""

    def encrypt_stack(self, stack: Array, keys: Sequence[bytes], bits: int) -> Array:
        """Encrypt (N, rows, columns, channels), each picture under its own key; for schemes that do many at once."""
        return np.stack([self.encrypt_one(picture, key, bits) for picture, key in zip(stack, keys, strict=True)])

    def encrypt(self, pixels: Array, *, bits: int | None = None) -> Array:
        """Encrypt many pictures of one size.

        pixels: uint8 or uint16 (N, rows, columns) or (N, rows, columns, 1 or 3). bits: significant bits of a sample;
        8 or 16 by the type where not given. Returns the same type, (N, rows, columns, channels) without the last
        axis where it was missing and grey stays one channel; rows and columns are padded where the scheme says so.
        Raises InputError for other shapes, types and values beyond `bits`.
        """
        if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3)) or 0 in pixels.shape:
            raise InputError(f"pictures of shape {pixels.shape}: give (N, rows, columns) or (N, rows, columns, 1 or 3)")
        depth = check_depth(pixels, bits, self.claim.bit_depths)
        key = self._key if self._key is not None else SYSTEM.bytes(keystream.KEY_SIZE)
        stack = np.ascontiguousarray(pixels if pixels.ndim == 4 else pixels[..., None])
        keys = [keystream.image_key(key, picture) for picture in stack] if self.per == "image" else [key] * len(stack)
        if stack.shape[3] == 1 and self.grey == "three":
            stack = np.repeat(stack, 3, axis=3)
        out = self.encrypt_stack(stack, keys, depth)
        return out[..., 0] if pixels.ndim == 3 and out.shape[3] == 1 else out

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Encrypt a single-frame image; without a data set key, under fresh randomness each time.

        `roi` changes nothing but is checked. Raises UnsupportedError for a file that is no image, several frames,
        signed or float samples, alpha and palettes, InputError where `roi` does not lie in the image, the block is
        larger than it, or samples have bits beyond those that the file declares.
        """
        taken, frame, bits = admit(image, self.claim.bit_depths)
        regions.check(roi, taken)
        encrypted = self.encrypt(frame[None], bits=bits)[0]
        data = encode(encrypted)
        samples = 1 if encrypted.ndim == 2 else encrypted.shape[2]
        record = {
            "v": 1,
            "scheme": self.name,
            "bits": bits,
            "rows": encrypted.shape[0],
            "columns": encrypted.shape[1],
            "samples": samples,
            "digest": tagged(_DIGEST, data),
        }
        part = Part(1, data, "image/png", ".png")
        return Protected((part,), Secret(self.name, canonical.encode(record)))

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Refuse: nothing is ever decrypted. Raises UnsupportedError for own parts, else as `verify`."""
        self.verify(parts, secret)
        raise UnsupportedError(ONE_WAY)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Check that there is one part and that it is a picture; with the secret, that it is the one written.

        The secret's digest is the owner's note, no authentication by the cloud. Raises UsageError for another
        number of parts or another scheme's secret, FormatError where the part or secret has another form,
        TamperedError where the part is not the one that was written.
        """
        from medveil.imaging.reader import read

        if len(parts) != 1:
            raise UsageError(f"learnable schemes have one part, not {len(parts)}")
        data = parts[0].data if isinstance(parts[0], Part) else parts[0]
        if secret is not None and tagged(_DIGEST, data) != self._record(secret)["digest"]:
            raise TamperedError("the part is not the picture that was written: take it from another copy")
        try:
            read(data)
        except MedveilError as error:
            raise FormatError(f"the part is no picture ({error})") from None
        return ()

    def _record(self, secret: Secret) -> dict[str, Any]:
        if secret.scheme != self.name:
            raise UsageError(f"the secret belongs to scheme {secret.scheme!r}: verify with that scheme")
        record = canonical.decode(secret.data, limit=1 << 12)
        if not (
            isinstance(record, dict)
            and set(record) == set(_FIELDS)
            and all(isinstance(record[name], kind) for name, kind in _FIELDS.items())
            and record["v"] == 1
            and record["scheme"] == self.name
        ):
            raise FormatError("the record of a learnable part is of an unknown form or version")
        return dict(record)


def encode(encrypted: Array) -> bytes:
    """Return an encrypted picture (rows, columns[, 1 or 3]) as PNG; noise does not compress, so lightly."""
    from medveil.imaging.raster import encode_png

    flat = encrypted[..., 0] if encrypted.ndim == 3 and encrypted.shape[2] == 1 else encrypted
    return encode_png(flat, level=1)


def admit(image: MedicalImage | OpaqueFile, depths: tuple[int, ...]) -> tuple[MedicalImage, Array, int]:
    """Return the image, the samples of its single frame (rows, columns[, 3]) and their significant bits.

    Raises UnsupportedError for what cannot be encrypted as it is, with the way out; InputError for stray bits.
    """
    if isinstance(image, OpaqueFile):
        raise UnsupportedError("learnable encryption takes pictures: protect other files with the scheme sealed")
    if image.frames != 1:
        raise UnsupportedError(f"an image of {image.frames} frames: encrypt a series with medveil learnable encrypt")
    if image.photometric is Photometric.PALETTE_COLOR or image.samples == 4:
        raise UnsupportedError("palette indices and alpha cannot be scrambled: convert the image to RGB or grey first")
    frame: Array = image.pixels[0]
    if frame.dtype not in (np.uint8, np.uint16):
        raise UnsupportedError(
            f"samples of {frame.dtype}: learnable schemes take unsigned 8 to 16 bits; window it first"
        )
    return image, frame, check_depth(frame, image.bits_stored, depths)


def check_depth(pixels: Array, bits: int | None, depths: tuple[int, ...]) -> int:
    """Return the significant bits. Raises UnsupportedError for depths that are not taken, InputError for stray bits."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"samples of {pixels.dtype}: give uint8 or uint16")
    found = 8 * pixels.dtype.itemsize if bits is None else bits
    if found not in depths or found > 8 * pixels.dtype.itemsize:
        raise UnsupportedError(f"samples of {found} bits in {pixels.dtype}: this scheme takes {_listed(depths)}")
    if found < 8 * pixels.dtype.itemsize and int(pixels.max(initial=0)) >> found:
        raise InputError(f"samples use more than the {found} bits that are declared: mask or window them first")
    return found


def _listed(depths: tuple[int, ...]) -> str:
    return ", ".join(str(d) for d in depths) + " bits"
