"""Smoothed SKK, the scheme of paper 001: SKK, then each M x M block is filled with one statistic of itself.

Source: paper 001, section III-A and Algorithm 1. After SKK the picture is cut into M x M blocks; each gets one of the
mean, median, maximum and minimum filters at random (K_ss in 0..3). M = 1 is SKK.

Protects against a glance, better than SKK: edges inside blocks are gone. Not protected: identity. The largest
|E - (2^L - 1) / 2| of a block follows the block's mean of min(v, 2^L - 1 - v), so a protected picture is found among
hundreds of candidates by one correlation (`attacks.linkage`), and several encryptions of one image give most of it
back (`attacks.multi_encryption`). A small network learns to undo much of the rest (`attacks.learned_reconstruction`).

What the paper leaves open is an option, with the algorithm's reading as default: `choice`: one filter for a block
(`block`) or one for each of its channels (`channel`); `over`: the statistic of each channel (`channel`) or one value
over all channels (`block`); `edge`: blocks at the edge take what is there (`partial`) or are filled by repetition
first (`replicate`); `rounding` of means and even medians: `down`, as an assignment to whole numbers does, or
`nearest`; `filters`: which of the four are drawn from; `per`: keys per image or per data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import UsageError
from medveil.schemes.base import Claim
from medveil.schemes.learnable import blocks, kernels
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.keystream import Stream
from medveil.schemes.learnable.scrambling import scramble_stack

Array = npt.NDArray[Any]

FILTERS: Final = ("mean", "median", "maximum", "minimum")
_NOTES: Final = "hides looks, not identity: linkage finds the picture among candidates; averaging encryptions shows it"


class Smoothed(LearnableScheme):
    """SKK with block statistical smoothing; see the module for the options, and `LearnableScheme` for the others.

    block: M, the side of a block in pixels, 1 or more.
    """

    name: ClassVar[str] = "learnable-smoothed"
    default_per: ClassVar[str] = "image"
    claim: Claim = claim_of(_NOTES)

    def __init__(
        self,
        *,
        block: int = 4,
        filters: str | tuple[str, ...] = FILTERS,
        choice: str = "block",
        over: str = "channel",
        edge: str = "partial",
        rounding: str = "down",
        key: bytes | None = None,
        per: str | None = None,
        grey: str = "one",
    ) -> None:
        super().__init__(key=key, per=per, grey=grey)
        blocks.check_block(block, 1 << 30, 1 << 30)
        chosen = tuple(filters.split(",")) if isinstance(filters, str) else tuple(filters)
        if not chosen or set(chosen) - set(FILTERS):
            raise UsageError(f"filters {','.join(chosen)!r}: choose among {', '.join(FILTERS)}")
        for name, value, known in (
            ("choice", choice, ("block", "channel")),
            ("over", over, ("channel", "block")),
            ("edge", edge, ("partial", "replicate")),
            ("rounding", rounding, ("down", "nearest")),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r}: choose {' or '.join(known)}")
        self.block, self.filters, self.choice, self.over = block, chosen, choice, over
        self.edge, self.rounding = edge, rounding

    @property
    def options(self) -> dict[str, Any]:
        """The public options, JSON-ready; never the key."""
        return {
            "block": self.block,
            "filters": list(self.filters),
            "choice": self.choice,
            "over": self.over,
            "edge": self.edge,
            "rounding": self.rounding,
            **super().options,
        }

    def encrypt_one(self, pixels: Array, key: bytes, bits: int) -> Array:
        """Encrypt (rows, columns, 1 or 3) under the picture's own key; same shape. Raises InputError for big blocks."""
        return np.asarray(self.encrypt_stack(pixels[None], [key], bits)[0])

    def encrypt_stack(self, stack: Array, keys: Sequence[bytes], bits: int) -> Array:
        """Encrypt (N, rows, columns, 1 or 3), each picture under its own key; same shape. Raises as `encrypt_one`."""
        pictures, rows, columns, channels = stack.shape
        blocks.check_block(self.block, rows, columns)
        scrambled = scramble_stack(stack, keys, bits)
        if self.block == 1:
            return scrambled
        down, across = -(-rows // self.block), -(-columns // self.block)
        if self.edge == "replicate":
            more = (0, down * self.block - rows), (0, across * self.block - columns)
            scrambled = np.pad(scrambled, ((0, 0), *more, (0, 0)), mode="edge")
        drawn = channels if self.choice == "channel" and self.over == "channel" else 1
        numbers = np.empty((pictures, down * across * drawn), np.uint8)
        for picture, key in zip(numbers, keys, strict=True):
            picture[:] = Stream(key, "smoothing filters").below(len(self.filters), picture.size)
        kinds = np.array([FILTERS.index(f) for f in self.filters], np.uint8)[numbers]
        kinds = kinds.reshape(pictures, down, across, drawn)
        flat = scrambled.reshape(*scrambled.shape[:2], -1)
        together, up = self.over == "block", int(self.rounding == "nearest")
        kernels.smooth_stack(flat, channels, self.block, kinds, together, bits, up)
        return np.ascontiguousarray(scrambled[:, :rows, :columns])


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `Smoothed` and `LearnableScheme.encrypt`."""
    return Smoothed(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = Smoothed
__all__ = ["FILTERS", "SCHEME", "Smoothed", "encrypt"]
