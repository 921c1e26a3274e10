"""The compiled inner loops of `skk` and `smoothed`.

A trap: in numba `int(uint8)` becomes an unsigned 64-bit number and differences wrap, so samples are widened explicitly;
every kernel here has a NumPy twin in the tests. The loops run over whole rows and over many blocks at once, so that
LLVM puts them into vector units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

MEAN, MEDIAN, MAXIMUM, MINIMUM = 0, 1, 2, 3

_PIECE = 2048  # pixels whose channels are taken apart at once: they stay in the first cache
_ONE, _TWO, _THREE, _SIX, _29 = (np.uint32(v) for v in (1, 2, 3, 6, 29))


@njit(cache=True, nogil=True)
def shuffle_negate(source: Any, out: Any, words: Any, mask: Any) -> None:
    """Negate and permute the three channels of pixels: source, out (3 n,) interleaved; words uint32 (n,), random.

    The lowest three bits of a word are the coins of the three channels; the other 29, times 6 and cut, choose the
    order of Table 1 of paper 001, each with probability 1/6 to within 2^-28.
    """
    n = words.shape[0]
    order = np.empty(_PIECE, np.uint8)
    a, b, c = (np.empty(_PIECE, source.dtype), np.empty(_PIECE, source.dtype), np.empty(_PIECE, source.dtype))
    p, q, r = (np.empty(_PIECE, source.dtype), np.empty(_PIECE, source.dtype), np.empty(_PIECE, source.dtype))
    for start in range(0, n, _PIECE):
        m = min(_PIECE, n - start)
        w, s, d = words[start : start + m], source[3 * start : 3 * (start + m)], out[3 * start : 3 * (start + m)]
        for i in range(m):
            a[i], b[i], c[i] = s[3 * i], s[3 * i + 1], s[3 * i + 2]
        for i in range(m):
            x = w[i]
            order[i] = np.uint8(np.uint32((x >> _THREE) * _SIX) >> _29)
            a[i] ^= mask * source.dtype.type(x & _ONE)
            b[i] ^= mask * source.dtype.type((x >> _ONE) & _ONE)
            c[i] ^= mask * source.dtype.type((x >> _TWO) & _ONE)
        for i in range(m):
            k, red, green, blue = order[i], a[i], b[i], c[i]
            p[i] = red if k < 2 else (green if k < 4 else blue)
            q[i] = green if k == 0 else (green if k == 5 else (red if k == 2 else (red if k == 4 else blue)))
            r[i] = blue if k == 0 else (blue if k == 2 else (green if k == 1 else (green if k == 4 else red)))
        for i in range(m):
            d[3 * i], d[3 * i + 1], d[3 * i + 2] = p[i], q[i], r[i]


@njit(cache=True, nogil=True)
def negate(source: Any, out: Any, coins: Any, mask: Any) -> None:
    """Negate samples (n,) where the coin is odd; coins: uint8 (n,), random."""
    for i in range(source.shape[0]):
        out[i] = source[i] ^ (mask * source.dtype.type(coins[i] & np.uint8(1)))


@njit(cache=True, nogil=True)
def _columns(strip: Any, most: Any, least: Any, total: Any) -> None:
    """Reduce a strip (h, width) over its rows: the largest, the smallest and the sum of each column."""
    for x in range(strip.shape[1]):
        most[x] = strip[0, x]
        least[x] = strip[0, x]
        total[x] = strip[0, x]
    for y in range(1, strip.shape[0]):
        for x in range(strip.shape[1]):
            v = strip[y, x]
            most[x] = max(most[x], v)
            least[x] = min(least[x], v)
            total[x] += v


@njit(cache=True, nogil=True)
def _medians(values: Any, lanes: Any, bits: Any, up: Any, found: Any) -> None:
    """Write the median of each of the first `lanes` columns of values (n, most lanes) to found; two middles: the mean.

    The k-th smallest is built from its highest bit down: a bit is set where fewer than k + 1 values lie below.
    """
    n = values.shape[0]
    lower = np.zeros(lanes, values.dtype)
    count = np.empty(lanes, np.uint32)
    k = (n - 1) // 2
    for bit in range(bits - 1, -1, -1):
        step = values.dtype.type(1 << bit)
        count[:] = 0
        for i in range(n):
            for lane in range(lanes):
                count[lane] += np.uint32(values[i, lane] < (lower[lane] | step))
        for lane in range(lanes):
            if count[lane] <= k:
                lower[lane] |= step
    if n & 1:
        for lane in range(lanes):
            found[lane] = lower[lane]
        return
    # The upper middle: the same value where more than k + 1 values do not exceed it, else the next larger one.
    upper = np.full(lanes, values.dtype.type((1 << bits) - 1), values.dtype)
    count[:] = 0
    for i in range(n):
        for lane in range(lanes):
            v = values[i, lane]
            count[lane] += np.uint32(v <= lower[lane])
            if v > lower[lane] and v < upper[lane]:
                upper[lane] = v
    for lane in range(lanes):
        top = lower[lane] if count[lane] > k + 1 else upper[lane]
        found[lane] = (np.int64(lower[lane]) + np.int64(top) + up) >> 1


@njit(cache=True, nogil=True)
def _gather(strip: Any, block: Any, kinds: Any, channels: Any, together: Any, wide: Any, values: Any) -> Any:
    """Collect the samples of those blocks of a strip whose filter is the median: values (n, lanes); returns lanes.

    wide: how many blocks, from the left, have their whole width.
    """
    lane = 0
    for bx in range(wide):
        for c in range(1 if together else channels):
            if kinds[bx, c] != MEDIAN:
                continue
            i = 0
            for y in range(strip.shape[0]):
                start = bx * block * channels
                if together:
                    for x in range(start, start + block * channels):
                        values[i, lane] = strip[y, x]
                        i += 1
                else:
                    for x in range(start + c, start + block * channels, channels):
                        values[i, lane] = strip[y, x]
                        i += 1
            lane += 1
    return lane


@njit(cache=True, nogil=True)
def _edge_median(strip: Any, first: Any, step: Any, bits: Any, up: Any) -> Any:
    """Return the median of the columns first, first + step, ... of a strip."""
    across = (strip.shape[1] - first + step - 1) // step
    values = np.empty((strip.shape[0] * across, 1), strip.dtype)
    i = 0
    for y in range(strip.shape[0]):
        for x in range(first, strip.shape[1], step):
            values[i, 0] = strip[y, x]
            i += 1
    found = np.empty(1, np.int64)
    _medians(values, 1, bits, up, found)
    return found[0]


@njit(cache=True, nogil=True)
def _reduce(kind: Any, most: Any, least: Any, total: Any, first: Any, last: Any, step: Any, rows: Any, up: Any) -> Any:
    """Return maximum, minimum or mean over the columns first, first + step, ... < last of a reduced strip."""
    if kind == MAXIMUM:
        high = most[first]
        for x in range(first + step, last, step):
            high = max(high, most[x])
        return np.int64(high)
    if kind == MINIMUM:
        low = least[first]
        for x in range(first + step, last, step):
            low = min(low, least[x])
        return np.int64(low)
    whole = np.int64(0)
    n = np.int64(0)
    for x in range(first, last, step):
        whole += np.int64(total[x])
        n += rows
    return (2 * whole + n * up) // (2 * n)


@njit(cache=True, nogil=True)
def smooth(picture: Any, channels: Any, block: Any, kinds: Any, together: Any, bits: Any, up: Any) -> None:
    """Fill each block of (rows, columns * channels) in place with a statistic of it; edge blocks use what is there.

    kinds: uint8 (down, across, channels): the filter of each block and channel. together: one value over all
    channels, by the first channel's filter. bits: significant bits. up: 1 rounds halves up, 0 rounds down.
    """
    rows, width = picture.shape
    across = kinds.shape[1]
    wide = width // (block * channels)
    per_block = block * channels if together else block
    step = 1 if together else channels
    most, least = np.empty(width, picture.dtype), np.empty(width, picture.dtype)
    total = np.empty(width, np.uint32)
    line = np.empty(width, picture.dtype)
    found = np.empty(across * channels, np.int64)
    for by in range(kinds.shape[0]):
        top = by * block
        strip = picture[top : min(rows, top + block)]
        _columns(strip, most, least, total)
        values = np.empty((strip.shape[0] * per_block, max(1, wide * channels)), picture.dtype)
        lanes = _gather(strip, block, kinds[by], channels, together, wide, values)
        _medians(values, lanes, bits, up, found)
        lane = 0
        for bx in range(across):
            start, end = bx * block * channels, min(width, (bx + 1) * block * channels)
            for c in range(1 if together else channels):
                kind = kinds[by, bx, c]
                if kind != MEDIAN:
                    value = _reduce(kind, most, least, total, start + c, end, step, strip.shape[0], up)
                elif bx < wide:
                    value = found[lane]
                    lane += 1
                else:
                    value = _edge_median(strip, start + c, step, bits, up)
                for x in range(start + c, end, step):
                    line[x] = value
        for y in range(strip.shape[0]):
            strip[y, :] = line
