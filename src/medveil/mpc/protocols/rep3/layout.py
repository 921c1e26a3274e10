"""How a tensor is cut: into thirds whose dealer role rotates, and into bit planes.

Many rep3 operations see a tensor as A + B, where A = x_j + x_{j+1} is known to party j (the *dealer*) and
B = x_{j+2} to the two others, the *left* (j + 1) and the *right* (j + 2) helper. The dealer shares a key with each
helper and the helpers share one that the dealer lacks. The flattened tensor is cut into thirds, and party j deals
in the j-th, so all three do the same work.

Bit planes: elements are taken in blocks of 4096. In a block of n elements with w = ceil(n / 64) words a plane, bit r
of word c is the bit of element r w + c, so a block turns into planes by a vectorised transpose of rows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words

BLOCK_WORDS = 64
BLOCK = 64 * BLOCK_WORDS


class Role(enum.IntEnum):
    """What a party is in one third of a tensor."""

    DEALER = 0
    LEFT = 1
    RIGHT = 2


@dataclass(frozen=True)
class Part:
    """One non-empty third: elements start to stop of the flattened tensor; `dealer` deals in it."""

    dealer: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return self.stop - self.start

    @property
    def words(self) -> int:
        """Return the number of 64-bit words of one bit plane."""
        return plane_words(self.size)

    @property
    def left(self) -> int:
        """Return the party that helps from the left."""
        return (self.dealer + 1) % 3

    @property
    def right(self) -> int:
        """Return the party that helps from the right."""
        return (self.dealer + 2) % 3

    def role(self, session: Session) -> Role:
        """Return what this party is in the part."""
        return Role((session.party - self.dealer) % 3)

    def cut(self, share: Share) -> Share:
        """Return the part of a share, flat."""
        return Share(share.first.reshape(-1)[self.start : self.stop], share.second.reshape(-1)[self.start : self.stop])


def plane_words(size: int) -> int:
    """Return the number of words of one bit plane of `size` elements: whole blocks, then ceil(rest / 64)."""
    return -(-size // 64)


def parts(size: int) -> list[Part]:
    """Return the non-empty thirds of `size` elements, cut at whole words; small tensors are one part."""
    third = size // 3 // 64 * 64
    if third > BLOCK:
        third = third // BLOCK * BLOCK
    cuts = [0, third, 2 * third, size] if third else [0, size, size, size]
    return [Part(j, cuts[j], cuts[j + 1]) for j in range(3) if cuts[j + 1] > cuts[j]]


def common_value(share: Share, role: Role) -> Words:
    """Return what a role knows of x = A + B: the dealer A, the helpers B."""
    if role is Role.DEALER:
        total: Words = share.first + share.second
        return total
    return share.second if role is Role.LEFT else share.first


def dealt_half(share: Share, role: Role) -> Words:
    """Return a helper's additive half of A: x_{j+1} for the left helper, x_j for the right one."""
    return share.first if role is Role.LEFT else share.second
