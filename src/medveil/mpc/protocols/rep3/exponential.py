"""Powers of two from the two-party view: 2^(A + B) = 2^A 2^B needs one table and no polynomial.

For -17 <= t < 13 the sum t + 18 lies in [1, 31]. Write A and B modulo 2^5 as integer and fraction; then 2^t is
2^frac(A) 2^frac(B) 2^(((int(A) + int(B)) mod 32) - 18): a carry of the fractions shows up as a product in [2, 4), and
the sum of the integers cannot pass 31 with a carry, as t + 18 < 31. The dealer shares 2^frac(A) 2^(.. - 18) for each
of the 32 values of int(B); a helper looks its own up and multiplies by 2^frac(B).
"""

from __future__ import annotations

import numpy as np

from medveil.errors import InputError
from medveil.mpc.protocols.costs import costs
from medveil.mpc.protocols.rep3.layout import Part, Role, common_value, parts
from medveil.mpc.protocols.rep3.truncation import trunc_a
from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words

LOWEST, HIGHEST = -17, 13
_OFFSET = 18
_WINDOW = 32
_TABLE_BITS = 28
_FACTOR_BITS = 18


def _split(words: Words, fraction: int) -> tuple[Words, Words]:
    """Return the integer part modulo 32 and the fraction in [0, 1) of fixed-point words."""
    low = words & words.dtype.type((_WINDOW << fraction) - 1)
    return (low >> low.dtype.type(fraction)).astype(np.int64), (low & low.dtype.type((1 << fraction) - 1)) / np.float64(
        1 << fraction
    )


@costs(rounds=4, bytes_sent=lambda n: (256 + 16 + 20) * n, note="-17 <= t < 13; relative error 2^-18 and one unit")
def exp2_a(session: Session, t: Share) -> Share:
    """Return 2^t in Z_2^64 at f fraction bits, for a share (either ring) of -17 <= t < 13 at f fraction bits."""
    fraction = session.fixed.fraction
    shift = _TABLE_BITS + _FACTOR_BITS - fraction
    if not 1 <= shift <= 32:
        raise InputError("powers of two need 14 to 24 fraction bits")
    flat = t.reshape(-1)
    first, second = np.empty(t.size, np.uint64), np.empty(t.size, np.uint64)
    pieces = parts(t.size)
    tables = [_deal_table(session, part, part.cut(flat), fraction) for part in pieces]
    sent: list[Words | None] = []
    for part, table in zip(pieces, tables, strict=True):
        sent.append(_send_product(session, part, part.cut(flat), table, (first, second), fraction))
    for part, mine in zip(pieces, sent, strict=True):
        role = part.role(session)
        if mine is None:
            continue
        other = session.receive(part.right if role is Role.LEFT else part.left, part.size)
        (second if role is Role.LEFT else first)[part.start : part.stop] = mine + other
    return trunc_a(session, Share(first.reshape(t.shape), second.reshape(t.shape)), shift)


def _deal_table(session: Session, part: Part, t: Share, fraction: int) -> Words | None:
    role = part.role(session)
    if role is Role.RIGHT:
        return None
    stream = session.next_stream if role is Role.DEALER else session.previous_stream
    table = stream.words((_WINDOW, part.size))
    if role is Role.LEFT:
        return table
    lifted = common_value(t, role) + t.dtype.type(_OFFSET << fraction)
    whole, rest = _split(lifted, fraction)
    exponent = (whole + np.arange(_WINDOW)[:, None]) % _WINDOW - _OFFSET
    entries = np.rint(np.exp2(rest + exponent + _TABLE_BITS)).astype(np.int64).view(np.uint64)
    session.send(part.right, entries - table)
    return None


def _send_product(
    session: Session, part: Part, t: Share, table: Words | None, out: tuple[Words, Words], fraction: int
) -> Words | None:
    role = part.role(session)
    span = slice(part.start, part.stop)
    if role is Role.DEALER:
        out[1][span] = session.next_stream.words(part.size)
        out[0][span] = session.previous_stream.words(part.size)
        return None
    stream = session.previous_stream if role is Role.LEFT else session.next_stream
    mask = stream.words(part.size)
    entries = session.receive(part.dealer, (_WINDOW, part.size)) if table is None else table
    whole, rest = _split(common_value(t, role), fraction)
    factor = np.rint(np.exp2(rest + _FACTOR_BITS)).astype(np.uint64)
    mine: Words = entries[whole, np.arange(part.size)] * factor - mask
    out[0 if role is Role.LEFT else 1][span] = mask
    session.send(part.right if role is Role.LEFT else part.left, mine)
    return mine
