"""Between Z_2^64 and XOR shares of words: a parallel-prefix adder over A and B (Mohassel and Rindal, CCS 2018).

Comparisons do not take this way (`comparison` is cheaper); it serves programs that need a value's bits.
"""

from __future__ import annotations

import numpy as np

from medveil.errors import InputError
from medveil.mpc.protocols.costs import costs
from medveil.mpc.protocols.rep3.boolean import and_bb, shift_left_b, xor_bb
from medveil.mpc.session import Session
from medveil.mpc.shares import Share

_LEVELS = 6


@costs(
    rounds=2 + _LEVELS,
    bytes_sent=lambda n: 8 * n + 24 * n + _LEVELS * 48 * n,
    note="all 64 bits; low parts of the adder side by side",
)
def a2b(session: Session, x: Share) -> Share:
    """Return the bits of a Z_2^64 share as XOR-shared words.

    A = x0 + x1 is known to party 0, which shares its bits; B = x2 is known to both others, who share it by silence.
    """
    if x.dtype != np.uint64:
        raise InputError("a2b takes a share in Z_2^64")
    nothing = np.zeros(x.shape, np.uint64)
    if session.party == 0:
        high = session.next_stream.words(x.shape)
        low = (x.first + x.second) ^ high
        session.send(2, low)
        a, b = Share(low, high), Share(nothing, nothing)
    elif session.party == 1:
        a, b = Share(session.previous_stream.words(x.shape), nothing), Share(nothing, x.second)
    else:
        a, b = Share(nothing, session.receive(0, x.shape)), Share(x.first, nothing)
    generate, propagate = and_bb(session, a, b), xor_bb(a, b)
    spread = propagate
    for level in range(_LEVELS):
        step = 1 << level
        # Kogge and Stone: both products of a level travel in one message.
        moved = _both(shift_left_b(generate, step), shift_left_b(spread, step))
        product = and_bb(session, _both(spread, spread), moved)
        generate = xor_bb(generate, Share(product.first[0], product.second[0]))
        spread = Share(product.first[1], product.second[1])
    return xor_bb(propagate, shift_left_b(generate, 1))


def _both(x: Share, y: Share) -> Share:
    return Share(np.stack([x.first, y.first]), np.stack([x.second, y.second]))


@costs(rounds=2, bytes_sent=lambda n: 8 * n + 16 * n, note="a bit in the lowest place of a word")
def bit2a(session: Session, x: Share) -> Share:
    """Return the lowest bit of XOR-shared words as a Z_2^64 share of 0 or 1.

    Party 0 knows r = x0 XOR x1 and shares it; the others know s = x2. x = r + s - 2 r s, and each of them multiplies
    its half of r by the s that both know.
    """
    one = np.uint64(1)
    if session.party == 0:
        left = session.next_stream.words(x.shape)
        session.send(2, ((x.first ^ x.second) & one) - left)
        return Share(session.previous_stream.words(x.shape), session.next_stream.words(x.shape))
    first = session.party == 1
    s = (x.second if first else x.first) & one
    half = session.previous_stream.words(x.shape) if first else session.receive(0, x.shape)
    mask = (session.previous_stream if first else session.next_stream).words(x.shape)
    mine = half - (half * s << one) - mask
    other = 2 if first else 1
    session.send(other, mine)
    common = s + mine + session.receive(other, x.shape)
    return Share(mask, common) if first else Share(common, mask)
