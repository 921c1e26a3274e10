"""What a program may do with values it cannot see; `rep3` computes it on shares, `cleartext` on plain fixed point.

Tensors are opaque. A *wide* tensor lives in Z_2^64, a *narrow* one in Z_2^32, both at f fraction bits; narrow ones
are what linear layers produce and comparisons take, wide ones what linear layers take. The range is |v| < 2^14.
Programs (`nn`, `functions`) are written once against this class.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.ring import Contraction

Tensor = Any
Bit = Any


class Engine(abc.ABC):
    """The operations of a protocol. `fixed` is the fixed-point format."""

    fixed: FixedPoint

    @abc.abstractmethod
    def shape(self, x: Tensor) -> tuple[int, ...]:
        """Return a tensor's shape."""

    @abc.abstractmethod
    def is_wide(self, x: Tensor) -> bool:
        """Return whether a tensor lives in Z_2^64."""

    @abc.abstractmethod
    def map(self, x: Tensor, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensor:
        """Return a linear function of the ring's words (reshape, slice, sum, pad with zero), applied locally."""

    @abc.abstractmethod
    def join(self, tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
        """Return tensors of one ring, concatenated."""

    @abc.abstractmethod
    def public(self, values: ArrayLike, *, wide: bool = True, fraction: int | None = None) -> Tensor:
        """Return a tensor of reals that everyone knows, at `fraction` bits (f by default)."""

    @abc.abstractmethod
    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x + y in one ring; shapes broadcast."""

    @abc.abstractmethod
    def sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return x - y in one ring; shapes broadcast."""

    @abc.abstractmethod
    def times(self, x: Tensor, factor: int | NDArray[np.int64]) -> Tensor:
        """Return x times a public integer (or array of them), not truncated."""

    @abc.abstractmethod
    def linear(
        self, plan: Contraction, a: Tensor, b: Tensor, bias: Tensor | None = None, shift: int | None = None
    ) -> Tensor:
        """Return the narrow, truncated contraction of two wide tensors."""

    @abc.abstractmethod
    def mul_narrow(self, x: Tensor, y: Tensor, shift: int | None = None) -> Tensor:
        """Return the narrow, truncated elementwise product of two wide tensors."""

    @abc.abstractmethod
    def narrow(self, x: Tensor, shift: int = 0) -> Tensor:
        """Return a wide tensor over 2^shift, narrow."""

    @abc.abstractmethod
    def extend(self, x: Tensor) -> Tensor:
        """Return a narrow tensor, wide."""

    @abc.abstractmethod
    def trunc(self, x: Tensor, shift: int | None = None) -> Tensor:
        """Return a wide tensor over 2^shift (f by default), wide."""

    @abc.abstractmethod
    def negative(self, x: Tensor) -> Bit:
        """Return the bit x < 0."""

    @abc.abstractmethod
    def relu(self, x: Tensor) -> tuple[Tensor, Bit]:
        """Return a narrow max(x, 0) and the bit x >= 0."""

    @abc.abstractmethod
    def choose(self, bit: Bit, x: Tensor) -> Tensor:
        """Return bit times a narrow tensor."""

    @abc.abstractmethod
    def flip(self, bit: Bit) -> Bit:
        """Return the complement of a bit."""

    @abc.abstractmethod
    def number(self, bit: Bit) -> Tensor:
        """Return a bit as narrow ring elements 0 or 1 (integers, not fixed point)."""

    @abc.abstractmethod
    def exp2(self, t: Tensor) -> Tensor:
        """Return 2^t, wide, for -17 <= t < 13."""

    @abc.abstractmethod
    def public_permutation(self, size: int) -> NDArray[np.int64]:
        """Return a fresh random permutation that every party knows."""

    @abc.abstractmethod
    def public_mask(self, shape: tuple[int, ...], keep: float) -> NDArray[np.int64]:
        """Return a fresh random 0/1 mask that every party knows, 1 with probability `keep`."""

    def wide(self, x: Tensor) -> Tensor:
        """Return x wide, extending it where it is narrow."""
        return x if self.is_wide(x) else self.extend(x)

    def slim(self, x: Tensor) -> Tensor:
        """Return x narrow."""
        return self.narrow(x) if self.is_wide(x) else x

    def maximum(self, x: Tensor, y: Tensor) -> tuple[Tensor, Bit]:
        """Return the narrow max(x, y) and the bit x >= y."""
        rest, bit = self.relu(self.sub(x, y))
        return self.add(y, rest), bit

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the wide, truncated product of two tensors; shapes broadcast."""
        x, y = self.wide(x), self.wide(y)
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        return self.extend(self.mul_narrow(self.broadcast(x, shape), self.broadcast(y, shape)))

    def broadcast(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return x repeated to a shape."""
        return x if self.shape(x) == shape else self.map(x, lambda w: np.broadcast_to(w, shape))

    def scale(self, x: Tensor, factor: float) -> Tensor:
        """Return a narrow x times a public real."""
        encoded = int(self.fixed.encode(factor).view(np.int64))
        return self.narrow(self.times(self.wide(x), encoded), self.fixed.fraction)

    def cut(self, x: Tensor, *index: Any) -> Tensor:
        """Return x[index], a copy."""
        return self.map(x, lambda w: w[index])

    def total(self, x: Tensor, axis: int | tuple[int, ...] | None = None, *, keep: bool = False) -> Tensor:
        """Return the sum over axes, in the ring."""
        return self.map(x, lambda w: np.asarray(w.sum(axis=axis, keepdims=keep, dtype=w.dtype)))

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """Return x in another shape."""
        return self.map(x, lambda w: w.reshape(shape))

    def shift_by(self, x: Tensor, value: float) -> Tensor:
        """Return x plus a public real."""
        return self.add(x, self.broadcast(self.public(value, wide=self.is_wide(x)), self.shape(x)))
