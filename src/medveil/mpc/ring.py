"""Linear algebra over Z_2^64 on uint64 arrays: matrix products and convolutions behind one contraction.

Two forms exist. `matmul` is exact modulo 2^64 (torch's int64 product). `contract_pair`, which every linear layer
uses, is right in the low 52 bits only, which is what a fixed-point product needs before its truncation, and is
about three times as fast where the processor has AVX-512 IFMA. A convolution and both of its gradients are the
same contraction with other offsets, so nothing is unfolded (no im2col copies) in the fast form.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import InputError, MissingExtraError
from medveil.mpc import ring_ifma

U64 = NDArray[np.uint64]
Ints = NDArray[np.int64]
VALID_BITS = 52


@dataclass(frozen=True)
class Contraction:
    """Offsets of out[i, j] = sum over k of a[i, k] b[k, j] into flat arrays; `shape` is that of the output."""

    a_at: tuple[Ints, Ints]
    b_at: tuple[Ints, Ints]
    c_at: tuple[Ints, Ints]
    shape: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Return the number of multiply-accumulates of one product."""
        return len(self.a_at[0]) * len(self.a_at[1]) * len(self.b_at[1])


def _grid(*parts: tuple[int, int]) -> Ints:
    """Return the flat offsets of a nested loop over (count, stride) pairs, outermost first."""
    offsets = np.zeros(1, dtype=np.int64)
    for count, stride in parts:
        offsets = (offsets[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
    return np.ascontiguousarray(offsets)


@functools.lru_cache(maxsize=256)
def plan_matmul(m: int, k: int, n: int, transpose_a: bool = False, transpose_b: bool = False) -> Contraction:
    """Return the plan of (m, k) times (k, n); a stored as (k, m) or b as (n, k) where transposed."""
    a = (_grid((m, 1)), _grid((k, m))) if transpose_a else (_grid((m, k)), _grid((k, 1)))
    b = (_grid((k, 1)), _grid((n, k))) if transpose_b else (_grid((k, n)), _grid((n, 1)))
    return Contraction(a, b, (_grid((m, n)), _grid((n, 1))), (m, n))


@functools.lru_cache(maxsize=256)
def plan_linear(n: int, k: int, o: int) -> Contraction:
    """Return the plan of a dense layer: a is w (o, k), b is x (n, k), out (n, o), so that a bias goes with a row."""
    return Contraction(
        (_grid((o, k)), _grid((k, 1))), (_grid((k, 1)), _grid((n, k))), (_grid((o, 1)), _grid((n, o))), (n, o)
    )


@functools.lru_cache(maxsize=256)
def plan_conv(x: tuple[int, int, int, int], w: tuple[int, int, int, int], stride: int) -> Contraction:
    """Return the plan of a valid convolution: a is w (O, C, kh, kw), b is x (N, C, H, W), out (N, O, OH, OW)."""
    n, c, height, width = x
    o, wc, kh, kw = w
    if wc != c or kh > height or kw > width or stride < 1:
        raise InputError(f"a convolution of {x} with {w} at stride {stride} has no output: check the layer's shapes")
    oh, ow = (height - kh) // stride + 1, (width - kw) // stride + 1
    window = _grid((c, height * width), (kh, width), (kw, 1))
    position = _grid((n, c * height * width), (oh, width * stride), (ow, stride))
    return Contraction(
        (_grid((o, c * kh * kw)), _grid((c * kh * kw, 1))),
        (window, position),
        (_grid((o, oh * ow)), _grid((n, o * oh * ow), (oh * ow, 1))),
        (n, o, oh, ow),
    )


@functools.lru_cache(maxsize=256)
def plan_conv_weight(x: tuple[int, int, int, int], w: tuple[int, int, int, int], stride: int) -> Contraction:
    """Return the plan of the gradient of w: a is the gradient (N, O, OH, OW), b is x, out (O, C, kh, kw)."""
    forward = plan_conv(x, w, stride)
    n, o, oh, ow = forward.shape
    return Contraction(
        (_grid((o, oh * ow)), _grid((n, o * oh * ow), (oh * ow, 1))),
        (forward.b_at[1], forward.b_at[0]),
        (_grid((o, w[1] * w[2] * w[3])), _grid((w[1] * w[2] * w[3], 1))),
        w,
    )


@functools.lru_cache(maxsize=256)
def plan_conv_input(g: tuple[int, int, int, int], w: tuple[int, int, int, int]) -> Contraction:
    """Return the plan of the gradient of x from g, which is already dilated by the stride and padded by k - 1.

    a is w (O, C, kh, kw) read flipped, b is g (N, O, H + kh - 1, W + kw - 1), out (N, C, H, W).
    """
    n, o, height, width = g
    _, c, kh, kw = w
    h, wd = height - kh + 1, width - kw + 1
    flipped = _grid((kh, -kw), (kw, -1)) + (kh * kw - 1)
    taps = (np.arange(o, dtype=np.int64)[:, None] * (c * kh * kw) + flipped).reshape(-1)
    return Contraction(
        (_grid((c, kh * kw)), np.ascontiguousarray(taps)),
        (_grid((o, height * width), (kh, width), (kw, 1)), _grid((n, o * height * width), (h, width), (wd, 1))),
        (_grid((c, h * wd)), _grid((n, c * h * wd), (h * wd, 1))),
        (n, c, h, wd),
    )


def matmul(a: U64, b: U64) -> U64:
    """Return the exact product modulo 2^64 of uint64 (m, k) and (k, n) matrices."""
    try:
        import torch
    except ImportError as e:
        raise MissingExtraError("the three-server computation", "mpc") from e
    left = torch.from_numpy(np.ascontiguousarray(a).view(np.int64))
    right = torch.from_numpy(np.ascontiguousarray(b).view(np.int64))
    product: U64 = (left @ right).numpy().view(np.uint64)
    return product


def contract_pair(
    plan: Contraction,
    a: tuple[U64, U64],
    b: tuple[U64, U64],
    *,
    bias: U64 | None = None,
    shift: int = 0,
    dtype: type[np.uint64] | type[np.uint32] = np.uint64,
    fast: bool | None = None,
) -> NDArray[Any]:
    """Return (a0 b0 + a1 b1 + bias) >> shift in the plan's shape; the low 52 - shift bits are right.

    a and b are flat-contiguous uint64 arrays laid out as the plan says, bias one word a row of the plan.
    `fast` chooses the IFMA kernel or torch; None takes the kernel where the processor has it.
    """
    out: NDArray[Any] = np.empty(int(np.prod(plan.shape)), dtype=dtype)
    rows = np.zeros(len(plan.a_at[0]), dtype=np.uint64) if bias is None else bias
    flat_a = (a[0].reshape(-1), a[1].reshape(-1))
    flat_b = (b[0].reshape(-1), b[1].reshape(-1))
    if ring_ifma.available() if fast is None else fast:
        ring_ifma.contract(flat_a, plan.a_at, flat_b, plan.b_at, out, plan.c_at, rows, shift)
    else:
        a_index = plan.a_at[0][:, None] + plan.a_at[1]
        b_index = plan.b_at[0][:, None] + plan.b_at[1]
        total = matmul(flat_a[0][a_index], flat_b[0][b_index]) + matmul(flat_a[1][a_index], flat_b[1][b_index])
        total += rows[:, None]
        out[(plan.c_at[0][:, None] + plan.c_at[1]).reshape(-1)] = (total >> np.uint64(shift)).reshape(-1)
    return out.reshape(plan.shape)
