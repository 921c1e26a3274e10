"""What is measured of an invertible key before it is kept: exactness, and whether ciphertexts look like noise.

None of it says that the network is secure; a key that fails it is broken for sure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import UnrecoverableError
from medveil.metrics import cipher_statistics as measures
from medveil.schemes.deep.integer_flow import UNIT, IntegerFlow, draw_key
from medveil.schemes.deep.key import DeepKey

Bytes = npt.NDArray[np.uint8]
_MOST: Final = 32  # pictures that figures are taken of
_LEAST_ENTROPY: Final = 7.9
_TRIES: Final = 16


def with_figures(key: DeepKey, held_out: Bytes) -> DeepKey:
    """Return the key with figures on held-out pictures (N, S, S) uint8.

    exact: share of pixels that come back; npcr and uaci for one pixel's lowest bit changed in the plaintext, mean and
    worst; entropy in bits and adjacent correlation of the ciphertexts.
    """
    cut = held_out[:_MOST, : held_out.shape[1] // UNIT * UNIT, : held_out.shape[2] // UNIT * UNIT]
    flow = IntegerFlow(key)
    ciphers = flow.encrypt(cut)
    touched = cut.copy()
    places = np.random.Generator(np.random.PCG64(0)).integers(0, cut.shape[1:], (len(cut), 2))
    for picture, (row, column) in zip(touched, places, strict=True):
        picture[row, column] ^= 1
    pairs = list(zip(ciphers, flow.encrypt(touched), strict=True))
    rates = [measures.npcr(a, b) for a, b in pairs]
    along = [abs(measures.adjacent_correlation(c, "horizontal")) for c in ciphers]
    figures = {
        "pictures": float(len(cut)),
        "exact": float((flow.decrypt(ciphers) == cut).mean()),
        "npcr": float(np.mean(rates)),
        "npcr_worst": float(np.min(rates)),
        "uaci": float(np.mean([measures.uaci(a, b) for a, b in pairs])),
        "entropy": measures.entropy(ciphers),
        "correlation": float(np.mean(along)),
    }
    trained: dict[str, str | int] = {"pictures": 0, "weights": "drawn"}
    return replace(key, measured={name: round(v, 6) for name, v in figures.items()}, trained=trained)


def draw_good_key(held_out: Bytes, rng: Randomness = SYSTEM) -> DeepKey:
    """Draw keys until one passes on held-out pictures: exact, noise-like, and sensitive to a single bit.

    Raises UnrecoverableError where none of 16 passes: then it is the pictures (all black, or a few pixels).
    """
    bound = measures.critical_values(held_out[0].size, 0.001)
    for _ in range(_TRIES):
        key = with_figures(draw_key(rng), held_out)
        m = key.measured
        if (
            m["exact"] == 1
            and m["entropy"] >= _LEAST_ENTROPY
            and m["npcr"] >= bound.npcr
            and bound.uaci[0] <= m["uaci"] <= bound.uaci[1]
        ):
            return key
    raise UnrecoverableError(
        f"none of {_TRIES} drawn keys passes on these pictures: give ordinary ones, of 32 x 32 or more"
    )
