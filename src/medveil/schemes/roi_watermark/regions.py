"""Regions and blocks: which pixels a region of interest holds, and the 16x16 blocks that a picture is cut into.

Planes: an image of (frames, rows, columns, samples) becomes frames * samples planes of (rows, columns); plane
index = frame * samples + sample. Blocks are numbered plane by plane, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.imaging import roi
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI

BLOCK: Final = 16
"""Side of a block, in pixels."""
Words = npt.NDArray[Any]  # uint8 or uint16
Mask = npt.NDArray[np.bool_]


def region_mask(region: ROI, image: MedicalImage) -> Mask:
    """Return the (rows, columns) bool mask of a region; of an empty one, the whole image.

    Raises InputError where a part of the region lies outside the image or holds no pixel.
    """
    roi.check(region, image)
    return known_mask(region, image.rows, image.columns)


def known_mask(region: ROI, rows: int, columns: int) -> Mask:
    """Return the mask of a region that was checked when it was protected."""
    return roi.mask(region, rows, columns) if region else np.ones((rows, columns), np.bool_)


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
