"""The chaotic maps of profile `paper`, bit-exact on every machine: integers modulo 2^64 only.

State X and a Weyl sequence w in Z_2^64; each step adds 0x9E3779B97F4A7C15 to w, so no state repeats before 2^64 steps.

- Sine-Sine system (equation 7), frac(u sin(pi x) 2^k) with x = X / 2^64::

    y = min(X, 2^64 - X);  t = min(2 y, 2^64 - 1);  t2 = t t >> 64
    a = C_10, then for i = 9 .. 0: a = C_i - (a t2 >> 64),  C_i = round((pi/2)^(2i+1) / (2i+1)! * 2^62)
    s = a t >> 64;  X' = ((s u) << (k + 2)) + w

- Chebyshev-Chebyshev system (equation 9 with its bracket closed as in equation 7), frac(cos((u+1) arccos x) 2^k)::

    x = X >> 2;  a = 2^62, b = x;  u times: (a, b) = (b, floor(x b / 2^61) - a);  X' = (b << (k + 2)) + w

The byte of a step is (X' * 10^14 >> 64) mod 256 (equation 8). u = 0 becomes 8 in both maps: the paper's 0.5212882 has
no exact integer form. This file holds the plain-integer form, which is the definition, and one for NumPy that steps
many images at once; `chaos_kernels` is the compiled form. All three agree on the vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

GOLDEN: Final = 0x9E3779B97F4A7C15
_M: Final = (1 << 64) - 1
_TEN14: Final = 10**14


def _sine_coefficients() -> tuple[int, ...]:
    """Return C_0 .. C_10 from pi to 60 digits, without floating point."""
    scale = 10**60
    pi = 3141592653589793238462643383279502884197169399375105820974944
    half, power, factorial, out = pi // 2, pi // 2, 1, []
    for i in range(11):
        exact = power * (1 << 63) // (scale * factorial)
        out.append((exact + 1) >> 1)
        power = power * half // scale * half // scale
        factorial *= (2 * i + 2) * (2 * i + 3)
    return tuple(out)


SINE: Final = _sine_coefficients()


@dataclass(frozen=True, slots=True)
class MapKey:
    """Equations 5 and 6 for one 64-bit half key: u, k, N0 (steps thrown away), and the starts of X and w."""

    u: int
    k: int
    skipped: int
    state: int
    weyl: int

    @classmethod
    def from_half(cls, half: bytes) -> MapKey:
        """Read 8 bytes, bit h_1 first: 3 bits u, 4 bits k, 12 bits N0, 45 bits of x0 in units of 10^-14.

        w starts at the half key itself.
        """
        value = int.from_bytes(half, "big")
        u, k, skipped, x0 = value >> 61, (value >> 57) & 15, (value >> 45) & 4095, value & ((1 << 45) - 1)
        return cls(
            u or 8,
            k if k >= 8 else k + 12,
            skipped if skipped >= 3000 else skipped + 1000,
            (x0 << 64) // _TEN14,
            value,
        )


def sine_step(state: int, weyl: int, u: int, k: int) -> int:
    """Return the next state of the Sine-Sine system; `weyl` is the already advanced w."""
    y = min(state, (1 << 64) - state)
    t = min(2 * y, _M)
    t2 = t * t >> 64
    a = SINE[10]
    for c in SINE[9::-1]:
        a = c - (a * t2 >> 64)
    return (((a * t >> 64) * u << (k + 2)) + weyl) & _M


def chebyshev_step(state: int, weyl: int, u: int, k: int) -> int:
    """Return the next state of the Chebyshev-Chebyshev system; `weyl` is the already advanced w."""
    x = state >> 2
    a, b = 1 << 62, x
    for _ in range(u):
        a, b = b, (x * b >> 61) - a
    return ((b << (k + 2)) + weyl) & _M


def stream(key: MapKey, count: int, *, chebyshev: bool) -> bytes:
    """Return `count` bytes of one map: the definition, in plain integers."""
    step = chebyshev_step if chebyshev else sine_step
    state, weyl, out = key.state, key.weyl, bytearray(count)
    for i in range(-key.skipped, count):
        weyl = (weyl + GOLDEN) & _M
        state = step(state, weyl, key.u, key.k)
        if i >= 0:
            out[i] = (state * _TEN14 >> 64) & 255
    return bytes(out)


Lanes = Any  # an array of uint64, or one uint64 for all lanes


def _high(a: Lanes, b: Lanes) -> Lanes:
    """Return the high 64 bits of unsigned 64-bit products."""
    low, s = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1, b0, b1 = a & low, a >> s, b & low, b >> s
    middle = a1 * b0 + (a0 * b0 >> s)
    other = a0 * b1 + (middle & low)
    return a1 * b1 + (middle >> s) + (other >> s)


def streams_numpy(keys: list[MapKey], count: int, *, chebyshev: bool) -> npt.NDArray[np.uint8]:
    """Return (len(keys), count) bytes, all images stepped together in NumPy."""
    u, k = (np.array([getattr(key, n) for key in keys], np.uint64) for n in ("u", "k"))
    state, weyl = (np.array([getattr(key, n) for key in keys], np.uint64) for n in ("state", "weyl"))
    skipped = np.array([key.skipped for key in keys])
    out = np.zeros((len(keys), count), np.uint8)
    ten14, rows = np.uint64(_TEN14), np.arange(len(keys))
    with np.errstate(over="ignore"):
        for i in range(int(skipped.max()) + count):
            weyl = weyl + np.uint64(GOLDEN)
            state = _chebyshev_lanes(state, weyl, u, k) if chebyshev else _sine_lanes(state, weyl, u, k)
            at = i - skipped
            ready = (at >= 0) & (at < count)
            out[rows[ready], at[ready]] = (_high(state, ten14) & np.uint64(255)).astype(np.uint8)[ready]
    return out


def _sine_lanes(state: Lanes, weyl: Lanes, u: Lanes, k: Lanes) -> Lanes:
    negative = np.uint64(0) - state
    y = np.where(state == 0, state, np.minimum(state, negative))
    t = np.where(y == np.uint64(1 << 63), np.uint64(_M), y << np.uint64(1))
    t2 = _high(t, t)
    a = np.full_like(state, np.uint64(SINE[10]))
    for c in SINE[9::-1]:
        a = np.uint64(c) - _high(a, t2)
    return ((_high(a, t) * u) << (k + np.uint64(2))) + weyl


def _chebyshev_lanes(state: Lanes, weyl: Lanes, u: Lanes, k: Lanes) -> Lanes:
    x = state >> np.uint64(2)
    a, b = np.full_like(x, np.uint64(1 << 62)), x
    for i in range(int(u.max())):
        high = _high(x, b) - np.where(b >> np.uint64(63) != 0, x, np.uint64(0))  # x unsigned times b signed
        fresh = ((high << np.uint64(3)) | ((x * b) >> np.uint64(61))) - a
        going = np.uint64(i) < u
        a, b = np.where(going, b, a), np.where(going, fresh, b)
    return (b << (k + np.uint64(2))) + weyl
