"""The carry of A + B, A known to a dealer and B to both helpers, as an XOR sharing between the helpers.

The dealer shares all products of its bits in groups of up to four (or five) neighbours; a helper, who knows B's bits,
turns them into shares of the group's *generate* and *propagate* without a message. Groups are merged by nodes: the
helpers open their inputs under masks whose products the dealer has shared too, so a node of any number of
children costs one exchange of bits. Two forms: "low_byte" (groups of 4, nodes of at most 4: two exchanges for 31
bits) and "low_round" (groups of 5 or 6, one node: one exchange for 31 bits, more bytes).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from medveil.mpc.protocols.rep3 import kernels
from medveil.mpc.protocols.rep3.layout import Part, Role
from medveil.mpc.session import ComparisonForm, Session
from medveil.mpc.shares import Words

_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Node:
    """Children `start` .. `start + count - 1` of the level below; `first` is 1 where child 0 needs no propagate."""

    start: int
    count: int
    first: int

    @property
    def opened(self) -> int:
        """Return how many bits are opened: propagates of children first.., generates of all but the top one."""
        return self.count - self.first + self.count - 1

    @property
    def dealt(self) -> int:
        """Return how many products of masks the dealer shares."""
        n = self.count - self.first
        pairs = (1 << n) - 1 - n
        return pairs + sum((1 << (n - (g + 1 - self.first))) - 1 for g in range(self.count - 1))


@dataclass(frozen=True)
class Tree:
    """The groups of bits, low to high, and the levels of nodes above them."""

    groups: tuple[int, ...]
    levels: tuple[tuple[Node, ...], ...]

    @property
    def leaf_planes(self) -> int:
        """Return the planes of dealt products of the dealer's bits."""
        return sum((1 << k) - 1 for k in self.groups)

    @property
    def node_planes(self) -> int:
        """Return the planes of dealt products of masks."""
        return sum(node.dealt for level in self.levels for node in level)

    @property
    def opened_planes(self) -> int:
        """Return the planes each helper sends in all levels."""
        return sum(node.opened for level in self.levels for node in level)


@functools.cache
def plan_tree(bits: int, form: ComparisonForm) -> Tree:
    """Return the tree for the carry of `bits` low bits."""
    if form == "low_byte":
        groups = [4] * (bits // 4)
        if bits % 4:
            groups.insert(0, bits % 4)
        radix = 4
    else:
        count = max(1, -(-bits // 6)) if bits < 36 else -(-bits // 5)
        groups = [bits // count + (1 if i >= count - bits % count else 0) for i in range(count)]
        radix = 7
    levels: list[tuple[Node, ...]] = []
    remaining = len(groups)
    while remaining > 1:
        starts = range(0, remaining, radix)
        levels.append(tuple(Node(s, min(radix, remaining - s), 1 if s == 0 else 0) for s in starts))
        remaining = len(starts)
    return Tree(tuple(groups), tuple(levels))


@dataclass
class Dealt:
    """What a role keeps from the dealing: product shares (or the message), mask halves, and the output's mask."""

    planes: Words
    masks: Words
    output_mask: Words


def deal_carry(session: Session, part: Part, tree: Tree, dealer_bits: Words | None) -> Dealt:
    """Draw the dealer's and this party's randomness; the dealer also fills in the products and sends them.

    Args:
        session: this party's session.
        part: which third.
        tree: from `plan_tree`.
        dealer_bits: at the dealer, its bits as (bits, words) planes.
    """
    role, words = part.role(session), part.words
    total, opened = tree.leaf_planes + tree.node_planes, tree.opened_planes
    if role is Role.RIGHT:
        masks = session.next_stream.words((opened + 1, words))
        return Dealt(np.empty(0, np.uint64), masks[:opened], masks[opened])
    stream = session.next_stream if role is Role.DEALER else session.previous_stream
    planes = stream.words((total, words))
    masks = stream.words((opened + 1, words))
    if role is Role.DEALER:
        masks ^= session.previous_stream.words((opened + 1, words))
        if dealer_bits is None:
            raise ValueError("the dealer deals its own bits")
        _fill(tree, planes, masks, dealer_bits)
        session.send(part.right, planes)
    return Dealt(planes, masks[:opened], masks[opened])


def _fill(tree: Tree, planes: Words, masks: Words, bits: Words) -> None:
    """XOR the products of the dealer's bits and of the masks into the left helper's random planes."""
    row = bit = 0
    for k in tree.groups:
        kernels.deal_leaf(bits[bit : bit + k], planes[row : row + (1 << k) - 1])
        bit, row = bit + k, row + (1 << k) - 1
    at = 0
    for level in tree.levels:
        for node in level:
            n = node.count - node.first
            p_masks, g_masks = masks[at : at + n], masks[at + n : at + node.opened]
            kernels.deal_node(p_masks, g_masks, node.first, planes[row : row + node.dealt])
            at, row = at + node.opened, row + node.dealt


@dataclass
class Helper:
    """A helper's running evaluation in one third: shares of generate and propagate of the present level."""

    part: Part
    role: Role
    dealt: Dealt
    generate: Words
    propagate: Words
    row: int = 0
    at: int = 0

    @property
    def constant(self) -> np.uint64:
        """Return this helper's share of the constant 1."""
        return _ONES if self.role is Role.LEFT else np.uint64(0)

    @property
    def other(self) -> int:
        """Return the other helper's number."""
        return self.part.right if self.role is Role.LEFT else self.part.left


def start_helper(session: Session, part: Part, tree: Tree, dealt: Dealt, bits: Words) -> Helper:
    """Receive the products (right helper) and evaluate the groups on this helper's bits (bits, words)."""
    role = part.role(session)
    if role is Role.RIGHT:
        dealt.planes = session.receive(part.dealer, (tree.leaf_planes + tree.node_planes, part.words))
    count = len(tree.groups)
    helper = Helper(
        part, role, dealt, np.empty((count, part.words), np.uint64), np.empty((count, part.words), np.uint64)
    )
    bit = 0
    for i, k in enumerate(tree.groups):
        products = dealt.planes[helper.row : helper.row + (1 << k) - 1]
        kernels.evaluate_leaf(bits[bit : bit + k], products, helper.constant, helper.generate[i], helper.propagate[i])
        bit, helper.row = bit + k, helper.row + (1 << k) - 1
    return helper


def _inputs(node: Node, helper: Helper) -> Words:
    stop = node.start + node.count
    return np.concatenate([helper.propagate[node.start + node.first : stop], helper.generate[node.start : stop - 1]])


def open_level(session: Session, helper: Helper, level: tuple[Node, ...]) -> Words:
    """Send this helper's masked inputs of a level and return them."""
    masked = np.concatenate([_inputs(node, helper) for node in level])
    masked ^= helper.dealt.masks[helper.at : helper.at + len(masked)]
    session.send(helper.other, masked)
    return masked


def close_level(session: Session, helper: Helper, level: tuple[Node, ...], sent: Words) -> None:
    """Receive the other helper's masked inputs and evaluate the level's nodes."""
    opened = session.receive(helper.other, sent.shape)
    opened ^= sent
    words = helper.part.words
    generate, propagate = np.empty((len(level), words), np.uint64), np.empty((len(level), words), np.uint64)
    at = 0
    for i, node in enumerate(level):
        own = helper.dealt.masks[helper.at + at : helper.at + at + node.opened]
        products = helper.dealt.planes[helper.row : helper.row + node.dealt]
        top = helper.generate[node.start + node.count - 1]
        kernels.evaluate_node(
            opened[at : at + node.opened], own, products, node.first, node.count, helper.constant, top,
            generate[i], propagate[i],
        )  # fmt: skip
        at, helper.row = at + node.opened, helper.row + node.dealt
    helper.at += at
    helper.generate, helper.propagate = generate, propagate


def run_levels(session: Session, tree: Tree, helpers: list[Helper]) -> list[Words]:
    """Merge all groups, the thirds side by side; returns each third's share of the carry."""
    for level in tree.levels:
        sent = [open_level(session, helper, level) for helper in helpers]
        for helper, masked in zip(helpers, sent, strict=True):
            close_level(session, helper, level, masked)
    return [helper.generate[0] for helper in helpers]
