"""Tanaka's scheme: half samples of each block are negated and shuffled, the same way in every block and image.

Source: Tanaka, "Learnable Image Encryption", IEEE ICCE-TW 2018. A picture is cut into M x M blocks (M = 4); each
sample is cut into its upper and lower half, giving 2 C values a pixel; a fixed set of places in the block is negated,
then all places are permuted, and halves are put together again. The first layer of a network that works block by block
can learn the one permutation.

Protects against a glance. Not protected: one key serves all blocks of all images, so 64 known 4 x 4 blocks (a piece of
a picture of 32 x 32) give every place and negation, and with them every other image of the data set exactly
(`attacks.tanaka_known_plaintext`). Equal blocks stay equal, so flat background and outlines show.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy.typing as npt

from medveil.schemes.base import Claim
from medveil.schemes.learnable import blocks
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.keystream import Stream

Array = npt.NDArray[Any]

_NOTES: Final = "64 known blocks give the whole key: every image of the data set is then decrypted exactly"


class Tanaka(LearnableScheme):
    """Block-wise scrambling of half samples under one key; pads to whole blocks. block: side of a block in pixels."""

    name: ClassVar[str] = "learnable-tanaka"
    default_per: ClassVar[str] = "dataset"
    claim: Claim = claim_of(_NOTES, (8, 10, 12, 14, 16))

    def __init__(self, *, block: int = 4, key: bytes | None = None, per: str | None = None, grey: str = "one") -> None:
        super().__init__(key=key, per=per, grey=grey)
        blocks.check_block(block, 1 << 30, 1 << 30)
        self.block = block

    @property
    def options(self) -> dict[str, Any]:
        """The public options, JSON-ready; never the key."""
        return {"block": self.block, **super().options}

    def encrypt_one(self, pixels: Array, key: bytes, bits: int) -> Array:
        """Encrypt (rows, columns, 1 or 3), padded to whole blocks. Raises InputError for a block beyond the picture."""
        cut = blocks.split(pixels, self.block)
        halves = blocks.to_halves(cut.reshape(cut.shape[0] * cut.shape[1], -1), bits)
        stream = Stream(key, "tanaka")
        negated = stream.bits(halves.shape[1]).astype(halves.dtype) * halves.dtype.type((1 << (bits // 2)) - 1)
        order = stream.permutation(halves.shape[1])[0]
        scrambled = (halves ^ negated)[:, order]
        return blocks.join(blocks.from_halves(scrambled, bits).reshape(cut.shape))


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `LearnableScheme.encrypt`."""
    return Tanaka(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = Tanaka
__all__ = ["SCHEME", "Tanaka", "encrypt"]
