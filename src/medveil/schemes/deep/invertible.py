"""`deep-invertible`: an integer coupling network; lossless, and the same bytes on every machine.

Idea: what an invertible network adds to half of its channels is a function of the other half, so it can be taken off
again (Wang et al., "Invertible encryption network for optical image cryptosystem", 2022; couplings after Dinh et al.,
"NICE", 2014). Evaluated in float, the inverse depends on the last bits of sums and breaks when only the batch size
changes; here all sums are exact integers (`integer_flow`), so decoding is exact by construction.

Protects: pixels against somebody who has no pair of plaintext and ciphertext and no suspicion. There is no proof and
no analysis by others. Does **not** hide that two images, frames or colour planes are equal (same key, same ciphertext).
**Whoever may choose images follows a changed bit through all 12 layers**: of pictures of 4 x 4 pixels one pair in a few
hundred comes out nearly equal (attack `chosen-difference`, docs/schemes/deep.md). It authenticates nothing; the part is
compared with a hash in the owner's secret, which is ours. The key is 163 kB of drawn numbers: gradient descent has
nothing to improve in it (docs/decisions/drawn-weights-for-the-invertible-network.md).

Part 1 holds the encrypted byte planes, padded to multiples of 4 a side.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from medveil.errors import FormatError, UnsupportedError
from medveil.imaging.image import MedicalImage
from medveil.schemes.base import Claim
from medveil.schemes.deep.container import Grid, ImageSecret
from medveil.schemes.deep.integer_flow import UNIT, IntegerFlow
from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.scheme import Array, Bytes, DeepScheme


class Invertible(DeepScheme):
    """Lossless encryption of any pixels by byte planes with an integer coupling network; evaluated, not recommended.

    Options as in `DeepScheme`; every size and depth is taken, so `fit` changes nothing.
    """

    name: ClassVar[str] = "deep-invertible"
    version: ClassVar[int] = 1
    method: ClassVar[str] = "invertible"
    claim: Claim = Claim(
        lossless=True,
        authenticated=True,
        bit_depths=(1, 8, 12, 14, 16, 32),  # any other comes back too; these are tested on small enough images
        signed=True,
        colour=True,
        multiframe=True,
        floats=True,
        secure=False,
        notes="deterministic: equal images have equal ciphertexts under one key; chosen images tell it from noise",
    )

    def loss_of(self, key: DeepKey) -> str:  # noqa: ARG002 - the same for every key
        """Say that nothing is lost."""
        return "lossless"

    def decoding_half(self, key: DeepKey) -> DeepKey:
        """Return the whole key: the same numbers encrypt and decrypt."""
        return key

    def _encode(self, image: MedicalImage, key: DeepKey) -> tuple[Bytes, Grid, float | None]:
        planes = to_planes(image.pixels)
        return self._flow(key).encrypt(planes), Grid(len(planes), 1, 1, 0), None

    def _decode(self, codes: Bytes, secret: ImageSecret, key: DeepKey) -> Array:
        return from_planes(self._flow(key).decrypt(codes), secret.dtype, secret.shape)

    def _flow(self, key: DeepKey) -> IntegerFlow:
        return IntegerFlow(key) if self.device == "cpu" else IntegerFlow(key, precision="torch", device=self.device)


def to_planes(pixels: Array) -> Bytes:
    """Return the bytes of pixels as planes (frames * samples * bytes, rows, columns), edges repeated to multiples of 4.

    The bytes of a sample go to planes of their own, the lowest first. Raises UnsupportedError beyond 2^31 bytes.
    """
    little = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<"))
    frames, rows, columns = little.shape[:3]
    if little.nbytes >= 1 << 31:
        raise UnsupportedError(f"pixels of {little.nbytes} bytes: split the volume, or take scheme sealed")
    split = little.view(np.uint8).reshape(frames, rows, columns, -1)
    planes = split.transpose(0, 3, 1, 2).reshape(-1, rows, columns)
    return np.pad(planes, ((0, 0), (0, -rows % UNIT), (0, -columns % UNIT)), mode="edge")


def from_planes(planes: Bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    """Return the pixels of planes; the inverse of `to_planes`. Raises FormatError where the planes do not fit."""
    frames, rows, columns = shape[:3]
    kind = np.dtype(dtype).newbyteorder("<")
    samples = shape[3] if len(shape) == 4 else 1
    if planes.shape != (frames * samples * kind.itemsize, rows + -rows % UNIT, columns + -columns % UNIT):
        raise FormatError("the part's planes do not fit the image that the secret tells of")
    cut = planes[:, :rows, :columns].reshape(frames, -1, rows, columns).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(cut).view(kind).reshape(shape).astype(np.dtype(dtype), copy=False)


SCHEME = Invertible
