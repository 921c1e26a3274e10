# mypy: disable-error-code="no-untyped-def"
"""Loops that numpy would make many passes for, compiled by numba: bit planes, carry trees, multiplexing, wraps.

Every kernel is a pure function of flat arrays; the protocol around it lives in the sibling modules, and each has a
plain numpy oracle in the tests. Words are uint64 planes as `layout` describes, elements uint32 or uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_BLOCK_WORDS = 64
_ONE = np.uint64(1)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_jit: Any = njit(nogil=True, cache=True)


@_jit
def to_planes(elements, bits, planes):
    """Write the low `bits` bits of every element into planes[bit, word]."""
    size = elements.shape[0]
    rows = np.empty((64, _BLOCK_WORDS), np.uint64)
    start = 0
    word = 0
    while start < size:
        count = min(64 * _BLOCK_WORDS, size - start)
        width = (count + 63) // 64
        for r in range(64):
            base = r * width
            filled = min(width, max(0, count - base))
            for c in range(filled):
                rows[r, c] = np.uint64(elements[start + base + c])
            for c in range(filled, width):
                rows[r, c] = np.uint64(0)
        half = 32
        limit = 64
        mask = np.uint64(0x00000000FFFFFFFF)
        while half > 0:
            shift = np.uint64(half)
            low = 0
            while low < limit:
                for r in range(low, low + half):
                    for c in range(width):
                        t = ((rows[r, c] >> shift) ^ rows[r + half, c]) & mask
                        rows[r + half, c] ^= t
                        rows[r, c] ^= t << shift
                low += 2 * half
            if bits <= 32:
                limit = 32  # the upper rows hold no wanted bit
            half //= 2
            mask = mask ^ (mask << np.uint64(half))
        for b in range(bits):
            for c in range(width):
                planes[b, word + c] = rows[b, c]
        start += count
        word += width


@_jit
def from_plane(plane, out):
    """Write the bit of every element of a plane as 0 or 1."""
    size = out.shape[0]
    start = 0
    word = 0
    while start < size:
        count = min(64 * _BLOCK_WORDS, size - start)
        width = (count + 63) // 64
        for r in range(64):
            base = r * width
            for c in range(min(width, max(0, count - base))):
                out[start + base + c] = (plane[word + c] >> np.uint64(r)) & _ONE
        start += count
        word += width


@_jit
def deal_leaf(bits, dealt):
    """XOR all products of the dealer's bits (k, words) into dealt (2^k - 1, words); row s - 1 is subset s."""
    k, words = bits.shape
    product = np.empty((1 << k, _BLOCK_WORDS), np.uint64)
    for at in range(0, words, _BLOCK_WORDS):
        width = min(_BLOCK_WORDS, words - at)
        for c in range(width):
            product[0, c] = _ONES
        for i in range(k):
            for s in range(1 << i):
                for c in range(width):
                    value = product[s, c] & bits[i, at + c]
                    product[s + (1 << i), c] = value
                    dealt[s + (1 << i) - 1, at + c] ^= value


@_jit
def evaluate_leaf(bits, dealt, constant, generate, propagate):
    """From shares of the dealer's products and the helpers' bits, shares of a group's generate and propagate."""
    k, words = bits.shape
    value = np.empty((1 << k, _BLOCK_WORDS), np.uint64)
    for at in range(0, words, _BLOCK_WORDS):
        width = min(_BLOCK_WORDS, words - at)
        for c in range(width):
            value[0, c] = constant
            generate[at + c] = np.uint64(0)
        for s in range(1, 1 << k):
            for c in range(width):
                value[s, c] = dealt[s - 1, at + c]
        for i in range(k - 1, -1, -1):
            half = 1 << i
            for c in range(width):
                generate[at + c] ^= bits[i, at + c] & value[half, c]
            for s in range(half):
                for c in range(width):
                    value[s, c] = (bits[i, at + c] & value[s, c]) ^ value[s + half, c]
        for c in range(width):
            propagate[at + c] = value[0, c]


@_jit
def deal_node(p_masks, g_masks, first, dealt):
    """XOR the products of a node's masks into dealt: subsets of two or more of p, then per g its p subsets above it.

    p_masks (n, words) belong to children first .. first + n - 1, g_masks (m, words) to children 0 .. m - 1, where
    child m is the top one, whose generate needs no mask.
    """
    n, words = p_masks.shape
    m = g_masks.shape[0]
    product = np.empty((1 << n, _BLOCK_WORDS), np.uint64)
    for at in range(0, words, _BLOCK_WORDS):
        width = min(_BLOCK_WORDS, words - at)
        for c in range(width):
            product[0, c] = _ONES
        row = 0
        for i in range(n):
            for s in range(1 << i):
                for c in range(width):
                    product[s + (1 << i), c] = product[s, c] & p_masks[i, at + c]
                if s != 0:
                    for c in range(width):
                        dealt[row, at + c] ^= product[s + (1 << i), c]
                    row += 1
        for g in range(m):
            below = g + 1 - first
            for s in range(1, 1 << (n - below)):
                for c in range(width):
                    dealt[row, at + c] ^= product[s << below, c] & g_masks[g, at + c]
                row += 1


@_jit
def evaluate_node(opened, own, dealt, first, count, constant, top, generate, propagate):
    """From a node's opened bits and shares of the masks' products, shares of its generate and propagate.

    opened and own (n + m, words): the masked values both helpers know and this helper's mask halves, p before g;
    top (words,) is this helper's share of the top child's generate.
    """
    words = opened.shape[1]
    m = count - 1
    n = count - first
    value = np.empty((1 << n, _BLOCK_WORDS), np.uint64)
    lower = np.empty((m * (1 << n) + 1, _BLOCK_WORDS), np.uint64)
    for at in range(0, words, _BLOCK_WORDS):
        width = min(_BLOCK_WORDS, words - at)
        for c in range(width):
            value[0, c] = constant
            generate[at + c] = top[at + c]
        row = 0
        for i in range(n):
            for s in range(1 << i):
                for c in range(width):
                    value[s + (1 << i), c] = own[i, at + c] if s == 0 else dealt[row, at + c]
                if s != 0:
                    row += 1
        for g in range(m):
            for s in range(1 << (n - (g + 1 - first))):
                for c in range(width):
                    lower[(g << n) + s, c] = own[n + g, at + c] if s == 0 else dealt[row, at + c]
                if s != 0:
                    row += 1
        for i in range(n - 1, -1, -1):
            half = 1 << i
            child = first + i
            if child < m:
                for c in range(width):
                    generate[at + c] ^= (opened[n + child, at + c] & value[0, c]) ^ lower[child << n, c]
            # Fold variable i: the masked bit times the products without it, plus those with it.
            for s in range(half):
                for c in range(width):
                    value[s, c] = (opened[i, at + c] & value[s, c]) ^ value[s + half, c]
            for g in range(min(m, child)):
                inner = 1 << (i - (g + 1 - first))
                for s in range(inner):
                    for c in range(width):
                        lower[(g << n) + s, c] = (opened[i, at + c] & lower[(g << n) + s, c]) ^ lower[
                            (g << n) + s + inner, c
                        ]
        if first == 1 and m > 0:
            for c in range(width):
                generate[at + c] ^= (opened[n, at + c] & value[0, c]) ^ lower[0, c]
        for c in range(width):
            propagate[at + c] = value[0, c]


@_jit
def deal_choice(rho, a, rho_stream, product_stream, rho_out, product_out):
    """Dealer: rho and rho a, each less the left helper's random half."""
    for i in range(a.shape[0]):
        rho_out[i] = rho[i] - rho_stream[i]
        product_out[i] = rho[i] * a[i] - product_stream[i]


@_jit
def choice_term(chosen, half, product, rho_half, b, mask, out):
    """Helper: its additive half of bit times x, less what both helpers know, under a mask common with the dealer."""
    for i in range(b.shape[0]):
        c = chosen[i]
        kept = product[i] + c * (half[i] - product[i] - product[i])
        cross = b[i] * rho_half[i]
        out[i] = kept + cross - (c + c) * cross - mask[i]


@_jit
def choice_end(chosen, b, mine, other):
    """Helper: the component that both helpers hold, written over `mine`."""
    for i in range(b.shape[0]):
        mine[i] += other[i] + chosen[i] * b[i]


@_jit
def product_local(x0, x1, y0, y1, out):
    """One party's additive share of x y: x0 (y0 + y1) + x1 y0, added to `out`, which holds a zero share."""
    for i in range(x0.shape[0]):
        out[i] += x0[i] * (y0[i] + y1[i]) + x1[i] * y0[i]


@_jit
def product_narrow(x0, x1, y0, y1, centre, shift, out):
    """As `product_local`, the sum's low bits dropped and the rest added to the uint32 zero share `out`."""
    for i in range(x0.shape[0]):
        z = x0[i] * (y0[i] + y1[i]) + x1[i] * y0[i] + centre
        out[i] += np.uint32(z >> shift)


@_jit
def deal_wrap(x0, x1, offset, ring_mask, top, shift, constant, kappa, u_stream, y_out, u_out):
    """Dealer: A' / 2^shift rounded up and u = 1 - msb(A'), less the left helper's halves; A' = x0 + x1 + offset."""
    dropped = (_ONE << shift) - _ONE
    for i in range(x0.shape[0]):
        a = (np.uint64(x0[i]) + np.uint64(x1[i]) + offset) & ring_mask  # numba adds uint32 in 64 bits
        y_out[i] = (a >> shift) + np.uint64((a & dropped) != 0) - constant - kappa[i]
        u_out[i] = np.uint32(_ONE - (a >> top)) - u_stream[i]


@_jit
def wrap_term(b, u_half, mask, top, out):
    """Helper: its half of (1 - msb(A')) (1 - msb(B)), under a mask common with the dealer."""
    for i in range(b.shape[0]):
        out[i] = u_half[i] * np.uint32(_ONE - (np.uint64(b[i]) >> top)) - mask[i]


@_jit
def wrap_common(b, mine, other, shift, up, out):
    """Helper: the component that both helpers hold."""
    for i in range(b.shape[0]):
        out[i] = (np.uint64(b[i]) >> shift) + (np.uint64(mine[i] + other[i]) << up)


@_jit
def wrap_own(base, mask, up, out):
    """The component that the dealer holds with one helper: its random or received half plus the wrap's mask."""
    for i in range(base.shape[0]):
        out[i] = base[i] + (np.uint64(mask[i]) << up)
