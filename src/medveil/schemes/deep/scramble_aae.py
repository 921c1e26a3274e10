"""`deep-scramble-aae`: an adversarial autoencoder whose codes look like uniform noise.

Idea: the encoder is the public key, the decoder the private one; a PatchGAN critic and a loss on sorted values push the
codes towards uniform noise, so that the ciphertext shows no picture (Bao et al., "Image scrambling adversarial
autoencoder based on the asymmetric encryption", 2021; paper 004, section 3).

Looks scrambled at first sight, with a pattern that repeats every 4 pixels, and is a smooth function of the picture all
the same: **regression over windows decodes as well as the owner from 64 known pairs** (docs/schemes/deep.md), and since
the encoder is public anybody can make as many pairs as he likes. Equal images have equal ciphertexts. Lossy.

Part 1 holds the codes as 8-bit pictures of the tiles: (tiles, 1, side, side).
"""

from __future__ import annotations

from typing import ClassVar

from medveil.schemes.base import Claim
from medveil.schemes.deep.scheme import LossyDeepScheme


class ScrambleAAE(LossyDeepScheme):
    """Codes of an adversarial autoencoder; lossy and broken by known plaintext; evaluated, not recommended.

    Options as in `DeepScheme`.
    """

    name: ClassVar[str] = "deep-scramble-aae"
    version: ClassVar[int] = 1
    method: ClassVar[str] = "scramble_aae"
    claim: Claim = Claim(
        lossless=False,
        authenticated=True,
        bit_depths=(8,),
        secure=False,
        notes="known plaintext breaks it: regression from 64 pairs, which anybody can make, decodes as the owner",
    )


SCHEME = ScrambleAAE
