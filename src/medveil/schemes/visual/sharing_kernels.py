"""Compiled inner loop of (k, n) sharing."""

from __future__ import annotations

from typing import Any

import numba
import numpy.typing as npt

Array = npt.NDArray[Any]


@numba.njit(cache=True, nogil=True)
def draw_columns(secret: Array, start: int, table: Array, draws: Array, limit: int, shares: Array) -> tuple[int, int]:
    """Draw a column for each secret bit from `start` on, until bits or draws run out.

    secret: bits (samples,). table: (2, columns), masks for black and white. draws: random uint16; those at or above
    `limit`, a multiple of the number of columns, are thrown away, so that every column is exactly equally likely.
    shares: out, bits (n, samples). Returns (next sample, draws used).
    """
    total = table.shape[1]
    used = 0
    for i in range(start, secret.shape[0]):
        while used < draws.shape[0] and draws[used] >= limit:
            used += 1
        if used == draws.shape[0]:
            return i, used
        column = table[secret[i], draws[used] % total]
        used += 1
        for j in range(shares.shape[0]):
            shares[j, i] = column >> j & 1
    return secret.shape[0], used
