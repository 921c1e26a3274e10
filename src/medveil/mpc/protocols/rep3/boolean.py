"""XOR shares of 64-bit words: the same replicated pairs, with XOR as addition and AND as product (Araki et al.)."""

from __future__ import annotations

import numpy as np

from medveil.errors import InputError
from medveil.mpc.protocols.costs import costs, free
from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words


@costs(rounds=0, bytes_sent=free)
def xor_bb(x: Share, y: Share) -> Share:
    """Return x XOR y."""
    return Share(x.first ^ y.first, x.second ^ y.second)


@costs(rounds=0, bytes_sent=free)
def shift_left_b(x: Share, amount: int) -> Share:
    """Return every word shifted towards its high end."""
    return Share(x.first << np.uint64(amount), x.second << np.uint64(amount))


@costs(rounds=0, bytes_sent=free)
def shift_right_b(x: Share, amount: int) -> Share:
    """Return every word shifted towards its low end."""
    return Share(x.first >> np.uint64(amount), x.second >> np.uint64(amount))


@costs(rounds=0, bytes_sent=free)
def and_bp(x: Share, words: Words) -> Share:
    """Return x AND public words."""
    return Share(x.first & words, x.second & words)


@costs(rounds=1, bytes_sent=lambda n: 24 * n, note="n words of 64 bits")
def and_bb(session: Session, x: Share, y: Share) -> Share:
    """Return x AND y, word by word."""
    if x.shape != y.shape:
        raise InputError(f"an AND of shapes {x.shape} and {y.shape} is not defined")
    mine = (x.first & (y.first ^ y.second)) ^ (x.second & y.first)
    mine ^= session.next_stream.words(mine.shape)
    mine ^= session.previous_stream.words(mine.shape)
    session.send(session.preceding, mine)
    return Share(mine, session.receive(session.following, mine.shape))


@costs(rounds=1, bytes_sent=lambda n: 24 * n, note="n words of 64 bits")
def reveal_words_to_all(session: Session, x: Share) -> Words:
    """Open XOR-shared words to all three parties."""
    session.send(session.following, x.first)
    missing = session.receive(session.preceding, x.shape)
    words: Words = x.first ^ x.second ^ missing
    return words
