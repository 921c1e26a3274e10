"""Binary expansions of e, pi and square roots by integer arithmetic; the integer part comes first, as at NIST."""

from __future__ import annotations

from functools import cache
from math import isqrt, lgamma, log

import numpy as np

Bits = np.ndarray[tuple[int], np.dtype[np.uint8]]
_GUARD = 64


def _first(value: int, count: int) -> Bits:
    """Return the first `count` bits of an integer, leading one first."""
    size = (value.bit_length() + 7) // 8
    bits = np.unpackbits(np.frombuffer(value.to_bytes(size, "big"), np.uint8))
    lead = 8 * size - value.bit_length()
    return bits[lead : lead + count]


@cache
def square_root(of: int, count: int) -> Bits:
    """Return the first bits of the square root of a small integer."""
    return _first(isqrt(of << 2 * (count + _GUARD)), count)


@cache
def e(count: int) -> Bits:
    """Return the first bits of e = sum of 1 / k!, the sum split in halves."""

    def part(low: int, high: int) -> tuple[int, int]:
        if high - low == 1:
            return 1, high
        middle = (low + high) // 2
        p, q = part(low, middle)
        r, s = part(middle, high)
        return p * s + r, q * s

    precision, terms = count + _GUARD, 10
    while lgamma(terms) / log(2) < precision:
        terms = terms * 5 // 4
    p, q = part(0, terms)
    return _first((1 << precision) + (p << precision) // q, count)


@cache
def pi(count: int) -> Bits:
    """Return the first bits of pi by the Chudnovskys' series, 47 bits a term."""

    def part(low: int, high: int) -> tuple[int, int, int]:
        if high - low == 1:
            p = (6 * low - 5) * (2 * low - 1) * (6 * low - 1) if low else 1
            q = low**3 * 10939058860032000 if low else 1
            t = p * (13591409 + 545140134 * low)
            return p, q, -t if low & 1 else t
        middle = (low + high) // 2
        p, q, t = part(low, middle)
        r, s, u = part(middle, high)
        return p * r, q * s, s * t + p * u

    precision = count + _GUARD
    _, q, t = part(0, count // 47 + 4)
    return _first(q * 426880 * isqrt(10005 << 2 * precision) // t, count)
