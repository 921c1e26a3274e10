"""From a halftone to share bits: (2, 2) and (n, n) by XOR, (k, n) by columns of optimal contrast.

(n, n): of the n share bits an even number is black for a white secret pixel and an odd number for a black one; n - 1
are random. For n = 2 that is the text of paper 000, 3.2.3 (3): white gives equal shares, black gives inverse ones.
Its Algorithm 1 gives independent shares for black: `algorithm_1` keeps it for comparison only.

Bits are packed most significant first in raster order with channels interleaved, the last byte padded with zeros;
1 is white. All randomness comes from the operating system and is used once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError
from medveil.schemes.visual.columns import columns

Packed = npt.NDArray[np.uint8]

_SPARE = 64


def pack(bits: npt.NDArray[Any]) -> Packed:
    """Return bits of any shape packed: uint8 (ceil(samples / 8),)."""
    return np.packbits(np.ascontiguousarray(bits).reshape(-1))


def unpack(packed: Packed, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return packed bits as uint8 of `shape`, 0 or 1."""
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)


def share(bits: npt.NDArray[np.uint8], k: int, n: int, rng: Randomness = SYSTEM) -> Packed:
    """Return the packed bits of n shares, uint8 (n, ceil(samples / 8)), of a halftone of any shape.

    Raises UnsupportedError where there is no scheme (k, n) and InputError for bits that are none.
    """
    scheme = columns(k, n)
    if bits.dtype != np.uint8 or bits.size == 0 or bits.max() > 1:
        raise InputError("shares are made of a halftone: uint8 values 0 and 1")
    if k == n:
        return _share_xor(pack(bits), bits.size, n, rng)
    table = scheme.expanded()
    secret = np.ascontiguousarray(bits).reshape(-1)
    drawn = np.empty((n, secret.size), np.uint8)
    limit = 65536 - 65536 % scheme.total
    done = 0
    from medveil.schemes.visual.sharing_kernels import draw_columns

    while done < secret.size:
        wanted = (secret.size - done) * 65536 // limit + _SPARE
        draws = np.frombuffer(rng.bytes(2 * wanted), "<u2").astype(np.uint16)
        done, _ = draw_columns(secret, done, table, draws, limit, drawn)
    return np.packbits(drawn, axis=1)


def algorithm_1(bits: npt.NDArray[np.uint8], n: int, rng: Randomness = SYSTEM) -> Packed:
    """Return shares by paper 000's Algorithm 1: white gives n equal bits, black n independent ones.

    Only for comparison: black pixels let 2^-n of the light through (contrast 1/5 for n = 2 instead of 1/2) and XOR
    gives only 3 of 4 black and white pixels in balance back.
    """
    size = -(-bits.size // 8)
    random = _random(n, bits.size, rng)
    white = pack(bits)
    shares = np.empty((n, size), np.uint8)
    shares[0] = random[0]
    for i in range(1, n):
        shares[i] = random[0] & white | random[i] & ~white
    return shares


def _share_xor(white: Packed, samples: int, n: int, rng: Randomness) -> Packed:
    shares = np.empty((n, len(white)), np.uint8)
    shares[:-1] = _random(n - 1, samples, rng)
    # black bits t = ~s: their XOR over all shares must be the secret's black bit
    last = ~white
    for i in range(n - 1):
        last ^= ~shares[i]
    shares[-1] = ~last
    _clear_padding(shares, samples)
    return shares


def _random(count: int, samples: int, rng: Randomness) -> Packed:
    size = -(-samples // 8)
    drawn = np.frombuffer(rng.bytes(count * size), np.uint8).reshape(count, size).copy()
    _clear_padding(drawn, samples)
    return drawn


def _clear_padding(shares: Packed, samples: int) -> None:
    if samples % 8:
        shares[:, -1] &= 0xFF << (8 - samples % 8) & 0xFF
