"""What is let in: images that can be protected, and parts that belong to a secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from medveil.errors import (
    InputError,
    StaleError,
    TamperedError,
    UnrecoverableError,
    UnsupportedError,
    WrongKeyError,
)
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.schemes.base import Part, Secret
from medveil.schemes.roi_watermark import carriers, keys
from medveil.schemes.roi_watermark.secret import ImageSecret
from medveil.schemes.roi_watermark.share import MAGIC, MAX_SAMPLES, Share

_WRONG: Final = "the secret does not open these shares: it is damaged or belongs to another image"


def secret_of(secret: Secret, name: str) -> ImageSecret:
    """Read a secret. Raises WrongKeyError for another scheme's or a damaged one, FormatError for what is none."""
    if secret.scheme != name:
        raise WrongKeyError(f"the secret is one of scheme {secret.scheme!r}: these parts need one of {name!r}")
    return ImageSecret.unpack(secret.data)


def check_image(image: MedicalImage | OpaqueFile) -> MedicalImage:
    """Refuse what this scheme does not take.

    Raises UnsupportedError for what is no integer image of 8 to 16 bits with at least two pixels a frame, InputError
    for a share.
    """
    if isinstance(image, OpaqueFile):
        if image.original[:4] == MAGIC:
            raise InputError("this file is a share of a protected image already: protect the original instead")
        raise UnsupportedError(f"the file has no pixels to protect ({image.reason}): use scheme sealed for it")
    pixels = image.pixels
    if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2:
        raise UnsupportedError(
            f"pixels of dtype {pixels.dtype}: this scheme takes integers of 8 to 16 bits, use scheme sealed"
        )
    if image.rows * image.columns < 2:
        raise UnsupportedError("an image of one pixel has no picture to protect: use scheme sealed")
    if pixels.size > MAX_SAMPLES:
        raise UnsupportedError(f"an image of {pixels.size} samples: at most {MAX_SAMPLES} are taken, use scheme sealed")
    if carriers.looks_protected(pixels, image.original):
        raise InputError("this image is a share of a protected image already: protect the original instead")
    return image


def pair_of(parts: Sequence[Part | bytes], own: ImageSecret) -> tuple[Share, Share]:
    """Return shares 1 and 2 after every check that looks at headers only. Raises as `RoiWatermark.restore`."""
    if len(parts) > 2:
        raise InputError(f"got {len(parts)} parts where 2 belong: give one of each cloud")
    shares = []
    for part in parts:
        share = carriers.unpack(part if isinstance(part, bytes) else part.data)
        if isinstance(part, Part) and part.index != share.header.index:
            raise TamperedError(
                f"part {part.index} holds share {share.header.index}: the parts were swapped, check which cloud "
                "answered"
            )
        shares.append(share)
    _check_identity(shares, own)
    found = {share.header.index: share for share in shares}
    for index in (1, 2):
        if index not in found:
            raise UnrecoverableError(f"share {index} is missing: both are needed to restore the image")
    _check_header(found[1], found[2], own)
    return found[1], found[2]


def _check_identity(shares: Sequence[Share], own: ImageSecret) -> None:
    """Refuse shares of another image or another version."""
    mine = own.header
    kinds = []
    for share in shares:
        h = share.header
        if h.object_id != mine.object_id:
            kinds.append("foreign")
        elif h.object_version < mine.object_version:
            raise StaleError(
                f"share {h.index} is of version {h.object_version} and the secret of version {mine.object_version}: "
                "an old share was replayed, fetch the current one"
            )
        elif h.object_version > mine.object_version:
            raise StaleError(
                f"the secret is of version {mine.object_version} and share {h.index} of version {h.object_version}: "
                "use the secret of the current version"
            )
        elif h.iid != mine.iid:
            raise StaleError(f"share {h.index} is of another protection of this image: fetch the one that matches")
        elif h.profile != mine.profile:
            raise TamperedError(f"share {h.index} claims another profile than the secret: its header was edited")
        else:
            kinds.append("own")
    if kinds and "own" not in kinds:
        raise WrongKeyError(_WRONG)
    for share, kind in zip(shares, kinds, strict=True):
        if kind == "foreign":
            raise TamperedError(f"share {share.header.index} belongs to another image: fetch the right one")


def _check_header(first: Share, second: Share, own: ImageSecret) -> None:
    """Refuse headers that differ in any field from what the secret expects."""
    commitment = keys.derive(own.key, own.salt).commitment
    if first.header.commitment == second.header.commitment != commitment:
        raise WrongKeyError(_WRONG)
    for index, share in ((1, first), (2, second)):
        expected = replace(own.header, index=index, commitment=commitment, checksum=share.header.checksum)
        if share.header != expected:
            raise TamperedError(f"the header of share {index} was edited: fetch the share again")
