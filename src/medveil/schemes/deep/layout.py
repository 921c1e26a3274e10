"""How tiles and their codes lie in a picture: pure reshapes, all uint8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medveil.schemes.deep.container import Grid
from medveil.schemes.deep.key import DeepKey

Bytes = npt.NDArray[np.uint8]


def cut(picture: Bytes, grid: Grid) -> Bytes:
    """Return the tiles (planes * down * across, tall, side) of a picture (planes, down * tall, across * side)."""
    split = picture.reshape(grid.planes, grid.down, -1, grid.across, grid.side).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(split.reshape(grid.planes * grid.down * grid.across, -1, grid.side))


def joined(tiles: Bytes, grid: Grid) -> Bytes:
    """Return the picture of tiles; the inverse of `cut`."""
    tall = tiles.shape[1]
    split = tiles.reshape(grid.planes, grid.down, grid.across, tall, grid.side).transpose(0, 1, 3, 2, 4)
    return np.ascontiguousarray(split.reshape(grid.planes, grid.down * tall, grid.across * grid.side))


def code_tiles(codes: Bytes, side: int) -> Bytes:
    """Return codes (N, C, h, w) as pictures (N, tall, side): the codes of a block lie where the block was.

    With more than one channel, C is a multiple of a block's width side / w, so that rows are full.
    """
    count, channels, rows, columns = codes.shape
    wide = side // columns
    high = max(1, channels // wide)
    if channels == 1:
        return codes[:, 0]
    split = codes.reshape(count, high, wide, rows, columns).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(split.reshape(count, rows * high, columns * wide))


def codes_of(tiles: Bytes, key: DeepKey) -> Bytes:
    """Return the codes (N, C, h, w) that a key's decoder takes; the inverse of `code_tiles`."""
    if key.method != "backprop":
        return tiles[:, None]
    block, channels = key.shape["block"], key.shape["codes"]
    count, _, side = tiles.shape
    split = tiles.reshape(count, side // block, channels // block, side // block, block).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(split.reshape(count, channels, side // block, side // block))
