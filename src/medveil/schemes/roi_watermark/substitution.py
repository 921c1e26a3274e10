"""The AES substitution box (FIPS 197, 5.1.1; Table 1 of paper 003), computed and not copied."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt


def _aes_sbox() -> npt.NDArray[np.uint8]:
    """Build the box: inverse in GF(2^8) modulo x^8+x^4+x^3+x+1, then the affine map."""
    power, box = 1, np.zeros(256, np.uint8)
    exponents = [0] * 256
    logs = [0] * 256
    for i in range(255):
        exponents[i], logs[power] = power, i
        doubled = (power << 1) ^ (0x11B if power & 0x80 else 0)
        power ^= doubled  # times 3, a generator
    for value in range(256):
        inverse = exponents[(255 - logs[value]) % 255] if value else 0
        spread = inverse * 0x101  # two copies, so that a shift is a rotation
        box[value] = (inverse ^ (spread >> 4) ^ (spread >> 5) ^ (spread >> 6) ^ (spread >> 7) ^ 0x63) & 0xFF
    return box


SBOX: Final = _aes_sbox()
INVERSE_SBOX: Final = np.argsort(SBOX).astype(np.uint8)
for _table in (SBOX, INVERSE_SBOX):
    _table.setflags(write=False)
