"""`DeepScheme`: what the four deep-learning schemes share: keys, checks of what comes in, parts and secrets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt

from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError, UnrecoverableError, UnsupportedError, UsageError, WrongKeyError
from medveil.imaging import roi as regions
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.metrics.image_quality import psnr
from medveil.schemes.base import Finding, FindingKind, Part, Protected, Restored, Scheme, Secret
from medveil.schemes.deep import container, keyfile, layout, samples
from medveil.schemes.deep.container import Grid, ImageSecret
from medveil.schemes.deep.key import DeepKey

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
FITS: Final = ("refuse", "tiles")


class DeepScheme(Scheme):
    """One part, its codes; the secret carries the decoding half of a trained key.

    trained_key: a key file that `medveil deep train` wrote, an opened `DeepKey`, or "insecure-sample" for the public
        key that serves tests and attacks. Without one, parts can be restored and verified, nothing can be protected.
    fit: what to do with an image of another size than the key was trained for: "refuse", or cut it into "tiles" of
        that size, which is lossier than training measured.
    device: "cpu", or "cuda" where there is a GPU; the results are the same.
    owner: whom a key file is sealed to; the command line gives it by itself.
    Raises UsageError for an option that does not exist, and for a key file as `keyfile.load` does.
    """

    method: ClassVar[str]

    def __init__(
        self,
        *,
        trained_key: str | Path | DeepKey | None = None,
        fit: str = "refuse",
        device: str = "cpu",
        owner: OwnerKey | None = None,
    ) -> None:
        if fit not in FITS:
            raise UsageError(f"there is no fit {fit!r}: choose one of {', '.join(FITS)}")
        self.fit, self.device = fit, device
        self._source = trained_key
        self._key: DeepKey | None = None
        if isinstance(trained_key, DeepKey):
            self._key = trained_key
        elif trained_key == samples.NAME:
            self._key = samples.load(self.method)
        elif trained_key is not None and owner is not None:
            self._key = keyfile.load(Path(trained_key), owner)
        if self._key is not None:
            if self._key.method != self.method:
                raise WrongKeyError(f"a key of method {self._key.method} where {self.name} needs one of {self.method}")
            self.claim = replace(self.claim, notes=f"{self.loss_of(self._key)}; {self.claim.notes}")

    @classmethod
    def for_evaluation(cls, **options: Any) -> Scheme:
        """Return an instance with the public sample key, which cuts images of other sizes into tiles."""
        return cls(**{"trained_key": samples.NAME, "fit": "tiles", **options})

    def for_owner(self, owner: OwnerKey) -> Self:
        """Return the same scheme with the owner's key opened.

        Raises UsageError without a key of the owner's own, and as `keyfile.load`.
        """
        if self._source is None:
            raise UsageError(f"{self.name} needs a key that you trained: {self._how()}")
        if self._key is not None and self._key.insecure_sample:
            raise UsageError(f"the sample key is public and protects nothing: {self._how()}")
        return type(self)(trained_key=self._source, fit=self.fit, device=self.device, owner=owner)

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        """Encrypt an image with the trained network; a region of interest changes nothing.

        Raises UsageError without a key, UnsupportedError for another size or depth than the key was trained for and
        for what is no image, InputError where `roi` does not lie in the image.
        """
        return self._protect(image, roi, SYSTEM)

    def _protect(self, image: MedicalImage | OpaqueFile, roi: ROI, rng: Randomness) -> Protected:
        if self._key is None:
            raise UsageError(f"{self.name} needs a key that you trained: {self._how()}")
        if isinstance(image, OpaqueFile):
            raise UnsupportedError(f"{self.name} encrypts pixels, and this file has none: take scheme sealed")
        regions.check(roi, image)
        codes, grid, loss = self._encode(image, self._key)
        image_id = rng.bytes(container.ID_SIZE)
        part = container.pack_part(self.method, image_id, codes)
        secret = ImageSecret(
            self.method, image_id, container.part_digest(part), image.pixels.dtype.newbyteorder("=").str,
            image.pixels.shape, image.bits_stored, image.photometric.value, image.spacing, grid, codes.shape, loss,
            self.decoding_half(self._key).pack(),
        )  # fmt: skip
        findings = () if loss is None else (self._approximate(loss),)
        return Protected(
            (Part(1, part, container.MEDIA_TYPE, ".mvdp"),), Secret(self.name, secret.pack()), findings=findings
        )

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Verify the part against what the owner kept, and decode it.

        Raises UnrecoverableError without a part, WrongKeyError for the part or secret of another image, TamperedError
        or FormatError for one that was changed.
        """
        own = container.unpack_secret(secret, self.name, self.method)
        codes = container.open_part(only_part(parts), own)
        pixels = self._decode(codes, own, DeepKey.unpack(own.key))
        findings = () if own.loss is None else (self._approximate(own.loss),)
        return Restored(own.image(pixels), findings)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Check the part: against accidents without the secret, against everything with it. Raises as `restore`."""
        part = only_part(parts)
        if secret is None:
            container.unpack_part(part, self.method)
        else:
            container.open_part(part, container.unpack_secret(secret, self.name, self.method))
        return ()

    @abstractmethod
    def loss_of(self, key: DeepKey) -> str:
        """Say in a few words what the images lose with this key."""

    @abstractmethod
    def decoding_half(self, key: DeepKey) -> DeepKey:
        """Return what of the key decoding needs."""

    @abstractmethod
    def _encode(self, image: MedicalImage, key: DeepKey) -> tuple[Bytes, Grid, float | None]:
        """Return the codes, how they lie in the picture, and the PSNR in dB of what comes back (None for exact)."""

    @abstractmethod
    def _decode(self, codes: Bytes, secret: ImageSecret, key: DeepKey) -> Array:
        """Return the pixels in their shape and dtype."""

    def _how(self) -> str:
        return (
            f"medveil deep train --method {self.method} --images DIR --key OWNER --out FILE, "
            "then give --option trained_key=FILE"
        )

    def _approximate(self, loss: float) -> Finding:
        message = f"lossy by design: PSNR {loss:.1f} dB against the original, measured when it was protected"
        return Finding(FindingKind.APPROXIMATE, message)


class LossyDeepScheme(DeepScheme):
    """The three methods whose networks take 8-bit grey pictures of one size."""

    def loss_of(self, key: DeepKey) -> str:
        """Say what held-out pictures lost when the key was trained."""
        m = key.measured
        if "psnr" not in m:
            return "lossy, by how much was never measured"
        return (
            f"lossy: on {m['pictures']:.0f} held-out pictures of {key.size} x {key.size}, PSNR {m['psnr']:.1f} dB "
            f"(worst {m['psnr_worst']:.1f}), SSIM {m['ssim']:.3f}, MSE {m['mse']:.1f}"
        )

    def decoding_half(self, key: DeepKey) -> DeepKey:
        """Return the decoder alone: it is the private key, the encoder may be public."""
        return key.part("decoder")

    def _encode(self, image: MedicalImage, key: DeepKey) -> tuple[Bytes, Grid, float | None]:
        tiles, grid = self._tiles(image, key)
        codec = self._codec(key)
        codes = codec.encode(tiles)
        back = layout.joined(codec.decode(codes), grid)[:, : image.rows, : image.columns]
        return layout.joined(layout.code_tiles(codes, grid.side), grid), grid, psnr(image.pixels, back)

    def _decode(self, codes: Bytes, secret: ImageSecret, key: DeepKey) -> Array:
        own = layout.codes_of(layout.cut(codes, secret.grid), key)
        pixels = layout.joined(self._codec(key).decode(own), secret.grid)
        return np.ascontiguousarray(pixels[:, : secret.shape[1], : secret.shape[2]])

    def _codec(self, key: DeepKey) -> Any:
        from medveil.schemes.deep.extra import need_torch

        need_torch()
        from medveil.schemes.deep.codec import Codec

        return Codec(key, device=self.device)

    def _tiles(self, image: MedicalImage, key: DeepKey) -> tuple[Bytes, Grid]:
        side = key.size or 1
        if image.samples != 1 or image.pixels.dtype != np.uint8:
            depth = f"{image.samples} samples of {image.pixels.dtype}" if image.samples > 1 else str(image.pixels.dtype)
            raise UnsupportedError(
                f"the key was trained for grey pictures of 8 bits and the image has {depth}: window it to 8 bits "
                "first, or take scheme deep-invertible or sealed"
            )
        if self.fit == "refuse" and image.pixels.shape[1:] != (side, side):
            raise UnsupportedError(
                f"the key was trained for {side} x {side} pixels and the image has {image.rows} x {image.columns}: "
                "train for that size, or pass --option fit=tiles to cut it up, which loses more than training measured"
            )
        grid = Grid(image.frames, -(-image.rows // side), -(-image.columns // side), side)
        pads = ((0, 0), (0, grid.down * side - image.rows), (0, grid.across * side - image.columns))
        return layout.cut(np.pad(image.pixels, pads, mode="edge"), grid), grid


def only_part(parts: Sequence[Part | bytes]) -> bytes:
    """Return the one part. Raises UnrecoverableError for none, InputError for more."""
    if not parts:
        raise UnrecoverableError("the only part is not there: bring it back")
    if len(parts) > 1:
        raise InputError(f"{len(parts)} parts where a deep-learning scheme has one: give the one part")
    return parts[0].data if isinstance(parts[0], Part) else parts[0]
