"""Regions of interest: 0-based, half-open, rows by columns.

Paper 003 writes 1-based inclusive corners (x1, y1)-(x2, y2); `Rectangle.from_paper` converts at the edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medveil.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medveil.imaging.image import MedicalImage

MAX_VERTICES = 10_000
"""Vertices that a polygon may have."""


@dataclass(frozen=True, slots=True, order=True)
class Rectangle:
    """Pixels with top <= row < bottom and left <= column < right, in every frame.

    Raises InputError where a side is negative or empty.
    """

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        """Refuse an empty or negative rectangle."""
        if not (0 <= self.top < self.bottom and 0 <= self.left < self.right):
            raise InputError(
                f"empty or negative region rows {self.top}:{self.bottom}, columns {self.left}:{self.right}: "
                "give a top-left corner above and left of the bottom-right one"
            )

    @classmethod
    def from_paper(cls, x1: int, y1: int, x2: int, y2: int) -> Rectangle:
        """Convert 1-based inclusive corners, x = column and y = row, as paper 003 and the command line write them."""
        return cls(top=y1 - 1, left=x1 - 1, bottom=y2, right=x2)

    def to_paper(self) -> tuple[int, int, int, int]:
        """Return the 1-based inclusive corners (x1, y1, x2, y2)."""
        return (self.left + 1, self.top + 1, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed polygon through (row, column) vertices; a pixel is inside where its centre is (even-odd rule).

    Coordinates are 0-based and continuous: pixel (r, c) covers r <= row < r + 1, c <= column < c + 1, so its centre
    is (r + 0.5, c + 0.5). Raises InputError for fewer than 3 or more than `MAX_VERTICES` vertices, or for
    coordinates that are negative or not finite.
    """

    vertices: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Refuse too few or too many vertices, and coordinates that no image has."""
        if not 3 <= len(self.vertices) <= MAX_VERTICES:
            raise InputError(f"a polygon of {len(self.vertices)} vertices: give 3 to {MAX_VERTICES}")
        if not all(0 <= value < float("inf") for vertex in self.vertices for value in vertex):
            raise InputError("a polygon with a negative or infinite coordinate: give points inside the image")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Return (top, left, bottom, right) of the vertices."""
        rows, columns = zip(*self.vertices, strict=True)
        return min(rows), min(columns), max(rows), max(columns)


ROI = tuple[Rectangle | Polygon, ...]


def mask(roi: ROI, rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Return the union of the regions: bool (rows, columns), True inside; all False for an empty ROI.

    Parts of a region beyond the picture are cut off; `check` refuses them.
    """
    import numpy as np

    out = np.zeros((rows, columns), dtype=np.bool_)
    for region in roi:
        if isinstance(region, Rectangle):
            out[region.top : region.bottom, region.left : region.right] = True
        else:
            _fill(out, region)
    return out


def _fill(out: npt.NDArray[np.bool_], polygon: Polygon) -> None:
    """Set the pixels whose centres lie inside; crossings of one edge with all scan lines are found at once."""
    import numpy as np

    rows, columns = out.shape
    top, _, bottom, _ = polygon.bounds
    first, last = max(0, int(top) - 1), min(rows, int(bottom) + 2)
    if first >= last:
        return
    # toggles[r, c] counts edges crossed by row r's scan line at or before the centre of column c
    toggles = np.zeros((last - first, columns + 1), dtype=np.int64)
    ends = polygon.vertices[1:] + polygon.vertices[:1]
    for (row0, col0), (row1, col1) in zip(polygon.vertices, ends, strict=True):
        if row0 == row1:
            continue
        low, high = (row0, row1) if row0 < row1 else (row1, row0)
        # half-open in rows, so that a vertex on a scan line is counted once
        begin, end = max(first, int(np.ceil(low - 0.5))), min(last, int(np.ceil(high - 0.5)))
        if begin >= end:
            continue
        lines = np.arange(begin, end)
        crossing = col0 + (lines + 0.5 - row0) * (col1 - col0) / (row1 - row0)
        at = np.clip(np.ceil(crossing - 0.5), 0, columns).astype(np.int64)
        toggles[lines - first, at] += 1  # one crossing an edge and line, so no index repeats
    out[first:last] |= (np.cumsum(toggles[:, :columns], axis=1) & 1).astype(np.bool_)


def check(roi: ROI, image: MedicalImage) -> None:
    """Raise InputError where a region reaches beyond the picture or holds no pixel of it."""
    for region in roi:
        if isinstance(region, Rectangle):
            bottom, right, what = float(region.bottom), float(region.right), f"the region {region.to_paper()}"
        else:
            _, _, bottom, right = region.bounds
            what = f"the polygon of {len(region.vertices)} vertices"
        if bottom > image.rows or right > image.columns:
            raise InputError(
                f"{what} reaches beyond the picture of {image.rows} rows and {image.columns} columns: "
                f"corners are X1,Y1,X2,Y2 from 1,1 to {image.columns},{image.rows}"
            )
        if isinstance(region, Polygon) and not mask((region,), image.rows, image.columns).any():
            raise InputError(f"{what} holds no pixel's centre: make it larger")


def parse(text: str) -> Rectangle | Polygon:
    """Read one region of the command line: ``"X1,Y1,X2,Y2"`` or a polygon ``"x,y x,y x,y ..."``.

    Both in the paper's convention: x = column, y = row, pixels numbered from 1, the rectangle's corners inclusive,
    polygon vertices at pixel centres (1,1 is the centre of the first pixel).
    Raises InputError where the text is neither or the region is empty.
    """
    number = r"[0-9]{1,7}"
    if re.fullmatch(rf"{number}(,{number}){{3}}", text.strip()):
        x1, y1, x2, y2 = (int(value) for value in text.split(","))
        if x1 < 1 or y1 < 1:
            raise InputError(f"region {text!r}: pixels are numbered from 1")
        return Rectangle.from_paper(x1, y1, x2, y2)
    real = rf"{number}(\.[0-9]{{1,6}})?"
    if re.fullmatch(rf"{real},{real}(\s+{real},{real}){{2,{MAX_VERTICES - 1}}}", text.strip()):
        points = [tuple(float(value) for value in pair.split(",")) for pair in text.split()]
        if any(value < 1 for point in points for value in point):
            raise InputError(f"region {text[:80]!r}: pixels are numbered from 1")
        return Polygon(tuple((y - 0.5, x - 0.5) for x, y in points))
    raise InputError(f"region {text[:80]!r}: write X1,Y1,X2,Y2 or a polygon of at least three points, x,y x,y x,y")


def parse_all(texts: Iterable[str]) -> ROI:
    """Read several regions, see `parse`."""
    return tuple(parse(text) for text in texts)


def from_mask(image: MedicalImage) -> ROI:
    """Turn a mask image (non-zero is inside) into rectangles that cover exactly its pixels.

    Runs of a row are merged downwards where they repeat, so a rectangle in the mask gives one rectangle. A colour
    pixel is inside where any of its first three samples is not zero. All frames but the first must equal it.
    Raises InputError where frames differ or nothing is inside.
    """
    import numpy as np

    inside: npt.NDArray[np.bool_] = image.pixels != 0
    if inside.ndim == 4:
        inside = np.asarray(inside[..., :3].any(axis=-1))
    if not (inside == inside[:1]).all():
        raise InputError("a mask whose frames differ: a region is the same in every frame, so give a mask of one frame")
    if not inside.any():
        raise InputError("an empty mask: mark the region with a value other than zero")
    edges = np.diff(np.pad(inside[0].astype(np.int8), ((0, 0), (1, 1))), axis=1)
    open_runs: dict[tuple[int, int], int] = {}
    found: list[Rectangle] = []
    for row in range(image.rows + 1):
        runs: set[tuple[int, int]] = set()
        if row < image.rows:
            starts, stops = np.flatnonzero(edges[row] == 1), np.flatnonzero(edges[row] == -1)
            runs = {(int(a), int(b)) for a, b in zip(starts, stops, strict=True)}
        for run in [run for run in open_runs if run not in runs]:
            found.append(Rectangle(open_runs.pop(run), run[0], row, run[1]))
        for run in runs:
            open_runs.setdefault(run, row)
    return tuple(sorted(found))


def bounding_rectangle(roi: ROI, rows: int, columns: int) -> Rectangle:
    """Return the smallest rectangle around all regions within a picture; InputError where none is inside it."""
    import numpy as np

    inside = mask(roi, rows, columns)
    down, across = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if len(down) == 0:
        raise InputError("a region of interest without a pixel of the picture")
    return Rectangle(int(down[0]), int(across[0]), int(down[-1]) + 1, int(across[-1]) + 1)
