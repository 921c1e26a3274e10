"""The engine of one of three servers: every operation on this party's share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.mpc.protocols.engine import Engine
from medveil.mpc.protocols.rep3 import arithmetic, comparison, exponential, truncation
from medveil.mpc.protocols.rep3.comparison import ChoiceBit
from medveil.mpc.ring import Contraction
from medveil.mpc.session import Session
from medveil.mpc.shares import Share, Words


class Rep3(Engine):
    """Replicated shares over a session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.fixed = session.fixed

    def __repr__(self) -> str:
        return f"Rep3({self.session!r})"

    def shape(self, x: Share) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return x.shape

    def is_wide(self, x: Share) -> bool:
        """Return whether a tensor lives in Z_2^64."""
        return x.dtype == np.uint64

    def map(self, x: Share, function: Callable[[Words], Words]) -> Share:
        """Return a linear function of the words, applied to both components."""
        return x.map(function)

    def join(self, tensors: Sequence[Share], axis: int = 0) -> Share:
        """Return the shares concatenated."""
        return Share(
            np.concatenate([t.first for t in tensors], axis=axis),
            np.concatenate([t.second for t in tensors], axis=axis),
        )

    def public(self, values: ArrayLike, *, wide: bool = True, fraction: int | None = None) -> Share:
        """Return shares of reals that everyone knows."""
        bits = self.fixed.fraction if fraction is None else fraction
        words: Words = np.rint(np.asarray(values, np.float64) * 2.0**bits).astype(np.int64).view(np.uint64)
        return arithmetic.share_public(self.session, words if wide else words.astype(np.uint32))

    def add(self, x: Share, y: Share) -> Share:
        """Return x + y."""
        return arithmetic.add_aa(x, y)

    def sub(self, x: Share, y: Share) -> Share:
        """Return x - y."""
        return arithmetic.sub_aa(x, y)

    def times(self, x: Share, factor: int | NDArray[np.int64]) -> Share:
        """Return x times a public integer."""
        return arithmetic.mul_ap(x, np.asarray(factor, np.int64))

    def linear(
        self, plan: Contraction, a: Share, b: Share, bias: Share | None = None, shift: int | None = None
    ) -> Share:
        """Return the narrow, truncated contraction."""
        return arithmetic.linear_narrow(self.session, plan, a, b, bias, shift)

    def mul_narrow(self, x: Share, y: Share, shift: int | None = None) -> Share:
        """Return the narrow, truncated product."""
        return arithmetic.mul_narrow(self.session, x, y, shift)

    def narrow(self, x: Share, shift: int = 0) -> Share:
        """Return x over 2^shift, narrow."""
        return truncation.narrow_a(self.session, x, shift)

    def extend(self, x: Share) -> Share:
        """Return x wide."""
        return truncation.extend_a(self.session, x)

    def trunc(self, x: Share, shift: int | None = None) -> Share:
        """Return x over 2^shift, wide."""
        return truncation.trunc_a(self.session, x, shift)

    def negative(self, x: Share) -> ChoiceBit:
        """Return x < 0."""
        return comparison.less_than_zero(self.session, x)

    def relu(self, x: Share) -> tuple[Share, ChoiceBit]:
        """Return max(x, 0) and x >= 0."""
        return comparison.relu_a(self.session, x)

    def choose(self, bit: ChoiceBit, x: Share) -> Share:
        """Return bit times x."""
        return comparison.select_ca(self.session, bit, x)

    def flip(self, bit: ChoiceBit) -> ChoiceBit:
        """Return the complement."""
        return bit.flipped(self.session)

    def number(self, bit: ChoiceBit) -> Share:
        """Return 0 or 1."""
        return comparison.c2a(self.session, bit)

    def exp2(self, t: Share) -> Share:
        """Return 2^t."""
        return exponential.exp2_a(self.session, t)

    def public_permutation(self, size: int) -> NDArray[np.int64]:
        """Return a permutation from the randomness common to all."""
        keys: NDArray[Any] = self.session.public_stream.words(size)
        return np.argsort(keys, kind="stable")

    def public_mask(self, shape: tuple[int, ...], keep: float) -> NDArray[np.int64]:
        """Return a mask from the randomness common to all."""
        words = self.session.public_stream.words(shape, np.uint32)
        return (words < np.uint32(min(keep * 2.0**32, 2.0**32 - 1))).astype(np.int64)
