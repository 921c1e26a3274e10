"""The compiled inner loops of `skk` and `smoothed`.

A trap: in numba `int(uint8)` becomes an unsigned 64-bit number and differences wrap, so samples are widened explicitly;
every kernel here has a NumPy twin in the tests. The loops run over whole rows and over many blocks at once, of one
picture or of several, so that LLVM puts them into vector units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

MEAN, MEDIAN, MAXIMUM, MINIMUM = 0, 1, 2, 3

_LANES = 4096  # blocks whose medians are found at once, where a strip has fewer
_BATCH = 1 << 16  # samples that are gathered for it at most, where a strip has fewer: the second cache holds them
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
def _columns(strip: Any, left: Any, most: Any, least: Any, total: Any) -> None:
    """Reduce a strip over its rows: the largest, the smallest and the sum of each column from `left` on."""
    width = most.shape[0]
    row = strip[0, left : left + width]
    for x in range(width):
        most[x], least[x], total[x] = row[x], row[x], row[x]
    for y in range(1, strip.shape[0]):
        row = strip[y, left : left + width]
        for x in range(width):
            v = row[x]
            most[x] = max(most[x], v)
            least[x] = min(least[x], v)
            total[x] += v


@njit(cache=True, nogil=True)
def _across(columns: Any, step: Any, mean: Any, reduced: Any, statistics: Any) -> None:
    """Reduce a strip's columns (most, least, total) over blocks: statistics (4, width) from every sample on.

    Only those at a block's first samples are asked for, the others come along: whole rows go into vector units.
    mean: (a, b), so that floor(a * sum + b) is the rounded mean; see `_smooth_alike`.
    """
    most, least, total, whole = reduced
    high, low, middle = statistics[MAXIMUM], statistics[MINIMUM], statistics[MEAN]
    n = most.shape[0] - (columns - 1) * step
    for x in range(n):
        high[x], low[x], whole[x] = most[x], least[x], total[x]
    for j in range(1, columns):
        up, down, more = most[j * step :], least[j * step :], total[j * step :]
        for x in range(n):
            high[x] = max(high[x], up[x])
            low[x] = min(low[x], down[x])
            whole[x] += more[x]
    for x in range(n):
        middle[x] = statistics.dtype.type(np.int32(mean[0] * np.float64(whole[x]) + mean[1]))


@njit(cache=True, nogil=True)
def _gather(strip: Any, kinds: Any, left: Any, wide: Any, step: Any, values: Any, lane: Any) -> Any:
    """Collect the samples of a strip's blocks whose filter is the median: values (n, lanes) from `lane` on.

    kinds: (across, filters a block); its blocks are `wide` samples wide, from `left` on. Returns the next free lane.
    """
    own, columns = np.int64(kinds.shape[1] > 1), wide // step
    for bx in range(kinds.shape[0]):
        for c in range(step):
            if kinds[bx, c * own] != MEDIAN:
                continue
            i = 0
            for y in range(strip.shape[0]):
                row = strip[y]
                x = left + bx * wide + c
                for _ in range(columns):
                    values[i, lane] = row[x]
                    i += 1
                    x += step
            lane += 1
    return lane


@njit(cache=True, nogil=True)
def _medians(values: Any, lanes: Any, bits: Any, up: Any, count: Any, found: Any) -> None:
    """Write the median of each of the first `lanes` columns of values (n, most lanes) to found; two middles: the mean.

    The k-th smallest is built from its highest bit down: a bit is set where fewer than k + 1 values lie below.
    count: scratch (lanes,) of an unsigned type that holds n; a narrow one puts more lanes into a vector unit.
    """
    n = values.shape[0]
    k = (n - 1) // 2
    lower = np.zeros(lanes, values.dtype)
    probe = np.empty(lanes, values.dtype)
    for bit in range(bits - 1, -1, -1):
        step = values.dtype.type(1 << bit)
        count[:lanes] = 0
        for lane in range(lanes):
            probe[lane] = lower[lane] | step
        for i in range(n):
            for lane in range(lanes):
                count[lane] += count.dtype.type(values[i, lane] < probe[lane])
        for lane in range(lanes):
            lower[lane] = probe[lane] if count[lane] <= k else lower[lane]
    if n & 1:
        for lane in range(lanes):
            found[lane] = lower[lane]
        return
    # The upper middle: the same value where more than k + 1 values do not exceed it, else the next larger one.
    largest = values.dtype.type((1 << bits) - 1)
    upper = np.full(lanes, largest, values.dtype)
    count[:lanes] = 0
    for i in range(n):
        for lane in range(lanes):
            v = values[i, lane]
            count[lane] += count.dtype.type(v <= lower[lane])
            upper[lane] = min(upper[lane], v if v > lower[lane] else largest)
    for lane in range(lanes):
        top = lower[lane] if count[lane] > k + 1 else upper[lane]
        found[lane] = (np.int64(lower[lane]) + np.int64(top) + up) >> 1


@njit(cache=True, nogil=True)
def _fill(strip: Any, kinds: Any, left: Any, wide: Any, step: Any, mean: Any, found: Any, work: Any) -> Any:
    """Fill a strip's blocks with their statistics; found: their medians, in order, and one more place.

    work: scratch, see `_smooth_alike`. Returns how many medians were used.
    """
    reduced, statistics, line = work
    rows, width, columns = strip.shape[0], line.shape[0], wide // step
    own = np.int64(kinds.shape[1] > 1)
    _columns(strip, left, reduced[0], reduced[1], reduced[2])
    _across(columns, step, mean, reduced, statistics)
    lane = 0
    for bx in range(kinds.shape[0]):
        for c in range(step):  # without a branch: which filter comes next is random
            kind, x = kinds[bx, c * own], bx * wide + c
            statistics[MEDIAN, x] = line.dtype.type(found[lane])
            lane += int(kind == MEDIAN)
            value = statistics[kind, x]
            for _ in range(columns):
                line[x] = value
                x += step
    for y in range(rows):
        row = strip[y, left : left + width]
        for x in range(width):
            row[x] = line[x]
    return lane


@njit(cache=True, nogil=True)
def _smooth_alike(stack: Any, kinds: Any, area: Any, block: Any, step: Any, bits: Any, up: Any, count: Any) -> None:
    """Fill the blocks of an area, all of one size, in every picture; several strips at once where they are short.

    area: first row of blocks, how many rows, pixels of height; first column, how many columns, samples of width.
    block: (height, width) of the blocks in front of it. count: see `_medians`, for as many lanes as a batch has.
    """
    top, down, height, left, across, wide = area
    lanes = across * step
    size = height * (wide // step)
    # The mean of n samples, (2 sum + n up) // (2 n), without a division: half a unit more keeps the quotient off whole
    # numbers by 1 / (4 n), which is more than rounding loses.
    mean = (1 / size, (size * up + 0.5) / (2 * size))
    strips = stack.shape[0] * down
    at_once = max(1, min(strips, _LANES // lanes, _BATCH // (size * lanes)))
    values = np.empty((size, at_once * lanes), stack.dtype)
    found = np.zeros(at_once * lanes + 1, np.int64)
    width, kind = across * wide, stack.dtype
    reduced = np.empty(width, kind), np.empty(width, kind), np.empty(width, np.uint32), np.empty(width, np.uint64)
    work = reduced, np.empty((4, width), kind), np.empty(width, kind)
    for start in range(0, strips, at_once):
        end, lane = min(strips, start + at_once), 0
        for s in range(start, end):
            picture, by = s // down, top + s % down
            strip = stack[picture, by * block[0] : by * block[0] + height]
            here = kinds[picture, by, left : left + across]
            lane = _gather(strip, here, left * block[1], wide, step, values, lane)
        _medians(values, lane, bits, up, count, found)
        lane = 0
        for s in range(start, end):
            picture, by = s // down, top + s % down
            strip = stack[picture, by * block[0] : by * block[0] + height]
            here = kinds[picture, by, left : left + across]
            lane += _fill(strip, here, left * block[1], wide, step, mean, found[lane:], work)


@njit(cache=True, nogil=True)
def smooth_stack(stack: Any, channels: Any, block: Any, kinds: Any, together: Any, bits: Any, up: Any) -> None:
    """Fill each block of pictures (N, rows, columns * channels) in place with a statistic of it.

    Blocks at the right and lower edge use what is there. kinds: uint8 (N, down, across, channels or 1): the filter of
    each block and channel, or of all its channels. together: one value over all channels, by the first channel's
    filter. bits: significant bits. up: 1 rounds halves up, 0 rounds down.
    """
    down, rows = divmod(stack.shape[1], block)
    across, columns = divmod(stack.shape[2] // channels, block)
    step = 1 if together else channels
    for by, high, height in ((0, down, block), (down, 1, rows)):
        for bx, broad, width in ((0, across, block), (across, 1, columns)):
            if high * height * broad * width == 0:
                continue
            area, size = (by, high, height, bx, broad, width * channels), (block, block * channels)
            lanes = max(_LANES, broad * step)
            if height * width * channels < 256:
                _smooth_alike(stack, kinds, area, size, step, bits, up, np.empty(lanes, np.uint8))
            else:
                _smooth_alike(stack, kinds, area, size, step, bits, up, np.empty(lanes, np.uint32))


@njit(cache=True, nogil=True)
def smooth(picture: Any, channels: Any, block: Any, kinds: Any, together: Any, bits: Any, up: Any) -> None:
    """Do as `smooth_stack` for one picture (rows, columns * channels); kinds: (down, across, channels or 1)."""
    rows, samples = picture.shape
    down, across, filters = kinds.shape
    stack, all_kinds = picture.reshape((1, rows, samples)), kinds.reshape((1, down, across, filters))
    smooth_stack(stack, channels, block, all_kinds, together, bits, up)
