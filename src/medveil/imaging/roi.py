"""Regions of interest: 0-based, half-open, rows by columns.

Paper 003 writes 1-based inclusive corners (x1, y1)-(x2, y2); `Rectangle.from_paper` converts at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from medveil.errors import InputError


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
    """A closed polygon through (row, column) vertices; a pixel is inside where its centre is (even-odd rule)."""

    vertices: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Refuse fewer than three vertices."""
        if len(self.vertices) < 3:
            raise InputError(f"a polygon of {len(self.vertices)} vertices: give at least 3")


ROI = tuple[Rectangle | Polygon, ...]
