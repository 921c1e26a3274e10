"""Decoding where a key only moves pieces of samples and masks each with a constant: read off a few pairs, exactly.

A keystream that is used twice, a fixed shuffle of pixels or of their halves, fixed negations, and any mixture of them,
keep one thing: how the piece at a place changes from one picture to the next. Under XOR with a constant,
c_i ^ c_0 = p_i ^ p_0 in every pair i; under addition modulo 256 the same of differences. So each place of the protected
pictures is found among the places of the originals by these changes over all known pairs, wherever it was moved to,
and its constant follows. Whether pieces are bytes, halves or bits, and which rule masks them, is decided on a known
pair that was held out. Places without a partner are left to the guess; of noise no place finds one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

PIECES: Final = (8, 4, 1)
"""Bits of the pieces that a key may move."""
LEAST: Final = 4
"""Pairs from which on a match of bytes by chance, of 2^24 in a pair of pictures, is rare."""


def decode(known: Bytes, plain: Bytes, seen: Bytes, guess: Bytes) -> Bytes:
    """Return what matching makes of the protected pictures `seen`, uint8 (N, rows, columns).

    known, plain: protected pictures and their originals; guess (rows, columns): for what has no partner. Everything is
    guessed with fewer than `LEAST` pairs, and where no rule does better than guessing on the last pair.
    """
    flat = [p.reshape(len(p), -1) for p in (known, plain, seen)]
    blind = np.repeat(guess.reshape(1, -1), len(seen), axis=0)
    best, left = blind, _error(guess.reshape(1, -1), flat[1][-1:])
    rules = [(bits, rule) for bits in PIECES for rule in ((_xor, _sum, _difference) if bits == 8 else (_xor,))]
    for bits, rule in rules if len(known) >= LEAST else ():
        k, p, s = (_split(one, bits) for one in flat)
        trial = rule(k[:-1], p[:-1], k[-1:], _split(guess.reshape(1, -1), bits))
        if (error := _error(_whole(trial, bits), flat[1][-1:])) < left:
            left, best = error, _whole(rule(k, p, s, _split(blind, bits)), bits)
    return best.reshape(seen.shape[0], *plain.shape[1:])


def _error(found: Bytes, true: Bytes) -> float:
    return float(np.square(found.astype(np.float64) - true).mean())


def _split(samples: Bytes, bits: int) -> Bytes:
    """Return the pieces of samples (N, n), uint8 (N, n * 8 / bits), the highest of each first."""
    if bits == 8:
        return samples
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return ((samples[..., None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(len(samples), -1)


def _whole(pieces: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return pieces
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    return np.asarray(np.bitwise_or.reduce(pieces.reshape(len(pieces), -1, 8 // bits) << shifts, axis=2))


def _xor(known: Bytes, plain: Bytes, seen: Bytes, out: Bytes) -> Bytes:
    at, of = _partners(known[1:] ^ known[0], plain[1:] ^ plain[0])
    return _filled(out, at, seen[:, of] ^ known[0, of] ^ plain[0, at])


def _sum(known: Bytes, plain: Bytes, seen: Bytes, out: Bytes) -> Bytes:
    at, of = _partners(known[1:] - known[0], plain[1:] - plain[0])
    return _filled(out, at, seen[:, of] - known[0, of] + plain[0, at])


def _difference(known: Bytes, plain: Bytes, seen: Bytes, out: Bytes) -> Bytes:
    at, of = _partners(known[0] - known[1:], plain[1:] - plain[0])
    return _filled(out, at, known[0, of] - seen[:, of] + plain[0, at])


def _filled(guess: Bytes, at: Any, values: Bytes) -> Bytes:
    out = guess.copy()
    out[:, at] = values
    return out


def _partners(known: Bytes, plain: Bytes) -> tuple[Any, Any]:
    """Return places of the originals and for each the place of the protected pictures that changes in the same way.

    Where several change alike (a black edge does), the same place is taken if it is among them, else each in turn.
    """
    free: defaultdict[bytes, deque[int]] = defaultdict(deque)
    columns = [change.tobytes() for change in np.ascontiguousarray(known.T)]
    for place, change in enumerate(columns):
        free[change].append(place)
    at, of = [], []
    for place, changes in enumerate(np.ascontiguousarray(plain.T)):
        among = free.get(change := changes.tobytes())
        if among:
            at.append(place)
            of.append(place if place < len(columns) and columns[place] == change else among[0])
            among.rotate(-1)
    return np.array(at, np.int64), np.array(of, np.int64)
