"""Truncation, and the way between Z_2^64 and Z_2^32.

With A known to the dealer and B to both helpers, floor(A / 2^s) + floor(B / 2^s) is the truncated value up to one
unit in the last place, unless A + B wraps. Adding 2^62 first (2^30 in the narrow ring) makes the true sum smaller
than half the ring, so it wraps exactly if msb(A) or msb(B) is set: one product of a bit that the dealer knows with a
bit that both helpers know. The default operations correct that wrap, so no large error exists. `trunc_a_fast` does
not, and its failure probability is a function that callers can print.
"""

from __future__ import annotations

import numpy as np

from medveil.errors import InputError
from medveil.mpc.protocols.costs import costs, free
from medveil.mpc.protocols.rep3 import kernels
from medveil.mpc.protocols.rep3.layout import Part, Role, common_value, parts
from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words


@costs(rounds=0, bytes_sent=free, note="within +-2^31 after the shift; error at most 1.5 units")
def narrow_a(session: Session, x: Share, shift: int = 0) -> Share:
    """Return x / 2^shift in Z_2^32 from Z_2^64: local, no large error, at most 1.5 units off (exact for shift 0)."""
    first, second = x.first, x.second
    if shift:
        centre = np.uint64(3 << (shift - 1))  # three floors lose 1.5 units on average
        first = first + centre if session.party == 0 else first
        second = second + centre if session.party == 2 else second
    drop = np.uint64(shift)
    return Share((first >> drop).astype(np.uint32), (second >> drop).astype(np.uint32))


@costs(rounds=2, bytes_sent=lambda n: 20 * n, note="within +-2^30 as an integer; exact")
def extend_a(session: Session, x: Share) -> Share:
    """Return a Z_2^32 share of |v| < 2^30 (as an integer) in Z_2^64, exactly."""
    if x.dtype != np.uint32:
        raise InputError("extend_a takes a share in Z_2^32")
    return _wrap_corrected(session, x, 0)


@costs(rounds=2, bytes_sent=lambda n: 20 * n, note="within +-2^62 as an integer; error below 1 unit")
def trunc_a(session: Session, x: Share, shift: int | None = None) -> Share:
    """Return x / 2^shift for a Z_2^64 share of |v| < 2^62; error below one unit in the last place, never a large one.

    The rounding direction depends on the random shares: the result is unbiased around the exact quotient.
    """
    drop = session.fixed.fraction if shift is None else shift
    if x.dtype != np.uint64 or not 1 <= drop <= 32:
        raise InputError("trunc_a takes a share in Z_2^64 and drops 1 to 32 bits")
    return _wrap_corrected(session, x, drop)


def _wrap_corrected(session: Session, x: Share, shift: int) -> Share:
    width = 8 * x.dtype.itemsize
    shape = x.shape
    flat = x.reshape(-1)
    pieces = parts(x.size)
    first, second = np.empty(x.size, np.uint64), np.empty(x.size, np.uint64)
    dealt = [_deal_wrap(session, part, part.cut(flat), width, shift) for part in pieces]
    sent = [_send_wrap(session, part, part.cut(flat), state, width) for part, state in zip(pieces, dealt, strict=True)]
    up = np.uint64(width - shift)
    for part, (base, mine, mask) in zip(pieces, sent, strict=True):
        low, high = first[part.start : part.stop], second[part.start : part.stop]
        role = part.role(session)
        if role is Role.DEALER:
            kernels.wrap_own(base[1], mask[1], up, low)
            kernels.wrap_own(base[0], mask[0], up, high)
            continue
        other = session.receive(part.right if role is Role.LEFT else part.left, part.size, np.uint32)
        common = common_value(part.cut(flat), role)
        kernels.wrap_common(common, mine, other, np.uint64(shift), up, high if role is Role.LEFT else low)
        kernels.wrap_own(base[0], mask[0], up, low if role is Role.LEFT else high)
    return Share(first.reshape(shape), second.reshape(shape))


def _deal_wrap(session: Session, part: Part, x: Share, width: int, shift: int) -> tuple[Words, ...]:
    """First step: returns (kappa or y, u half or nothing, y0) by role."""
    role = part.role(session)
    size = part.size
    if role is Role.RIGHT:
        return ()
    stream = session.next_stream if role is Role.DEALER else session.previous_stream
    kappa, u_stream = stream.words(size, np.uint64), stream.words(size, np.uint32)
    if role is Role.LEFT:
        return kappa, u_stream
    y_right, u_right = np.empty(size, np.uint64), np.empty(size, np.uint32)
    # 2^(w-s) is the wrap that is always subtracted, 2^(w-2-s) the offset. The dealer's ceiling and the helpers' floor
    # make the result floor(v) + 1 with probability frac(v), else floor(v); it is exact where the dropped bits of the
    # shares are zero, as after a multiplication by 2^s.
    constant = ((1 << (width - shift)) + (1 << (width - 2 - shift))) % (1 << 64)
    ring_mask, offset = np.uint64((1 << width) - 1), np.uint64(1 << (width - 2))
    kernels.deal_wrap(
        x.first, x.second, offset, ring_mask, np.uint64(width - 1), np.uint64(shift), np.uint64(constant),
        kappa, u_stream, y_right, u_right,
    )  # fmt: skip
    session.send(part.right, y_right)
    session.send(part.right, u_right)
    return kappa, y_right


def _send_wrap(
    session: Session, part: Part, x: Share, state: tuple[Words, ...], width: int
) -> tuple[list[Words], Words, list[Words]]:
    """Second step: helpers swap their masked halves of the wrap. Returns (bases, sent half, masks)."""
    role = part.role(session)
    size = part.size
    nothing = np.empty(0, np.uint32)
    if role is Role.DEALER:
        masks = [session.next_stream.words(size, np.uint32), session.previous_stream.words(size, np.uint32)]
        return [state[0], state[1]], nothing, masks
    if role is Role.LEFT:
        base, u_half = state
        mask = session.previous_stream.words(size, np.uint32)
    else:
        base = session.receive(part.dealer, size, np.uint64)
        u_half = session.receive(part.dealer, size, np.uint32)
        mask = session.next_stream.words(size, np.uint32)
    mine = np.empty(size, np.uint32)
    kernels.wrap_term(common_value(x, role), u_half, mask, np.uint64(width - 1), mine)
    session.send(part.right if role is Role.LEFT else part.left, mine)
    return [base], mine, [mask]


def fast_failure_probability(size: int, magnitude_bits: int, width: int = 64) -> float:
    """Return the greatest probability that `trunc_a_fast` wrecks one of `size` values of |v| < 2^magnitude_bits."""
    return float(-np.expm1(size * np.log1p(-(2.0 ** (magnitude_bits - width)))))


@costs(rounds=1, bytes_sent=lambda n: 8 * n, note="large error with probability 2^(bits - 64) each, within +-2^bits")
def trunc_a_fast(session: Session, x: Share, shift: int | None = None) -> Share:
    """Return x / 2^shift as `trunc_a`, but with a large error with probability up to 2^(bits - 64) an element.

    `fast_failure_probability` says how likely that is for a tensor; at f = 16 a training meets it often.
    """
    drop = np.uint64(session.fixed.fraction if shift is None else shift)
    flat = x.reshape(-1)
    first, second = np.empty(x.size, np.uint64), np.empty(x.size, np.uint64)
    pieces = parts(x.size)
    for part in pieces:
        role = part.role(session)
        value = common_value(part.cut(flat), role)
        low, high = first[part.start : part.stop], second[part.start : part.stop]
        if role is Role.DEALER:
            high[:] = session.next_stream.words(part.size)
            low[:] = (value.view(np.int64) >> drop.view(np.int64)).view(np.uint64) - high
            session.send(part.right, low.copy())
        else:
            negated = (np.uint64(0) - value).view(np.int64) >> drop.view(np.int64)
            common = np.uint64(0) - negated.view(np.uint64)
            if role is Role.LEFT:
                low[:], high[:] = session.previous_stream.words(part.size), common
            else:
                low[:] = common
    for part in pieces:
        if part.role(session) is Role.RIGHT:
            second[part.start : part.stop] = session.receive(part.dealer, part.size)
    return Share(first.reshape(x.shape), second.reshape(x.shape))
