"""ELE, extended learnable encryption: Tanaka's scheme with a key for each place, and places shuffled.

Source: Madono, Tanaka, Onishi, Ogawa, "Block-wise Scrambled Image Recognition Using Adaptation Network", AAAI workshop
2020. Each block of the picture has its own permutation and negation of half samples; then the blocks change places.
All images of a data set share the keys, so that an adaptation network can learn them place by place.

Protects against a glance, and 64 known blocks no longer suffice. Not protected: places are fixed over the data set, so
known images give it away as Tanaka's does, place by place; and the half samples of a block stay the same multiset up
to negation, which links a protected picture to its original (`attacks.linkage`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.schemes.base import Claim
from medveil.schemes.learnable import blocks
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.keystream import Stream

Array = npt.NDArray[Any]

_NOTES: Final = "linkage finds pictures by what shuffling keeps in a block; known images give the keys place by place"


class ELE(LearnableScheme):
    """Block-wise scrambling with a key a place and shuffled places; pads to whole blocks. block: side in pixels."""

    name: ClassVar[str] = "learnable-ele"
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
        count, places = halves.shape
        stream = Stream(key, "ele")
        largest = halves.dtype.type((1 << (bits // 2)) - 1)
        negated = stream.bits(count * places).reshape(count, places).astype(halves.dtype) * largest
        scrambled = np.take_along_axis(halves ^ negated, stream.permutation(places, count), axis=1)
        moved = scrambled[stream.permutation(count)[0]]
        return blocks.join(blocks.from_halves(moved, bits).reshape(cut.shape))


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `LearnableScheme.encrypt`."""
    return ELE(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = ELE
__all__ = ["ELE", "SCHEME", "encrypt"]
