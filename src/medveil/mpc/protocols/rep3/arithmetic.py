"""Addition, products and openings of replicated shares in Z_2^64 and Z_2^32.

Product (Araki et al., CCS 2016; paper 002 section 4.1): party i computes z_i = x_i (y_i + y_{i+1}) + x_{i+1} y_i
plus a share of zero and hands it to party i - 1: one round, one element a party.
"""

from __future__ import annotations

import numpy as np

from medveil.errors import InputError, ProtocolError
from medveil.mpc import ring
from medveil.mpc.protocols.costs import costs, free
from medveil.mpc.protocols.rep3 import kernels
from medveil.mpc.ring import Contraction
from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words


def _same(x: Share, y: Share) -> None:
    if x.dtype != y.dtype:
        raise InputError(f"shares of {x.dtype.name} and {y.dtype.name} live in different rings: extend the narrow one")


@costs(rounds=0, bytes_sent=free)
def share_public(session: Session, words: Words) -> Share:
    """Return shares of ring elements that every party knows."""
    nothing = np.zeros_like(words)
    return Share(words if session.party == 0 else nothing, words if session.party == 2 else nothing)


@costs(rounds=0, bytes_sent=free)
def add_aa(x: Share, y: Share) -> Share:
    """Return x + y; shapes broadcast."""
    _same(x, y)
    return Share(x.first + y.first, x.second + y.second)


@costs(rounds=0, bytes_sent=free)
def sub_aa(x: Share, y: Share) -> Share:
    """Return x - y; shapes broadcast."""
    _same(x, y)
    return Share(x.first - y.first, x.second - y.second)


@costs(rounds=0, bytes_sent=free)
def add_ap(session: Session, x: Share, words: Words) -> Share:
    """Return x + public ring elements; shapes broadcast."""
    return add_aa(x, share_public(session, np.broadcast_to(words.astype(x.dtype), x.shape)))


@costs(rounds=0, bytes_sent=free)
def mul_ap(x: Share, words: Words) -> Share:
    """Return x times public ring elements, not truncated; shapes broadcast."""
    factor = np.asarray(words).astype(x.dtype)
    return Share(x.first * factor, x.second * factor)


def zero_words(session: Session, shape: tuple[int, ...], dtype: type[np.unsignedinteger]) -> Words:
    """Return this party's share of a fresh additive sharing of zero."""
    mine: Words = session.next_stream.words(shape, dtype)
    mine -= session.previous_stream.words(shape, dtype)
    return mine


def reshare(session: Session, additive: Words) -> Share:
    """Return replicated shares of the sum of the parties' additive words, which must hold a zero share already."""
    session.send(session.preceding, additive)
    return Share(additive, session.receive(session.following, additive.shape, additive.dtype))


@costs(rounds=1, bytes_sent=lambda n: 24 * n, note="not truncated")
def mul_aa(session: Session, x: Share, y: Share) -> Share:
    """Return the elementwise product of two uint64 (or two uint32) shares of one shape, not truncated."""
    _same(x, y)
    if x.shape != y.shape:
        raise InputError(f"a product of shapes {x.shape} and {y.shape} is not defined: broadcast them first")
    out = zero_words(session, x.shape, x.dtype.type)
    flat = [np.ascontiguousarray(w).reshape(-1) for w in (x.first, x.second, y.first, y.second)]
    kernels.product_local(*flat, out.reshape(-1))
    return reshare(session, out)


@costs(rounds=1, bytes_sent=lambda n: 12 * n, note="within +-2^31 after the shift; error at most 1.5 units")
def mul_narrow(session: Session, x: Share, y: Share, shift: int | None = None) -> Share:
    """Return x y / 2^shift (f by default) in Z_2^32 for uint64 shares of one shape; no large error."""
    _same(x, y)
    drop = session.fixed.fraction if shift is None else shift
    if x.shape != y.shape or x.dtype != np.uint64 or not 1 <= drop <= 32:
        raise InputError(f"a truncated product takes two Z_2^64 shares of one shape, not {x.shape} and {y.shape}")
    out = zero_words(session, x.shape, np.uint32)
    flat = [np.ascontiguousarray(w).reshape(-1) for w in (x.first, x.second, y.first, y.second)]
    centre = np.uint64(3 << (drop - 1) if session.party == 0 else 0)
    kernels.product_narrow(*flat, centre, np.uint64(drop), out.reshape(-1))
    return reshare(session, out)


@costs(rounds=1, bytes_sent=lambda n: 24 * n, note="n outputs; exact modulo 2^64, not truncated")
def matmul_aa(session: Session, x: Share, y: Share) -> Share:
    """Return the exact product of (m, k) and (k, n) uint64 shares, not truncated."""
    out = ring.matmul(x.first, y.first + y.second) + ring.matmul(x.second, y.first)
    out += zero_words(session, out.shape, np.uint64)
    return reshare(session, out)


@costs(rounds=1, bytes_sent=lambda n: 12 * n, note="n outputs; truncated into Z_2^32")
def linear_narrow(
    session: Session, plan: Contraction, w: Share, x: Share, bias: Share | None = None, shift: int | None = None
) -> Share:
    """Return a matrix product or convolution, truncated without communication into Z_2^32.

    Dropping `shift` low bits of each party's additive share and reading the rest modulo 2^32 leaves the value of
    (w x + bias 2^f) / 2^shift with an error of at most 1.5 units in the last place and no large error at all, as
    multiples of 2^64 stay multiples of 2^32. The result must lie in |v| < 2^31 as an integer.

    Args:
        session: this party's session.
        plan: which elements meet, from `ring`; w is its a, x its b.
        w: uint64 weights at f fraction bits.
        x: uint64 input at f fraction bits.
        bias: uint64 at f fraction bits, one element a row of the plan.
        shift: bits to drop, f by default, at most 20.
    """
    fraction = session.fixed.fraction
    drop = fraction if shift is None else shift
    if drop + 32 > ring.VALID_BITS or drop < 1:
        raise InputError(f"a linear layer can drop 1 to {ring.VALID_BITS - 32} bits, not {drop}")
    rows = np.zeros(len(plan.a_at[0]), dtype=np.uint64)
    if bias is not None:
        rows += bias.first.reshape(-1) << np.uint64(fraction)
    if session.party == 0:
        rows += np.uint64(3 << (drop - 1))  # three floors lose 1.5 units on average
    out = ring.contract_pair(
        plan, (w.first + w.second, w.first), (x.first, x.second), bias=rows, shift=drop, dtype=np.uint32
    )
    out += zero_words(session, out.shape, np.uint32)
    return reshare(session, out)


@costs(rounds=1, bytes_sent=lambda n: 24 * n)
def reveal_to_all(session: Session, x: Share) -> Words:
    """Open a share to all three parties."""
    session.send(session.following, x.first)
    missing = session.receive(session.preceding, x.shape, x.dtype)
    total: Words = x.first + x.second + missing
    return total


@costs(rounds=1, bytes_sent=lambda n: 24 * n)
def verify_replicas(session: Session, x: Share) -> None:
    """Check that this party's first component is what the previous party holds as its second.

    Raises:
        ProtocolError: the replicas disagree, for example after a restart with old state.
    """
    session.send(session.following, x.second)
    if not np.array_equal(session.receive(session.preceding, x.shape, x.dtype), x.first):
        raise ProtocolError(f"party {session.preceding} holds other shares of this tensor: one server has old state")
