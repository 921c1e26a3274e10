"""Secret sharing of bytes: Shamir over GF(2^8), and XOR for (n, n).

Shamir, "How to Share a Secret", CACM 22(11), 1979, applied to each byte on its own, over the field of AES
(x^8 + x^4 + x^3 + x + 1). Fewer than k shares say nothing about the secret but its length, against any computing
power, provided that the random bytes are perfect. A share is as long as the secret. Shares carry no check:
whoever stores them authenticates them, since a changed share gives a changed secret.

Multiplication goes through tables, so its timing may depend on the bytes: split and combine on a trusted machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError, TamperedError, UnrecoverableError

MAX_SHARES: Final = 255
"""Most shares: one for each non-zero element of the field."""

_POLYNOMIAL: Final = 0x11B
_Bytes = npt.NDArray[np.uint8]


def _tables() -> tuple[tuple[bytes, ...], bytes]:
    """Return the 256 multiplication tables (row a maps b to a * b) and the table of inverses (0 maps to 0)."""
    product = np.zeros((256, 256), np.int64)
    b = np.arange(256)
    for bit in range(7, -1, -1):  # Horner over the bits of a
        product = product << 1
        product ^= np.where(product & 0x100, _POLYNOMIAL, 0)
        product[(b >> bit & 1).astype(bool)] ^= b
    inverse = np.argmax(product == 1, axis=1).astype(np.uint8)
    return tuple(row.astype(np.uint8).tobytes() for row in product), inverse.tobytes()


_TIMES, _INVERSE = _tables()


def split(secret: bytes, k: int, n: int, rng: Randomness = SYSTEM) -> tuple[bytes, ...]:
    """Split `secret` into n shares, any k of which give it back; share j belongs to x = j + 1.

    A threshold of 1 gives n plain copies. Raises InputError unless 1 <= k <= n <= 255.
    """
    if not 1 <= k <= n <= MAX_SHARES:
        raise InputError(f"a secret cannot be split {k} of {n}: 1 <= k <= n <= {MAX_SHARES}")
    size = len(secret)
    drawn = rng.bytes((k - 1) * size)
    coefficients = [bytes(secret), *(drawn[i * size : (i + 1) * size] for i in range(k - 1))]
    return tuple(_evaluate(coefficients, x) for x in range(1, n + 1))


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret from a mapping of x (1 to 255) to share; at least k of them, all are used.

    With fewer than k shares, or with a changed one, the result is other bytes of the same length: authenticate
    shares before, or the secret after. Raises UnrecoverableError for no share, InputError for an x out of range,
    TamperedError where lengths differ.
    """
    if not shares:
        raise UnrecoverableError("no share is there: a secret needs at least k of its n shares")
    _check(shares.values())
    if not all(1 <= x <= MAX_SHARES for x in shares):
        raise InputError(f"a share's number lies outside 1 to {MAX_SHARES}")
    total: _Bytes | None = None
    for x, share in shares.items():
        weight = 1  # the Lagrange polynomial of x at 0: product of other / (other - x)
        for other in shares:
            if other != x:
                weight = _TIMES[weight][_TIMES[other][_INVERSE[other ^ x]]]
        term = np.frombuffer(bytes(share).translate(_TIMES[weight]), np.uint8)
        total = term.copy() if total is None else np.bitwise_xor(total, term, out=total)
    return b"" if total is None else total.tobytes()


def split_xor(secret: bytes, n: int, rng: Randomness = SYSTEM) -> tuple[bytes, ...]:
    """Split `secret` into n shares, all of which are needed: n - 1 are random, the last is the XOR of all else.

    Raises InputError unless 1 <= n <= 255.
    """
    if not 1 <= n <= MAX_SHARES:
        raise InputError(f"a secret cannot be split into {n} shares: 1 to {MAX_SHARES}")
    size = len(secret)
    drawn = rng.bytes((n - 1) * size)
    shares = [drawn[i * size : (i + 1) * size] for i in range(n - 1)]
    return (*shares, _xor([secret, *shares]))


def combine_xor(shares: Sequence[bytes]) -> bytes:
    """Return the secret from all n shares of `split_xor`, in any order.

    Raises UnrecoverableError for no share, TamperedError where lengths differ.
    """
    if not shares:
        raise UnrecoverableError("no share is there: all n shares are needed")
    _check(shares)
    return _xor(shares)


def _check(shares: Iterable[bytes]) -> None:
    if len({len(share) for share in shares}) > 1:
        raise TamperedError("shares of one secret have different lengths: one was truncated or belongs elsewhere")


def _evaluate(coefficients: Sequence[bytes], x: int) -> bytes:
    """Return the polynomial with these coefficients (lowest first) at x, byte by byte, by Horner's rule."""
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = _xor([value.translate(_TIMES[x]), coefficient])
    return value


def _xor(pieces: Sequence[bytes]) -> bytes:
    total: _Bytes = np.frombuffer(pieces[0], np.uint8).copy()
    for piece in pieces[1:]:
        np.bitwise_xor(total, np.frombuffer(piece, np.uint8), out=total)
    return total.tobytes()
