"""EtC, encryption then compression: blocks change places, are turned, mirrored, negated, and colours swap.

Source: Chuman, Sirichotedumrong, Kiya, "Encryption-Then-Compression Systems Using Grayscale-Based Image Encryption for
JPEG Images", IEEE TIFS 14(6), 2019, and its colour predecessor (Kurihara et al., 2015). Four keyed steps on blocks of
16 x 16 (8 x 8 for JPEG in grey): permutation of places, one of 8 rotations and mirrorings, negation, and for colour
one of 6 channel orders.

Protects against a glance, and still compresses as JPEG. Not protected: what is inside a block, up to those 96 forms,
stands in clear; edges of blocks fit together as a jigsaw does (`attacks.jigsaw`), and sorted block statistics link a
picture to its original (`attacks.linkage`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.schemes.base import Claim
from medveil.schemes.learnable import blocks
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.keystream import Stream
from medveil.schemes.learnable.scrambling import ORDERS

Array = npt.NDArray[Any]

_NOTES: Final = "blocks fit together as a jigsaw and hold their content in clear; linkage finds the picture"


class EtC(LearnableScheme):
    """Block scrambling for compression; pads to whole blocks. block: side of a block in pixels."""

    name: ClassVar[str] = "learnable-etc"
    default_per: ClassVar[str] = "dataset"
    claim: Claim = claim_of(_NOTES)

    def __init__(self, *, block: int = 16, key: bytes | None = None, per: str | None = None, grey: str = "one") -> None:
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
        pieces = cut.reshape(-1, *cut.shape[2:])
        stream = Stream(key, "etc")
        moved = pieces[stream.permutation(len(pieces))[0]]
        turns = stream.below(8, len(pieces))
        negated = stream.bits(len(pieces))
        out = np.empty_like(moved)
        for form in range(8):
            chosen = turns == form
            out[chosen] = turned(moved[chosen], form)
        out[negated] ^= pixels.dtype.type((1 << bits) - 1)
        if pixels.shape[2] == 3:
            order = np.array(ORDERS)[stream.below(6, len(pieces))]
            out = np.take_along_axis(out, order[:, None, None, :], axis=3)
        return blocks.join(out.reshape(cut.shape))


def turned(pieces: Array, form: int) -> Array:
    """Return blocks (n, side, side, channels) turned by form % 4 quarters, then mirrored left to right from form 4."""
    quarter = np.rot90(pieces, form % 4, axes=(1, 2))
    return quarter[:, :, ::-1] if form >= 4 else quarter


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `LearnableScheme.encrypt`."""
    return EtC(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = EtC
__all__ = ["SCHEME", "EtC", "encrypt", "turned"]
