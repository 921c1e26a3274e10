"""Regions: the paper's convention, masks against a slow oracle, command-line text, masks as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import InputError
from medveil.imaging import roi as regions
from medveil.imaging import samples
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read
from medveil.imaging.roi import Polygon, Rectangle

SIDE = 24


def inside(row: float, column: float, vertices: tuple[tuple[float, float], ...]) -> bool:
    """Even-odd rule by casting a ray, one point at a time."""
    crossed = False
    for index, (r0, c0) in enumerate(vertices):
        r1, c1 = vertices[(index + 1) % len(vertices)]
        if (r0 <= row) != (r1 <= row) and c0 + (row - r0) * (c1 - c0) / (r1 - r0) <= column:
            crossed = not crossed
    return crossed


points = st.tuples(*(st.integers(0, SIDE * 4).map(lambda v: v / 4),) * 2)


@given(st.lists(points, min_size=3, max_size=12))
def test_polygon_mask_equals_the_slow_rule(vertices: list[tuple[float, float]]) -> None:
    polygon = Polygon(tuple(vertices))
    expected = np.array([[inside(r + 0.5, c + 0.5, polygon.vertices) for c in range(SIDE)] for r in range(SIDE)])
    np.testing.assert_array_equal(regions.mask((polygon,), SIDE, SIDE), expected)


@given(st.integers(1, SIDE), st.integers(1, SIDE), st.integers(0, SIDE), st.integers(0, SIDE))
def test_rectangle_round_trip_and_mask(x1: int, y1: int, width: int, height: int) -> None:
    box = Rectangle.from_paper(x1, y1, x1 + width, y1 + height)
    assert box.to_paper() == (x1, y1, x1 + width, y1 + height)
    assert regions.parse(f"{x1},{y1},{x1 + width},{y1 + height}") == box
    covered = regions.mask((box,), 64, 64)
    assert covered.sum() == (width + 1) * (height + 1)
    assert covered[y1 - 1, x1 - 1]
    assert covered[y1 + height - 1, x1 + width - 1]


def test_the_papers_example() -> None:
    # paper 003: a region from (x1, y1) to (x2, y2), 1-based and inclusive, in a 512 x 512 picture
    box = regions.parse("100,120,200,220")
    assert box == Rectangle(top=119, left=99, bottom=220, right=200)


@given(st.integers(0, 10), st.integers(0, 10), st.integers(1, 12), st.integers(1, 12))
def test_polygon_on_pixel_edges_is_the_rectangle(top: int, left: int, height: int, width: int) -> None:
    box = Rectangle(top, left, top + height, left + width)
    corners = ((top, left), (top, left + width), (top + height, left + width), (top + height, left))
    np.testing.assert_array_equal(regions.mask((Polygon(corners),), SIDE, SIDE), regions.mask((box,), SIDE, SIDE))


def test_union_and_even_odd() -> None:
    star = Polygon(((0, 0), (10, 0), (10, 10), (0, 10), (0, 0), (3, 3), (7, 3), (7, 7), (3, 7), (3, 3)))
    covered = regions.mask((star, Rectangle(12, 12, 14, 14)), 16, 16)
    assert covered.sum() == 100 - 16 + 4
    assert not covered[5, 5]
    assert not regions.mask((), 4, 4).any()


def test_parsing_polygons_puts_vertices_on_pixel_centres() -> None:
    polygon = regions.parse("1,1 5,1 5,5 1,5")
    assert isinstance(polygon, Polygon)
    assert polygon.vertices == ((0.5, 0.5), (0.5, 4.5), (4.5, 4.5), (4.5, 0.5))
    assert regions.parse_all(["1,1,2,2", "1.5,1 3,1 3,3"])[0] == Rectangle(0, 0, 2, 2)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,1,2,3", "5,5,4,4", "1,5,1,4", "-1,1,2,2", "1,1 2,2", "1,1 2,2 3",
     "1,1 2,2 0,3", "1,1,2,2 ; rm", "1" * 9 + ",1,2,2", "1e3,1 2,2 3,3", "nan,1 2,2 3,3", "１,1,2,2"],
)  # fmt: skip
def test_text_that_is_no_region(text: str) -> None:
    with pytest.raises(InputError):
        regions.parse(text)


def test_regions_outside_the_picture_are_refused() -> None:
    image = read(samples.path("ct-thorax.dcm"))
    regions.check((Rectangle(0, 0, 512, 512), Polygon(((1, 1), (1, 9), (9, 9)))), image)
    for region in (Rectangle(0, 0, 513, 512), Rectangle(0, 0, 1, 513), Polygon(((1, 1), (1, 600), (9, 9)))):
        with pytest.raises(InputError, match="reaches beyond"):
            regions.check((region,), image)
    with pytest.raises(InputError, match="no pixel's centre"):
        regions.check((Polygon(((1, 1), (1.1, 1), (1.1, 1.1))),), image)


@pytest.mark.parametrize(
    "vertices", [((0, 0), (1, 1)), ((0, 0), (-1, 1), (2, 2)), ((0, 0), (float("nan"), 1), (2, 2)), ((0, 0),) * 10_001]
)
def test_polygons_that_are_none(vertices: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InputError):
        Polygon(vertices)


@given(st.lists(st.tuples(*(st.integers(0, SIDE - 1),) * 4), min_size=1, max_size=6))
def test_masks_become_rectangles_that_cover_exactly_them(boxes: list[tuple[int, int, int, int]]) -> None:
    picture = np.zeros((1, SIDE, SIDE), np.uint8)
    for a, b, c, d in boxes:
        picture[0, min(a, c) : max(a, c) + 1, min(b, d) : max(b, d) + 1] = 255
    found = regions.from_mask(MedicalImage(picture, 8))
    np.testing.assert_array_equal(regions.mask(found, SIDE, SIDE), picture[0] != 0)
    if len(boxes) == 1:
        assert len(found) == 1


def test_masks_that_are_none() -> None:
    with pytest.raises(InputError, match="empty mask"):
        regions.from_mask(MedicalImage(np.zeros((1, 4, 4), np.uint8), 8))
    different = np.zeros((2, 4, 4), np.uint8)
    different[1, 2, 2] = 1
    with pytest.raises(InputError, match="frames differ"):
        regions.from_mask(MedicalImage(different, 8))


def test_a_lesion_drawn_in_colour_becomes_a_region() -> None:
    image = read(samples.path("us-breast-malignant.png"))
    dark = image.pixels[0, 90:180, 60:200] < 30
    picture = np.zeros((1, image.rows, image.columns, 3), np.uint8)
    picture[0, 90:180, 60:200, 0] = dark
    found = regions.from_mask(MedicalImage(picture, 8))
    regions.check(found, image)
    assert regions.mask(found, image.rows, image.columns).sum() == dark.sum()
    box = regions.bounding_rectangle(found, image.rows, image.columns)
    assert 90 <= box.top < box.bottom <= 180
    with pytest.raises(InputError):
        regions.bounding_rectangle((Rectangle(300, 300, 301, 301),), image.rows, image.columns)
