"""Compiled error diffusion. Carries stay in registers; nothing allocates but one line of errors a plane."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@numba.njit(cache=True, nogil=True)
def floyd_steinberg(plane: Array, out: Array) -> None:
    """Write the bits (0 black, 1 white) of one plane (rows, columns) to `out`, two rows at a time.

    The second row runs two pixels behind the first: by then all the error it needs has arrived. The two chains of
    arithmetic are independent, which is where the speed comes from; the result is that of raster order.
    """
    rows, columns = plane.shape
    line = np.zeros(columns + 3, np.int32)  # error that reaches the next row; the row above has consumed it
    y = 0
    while y + 1 < rows and columns >= 2:
        right_a = near_a = far_a = np.int32(0)
        right_b = near_b = far_b = np.int32(0)
        upper, lower = plane[y], plane[y + 1]
        upper_out, lower_out = out[y], out[y + 1]
        between = np.int32(0)  # error for the lower row's next pixel
        ready = np.int32(0)
        for x in range(columns + 2):
            if x < columns:
                v = np.int32(upper[x]) * 16 + line[x] + right_a
                b = np.int32(v >= 2040)
                upper_out[x] = b
                q = v - 4080 * b
                q1 = q >> 4
                right_a = q - 9 * q1
                ready = near_a + 3 * q1  # for column x - 1 of the lower row
                near_a = far_a + 5 * q1
                far_a = q1
            else:
                ready = near_a
                near_a = np.int32(0)
            if x >= 2:
                v = np.int32(lower[x - 2]) * 16 + between + right_b
                b = np.int32(v >= 2040)
                lower_out[x - 2] = b
                q = v - 4080 * b
                q1 = q >> 4
                right_b = q - 9 * q1
                if x >= 3:
                    line[x - 3] = near_b + 3 * q1
                near_b = far_b + 5 * q1
                far_b = q1
            between = ready
        line[columns - 1] = near_b
        y += 2
    while y < rows:  # the last row of an odd number, and pictures of one column
        right = near = far = np.int32(0)
        for x in range(columns):
            v = np.int32(plane[y, x]) * 16 + line[x] + right
            b = np.int32(v >= 2040)
            out[y, x] = b
            q = v - 4080 * b
            q1 = q >> 4
            right = q - 9 * q1
            if x > 0:
                line[x - 1] = near + 3 * q1
            near = far + 5 * q1
            far = q1
        line[columns - 1] = near
        y += 1


@numba.njit(cache=True, nogil=True)
def floyd_steinberg_rgb(picture: Array, out: Array) -> None:
    """Write the bits of three interleaved channels, (rows, 3 * columns), each on its own: three independent chains."""
    rows, width = picture.shape
    errors = np.zeros(width + 3, np.int32)
    line = errors[3:]  # what falls left of the picture lands in front of it and is never read
    for y in range(rows):
        right0 = near0 = far0 = np.int32(0)
        right1 = near1 = far1 = np.int32(0)
        right2 = near2 = far2 = np.int32(0)
        row, row_out = picture[y], out[y]
        i = np.int64(0)
        while i < width:
            v = np.int32(row[i]) * 16 + line[i] + right0
            b = np.int32(v >= 2040)
            row_out[i] = b
            q = v - 4080 * b
            q1 = q >> 4
            right0 = q - 9 * q1
            errors[i] = near0 + 3 * q1
            near0 = far0 + 5 * q1
            far0 = q1
            i += 1
            v = np.int32(row[i]) * 16 + line[i] + right1
            b = np.int32(v >= 2040)
            row_out[i] = b
            q = v - 4080 * b
            q1 = q >> 4
            right1 = q - 9 * q1
            errors[i] = near1 + 3 * q1
            near1 = far1 + 5 * q1
            far1 = q1
            i += 1
            v = np.int32(row[i]) * 16 + line[i] + right2
            b = np.int32(v >= 2040)
            row_out[i] = b
            q = v - 4080 * b
            q1 = q >> 4
            right2 = q - 9 * q1
            errors[i] = near2 + 3 * q1
            near2 = far2 + 5 * q1
            far2 = q1
            i += 1
        line[width - 3], line[width - 2], line[width - 1] = near0, near1, near2


@numba.njit(cache=True, nogil=True)
def diffuse_three_rows(plane: Array, weights: Array, total: int, out: Array) -> None:
    """Write the bits of one plane by error diffusion over two pixels and two rows ahead.

    weights: int32 (3, 5), columns x - 2 to x + 2; the first row uses its last two. total: their sum.
    """
    rows, columns = plane.shape
    lines = np.zeros((3, columns + 4), np.int32)
    others = total - weights[0, 3]
    for y in range(rows):
        now, below, last = lines[y % 3], lines[(y + 1) % 3], lines[(y + 2) % 3]
        for x in range(columns):
            v = np.int32(plane[y, x]) * total + now[x + 2]
            b = np.int32(2 * v >= 255 * total)
            out[y, x] = b
            q = v - 255 * total * b
            q1 = q // total  # floor
            now[x + 3] += q - others * q1
            now[x + 4] += weights[0, 4] * q1
            for i in range(5):
                below[x + i] += weights[1, i] * q1
                last[x + i] += weights[2, i] * q1
        now[:] = 0
