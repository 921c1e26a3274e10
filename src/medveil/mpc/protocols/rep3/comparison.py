"""Sign, ReLU, maximum: a comparison bit that can multiply any tensor of its shape, as often as needed.

msb(x) = msb(A) XOR msb(B) XOR carry of the lower bits (paper 002, algorithm 1). The dealer knows rho = msb(A) XOR the
two output masks, both helpers open c = msb(B) XOR carry XOR masks among themselves, and msb(x) = c XOR rho, where the
helpers lack rho and the dealer lacks c. That pair is a `ChoiceBit`. bit * x needs the dealer to have shared rho
and rho A, then one exchange between the helpers.

Values are compared on `width` bits: 32 for a Z_2^32 share, so |x| < 2^31 as an integer (|x| < 2^15 at f = 16).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medveil.errors import InputError
from medveil.mpc.protocols.costs import costs
from medveil.mpc.protocols.rep3 import carry, kernels
from medveil.mpc.protocols.rep3.arithmetic import add_aa, sub_aa
from medveil.mpc.protocols.rep3.layout import Part, Role, common_value, dealt_half, parts, plane_words
from medveil.mpc.session import ComparisonForm, Session
from medveil.mpc.shares import Share, Words


@dataclass(frozen=True, repr=False)
class ChoiceBit:
    """A shared bit a tensor element: per third, rho at the dealer; c and half of rho at the helpers (Z_2^32 words)."""

    shape: tuple[int, ...]
    plain: tuple[Words, ...]
    halves: tuple[Words | None, ...]

    def __repr__(self) -> str:
        return f"ChoiceBit(shape={self.shape})"

    @property
    def size(self) -> int:
        """Return the number of bits."""
        return int(np.prod(self.shape, dtype=np.int64))

    def flipped(self, session: Session) -> ChoiceBit:
        """Return the complement."""
        pieces = parts(self.size)
        plain = tuple(
            words if part.role(session) is Role.DEALER else np.uint32(1) - words
            for part, words in zip(pieces, self.plain, strict=True)
        )
        return ChoiceBit(self.shape, plain, self.halves)


def compare_rounds(width: int, form: ComparisonForm) -> int:
    """Return the rounds of a comparison: the dealing, one exchange a level, the opening of c."""
    return 2 + len(carry.plan_tree(width - 1, form).levels)


def compare_bytes(size: int, width: int, form: ComparisonForm, *, chosen: bool = False) -> int:
    """Return the bytes of a comparison by all parties; `chosen` adds the product with a tensor (select included)."""
    tree = carry.plan_tree(width - 1, form)
    planes = tree.leaf_planes + tree.node_planes + 2 * tree.opened_planes + 2
    words = sum(plane_words(part.size) for part in parts(size))
    return 8 * words * planes + 4 * size + (12 * size if chosen else 0)


def choose_form(session: Session, size: int, width: int) -> ComparisonForm:
    """Return the form for a comparison of `size` elements: fewer rounds while their bytes take less than a round."""
    if session.link is None:
        return session.comparison
    saved = compare_rounds(width, "low_byte") - compare_rounds(width, "low_round")
    more = compare_bytes(size, width, "low_round") - compare_bytes(size, width, "low_byte")
    return "low_round" if more / 3 < saved * session.link.latency * session.link.bandwidth else "low_byte"


@dataclass
class _Third:
    """One third of a running comparison."""

    part: Part
    role: Role
    share: Share
    dealt: carry.Dealt
    plain: Words
    half: Words | None = None
    product: Words | None = None


def _deal(session: Session, part: Part, d: Share, payload: Share | None, tree: carry.Tree) -> _Third:
    role, size = part.role(session), part.size
    width = 8 * d.dtype.itemsize
    planes = None
    if role is Role.DEALER:
        planes = np.empty((width, part.words), np.uint64)
        kernels.to_planes(common_value(part.cut(d), role), width, planes)
    dealt = carry.deal_carry(session, part, tree, None if planes is None else planes[: width - 1])
    third = _Third(part, role, part.cut(d), dealt, np.empty(size, np.uint32))
    if role is Role.RIGHT:
        return third
    stream = session.next_stream if role is Role.DEALER else session.previous_stream
    half = stream.words(size, np.uint32)
    product = stream.words(size, np.uint32) if payload is not None else None
    if planes is None:
        third.half, third.product = half, product
        return third
    kernels.from_plane(planes[width - 1] ^ dealt.output_mask, third.plain)
    if payload is None or product is None:
        session.send(part.right, third.plain - half)
    else:
        _send_choice(session, part, third.plain, common_value(part.cut(payload), role), half, product)
    return third


def _send_choice(session: Session, part: Part, rho: Words, a: Words, half: Words, product: Words) -> None:
    both = np.empty((2, part.size), np.uint32)
    kernels.deal_choice(rho, a, half, product, both[0], both[1])
    session.send(part.right, both)


def _evaluate(session: Session, third: _Third, tree: carry.Tree, *, chosen: bool) -> tuple[carry.Helper, Words]:
    width = 8 * third.share.dtype.itemsize
    planes = np.empty((width, third.part.words), np.uint64)
    kernels.to_planes(common_value(third.share, third.role), width, planes)
    helper = carry.start_helper(session, third.part, tree, third.dealt, planes)
    if third.role is Role.RIGHT:
        received = session.receive(third.part.dealer, (2 if chosen else 1, third.part.size), np.uint32)
        third.half = received[0]
        third.product = received[1] if chosen else None
    return helper, planes[width - 1]


def _compare(session: Session, d: Share, payload: Share | None, *, negative: bool) -> tuple[ChoiceBit, Share | None]:
    """Return the bit d < 0 (or d >= 0) and, with a payload, its product with it."""
    width = 8 * d.dtype.itemsize
    tree = carry.plan_tree(width - 1, choose_form(session, d.size, width))
    thirds = [_deal(session, part, d, payload, tree) for part in parts(d.size)]
    helping = [third for third in thirds if third.role is not Role.DEALER]
    started = [_evaluate(session, third, tree, chosen=payload is not None) for third in helping]
    carries = carry.run_levels(session, tree, [helper for helper, _ in started])
    opened = []
    for third, (helper, sign), carried in zip(helping, started, carries, strict=True):
        mine = carried ^ third.dealt.output_mask
        if third.role is Role.LEFT:
            mine ^= sign
            if not negative:
                np.invert(mine, out=mine)
        session.send(helper.other, mine)
        opened.append(mine)
    for third, (helper, _), mine in zip(helping, started, opened, strict=True):
        kernels.from_plane(mine ^ session.receive(helper.other, mine.shape), third.plain)
    bit = ChoiceBit(d.shape, tuple(t.plain for t in thirds), tuple(t.half for t in thirds))
    if payload is None:
        return bit, None
    return bit, _finish_select(session, bit, payload, [third.product for third in thirds])


def _finish_select(session: Session, bit: ChoiceBit, x: Share, products: list[Words | None]) -> Share:
    """Exchange the helpers' halves of bit * x, whose dealing is done, and return the share."""
    first, second = np.empty(x.size, np.uint32), np.empty(x.size, np.uint32)
    pieces = parts(x.size)
    waiting: list[tuple[Part, Role, Words, Words, Words]] = []
    for part, plain, half, product in zip(pieces, bit.plain, bit.halves, products, strict=True):
        role = part.role(session)
        low, high = first[part.start : part.stop], second[part.start : part.stop]
        if role is Role.DEALER:
            low[:] = session.previous_stream.words(part.size, np.uint32)
            high[:] = session.next_stream.words(part.size, np.uint32)
            continue
        if half is None or product is None:
            raise ValueError("a helper lacks its dealt halves")
        stream = session.previous_stream if role is Role.LEFT else session.next_stream
        mask = stream.words(part.size, np.uint32)
        piece = part.cut(x)
        b = common_value(piece, role)
        mine = np.empty(part.size, np.uint32)
        kernels.choice_term(plain, dealt_half(piece, role), product, half, b, mask, mine)
        session.send(part.right if role is Role.LEFT else part.left, mine)
        (low if role is Role.LEFT else high)[:] = mask
        waiting.append((part, role, plain, b, mine))
    for part, role, plain, b, mine in waiting:
        other = session.receive(part.right if role is Role.LEFT else part.left, part.size, np.uint32)
        common = mine.copy()  # what was sent must not change while it may still be in the sender's queue
        kernels.choice_end(plain, b, common, other)
        (second if role is Role.LEFT else first)[part.start : part.stop] = common
    return Share(first.reshape(x.shape), second.reshape(x.shape))


def _narrow_only(x: Share) -> None:
    if x.dtype != np.uint32:
        raise InputError("choosing works in Z_2^32: narrow the share first")


@costs(
    rounds=compare_rounds(32, "low_byte"),
    bytes_sent=lambda n: compare_bytes(n, 32, "low_byte"),
    note="on the width of the share's ring: within +-2^31 or 2^63 as an integer; low_byte form in Z_2^32",
)
def less_than_zero(session: Session, x: Share) -> ChoiceBit:
    """Return the bit x < 0 of every element of a share in Z_2^32 or Z_2^64."""
    return _compare(session, x, None, negative=True)[0]


@costs(rounds=2, bytes_sent=lambda n: 12 * n, note="reuses a comparison, as the backward pass does")
def select_ca(session: Session, bit: ChoiceBit, x: Share) -> Share:
    """Return bit * x for a Z_2^32 share of the bit's shape."""
    _narrow_only(x)
    if bit.shape != x.shape:
        raise InputError(f"a bit of shape {bit.shape} cannot choose from shape {x.shape}")
    flat = x.reshape(-1)
    products: list[Words | None] = []
    for part, plain in zip(parts(x.size), bit.plain, strict=True):
        role = part.role(session)
        if role is Role.RIGHT:
            products.append(None)
            continue
        stream = session.next_stream if role is Role.DEALER else session.previous_stream
        product = stream.words(part.size, np.uint32)
        if role is Role.DEALER:
            session.send(part.right, plain * common_value(part.cut(flat), role) - product)
        products.append(product)
    for i, part in enumerate(parts(x.size)):
        if part.role(session) is Role.RIGHT:
            products[i] = session.receive(part.dealer, part.size, np.uint32)
    return _finish_select(session, bit, flat, products).reshape(*x.shape)


@costs(
    rounds=compare_rounds(32, "low_byte") + 1,
    bytes_sent=lambda n: compare_bytes(n, 32, "low_byte", chosen=True),
    note="low_byte form; low_round: one round less",
)
def relu_a(session: Session, x: Share) -> tuple[Share, ChoiceBit]:
    """Return max(x, 0) and the bit x >= 0 for a Z_2^32 share."""
    _narrow_only(x)
    bit, chosen = _compare(session, x.reshape(-1), x.reshape(-1), negative=False)
    if chosen is None:
        raise ValueError("a payload was given")
    return chosen.reshape(*x.shape), ChoiceBit(x.shape, bit.plain, bit.halves)


@costs(
    rounds=compare_rounds(32, "low_byte") + 1,
    bytes_sent=lambda n: compare_bytes(n, 32, "low_byte", chosen=True),
    note="the difference must stay within the ring's width",
)
def maximum_aa(session: Session, x: Share, y: Share) -> tuple[Share, ChoiceBit]:
    """Return max(x, y) and the bit x >= y for two Z_2^32 shares."""
    rest, bit = relu_a(session, sub_aa(x, y))
    return add_aa(y, rest), bit


@costs(rounds=2, bytes_sent=lambda n: 12 * n)
def c2a(session: Session, bit: ChoiceBit) -> Share:
    """Return a choice bit as a Z_2^32 share of 0 or 1."""
    one = np.ones(bit.shape, np.uint32)
    nothing = np.zeros(bit.shape, np.uint32)
    return select_ca(
        session, bit, Share(one if session.party == 0 else nothing, one if session.party == 2 else nothing)
    )
