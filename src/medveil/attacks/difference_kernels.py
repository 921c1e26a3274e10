"""The compiled minimum difference attack: columns one after the other, all rows of a column at once.

Of v and 255 - v, the one nearer to q is the one with q's leading bit, at distance |fold(q) - fold(v)|. So over a row
the leading bit of each channel stays that of the first column, and what is left is a choice among 6 orders of folds.
Short loops over whole columns, so that LLVM puts each into vector units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _distances(a: Any, b: Any, out: Any) -> None:
    for y in range(a.shape[0]):
        out[y] = max(a[y], b[y]) - min(a[y], b[y])


@njit(cache=True, nogil=True)
def _better(a: Any, b: Any, c: Any, order: Any, best: Any, chosen: Any) -> None:
    """Where a + b + c is below `best`, take it and note the order."""
    for y in range(a.shape[0]):
        cost = np.uint16(a[y]) + np.uint16(b[y]) + np.uint16(c[y])
        less = cost < best[y]
        best[y] = cost if less else best[y]
        chosen[y] = order if less else chosen[y]


@njit(cache=True, nogil=True)
def _pick(u: Any, v: Any, w: Any, chosen: Any, out: Any, first: Any, second: Any, third: Any, fourth: Any) -> None:
    """Take u for the orders first and second, v for third and fourth, w for the others."""
    for y in range(u.shape[0]):
        k = chosen[y]
        x = v[y] if k == third else (v[y] if k == fourth else w[y])
        out[y] = u[y] if k == first else (u[y] if k == second else x)


@njit(cache=True, nogil=True)
def ordered_columns(folds: Any) -> None:
    """Order the channels of folded samples uint8 (3, columns, rows) in place, each pixel like its left neighbour.

    Of the 6 orders of Table 1 of paper 001 the one with the least sum of differences; of equal ones the first.
    """
    rows = folds.shape[2]
    d = np.empty((3, 3, rows), np.uint8)
    best, chosen = np.empty(rows, np.uint16), np.empty(rows, np.uint8)
    u, v, w = np.empty(rows, np.uint8), np.empty(rows, np.uint8), np.empty(rows, np.uint8)
    for x in range(1, folds.shape[1]):
        for i in range(3):
            for j in range(3):
                _distances(folds[i, x - 1], folds[j, x], d[i, j])
        best[:] = 65535
        _better(d[0, 0], d[1, 1], d[2, 2], np.uint8(0), best, chosen)
        _better(d[0, 0], d[1, 2], d[2, 1], np.uint8(1), best, chosen)
        _better(d[0, 1], d[1, 0], d[2, 2], np.uint8(2), best, chosen)
        _better(d[0, 1], d[1, 2], d[2, 0], np.uint8(3), best, chosen)
        _better(d[0, 2], d[1, 0], d[2, 1], np.uint8(4), best, chosen)
        _better(d[0, 2], d[1, 1], d[2, 0], np.uint8(5), best, chosen)
        u[:], v[:], w[:] = folds[0, x], folds[1, x], folds[2, x]
        _pick(u, v, w, chosen, folds[0, x], 0, 1, 2, 3)
        _pick(u, v, w, chosen, folds[1, x], 2, 4, 0, 5)
        _pick(u, v, w, chosen, folds[2, x], 3, 5, 1, 4)
