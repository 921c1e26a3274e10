"""SKK: each pixel's channels are negated by coins and shuffled, under keys of its own.

Source: Sirichotedumrong, Kinoshita, Kiya, "Pixel-Based Image Encryption Without Key Management for Privacy-Preserving
Deep Neural Networks", IEEE Access 7, 2019; steps 1-3 of section III-A of paper 001. For a pixel p of L bits:
p_c <- p_c xor (2^L - 1) with probability 1/2 for each channel, then one of the 6 orders of Table 1.

Protects against a glance. Not protected: min(v, 2^L - 1 - v) stands in clear at every sample, so edges and anatomy are
back after one pass (`attacks.leading_bit`, `attacks.minimum_difference`), and a grey picture's key space is void. A
colour picture keeps the multiset of those three values. Two images of a data set never share a key by default; with
per=dataset they share their coins, and the XOR of two pictures cancels them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy.typing as npt

from medveil.schemes.base import Claim
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.scrambling import scramble_pixels

Array = npt.NDArray[Any]

_NOTES: Final = "leading-bit and minimum-difference attacks show the picture; linkage finds it among candidates"


class SKK(LearnableScheme):
    """Per-pixel negative-positive transformation and colour shuffling; see the module and `LearnableScheme`."""

    name: ClassVar[str] = "learnable-skk"
    default_per: ClassVar[str] = "image"
    claim: Claim = claim_of(_NOTES)

    def encrypt_one(self, pixels: Array, key: bytes, bits: int) -> Array:
        """Encrypt (rows, columns, 1 or 3) under the picture's own key; same shape."""
        return scramble_pixels(pixels, key, bits)


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `LearnableScheme.encrypt`."""
    return SKK(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = SKK
__all__ = ["SCHEME", "SKK", "encrypt"]
