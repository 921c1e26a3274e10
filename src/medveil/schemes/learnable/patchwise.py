"""Patch-wise encryption for models that read patches (ViT, ConvMixer), with the key moved into the model.

Source: AprilPyone, Kiya, "Privacy-Preserving Image Classification Using an Isotropic Network", IEEE MultiMedia 29(2),
2022; Kiya et al., "Image and Model Transformation with Secret Key for Vision Transformer", IEICE Trans. Inf. Syst.
E106-D(1), 2023. In every patch of P x P the same places are negated and the samples permuted the same way; then
patches change places. A patch embedding is linear, so a model trained on plain images is *matched* to the key
(`match_embedding`) and gives the same answers on encrypted ones, without training again.

Protects against a glance. Not protected: the key is one linear map for all patches of all images, which a few known
pictures give away (`attacks.patchwise_known_plaintext`); min(v, 2^L - 1 - v) keeps its multiset in each patch, which
links a picture to its original (`attacks.linkage`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.schemes.base import Claim
from medveil.schemes.learnable import blocks
from medveil.schemes.learnable.base import LearnableScheme, claim_of
from medveil.schemes.learnable.keystream import Stream

Array = npt.NDArray[Any]

_NOTES: Final = "one linear map for all patches: known patches give it; linkage finds pictures by what a patch keeps"


class Patchwise(LearnableScheme):
    """Patch-wise shuffling and negation; pads to whole patches.

    block: side of a patch, which must be the model's. places: whether patches also change places.
    """

    name: ClassVar[str] = "learnable-patchwise"
    default_per: ClassVar[str] = "dataset"
    claim: Claim = claim_of(_NOTES)

    def __init__(
        self,
        *,
        block: int = 16,
        places: bool = True,
        key: bytes | None = None,
        per: str | None = None,
        grey: str = "one",
    ) -> None:
        super().__init__(key=key, per=per, grey=grey)
        blocks.check_block(block, 1 << 30, 1 << 30)
        self.block, self.places = block, bool(places)

    @property
    def options(self) -> dict[str, Any]:
        """The public options, JSON-ready; never the key."""
        return {"block": self.block, "places": self.places, **super().options}

    def encrypt_one(self, pixels: Array, key: bytes, bits: int) -> Array:
        """Encrypt (rows, columns, 1 or 3), padded to whole patches. Raises InputError for one beyond the picture."""
        cut = blocks.split(pixels, self.block)
        patches = cut.reshape(cut.shape[0] * cut.shape[1], -1)
        negated, order = _within(key, patches.shape[1])
        largest = pixels.dtype.type((1 << bits) - 1)
        out: Array = (patches ^ (negated.astype(pixels.dtype) * largest))[:, order]
        if self.places:
            out = out[places_of(key, len(out))]
        return blocks.join(out.reshape(cut.shape))


def _within(key: bytes, size: int) -> tuple[Array, Array]:
    stream = Stream(key, "patchwise")
    return stream.bits(size), stream.permutation(size)[0]


def places_of(key: bytes, patches: int) -> Array:
    """Return which patch of the plain picture stands at each place of the encrypted one, int64 (patches,).

    A model with position embeddings gives its encrypted places the embeddings of these.
    """
    order: Array = Stream(key, "patchwise places").permutation(patches)[0]
    return order


def match_embedding(weights: Array, key: bytes) -> Array:
    """Return a patch embedding's weights matched to a key.

    On encrypted patches they give what `weights` gives on plain ones, up to the places of patches.
    weights: (width, channels, side, side), as of a convolution whose stride is its side, for inputs scaled so that
    negation is a change of sign (2 v / largest - 1). Matching is exact up to floating point. Only for per=dataset.
    Raises InputError for other shapes.
    """
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise InputError(f"patch embeddings have weights (width, channels, side, side), not {weights.shape}")
    flat = weights.transpose(0, 2, 3, 1).reshape(len(weights), -1)  # the order of samples in a patch
    negated, order = _within(key, flat.shape[1])
    matched = (flat * np.where(negated, -1, 1).astype(weights.dtype))[:, order]
    side, channels = weights.shape[2], weights.shape[1]
    return np.ascontiguousarray(matched.reshape(-1, side, side, channels).transpose(0, 3, 1, 2))


def encrypt(pixels: Array, key: bytes, *, bits: int | None = None, **options: Any) -> Array:
    """Encrypt (N, rows, columns[, 1 or 3]) under a data set key; see `LearnableScheme.encrypt`."""
    return Patchwise(key=key, **options).encrypt(pixels, bits=bits)


SCHEME = Patchwise
__all__ = ["SCHEME", "Patchwise", "encrypt", "match_embedding", "places_of"]
