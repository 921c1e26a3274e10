"""The rows that every scheme stands beside: AES-256-GCM over the image, and two lossless codecs before encryption.

They are schemes in all but the registry: nobody is meant to protect an archive with them, `sealed` does all they do.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto.prg import SYSTEM
from medveil.errors import TamperedError, UnrecoverableError, UnsupportedError
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.imaging.roi import ROI
from medveil.schemes.base import Claim, Finding, Part, Protected, Restored, Scheme, Secret
from medveil.schemes.sealed import Sealed

Frame = npt.NDArray[Any]
_NONCE: Final = 12
_FILE, _PIXELS = b"F", b"P"
_DEPTHS: Final = tuple(range(1, 17))


def _bytes_of(image: MedicalImage | OpaqueFile) -> bytes:
    if isinstance(image, OpaqueFile) or image.original is not None:
        return _FILE + (image.original or b"")
    held = io.BytesIO()
    np.save(held, image.pixels, allow_pickle=False)
    return _PIXELS + bytes([image.bits_stored]) + image.photometric.value.encode().ljust(16) + held.getvalue()


def _image_of(data: bytes) -> MedicalImage | OpaqueFile:
    from medveil.imaging.reader import read_any

    if data[:1] == _FILE:
        return read_any(data[1:])
    pixels = np.load(io.BytesIO(data[18:]), allow_pickle=False)
    return MedicalImage(pixels, data[1], Photometric(data[2:18].decode().strip()))


class AesGcm(Scheme):
    """AES-256-GCM (NIST SP 800-38D) over the file, or over the pixels of an image without one; a fresh key each time.

    The one part is nonce, ciphertext and tag. The secret is the key.
    """

    name: ClassVar[str] = "aes-256-gcm"
    version: ClassVar[int] = 1
    claim: Claim = Claim(
        lossless=True,
        authenticated=True,
        any_file=True,
        private_below_threshold=True,
        bit_depths=_DEPTHS,
        signed=True,
        colour=True,
        multiframe=True,
        floats=True,
    )

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:  # noqa: ARG002
        """Encrypt; `roi` changes nothing."""
        key, nonce = SYSTEM.bytes(32), SYSTEM.bytes(_NONCE)
        return Protected((Part(1, nonce + AESGCM(key).encrypt(nonce, _bytes_of(image), b"")),), Secret(self.name, key))

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Decrypt. Raises TamperedError for anything but the part that was made, UnrecoverableError for no part."""
        if not parts:
            raise UnrecoverableError("there is no part: bring the one that was made")
        data = parts[0].data if isinstance(parts[0], Part) else parts[0]
        try:
            return Restored(_image_of(AESGCM(secret.data).decrypt(data[:_NONCE], data[_NONCE:], b"")))
        except (InvalidTag, ValueError):
            raise TamperedError("the part was changed, or the key is another one") from None

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Decrypt and throw away; without a secret nothing can be said."""
        if secret is not None:
            self.restore(parts, secret)
        return ()


class _CodedThenSealed(Scheme):
    """A lossless codec over each frame before `sealed` with one part: what a codec saves in front of encryption.

    Subclasses name the codec and its two functions, which take and give grey frames of 8 or 16 unsigned bits.
    """

    codec: ClassVar[str]
    claim: Claim = Claim(
        lossless=True,
        authenticated=True,
        private_below_threshold=True,
        bit_depths=(8, 10, 12, 14, 16),
        signed=True,
        multiframe=True,
    )

    @staticmethod
    @abstractmethod
    def encode(frame: Frame) -> bytes:
        """Return a frame's code stream."""

    @staticmethod
    @abstractmethod
    def decode(data: bytes) -> Frame:
        """Return the frame of a code stream."""

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:  # noqa: ARG002
        """Code each frame, then seal. Raises UnsupportedError for colour, floats and files that are no image."""
        if isinstance(image, OpaqueFile) or image.samples > 1 or image.pixels.dtype.kind not in "ui":
            raise UnsupportedError(f"{self.codec} codes grey integer images here: take the scheme sealed")
        if image.pixels.dtype.itemsize > 2:
            raise UnsupportedError(f"{self.codec} codes up to 16 bits here: take the scheme sealed")
        unsigned = image.pixels.view(f"u{image.pixels.dtype.itemsize}")
        frames = [self.encode(np.ascontiguousarray(frame)) for frame in unsigned]
        head = io.BytesIO()
        facts = np.array([*(len(f) for f in frames), image.bits_stored, image.signed], "<i8")
        np.save(head, facts, allow_pickle=False)
        held = OpaqueFile(head.getvalue() + b"".join(frames), self.codec)
        inner = Sealed(threshold=(1, 1), codec="none").protect(held)
        return Protected(inner.parts, Secret(self.name, inner.secret.data), inner.manifest)

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:
        """Open and decode. Raises as `Sealed.restore`."""
        opened = Sealed().restore(parts, Secret(Sealed.name, secret.data))
        head = io.BytesIO(opened.image.original or b"")
        *sizes, bits, signed = (int(v) for v in np.load(head, allow_pickle=False))
        pixels = np.stack([self.decode(head.read(size)) for size in sizes])
        if signed:
            pixels = pixels.view(f"i{pixels.dtype.itemsize}")
        return Restored(MedicalImage(pixels, bits), opened.findings)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """As `Sealed.verify`."""
        return Sealed().verify(parts, None if secret is None else Secret(Sealed.name, secret.data))


class SealedJpegLs(_CodedThenSealed):
    """JPEG-LS (ISO/IEC 14495-1, lossless) before `sealed`."""

    name: ClassVar[str] = "sealed-jpeg-ls"
    version: ClassVar[int] = 1
    codec: ClassVar[str] = "JPEG-LS"

    @staticmethod
    def encode(frame: Frame) -> bytes:
        """Return a frame's code stream."""
        import imagecodecs

        return bytes(imagecodecs.jpegls_encode(frame))

    @staticmethod
    def decode(data: bytes) -> Frame:
        """Return the frame of a code stream."""
        import imagecodecs

        return np.asarray(imagecodecs.jpegls_decode(data))


class SealedHtj2k(_CodedThenSealed):
    """High-Throughput JPEG 2000 (ISO/IEC 15444-15, reversible) before `sealed`."""

    name: ClassVar[str] = "sealed-htj2k"
    version: ClassVar[int] = 1
    codec: ClassVar[str] = "HTJ2K"

    @staticmethod
    def encode(frame: Frame) -> bytes:
        """Return a frame's code stream."""
        import imagecodecs

        return bytes(imagecodecs.htj2k_encode(frame, reversible=True))

    @staticmethod
    def decode(data: bytes) -> Frame:
        """Return the frame of a code stream."""
        import imagecodecs

        return np.asarray(imagecodecs.htj2k_decode(data))


FLOORS: Final[tuple[type[Scheme], ...]] = (AesGcm, SealedJpegLs, SealedHtj2k)
