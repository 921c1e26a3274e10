"""`RoiWatermark`, the scheme: options, checks of what comes in, and what is said about what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import UsageError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes.base import Claim, Finding, Part, Protected, Restored, Scheme, Secret

PROFILES: Final = ("hardened", "paper")
_DEPTHS: Final = (8, 9, 10, 11, 12, 13, 14, 15, 16)
_HARDENED_CLAIM: Final = Claim(
    lossless=True,
    authenticated=True,
    localises=True,
    tile=16,
    threshold=(2, 2),
    private_below_threshold=True,
    bit_depths=_DEPTHS,
    signed=True,
    colour=True,
    multiframe=True,
    roi=True,
    notes="damaged blocks of the ROI are repaired from copies where those survive; one whole part never suffices",
)
_PAPER_CLAIM: Final = replace(
    _HARDENED_CLAIM,
    authenticated=False,
    localises=False,
    tile=None,
    private_below_threshold=False,
    secure=False,
    notes="keystream reuse over images of one ROI, a guessed ROI gives the key, changes outside the ROI go unseen",
)


_WRAPPER: Final = "pixels are authenticated as ever, but the DICOM wrapper's attributes and banner are not"


class RoiWatermark(Scheme):
    """Two parts for two clouds; lossless; tampering located to the block (paper 003).

    profile: "hardened" (default) or "paper" (for comparison only: it is broken).
    carrier: what parts are: "png", "dicom" (Secondary Capture marked as protected) or "bytes".
    split: share the pair 2 of 2 by XOR with a random pad, so that a part alone is uniform whatever becomes of the key.
        Doubles the parts. Hardened profile only.
    keep_file: put what the file holds beside its pixels into the parts, encrypted, so that the file comes back byte
        for byte. Files with compressed pixels are kept whole.
    object_id, object_version: name the object over its versions (16 bytes; default: random). Protecting a newer state
        of the same image under the same id and a higher version makes shares of the older one recognisably stale.
    Raises UsageError for an option that does not exist.
    """

    name: ClassVar[str] = "roi-watermark"
    version: ClassVar[int] = 1
    claim: Claim = _HARDENED_CLAIM
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {p: {"profile": p} for p in PROFILES}

    def __init__(
        self,
        *,
        profile: str = "hardened",
        carrier: str = "png",
        split: bool = False,
        keep_file: bool = True,
        object_id: bytes | None = None,
        object_version: int = 1,
    ) -> None:
        if profile not in PROFILES:
            raise UsageError(f"there is no profile {profile!r}: choose one of {', '.join(PROFILES)}")
        if carrier not in ("png", "dicom", "bytes"):
            raise UsageError(f"there is no carrier {carrier!r}: choose one of png, dicom, bytes")
        if split and profile == "paper":
            raise UsageError("profile paper has no split: leave split out, or take profile hardened")
        if object_id is not None and len(object_id) != 16:
            raise UsageError(f"an object id has 16 bytes, not {len(object_id)}")
        if not 1 <= object_version < 1 << 32:
            raise UsageError(f"object version {object_version} is not between 1 and {(1 << 32) - 1}")
        self.profile = profile
        self.carrier = carrier
        self.split = split
        self.keep_file = keep_file
        self.object_id = object_id
        self.object_version = object_version
        if profile == "paper":
            self.claim = _PAPER_CLAIM
        elif carrier == "dicom":
            self.claim = replace(_HARDENED_CLAIM, authenticated=False, notes=_WRAPPER)

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Make two parts. An empty `roi` is the whole image.

        Raises UnsupportedError for what is no integer image of 8 to 16 bits with at least two pixels a frame,
        InputError for a region outside the image, an image that is a share already, or, in profile paper, a region
        that is too small.
        """
        return self._protect(image, roi, SYSTEM)

    def _protect(self, image: MedicalImage | OpaqueFile, roi: ROI, rng: Randomness) -> Protected:
        from medveil.schemes.roi_watermark import admission, carriers, hardened, keys, paper, regions, sealed_file
        from medveil.schemes.roi_watermark import share as wire
        from medveil.schemes.roi_watermark.secret import ImageSecret, pack_region

        taken = admission.check_image(image)
        mask = regions.region_mask(roi, taken)
        flags = wire.SPLIT * self.split | wire.COLOUR * (taken.pixels.ndim == 4) | wire.SIGNED * taken.signed
        header = wire.Header(
            wire.HARDENED if self.profile == "hardened" else wire.PAPER,
            1,
            flags,
            self.object_id or rng.bytes(16),
            self.object_version,
            taken.frames,
            taken.rows,
            taken.columns,
            taken.samples,
            taken.pixels.dtype.itemsize,
            0,
            rng.bytes(16),
            bytes(16),
        )
        salt = hardened.salt_of(taken.pixels, header, pack_region(roi))
        secret = ImageSecret(header, rng.bytes(keys.KEY_SIZE), salt, roi)
        contents = sealed_file.describe(taken, keep_file=self.keep_file)
        row = header.container_shape[2] * header.word.itemsize
        record = sealed_file.seal(contents, keys.derive(secret.key, salt).record, header.iid, row)
        planes = regions.to_planes(taken.pixels)
        if self.profile == "hardened":
            shares, secret = hardened.make_shares(planes, mask, secret, record, rng)
        else:
            shares, secret = paper.make_shares(planes, mask, secret, record)
        parts = tuple(carriers.pack(share, self.carrier) for share in shares)
        return Protected(parts, Secret(self.name, secret.pack()))

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Verify both parts block by block, repair what copies allow, and give the image back.

        Blocks that cannot be vouched for come back as zeros, or as an approximate copy, and are marked in the tamper
        map and in the findings. Raises UnrecoverableError where a part is missing, StaleError for a part or secret of
        another version, TamperedError for a foreign, swapped, resized, truncated or edited part or where nothing
        authentic is left, FormatError for what is no part, WrongKeyError where the secret is not the parts' own.
        """
        from medveil.schemes.roi_watermark import admission, outcome

        own = admission.secret_of(secret, self.name)
        return outcome.restore(admission.pair_of(parts, own), own)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Say what is wrong with the parts.

        Without a secret, accidental damage, missing parts and parts that do not belong together are found; with it,
        everything that `restore` finds. Raises as `restore` where nothing authentic is left.
        """
        if secret is not None:
            return self.restore(parts, secret).findings
        from medveil.schemes.roi_watermark import outcome

        return outcome.verify_without_secret(parts)
