"""`deep-cyclegan`: DeepEDN, a Cycle-GAN that translates pictures into a hidden domain and back.

Idea: G translates a picture into the hidden domain (here uniform noise), F back; both are trained at once with
adversarial and cycle losses, and F is the private key. A third network finds the region of interest in the ciphertext,
without decrypting it (Ding et al., "DeepEDN: a deep-learning-based image encryption and decryption network for
internet of medical things", 2022; Zhu et al. 2017 for Cycle-GAN; paper 004, section 3).

That a network finds the lungs in a ciphertext says what the ciphertext hides: little. **Regression over windows, from
64 known pairs, decodes it about as the owner does** (docs/schemes/deep.md). Equal images have equal ciphertexts. Lossy.

Part 1 holds G's output as 8-bit pictures of the tiles: (tiles, 1, side, side).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from medveil.errors import UsageError
from medveil.schemes.base import Claim, Part, Secret
from medveil.schemes.deep import container, layout
from medveil.schemes.deep.scheme import LossyDeepScheme, only_part


class CycleGAN(LossyDeepScheme):
    """A Cycle-GAN's translation; lossy and broken by known plaintext; evaluated, not recommended.

    Options as in `DeepScheme`.
    """

    name: ClassVar[str] = "deep-cyclegan"
    version: ClassVar[int] = 1
    method: ClassVar[str] = "cyclegan"
    claim: Claim = Claim(
        lossless=False,
        authenticated=True,
        bit_depths=(8,),
        secure=False,
        notes="known plaintext breaks it: regression from 64 pairs decodes about as the owner does",
    )

    def segment(self, parts: Sequence[Part | bytes], secret: Secret) -> npt.NDArray[np.bool_]:
        """Return the region of interest (frames, rows, columns) that the ROI network finds in the ciphertext.

        Nothing is decrypted; the secret only says which part this is and how tiles lie. Raises as `restore`, and
        UsageError without the trained key, whose ROI network no image's secret carries.
        """
        if self._key is None:
            raise UsageError(f"{self.name} segments with the trained key: give trained_key")
        own = container.unpack_secret(secret, self.name, self.method)
        codes = container.open_part(only_part(parts), own)
        masks: Any = self._codec(self._key).segment(layout.codes_of(layout.cut(codes, own.grid), self._key))
        whole = layout.joined(masks.astype(np.uint8), own.grid)
        return np.asarray(whole[:, : own.shape[1], : own.shape[2]] > 0)


SCHEME = CycleGAN
