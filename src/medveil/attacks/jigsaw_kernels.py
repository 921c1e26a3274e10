"""The compiled jigsaw: how well edges fit, and greedy assembly of turned, mirrored and negated blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

RIGHT, LEFT, BOTTOM, TOP = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def misfits(outer: Any, inner: Any, largest: Any) -> Any:
    """Return how badly edges fit: float32 (2, n, 8, n, 8); the first axis: the second piece upright or negated.

    outer, inner: float32 (n, 8, side): samples at an edge and one step inside. Each side predicts the other by going
    on in a straight line; the misfit is the mean absolute error of both predictions.
    """
    n, forms, side = outer.shape
    out = np.full((2, n, forms, n, forms), np.float32(np.inf), np.float32)
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            for e in range(forms):
                for f in range(forms):
                    upright, negated = np.float32(0), np.float32(0)
                    for k in range(side):
                        a, a2, b, b2 = outer[i, e, k], inner[i, e, k], outer[j, f, k], inner[j, f, k]
                        upright += abs(2 * a - a2 - b) + abs(2 * b - b2 - a)
                        c, c2 = largest - b, largest - b2
                        negated += abs(2 * a - a2 - c) + abs(2 * c - c2 - a)
                    out[0, i, e, j, f] = upright / side
                    out[1, i, e, j, f] = negated / side
    return out


@njit(cache=True, nogil=True)
def relative(costs: Any) -> None:
    """Divide each misfit in place by the second best of its edge, so that edges that fit anything count little."""
    _, n, forms, _, _ = costs.shape
    for i in range(n):
        for e in range(forms):
            best, second = np.float32(np.inf), np.float32(np.inf)
            for j in range(n):
                own = np.float32(np.inf)
                for f in range(forms):
                    own = min(own, costs[0, i, e, j, f], costs[1, i, e, j, f])
                if own < best:
                    best, second = own, best
                elif own < second:
                    second = own
            scale = second + np.float32(0.5)
            for j in range(n):
                for f in range(forms):
                    costs[0, i, e, j, f] = (costs[0, i, e, j, f] + np.float32(0.5)) / scale
                    costs[1, i, e, j, f] = (costs[1, i, e, j, f] + np.float32(0.5)) / scale


@njit(cache=True, nogil=True)
def _cost_at(y: Any, x: Any, j: Any, form: Any, negated: Any, piece: Any, forms: Any, signs: Any, costs: Any,
             edge: Any) -> Any:  # fmt: skip
    """Return the mean relative misfit of a piece at a place against its placed neighbours."""
    total, count = 0.0, 0
    for side in range(4):
        ny = y + (1 if side == BOTTOM else (-1 if side == TOP else 0))
        nx = x + (1 if side == RIGHT else (-1 if side == LEFT else 0))
        i = piece[ny, nx]
        if i < 0:
            continue
        facing = side ^ 1  # the neighbour's side that touches this one
        sign = signs[ny, nx] ^ negated
        total += costs[sign, i, edge[facing, forms[ny, nx]], j, edge[side, form]]
        count += 1
    return total / count


@njit(cache=True, nogil=True)
def assemble(costs: Any, edge: Any, first: Any, down: Any, across: Any, piece: Any, forms: Any, signs: Any) -> Any:
    """Place pieces one after the other, always the best fit next to what is placed, in a frame of down x across.

    edge: int64 (4, 8): which of the 8 edges lies on a side of a form. piece, forms, signs: int64 square boards with a
    margin of one, filled with -1, 0, 0; written. Returns the frame's corner (top, left).
    """
    n = costs.shape[1]
    side = piece.shape[0]
    used = np.zeros(n, np.bool_)
    middle = side // 2
    piece[middle, middle] = first
    used[first] = True
    top, bottom, left, right = middle, middle, middle, middle
    # the best piece for each open place is kept until one of its neighbours or the piece itself is placed
    best_cost = np.full((side, side), np.inf)
    best = np.full((side, side, 3), -1, np.int64)
    for _ in range(n - 1):
        at_y, at_x, lowest = -1, -1, np.inf
        for y in range(max(1, bottom - down + 1), min(side - 1, top + down)):
            for x in range(max(1, right - across + 1), min(side - 1, left + across)):
                if piece[y, x] >= 0:
                    continue
                if piece[y - 1, x] < 0 and piece[y + 1, x] < 0 and piece[y, x - 1] < 0 and piece[y, x + 1] < 0:
                    continue
                if best[y, x, 0] < 0 or used[best[y, x, 0]]:
                    best_cost[y, x] = np.inf
                    for j in range(n):
                        if used[j]:
                            continue
                        for form in range(8):
                            for negated in range(2):
                                cost = _cost_at(y, x, j, form, negated, piece, forms, signs, costs, edge)
                                if cost < best_cost[y, x]:
                                    best_cost[y, x] = cost
                                    best[y, x, 0], best[y, x, 1], best[y, x, 2] = j, form, negated
                if best_cost[y, x] < lowest:
                    at_y, at_x, lowest = y, x, best_cost[y, x]
        if at_y < 0:
            break
        j = best[at_y, at_x, 0]
        piece[at_y, at_x], forms[at_y, at_x], signs[at_y, at_x] = j, best[at_y, at_x, 1], best[at_y, at_x, 2]
        used[j] = True
        top, bottom, left, right = min(top, at_y), max(bottom, at_y), min(left, at_x), max(right, at_x)
        for y, x in ((at_y - 1, at_x), (at_y + 1, at_x), (at_y, at_x - 1), (at_y, at_x + 1)):
            best[y, x, 0] = -1
    return top, left
