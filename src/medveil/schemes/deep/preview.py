"""One picture that shows a key at work: originals, ciphertexts as an adversary would look at them, what comes back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.layout import code_tiles

Bytes = npt.NDArray[np.uint8]
_GAP = 2


def montage(key: DeepKey, pictures: Bytes, *, most: int = 8, zoom: int = 2) -> Bytes:
    """Return a picture of three rows over up to `most` pictures (N, S, S) uint8; sides by 4 for an invertible key.

    Raises as the codec of the key's method.
    """
    shown = pictures[:most]
    if key.method == "invertible":
        from medveil.schemes.deep.integer_flow import IntegerFlow

        flow = IntegerFlow(key)
        codes = flow.encrypt(shown)
        back = flow.decrypt(codes)
    else:
        from medveil.schemes.deep.codec import Codec

        codec = Codec(key)
        raw = codec.encode(shown)
        back = codec.decode(raw)
        codes = code_tiles(raw, shown.shape[2])
    return np.concatenate([_row(shown), _row(codes), _row(back)]).repeat(zoom, 0).repeat(zoom, 1)


def _row(pictures: Bytes) -> Bytes:
    wide = np.pad(pictures, ((0, 0), (0, _GAP), (0, _GAP)), constant_values=255)
    return np.concatenate(list(wide), axis=1)
