"""Replicated shares: x = x0 + x1 + x2, party i holds (x_i, x_{i+1}); any two parties can open, one learns nothing.

Source: paper 002 section 4.1; Araki et al., CCS 2016. Elements live in Z_2^64 (uint64) or Z_2^32 (uint32); the
same pairs hold XOR shares of bit words in `protocols.rep3.boolean`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import InputError

Words = NDArray[Any]
PARTIES = 3


@dataclass(frozen=True, repr=False)
class Share:
    """One party's two components of a shared tensor: C-contiguous arrays of equal shape and dtype."""

    first: Words
    second: Words

    def __post_init__(self) -> None:
        if self.first.shape != self.second.shape or self.first.dtype != self.second.dtype:
            raise InputError("the two components of a share must have one shape and one dtype: this share is damaged")

    def __repr__(self) -> str:
        return f"Share(shape={self.first.shape}, dtype={self.first.dtype.name})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the shared tensor."""
        return self.first.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the ring's word: uint64 or uint32."""
        return self.first.dtype

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return int(self.first.size)

    def map(self, function: Callable[[Words], Words]) -> Share:
        """Return the share of a linear, shape-only change such as reshape or a slice, made contiguous."""
        return Share(np.ascontiguousarray(function(self.first)), np.ascontiguousarray(function(self.second)))

    def reshape(self, *shape: int) -> Share:
        """Return the same elements in another shape."""
        return Share(self.first.reshape(shape), self.second.reshape(shape))


def random_words(shape: tuple[int, ...], dtype: Any = np.uint64) -> Words:
    """Return uniform ring elements from the operating system."""
    count = int(np.prod(shape, dtype=np.int64))
    width = np.dtype(dtype).itemsize
    return np.frombuffer(bytearray(secrets.token_bytes(count * width)), dtype=dtype).reshape(shape)


def split(words: Words) -> tuple[Share, Share, Share]:
    """Return the three parties' shares of ring elements, drawn from the operating system's randomness."""
    first, second = random_words(words.shape, words.dtype), random_words(words.shape, words.dtype)
    third = words - first - second
    return Share(first, second), Share(second, third), Share(third, first)


def join(shares: tuple[Share, Share, Share]) -> Words:
    """Return the shared ring elements; refuses shares that are not replicas of one another."""
    a, b, c = shares
    if not (a.shape == b.shape == c.shape and a.dtype == b.dtype == c.dtype):
        raise InputError("the three shares differ in shape or dtype: they are not of one tensor")
    matches = ((a.second, b.first), (b.second, c.first), (c.second, a.first))
    if not all(np.array_equal(left, right) for left, right in matches):
        raise InputError("the three shares disagree on a common component: one server answered wrongly")
    total: Words = a.first + b.first + c.first
    return total
