# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Tensor contraction over Z_2^52 with the AVX-512 IFMA instruction, compiled by numba at first use.

`vpmadd52luq` multiplies the low 52 bits of eight lanes and adds the low 52 bits of the products: one instruction
for eight multiply-accumulates, where a 64-bit product needs three. Fixed-point linear layers need only bits f to
f+31 of a product's sum (see `rep3.truncation`), so 52 bits are enough. No compiler is needed: the inner tile
is written as LLVM instructions, which numba's own LLVM turns into machine code. `available()` says whether this
processor has the instruction; `ring` falls back to torch where it does not.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

TILE_ROWS = 8
TILE_VECTORS = 3
TILE_COLUMNS = 8 * TILE_VECTORS
_TILE = TILE_ROWS * TILE_COLUMNS
_K_BLOCK = 768
_jit: Any = njit(nogil=True, cache=True)
_intrinsic: Any = intrinsic


@functools.cache
def available() -> bool:
    """Return whether this processor executes AVX-512 IFMA."""
    features = binding.get_host_cpu_features()
    return bool(features.get("avx512ifma") and features.get("avx512f"))


@_intrinsic
def _multiply_tile(typing, a, a_at, b, b_at, depth, c, c_at):  # noqa: ARG001  numba passes types to this by position
    """Add the product of a packed (depth, 8) and a packed (depth, 24) panel to a (8, 24) tile."""
    signature = types.void(a, types.int64, b, types.int64, types.int64, c, types.int64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        lanes = ir.VectorType(i64, 8)
        i32 = ir.IntType(32)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(lanes, [lanes] * 3), "llvm.x86.avx512.vpmadd52l.uq.512"
        )

        def constant(value: int) -> Any:
            return ir.Constant(i64, value)

        def pointer(index: int) -> Any:
            array = context.make_array(signature.args[index])(context, builder, args[index])
            return builder.gep(array.data, [args[index + 1]])

        def vector_at(base: Any, offset: Any) -> Any:
            return builder.bitcast(builder.gep(base, [offset]), lanes.as_pointer())

        left, right, out = pointer(0), pointer(2), pointer(5)
        places = [(r, v) for r in range(TILE_ROWS) for v in range(TILE_VECTORS)]
        start = [builder.load(vector_at(out, constant(r * TILE_COLUMNS + 8 * v)), align=8) for r, v in places]
        entry = builder.block
        loop, done = builder.append_basic_block("depth"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(i64)
        step.add_incoming(constant(0), entry)
        sums = [builder.phi(lanes) for _ in places]
        left_at = builder.mul(step, constant(TILE_ROWS))
        right_at = builder.mul(step, constant(TILE_COLUMNS))
        row = [
            builder.load(vector_at(right, builder.add(right_at, constant(8 * v))), align=8) for v in range(TILE_VECTORS)
        ]
        spread = ir.Constant(ir.VectorType(i32, 8), [0] * 8)
        undefined = ir.Constant(lanes, ir.Undefined)
        following = []
        for r in range(TILE_ROWS):
            scalar = builder.load(builder.gep(left, [builder.add(left_at, constant(r))]))
            first = builder.insert_element(undefined, scalar, ir.Constant(i32, 0))
            same = builder.shuffle_vector(first, undefined, spread)
            following += [builder.call(fma, [sums[r * TILE_VECTORS + v], row[v], same]) for v in range(TILE_VECTORS)]
        after = builder.add(step, constant(1))
        step.add_incoming(after, loop)
        for phi, begin, new in zip(sums, start, following, strict=True):
            phi.add_incoming(begin, entry)
            phi.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", after, args[4]), loop, done)
        builder.position_at_end(done)
        for (r, v), value in zip(places, following, strict=True):
            builder.store(value, vector_at(out, constant(r * TILE_COLUMNS + 8 * v)), align=8)
        return context.get_dummy_value()

    return signature, codegen


@_jit
def _pack_left(a, a_row, a_k, packed, k0, depth):
    rows = a_row.shape[0]
    for i0 in range(0, rows, TILE_ROWS):
        at = i0 * depth
        for r in range(TILE_ROWS):
            if i0 + r < rows:
                base = a_row[i0 + r]
                for k in range(depth):
                    packed[at + k * TILE_ROWS + r] = a[base + a_k[k0 + k]]
            else:
                for k in range(depth):
                    packed[at + k * TILE_ROWS + r] = np.uint64(0)


@_jit
def _pack_right(b, b_k, b_column, packed, k0, depth, j0):
    columns = min(TILE_COLUMNS, b_column.shape[0] - j0)
    if columns == TILE_COLUMNS:
        consecutive = True
        for j in range(1, TILE_COLUMNS):
            if b_column[j0 + j] != b_column[j0] + j:
                consecutive = False
        if consecutive:
            first = b_column[j0]
            for k in range(depth):
                base = b_k[k0 + k] + first
                for j in range(TILE_COLUMNS):
                    packed[k * TILE_COLUMNS + j] = b[base + j]
        else:
            for k in range(depth):
                base = b_k[k0 + k]
                for j in range(TILE_COLUMNS):
                    packed[k * TILE_COLUMNS + j] = b[base + b_column[j0 + j]]
    else:
        for k in range(depth):
            base = b_k[k0 + k]
            for j in range(columns):
                packed[k * TILE_COLUMNS + j] = b[base + b_column[j0 + j]]
            for j in range(columns, TILE_COLUMNS):
                packed[k * TILE_COLUMNS + j] = np.uint64(0)


@_jit
def _contract(a0, a1, a_row, a_k, b0, b1, b_k, b_column, out, c_row, c_column, bias, shift):
    rows, columns, total = a_row.shape[0], b_column.shape[0], a_k.shape[0]
    padded = (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
    left0 = np.empty(padded * total, np.uint64)
    left1 = np.empty(padded * total, np.uint64)
    for k0 in range(0, total, _K_BLOCK):
        depth = min(_K_BLOCK, total - k0)
        _pack_left(a0, a_row, a_k, left0[k0 * padded :], k0, depth)
        _pack_left(a1, a_row, a_k, left1[k0 * padded :], k0, depth)
    right = np.empty(min(_K_BLOCK, total) * TILE_COLUMNS, np.uint64)
    tiles = np.empty(padded * TILE_COLUMNS, np.uint64)
    for j0 in range(0, columns, TILE_COLUMNS):
        tiles[:] = np.uint64(0)
        for k0 in range(0, total, _K_BLOCK):
            depth = min(_K_BLOCK, total - k0)
            _pack_right(b0, b_k, b_column, right, k0, depth, j0)
            for i0 in range(0, padded, TILE_ROWS):
                _multiply_tile(left0, k0 * padded + i0 * depth, right, 0, depth, tiles, i0 * TILE_COLUMNS)
            _pack_right(b1, b_k, b_column, right, k0, depth, j0)
            for i0 in range(0, padded, TILE_ROWS):
                _multiply_tile(left1, k0 * padded + i0 * depth, right, 0, depth, tiles, i0 * TILE_COLUMNS)
        width = min(TILE_COLUMNS, columns - j0)
        for i in range(rows):
            add = bias[i]
            base = c_row[i]
            for j in range(width):
                out[base + c_column[j0 + j]] = (tiles[i * TILE_COLUMNS + j] + add) >> shift


def contract(
    a: tuple[Any, Any], a_at: tuple[Any, Any], b: tuple[Any, Any], b_at: tuple[Any, Any],
    out: Any, c_at: tuple[Any, Any], bias: Any, shift: int,
) -> None:  # fmt: skip
    """Write `(a[0] b[0] + a[1] b[1] + bias) >> shift` into `out`; the low 52 bits of the sums are right.

    The matrices are given by flat arrays and offsets: element (i, k) of a is `a[.][a_at[0][i] + a_at[1][k]]`,
    (k, j) of b is `b[.][b_at[0][k] + b_at[1][j]]`, (i, j) of out is `out[c_at[0][i] + c_at[1][j]]`, so that a
    convolution needs no unfolded copy. Arrays are flat uint64, offsets int64; out is uint64 or uint32.
    """
    _contract(a[0], a[1], a_at[0], a_at[1], b[0], b[1], b_at[0], b_at[1], out, c_at[0], c_at[1], bias, np.uint64(shift))
