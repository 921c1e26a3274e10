"""`deep-backprop`: a bottleneck network trained by back-propagation; its hidden layer is the ciphertext.

Idea: one hidden sigmoid layer is trained to reproduce each 8 x 8 block; the hidden values, rounded to bytes, are sent,
and the output layer is the key (Gao et al., "An improved image processing based on deep learning backpropagation
technique", 2022; paper 004, section 3). It compresses as well: 32 codes for 64 pixels by default.

Protects against nobody who has a few pairs: codes are a sigmoid of a linear map of the pixels, so **linear regression
from 16 known pairs decodes better than the owner's network** (docs/schemes/deep.md). Equal blocks have equal codes, so
a picture's layout shows through. Lossy.

Part 1 holds the codes, one byte each, tile by tile: (tiles, codes, blocks down, blocks across).
"""

from __future__ import annotations

from typing import ClassVar

from medveil.schemes.base import Claim
from medveil.schemes.deep.scheme import LossyDeepScheme


class Backprop(LossyDeepScheme):
    """Hidden codes of a bottleneck network; lossy and broken by known plaintext; evaluated, not recommended.

    Options as in `DeepScheme`.
    """

    name: ClassVar[str] = "deep-backprop"
    version: ClassVar[int] = 1
    method: ClassVar[str] = "backprop"
    claim: Claim = Claim(
        lossless=False,
        authenticated=True,
        bit_depths=(8,),
        secure=False,
        notes="known plaintext breaks it: linear regression from 16 pairs decodes better than the owner's network",
    )


SCHEME = Backprop
