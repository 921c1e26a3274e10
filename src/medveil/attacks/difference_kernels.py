"""The compiled minimum difference attack: columns one after the other, all rows of a column at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def _distance(q: Any, v: Any) -> Any:
    """Return the distance of q to the nearer of v and 255 - v, uint16."""
    w = np.uint8(255 - v)
    return np.uint16(min(max(q, v) - min(q, v), max(q, w) - min(q, w)))


@njit(cache=True, nogil=True, inline="always")
def _nearer(q: Any, v: Any) -> Any:
    """Return whichever of v and 255 - v is nearer to q; v where both are."""
    w = np.uint8(255 - v)
    return np.uint8(v if max(q, v) - min(q, v) <= max(q, w) - min(q, w) else w)


@njit(cache=True, nogil=True)
def grey_columns(planes: Any) -> None:
    """Attack (columns, rows) in place: each sample takes the form nearer to its left neighbour's."""
    for x in range(1, planes.shape[0]):
        before, here = planes[x - 1], planes[x]
        for y in range(planes.shape[1]):
            here[y] = _nearer(before[y], here[y])


@njit(cache=True, nogil=True)
def colour_columns(planes: Any) -> None:
    """Attack (3, columns, rows) in place: of the 6 orders, each with the nearer form of every channel, the nearest.

    Of equally near orders the first in the table's sequence stays.
    """
    for x in range(1, planes.shape[1]):
        p, q, r = planes[0, x - 1], planes[1, x - 1], planes[2, x - 1]
        a, b, c = planes[0, x], planes[1, x], planes[2, x]
        for y in range(planes.shape[2]):
            i, j, k = p[y], q[y], r[y]
            u, v, w = a[y], b[y], c[y]
            iu, iv, iw = _distance(i, u), _distance(i, v), _distance(i, w)
            ju, jv, jw = _distance(j, u), _distance(j, v), _distance(j, w)
            ku, kv, kw = _distance(k, u), _distance(k, v), _distance(k, w)
            best = np.uint16(iu + jv + kw)
            first, second, third = u, v, w
            cost = np.uint16(iu + jw + kv)
            if cost < best:
                best, first, second, third = cost, u, w, v
            cost = np.uint16(iv + ju + kw)
            if cost < best:
                best, first, second, third = cost, v, u, w
            cost = np.uint16(iv + jw + ku)
            if cost < best:
                best, first, second, third = cost, v, w, u
            cost = np.uint16(iw + ju + kv)
            if cost < best:
                best, first, second, third = cost, w, u, v
            cost = np.uint16(iw + jv + ku)
            if cost < best:
                best, first, second, third = cost, w, v, u
            a[y] = _nearer(i, first)
            b[y] = _nearer(j, second)
            c[y] = _nearer(k, third)
