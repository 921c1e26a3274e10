"""Regions and blocks: which pixels a region of interest holds, and the 16x16 blocks that a picture is cut into.

Planes: an image of (frames, rows, columns, samples) becomes frames * samples planes of (rows, columns); plane
index = frame * samples + sample. Blocks are numbered plane by plane, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, LimitError
from medveil.imaging.roi import ROI, Polygon, Rectangle

BLOCK: Final = 16
"""Side of a block, in pixels."""
MAX_REGIONS: Final = 4096
"""Most rectangles and polygons of one region of interest."""
MAX_VERTICES: Final = 4096
"""Most vertices of one polygon."""

Words = npt.NDArray[Any]  # uint8 or uint16
Mask = npt.NDArray[np.bool_]


def region_mask(roi: ROI, rows: int, columns: int) -> Mask:
    """Return the (rows, columns) bool mask of a region; of an empty `roi`, the whole image.

    A pixel is inside a polygon where its centre is, by the even-odd rule. Raises InputError where a part of the
    region lies outside the image or holds no pixel, LimitError where it has more parts than `MAX_REGIONS`.
    """
    if not roi:
        return np.ones((rows, columns), np.bool_)
    if len(roi) > MAX_REGIONS:
        raise LimitError(f"a region of {len(roi)} parts: at most {MAX_REGIONS} are taken, join some")
    mask = np.zeros((rows, columns), np.bool_)
    for region in roi:
        if isinstance(region, Rectangle):
            if region.bottom > rows or region.right > columns:
                raise InputError(
                    f"region rows {region.top}:{region.bottom}, columns {region.left}:{region.right} leaves the image "
                    f"of {rows} rows and {columns} columns: give one inside it"
                )
            mask[region.top : region.bottom, region.left : region.right] = True
        else:
            mask |= _polygon_mask(region, rows, columns)
    return mask


def _polygon_mask(polygon: Polygon, rows: int, columns: int) -> Mask:
    if len(polygon.vertices) > MAX_VERTICES:
        raise LimitError(f"a polygon of {len(polygon.vertices)} vertices: at most {MAX_VERTICES} are taken")
    for row, column in polygon.vertices:
        if not (0 <= row <= rows and 0 <= column <= columns):  # also refuses NaN
            raise InputError(
                f"polygon vertex ({row}, {column}) leaves the image of {rows} rows and {columns} columns: "
                "give one inside it"
            )
    y = np.arange(rows, dtype=np.float64)[:, None] + 0.5
    x = np.arange(columns, dtype=np.float64)[None, :] + 0.5
    inside = np.zeros((rows, columns), np.bool_)
    for (y0, x0), (y1, x1) in zip(polygon.vertices, polygon.vertices[1:] + polygon.vertices[:1], strict=True):
        if y0 == y1:
            continue
        crosses = (y0 <= y) != (y1 <= y)  # (rows, 1)
        inside ^= crosses & (x < x0 + (y - y0) * ((x1 - x0) / (y1 - y0)))
    if not inside.any():
        raise InputError("a polygon that holds no pixel centre is an empty region: draw a larger one")
    return inside


def roi_from_mask(mask: npt.NDArray[Any]) -> ROI:
    """Return the rectangles that cover exactly the pixels where a (rows, columns) mask is not zero.

    Runs of a row are joined with equal runs of the rows above. Raises InputError for an empty mask or another
    shape, LimitError where more than `MAX_REGIONS` rectangles are needed.
    """
    if mask.ndim != 2:
        raise InputError(f"a region mask of shape {mask.shape}: expected (rows, columns)")
    done: list[Rectangle] = []
    growing: dict[tuple[int, int], int] = {}  # (left, right) -> top
    for row in range(mask.shape[0] + 1):
        runs = _runs(mask[row] != 0) if row < mask.shape[0] else []
        for span in [s for s in growing if s not in runs]:
            done.append(Rectangle(growing.pop(span), span[0], row, span[1]))
        for span in runs:
            growing.setdefault(span, row)
    if not done:
        raise InputError("a region mask without a pixel is an empty region: mark at least one pixel")
    if len(done) > MAX_REGIONS:
        raise LimitError(f"the mask needs {len(done)} rectangles: at most {MAX_REGIONS} are taken, smooth it")
    return tuple(sorted(done))


def _runs(row: Mask) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def to_planes(pixels: npt.NDArray[Any]) -> Words:
    """Turn (frames, rows, columns[, samples]) integers of 8 or 16 bits into (planes, rows, columns) unsigned words.

    Signed samples keep their two's complement bits.
    """
    size = pixels.dtype.itemsize
    native = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    words = native.view(np.uint8 if size == 1 else np.uint16)
    if words.ndim == 4:
        words = np.ascontiguousarray(np.moveaxis(words, 3, 1)).reshape(-1, *words.shape[1:3])
    return words


def from_planes(planes: Words, samples: int, *, colour_axis: bool, signed: bool) -> npt.NDArray[Any]:
    """Undo `to_planes`."""
    kind = f"{'i' if signed else 'u'}{planes.dtype.itemsize}"
    if not colour_axis:
        return planes.view(kind)
    split = planes.reshape(-1, samples, *planes.shape[1:])
    return np.ascontiguousarray(np.moveaxis(split, 1, 3)).view(kind)


def padded(length: int) -> int:
    """Return `length` rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def pad_planes(planes: Words) -> Words:
    """Repeat the last row and column until both sides are multiples of 16."""
    _, rows, columns = planes.shape
    if rows % BLOCK == 0 and columns % BLOCK == 0:
        return planes
    whole: Words = np.pad(planes, ((0, 0), (0, padded(rows) - rows), (0, padded(columns) - columns)), mode="edge")
    return whole


def to_blocks(planes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut (planes, rows, columns), sides multiples of 16, into (blocks, 256)."""
    p, rows, columns = planes.shape
    cut = planes.reshape(p, rows // BLOCK, BLOCK, columns // BLOCK, BLOCK).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(cut).reshape(-1, BLOCK * BLOCK)


def from_blocks(blocks: npt.NDArray[Any], planes: int, rows: int, columns: int) -> npt.NDArray[Any]:
    """Undo `to_blocks`; `rows` and `columns` are the padded sides."""
    cut = blocks.reshape(planes, rows // BLOCK, columns // BLOCK, BLOCK, BLOCK).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(cut).reshape(planes, rows, columns)


def mask_blocks(mask: Mask, planes: int) -> Mask:
    """Cut a (rows, columns) mask, padded with False, into (blocks, 256), repeated for every plane."""
    rows, columns = mask.shape
    whole = np.pad(mask, ((0, padded(rows) - rows), (0, padded(columns) - columns)))
    return np.tile(to_blocks(whole[None]), (planes, 1))


def place_of(block: int, rows: int, columns: int, samples: int) -> str:
    """Say where a block lies, for a person: frame (and sample), 0-based rows and columns, half-open."""
    across = padded(columns) // BLOCK
    per_plane = (padded(rows) // BLOCK) * across
    plane, inside = divmod(block, per_plane)
    top, left = (inside // across) * BLOCK, (inside % across) * BLOCK
    frame, sample = divmod(plane, samples)
    which = f"frame {frame}" if samples == 1 else f"frame {frame}, sample {sample}"
    return f"{which}, rows {top}:{min(top + BLOCK, rows)}, columns {left}:{min(left + BLOCK, columns)}"


def blocks_to_map(flags: Mask, shape: Sequence[int], samples: int) -> Mask:
    """Spread one flag a block over pixels: (blocks,) becomes (frames, rows, columns), any sample counting."""
    frames, rows, columns = shape
    grid = flags.reshape(frames, samples, padded(rows) // BLOCK, padded(columns) // BLOCK).any(axis=1)
    return np.repeat(np.repeat(grid, BLOCK, axis=1), BLOCK, axis=2)[:, :rows, :columns]
