"""Plain fixed point under the same interface: the program's meaning, without servers and without secrecy.

Every operation of `rep3` is tested against this engine within its stated error. It also predicts what a private
training will do, as it rounds where the protocol rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.mpc import ring
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.protocols.engine import Engine
from medveil.mpc.ring import Contraction

Words = NDArray[Any]


def signed(x: Words) -> NDArray[np.int64]:
    """Return ring words as two's complement integers of their own width."""
    return x.view(np.int32).astype(np.int64) if x.dtype == np.uint32 else x.view(np.int64)


class Cleartext(Engine):
    """Ring words in the open; `seed` fixes shuffles and masks, which are public in every protocol."""

    def __init__(self, fixed: FixedPoint | None = None, seed: int = 0) -> None:
        self.fixed = fixed or FixedPoint()
        self._public = np.random.Generator(np.random.PCG64(seed))

    def __repr__(self) -> str:
        return f"Cleartext({self.fixed})"

    def shape(self, x: Words) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return x.shape

    def is_wide(self, x: Words) -> bool:
        """Return whether a tensor lives in Z_2^64."""
        return x.dtype == np.uint64

    def map(self, x: Words, function: Callable[[Words], Words]) -> Words:
        """Return a linear function of the words."""
        return np.ascontiguousarray(function(x))

    def join(self, tensors: Sequence[Words], axis: int = 0) -> Words:
        """Return the tensors concatenated."""
        return np.concatenate(tensors, axis=axis)

    def public(self, values: ArrayLike, *, wide: bool = True, fraction: int | None = None) -> Words:
        """Return fixed-point words of reals."""
        bits = self.fixed.fraction if fraction is None else fraction
        words: Words = np.rint(np.asarray(values, np.float64) * 2.0**bits).astype(np.int64).view(np.uint64)
        return words if wide else words.astype(np.uint32)

    def add(self, x: Words, y: Words) -> Words:
        """Return x + y."""
        total: Words = x + y
        return total

    def sub(self, x: Words, y: Words) -> Words:
        """Return x - y."""
        rest: Words = x - y
        return rest

    def times(self, x: Words, factor: int | NDArray[np.int64]) -> Words:
        """Return x times a public integer."""
        product: Words = x * np.asarray(factor, np.int64).astype(x.dtype)
        return product

    def linear(
        self, plan: Contraction, a: Words, b: Words, bias: Words | None = None, shift: int | None = None
    ) -> Words:
        """Return the narrow, rounded contraction."""
        drop = self.fixed.fraction if shift is None else shift
        rows = np.full(len(plan.a_at[0]), 1 << (drop - 1), np.uint64)
        if bias is not None:
            rows += bias.reshape(-1) << np.uint64(self.fixed.fraction)
        return ring.contract_pair(plan, (a, np.zeros_like(a)), (b, b), bias=rows, shift=drop, dtype=np.uint32)

    def mul_narrow(self, x: Words, y: Words, shift: int | None = None) -> Words:
        """Return the narrow, rounded product."""
        return self.narrow(x * y, self.fixed.fraction if shift is None else shift)

    def narrow(self, x: Words, shift: int = 0) -> Words:
        """Return x over 2^shift, rounded, narrow."""
        half = np.int64((1 << shift) >> 1)
        return ((signed(x) + half) >> np.int64(shift)).astype(np.uint32)

    def extend(self, x: Words) -> Words:
        """Return x wide."""
        return signed(x).view(np.uint64)

    def trunc(self, x: Words, shift: int | None = None) -> Words:
        """Return x over 2^shift, rounded."""
        drop = self.fixed.fraction if shift is None else shift
        return ((signed(x) + np.int64(1 << (drop - 1))) >> np.int64(drop)).view(np.uint64)

    def negative(self, x: Words) -> NDArray[np.bool_]:
        """Return x < 0."""
        return signed(x) < 0

    def relu(self, x: Words) -> tuple[Words, NDArray[np.bool_]]:
        """Return max(x, 0) and x >= 0."""
        bit = signed(x) >= 0
        return np.where(bit, x, x.dtype.type(0)), bit

    def choose(self, bit: NDArray[np.bool_], x: Words) -> Words:
        """Return bit times x."""
        return np.where(bit, x, x.dtype.type(0))

    def flip(self, bit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the complement."""
        return ~bit

    def number(self, bit: NDArray[np.bool_]) -> Words:
        """Return 0 or 1."""
        return bit.astype(np.uint32)

    def exp2(self, t: Words) -> Words:
        """Return 2^t, rounded."""
        return self.public(np.exp2(signed(t) / self.fixed.one))

    def public_permutation(self, size: int) -> NDArray[np.int64]:
        """Return a random permutation."""
        return self._public.permutation(size)

    def public_mask(self, shape: tuple[int, ...], keep: float) -> NDArray[np.int64]:
        """Return a random mask."""
        return (self._public.random(shape) < keep).astype(np.int64)
