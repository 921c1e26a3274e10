"""The compiled form of `chaos`: sixteen images a turn, one in each SIMD lane."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from medveil.schemes.roi_watermark.chaos import GOLDEN, SINE, MapKey

LANES: Final = 16

_GOLDEN: Final = np.uint64(GOLDEN)
_C9, _C10 = np.uint64(SINE[9]), np.uint64(SINE[10])
_LOW, _S32, _S2, _S1, _S61, _S63, _S3 = (np.uint64(v) for v in (0xFFFFFFFF, 32, 2, 1, 61, 63, 3))
_ZERO, _TOP, _ALL, _ONE62 = (np.uint64(v) for v in (0, 1 << 63, (1 << 64) - 1, 1 << 62))


@njit(cache=True, nogil=True, inline="always")
def _high_halves(a: Any, low: Any, top: Any) -> Any:
    a0, a1, b0, b1 = a & _LOW, a >> _S32, low & _LOW, top & _LOW
    middle = a1 * b0 + ((a0 * b0) >> _S32)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _S32) + (other >> _S32)


# All lanes lie in one flat array, a row of LANES words for each quantity: with one base pointer LLVM sees that rows
# do not overlap and uses the vector units. Factors come as two halves out of that array: were they cut in the same
# expression, LLVM would make a scalar 128-bit multiplication of it.
_X, _W, _U, _K = 0, LANES, 2 * LANES, 3 * LANES  # state, Weyl sequence, u, shift
_R0, _R1, _R2, _R3, _T0, _T1, _A = (i * LANES for i in range(4, 11))  # scratch, and the halves of 10^14
_ROWS: Final = 11


@njit(cache=True, nogil=True)
def _sine_block(s: Any, coefficients: Any, steps: int, out: Any) -> None:
    """Step every lane `steps` times; out (steps, LANES) takes the bytes."""
    for i in range(steps):
        for lane in range(LANES):
            x = s[_X + lane]
            y = min(x, _ZERO - x)
            t = _ALL if y == _TOP else y << _S1
            s[_R0 + lane] = t & _LOW
            s[_R1 + lane] = t >> _S32
        for lane in range(LANES):
            low, top = s[_R0 + lane] & _LOW, s[_R1 + lane] & _LOW
            cross = top * low
            middle = cross + ((low * low) >> _S32)
            other = cross + (middle & _LOW)
            t2 = top * top + (middle >> _S32) + (other >> _S32)
            s[_R2 + lane] = t2 & _LOW
            s[_R3 + lane] = t2 >> _S32
        for lane in range(LANES):
            s[_A + lane] = _C9 - _high_halves(_C10, s[_R2 + lane], s[_R3 + lane])
        for term in range(9):  # a loop over lanes for each term, or the chain of products would be waited for
            c = coefficients[term]
            for lane in range(LANES):
                s[_A + lane] = c - _high_halves(s[_A + lane], s[_R2 + lane], s[_R3 + lane])
        for lane in range(LANES):
            a = _high_halves(s[_A + lane], s[_R0 + lane], s[_R1 + lane])
            w = s[_W + lane] + _GOLDEN
            s[_W + lane] = w
            s[_X + lane] = ((a * s[_U + lane]) << s[_K + lane]) + w
        for lane in range(LANES):
            out[i, lane] = _high_halves(s[_X + lane], s[_T0 + lane], s[_T1 + lane])


@njit(cache=True, nogil=True)
def _chebyshev_block(s: Any, _: Any, steps: int, out: Any) -> None:
    """Step every lane `steps` times; out (steps, LANES) takes the bytes."""
    least, most = s[_U : _U + LANES].min(), s[_U : _U + LANES].max()
    for i in range(steps):
        for lane in range(LANES):
            x = s[_X + lane] >> _S2
            s[_R0 + lane] = x & _LOW
            s[_R1 + lane] = x >> _S32
            s[_R2 + lane] = _ONE62
            s[_R3 + lane] = x
        for _turn in range(least):
            for lane in range(LANES):
                b = s[_R3 + lane]
                fresh = _recur(s[_R2 + lane], b, s[_R0 + lane], s[_R1 + lane])
                s[_R2 + lane] = b
                s[_R3 + lane] = fresh
        for turn in range(least, most):
            for lane in range(LANES):
                a, b = s[_R2 + lane], s[_R3 + lane]
                fresh = _recur(a, b, s[_R0 + lane], s[_R1 + lane])
                going = np.uint64(turn) < s[_U + lane]
                s[_R2 + lane] = b if going else a
                s[_R3 + lane] = fresh if going else b
        for lane in range(LANES):
            w = s[_W + lane] + _GOLDEN
            s[_W + lane] = w
            s[_X + lane] = (s[_R3 + lane] << s[_K + lane]) + w
        for lane in range(LANES):
            out[i, lane] = _high_halves(s[_X + lane], s[_T0 + lane], s[_T1 + lane])


@njit(cache=True, nogil=True, inline="always")
def _recur(a: Any, b: Any, low: Any, top: Any) -> Any:
    """Return floor(x b / 2^61) - a for x = top * 2^32 + low, unsigned, and b signed."""
    low, top = low & _LOW, top & _LOW
    b0, b1 = b & _LOW, b >> _S32
    middle = b1 * low + ((b0 * low) >> _S32)
    other = b0 * top + (middle & _LOW)
    high = b1 * top + (middle >> _S32) + (other >> _S32) - (((top << _S32) | low) & (_ZERO - (b >> _S63)))
    return ((high << _S3) | ((other << _S32) >> _S61)) - a


def streams(keys: list[MapKey], count: int, *, chebyshev: bool) -> npt.NDArray[np.uint8]:
    """Return (len(keys), count) bytes; `LANES` images are stepped together, those of like u in one group."""
    out = np.empty((len(keys), count), np.uint8)
    block = np.empty((4096, LANES), np.uint8)
    advance = _chebyshev_block if chebyshev else _sine_block
    coefficients = np.array(SINE[8::-1], np.uint64)
    order = np.argsort([key.u for key in keys], kind="stable")
    for base in range(0, len(keys), LANES):
        rows = order[base : base + LANES]
        lanes = [keys[i] for i in rows] + [keys[rows[-1]]] * (LANES - rows.size)
        table = np.zeros((_ROWS, LANES), np.uint64)
        table[:4] = np.array([(key.state, key.weyl, key.u, key.k + 2) for key in lanes], np.uint64).T
        table[8:10] = np.array([[10**14 & 0xFFFFFFFF], [10**14 >> 32]], np.uint64)
        skipped = np.array([key.skipped for key in lanes[: rows.size]])
        for start in range(0, int(skipped.max()) + count, block.shape[0]):
            steps = min(block.shape[0], int(skipped.max()) + count - start)
            advance(table.reshape(-1), coefficients, steps, block)
            for lane, (row, skip) in enumerate(zip(rows, skipped, strict=True)):
                first, last = max(start, skip), min(start + steps, skip + count)
                if first < last:
                    out[row, first - skip : last - skip] = block[first - start : last - start, lane]
    return out
