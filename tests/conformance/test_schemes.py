"""Every registered scheme keeps every claim; and a scheme whose claim is false does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conformance.scheme_suite import CHECKS

from medveil.errors import UsageError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes import registry
from medveil.schemes.base import Finding, FindingKind, Part, Protected, Restored, Scheme, Secret, TamperMap
from medveil.schemes.learnable.skk import SKK
from medveil.schemes.sealed import Sealed


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", registry.names())
def test_claim(name: str, check: str, shared_data: Path) -> None:
    CHECKS[check](registry.load(name), shared_data)


class Liar(Sealed):
    """Promises what `Sealed` keeps, and breaks one promise in each subclass."""


class Lossy(Liar):
    """Loses the lowest bit."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        restored = super().restore(parts, secret, partial=partial)
        if isinstance(restored.image, MedicalImage):
            image = restored.image
            return replace(restored, image=replace(image, pixels=image.pixels >> 1 << 1))
        return restored


class Silent(Liar):
    """Says nothing of what it noticed."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        return replace(super().restore(parts, secret, partial=partial), findings=())


class Vague(Liar):
    """Marks the whole picture."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        restored = super().restore(parts, secret, partial=partial)
        drawn = restored.tamper_map
        if drawn is None or drawn.clean:
            return restored
        return replace(restored, tamper_map=TamperMap(np.ones_like(drawn.touched), drawn.lost, drawn.tile))


class Blind(Liar):
    """Marks nothing."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        restored = super().restore(parts, secret, partial=partial)
        drawn = restored.tamper_map
        if drawn is None:
            return restored
        return replace(restored, tamper_map=TamperMap(np.zeros_like(drawn.touched), drawn.lost, drawn.tile))


class Leaky(Liar):
    """Puts the file into each part."""

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        protected = super().protect(image, roi=roi)
        parts = tuple(Part(part.index, part.data + (image.original or b"")) for part in protected.parts)
        return replace(protected, parts=parts)


class Hoarder(Liar):
    """Needs all parts."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        if len(parts) < self._options.threshold[1]:
            raise UsageError("all parts are needed")
        return super().restore(parts, secret, partial=partial)


class Accuser(Liar):
    """Blames the first part, whichever it was."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret, *, partial: bool = False) -> Restored:
        restored = super().restore(parts, secret, partial=partial)
        blamed = tuple(Finding(FindingKind.TAMPER, f.message, 1, f.chunk, f.place) for f in restored.findings)
        return replace(restored, findings=blamed)


class Grey(Liar):
    """Takes no colour, and promises it."""

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        if isinstance(image, MedicalImage) and image.samples > 1:
            raise UsageError("no colour")
        return super().protect(image, roi=roi)


class Bytes(Liar):
    """Takes no file that is not an image, and promises it."""

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        if isinstance(image, OpaqueFile):
            raise UsageError("no image")
        return super().protect(image, roi=roi)


class Careless(Liar):
    """Takes a region of interest that lies beyond the image."""

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:
        return super().protect(image)


class Reserved(Liar):
    """Breaks without saying by which attack."""

    claim = replace(Sealed.claim, secure=False)


class Repeating(SKK):
    """Gives the same cipher for the same image, and says that it draws fresh randomness."""

    def __init__(self) -> None:
        super().__init__(key=bytes(32))


class Noise(SKK):
    """Gives noise that nothing can be learned from, and promises that a network can."""

    def encrypt_one(self, pixels: np.ndarray, key: bytes, bits: int) -> np.ndarray:
        return np.random.default_rng().integers(0, 1 << bits, pixels.shape).astype(pixels.dtype)


class Reversible(SKK):
    """Claims to be one-way, and gives something back."""

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        assert isinstance(parts[0], Part)
        return Restored(OpaqueFile(parts[0].data, "never decrypted"))


@pytest.mark.parametrize(
    ("liar", "check"),
    [
        (Lossy, "lossless"),
        (Lossy, "bit depths"),
        (Lossy, "signed"),
        (Lossy, "multiframe"),
        (Silent, "authenticated"),
        (Vague, "localises"),
        (Blind, "localises"),
        (Leaky, "private"),
        (Hoarder, "threshold"),
        (Accuser, "repairs"),
        (Grey, "colour"),
        (Bytes, "any file"),
        (Careless, "roi"),
        (Reserved, "honesty"),
        (Repeating, "one way"),
        (Reversible, "one way"),
        (Noise, "learnable"),
    ],
)
def test_a_false_claim_fails(liar: type[Scheme], check: str, shared_data: Path) -> None:
    with pytest.raises((AssertionError, UsageError, pytest.fail.Exception)):
        CHECKS[check](liar, shared_data)


@pytest.mark.parametrize("check", ["honesty", "lossless", "authenticated", "localises", "repairs", "private", "roi"])
def test_the_honest_subclass_passes(check: str, shared_data: Path) -> None:
    CHECKS[check](Liar, shared_data)
