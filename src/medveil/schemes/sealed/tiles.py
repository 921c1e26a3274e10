"""Tile tags: keyed hashes of squares of decoded pixels, so that a changed square is found whatever carries it.

Each frame is cut into cells of 64 x 64 pixels (smaller at the right and lower edge). A cell that holds a pixel of
the region of interest is cut further into 16 x 16. Tiles count in rows of cells, cells from left to right, and in
a fine cell row by row::

    tag = first 16 bytes of keyed BLAKE3(tile key, frame u32 | top u32 | left u32 | height u16 | width u16 | pixels)
    tile key = keyed BLAKE3(DEK, "tile tags", object id, version u64, salt)

with pixels in C order, little endian. The tags travel encrypted in the payload; the manifest holds the Merkle root
over (blind, tags of each row of cells). Without the key a tag says nothing; the blind of 32 random bytes keeps the
root from saying anything.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from medveil.crypto.hashing import MerkleTree, keyed
from medveil.errors import InputError, TamperedError
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI, mask
from medveil.schemes.base import Finding, FindingKind, TamperMap

CELL: Final = 64
"""Side of a tile outside the region of interest, in pixels."""
FINE: Final = 16
"""Side of a tile inside the region of interest, in pixels."""
TAG_SIZE: Final = 16
"""Length of a tag, in bytes."""
BLIND_SIZE: Final = 32
"""Length of the blind in front of the tags, in bytes."""

_PLACE: Final = struct.Struct(">IIIHH")

Pixels = npt.NDArray[Any]
Tile = tuple[int, int, int, int]


def tile_key(dek: bytes, object_id: bytes, version: int, salt: bytes) -> bytes:
    """Return the key of an object's tile tags. Not bound to all of the core, whose length depends on the tags."""
    return keyed(dek, b"tile tags", object_id, version.to_bytes(8, "big"), salt)


@dataclass(frozen=True)
class TileGrid:
    """How the frames of an image are cut. fine: a bit for each cell of a frame, row by row, MSB first."""

    frames: int
    rows: int
    columns: int
    fine: bytes = b""

    @classmethod
    def of(cls, frames: int, rows: int, columns: int, roi: ROI) -> TileGrid:
        """Cut an image with a region of interest."""
        if not roi:
            return cls(frames, rows, columns)
        down, across = -(-rows // CELL), -(-columns // CELL)
        inside = np.zeros((down * CELL, across * CELL), np.bool_)
        inside[:rows, :columns] = mask(roi, rows, columns)
        cells = inside.reshape(down, CELL, across, CELL).any(axis=(1, 3))
        return cls(frames, rows, columns, np.packbits(cells.reshape(-1)).tobytes() if cells.any() else b"")

    @property
    def down(self) -> int:
        """Rows of cells in a frame."""
        return -(-self.rows // CELL)

    @property
    def across(self) -> int:
        """Cells in a row."""
        return -(-self.columns // CELL)

    @cached_property
    def fine_cells(self) -> npt.NDArray[np.bool_]:
        """Which cells are cut fine: (down, across)."""
        if not self.fine:
            return np.zeros((self.down, self.across), np.bool_)
        bits = np.unpackbits(np.frombuffer(self.fine, np.uint8), count=self.down * self.across)
        return bits.astype(np.bool_).reshape(self.down, self.across)

    def tiles(self, cell_row: int) -> tuple[Tile, ...]:
        """Tiles of one row of cells as (top, left, height, width), in the order of their tags."""
        return self._tiles[cell_row]

    @property
    def _tiles(self) -> tuple[tuple[Tile, ...], ...]:
        return _cut(self.rows, self.columns, self.fine)

    def row_of_tiles(self, cell_row: int) -> tuple[Tile, ...]:
        """As `tiles`, worked out anew."""
        top = cell_row * CELL
        bottom = min(top + CELL, self.rows)
        found = []
        for cell in range(self.across):
            left, right = cell * CELL, min((cell + 1) * CELL, self.columns)
            side = FINE if self.fine_cells[cell_row, cell] else CELL
            found += [
                (y, x, min(side, bottom - y), min(side, right - x))
                for y in range(top, bottom, side)
                for x in range(left, right, side)
            ]
        return tuple(found)

    @cached_property
    def tags_per_frame(self) -> int:
        """How many tags a frame has."""
        return sum(len(row) for row in self._tiles)

    def check(self) -> None:
        """Refuse a bitmap that does not fit. Raises TamperedError."""
        if self.fine and len(self.fine) != -(-self.down * self.across // 8):
            raise TamperedError("the map of fine tiles does not fit the image")


@lru_cache(maxsize=64)
def _cut(rows: int, columns: int, fine: bytes) -> tuple[tuple[Tile, ...], ...]:
    """Cut a frame once for all images of its size."""
    grid = TileGrid(1, rows, columns, fine)
    return tuple(grid.row_of_tiles(cell_row) for cell_row in range(grid.down))


def band_tags(key: bytes, grid: TileGrid, frame: int, cell_row: int, band: Pixels) -> bytes:
    """Return the tags of one row of cells, one after the other. band: its pixels (rows, columns[, samples])."""
    band = band.astype(band.dtype.newbyteorder("<"), copy=False)
    out = []
    top = cell_row * CELL
    for y, x, height, width in grid.tiles(cell_row):
        place = _PLACE.pack(frame, y, x, height, width)
        tile = band[y - top : y - top + height, x : x + width].tobytes()
        out.append(blake3(place + tile, key=key).digest(TAG_SIZE))
    return b"".join(out)


class TagTree:
    """Builds the root that the manifest holds."""

    __slots__ = ("_tree",)

    def __init__(self, blind: bytes) -> None:
        self._tree = MerkleTree()
        self._tree.add(blind)

    def add(self, tags: bytes) -> None:
        """Add the tags of the next row of cells."""
        self._tree.add(tags)

    def root(self) -> bytes:
        """Return the root over what was added."""
        return self._tree.root()


@dataclass(frozen=True)
class TileTags:
    """The tags of one object, with the key that they are checked with (secret)."""

    grid: TileGrid
    dtype: str
    samples: int
    key: bytes = field(repr=False)
    tags: bytes = field(repr=False)
    blind: bytes = field(repr=False)

    def root(self) -> bytes:
        """Return the Merkle root, to be compared with the manifest's."""
        tree, at = TagTree(self.blind), 0
        for _ in range(self.grid.frames):
            for cell_row in range(self.grid.down):
                size = TAG_SIZE * len(self.grid.tiles(cell_row))
                tree.add(self.tags[at : at + size])
                at += size
        return tree.root()


def compare_pixels(image: MedicalImage, tags: TileTags) -> tuple[tuple[Finding, ...], TamperMap]:
    """Say which tiles of an image differ from those that were protected, for example after a PACS returned it.

    A lossless transcode changes none. Pixels are compared as values: another integer width or byte order is no
    difference. Returns one MODIFIED finding for each frame that differs, and the map of changed tiles.
    Raises InputError where the image has other dimensions.
    """
    grid = tags.grid
    shape: tuple[int, ...] = (grid.frames, grid.rows, grid.columns)
    if tags.samples > 1:
        shape = (*shape, tags.samples)
    if image.pixels.shape != shape:
        raise InputError(
            f"the image has shape {image.pixels.shape} where {shape} was protected: it is not a transcode of it"
        )
    touched = np.zeros(shape[:3], np.bool_)
    findings, at = [], 0
    for frame in range(grid.frames):
        changed = 0
        for cell_row in range(grid.down):
            tiles = grid.tiles(cell_row)
            band, exact = _as(image.pixels[frame, cell_row * CELL : (cell_row + 1) * CELL], tags.dtype)
            now = band_tags(tags.key, grid, frame, cell_row, band)
            for number, (y, x, height, width) in enumerate(tiles):
                here = slice(TAG_SIZE * number, TAG_SIZE * (number + 1))
                top = y - cell_row * CELL
                same = exact[top : top + height, x : x + width].all()
                if now[here] != tags.tags[at : at + TAG_SIZE] or not same:
                    touched[frame, y : y + height, x : x + width] = True
                    changed += 1
                at += TAG_SIZE
        if changed:
            message = f"{changed} tiles of frame {frame + 1} differ from what was protected"
            findings.append(Finding(FindingKind.MODIFIED, message, place=f"frame {frame + 1}"))
    return tuple(findings), TamperMap(touched, np.zeros_like(touched), CELL)


def _as(band: Pixels, dtype: str) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Return the band in the protected dtype, and which pixels are the same value there."""
    wanted = np.dtype(dtype).newbyteorder("=")
    if band.dtype == wanted:
        return band, np.ones(band.shape[:2], np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):
        cast = band.astype(wanted)
        same = cast.astype(band.dtype) == band
    if band.dtype.kind != wanted.kind and band.dtype.kind in "ui" and wanted.kind in "ui":
        same &= (cast < 0) == (band < 0)
    return cast, same if same.ndim == 2 else same.all(axis=-1)
