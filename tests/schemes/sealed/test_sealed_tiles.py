"""Where in the picture: every changed tile and no other, for stored parts and for pixels that come back."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.schemes.sealed.material import OWNER, Object, flip, fragment_at, load, make

from medveil.crypto.hashing import keyed, merkle_root
from medveil.errors import InputError, UnsupportedError
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read
from medveil.imaging.roi import Polygon, Rectangle, mask
from medveil.schemes.base import FindingKind
from medveil.schemes.sealed import BytesShare, Sealed, TileTags, compare_pixels, read_tags, seal
from medveil.schemes.sealed.tiles import CELL, FINE, TileGrid, band_tags

CT = "pydicom_older_tests/693_UNCR.dcm"
ROI = (Rectangle(100, 200, 170, 260),)


def _tags(item: Object) -> TileTags:
    shares = {index: BytesShare(data) for index, data in enumerate(item.shares, start=1)}
    return read_tags(item.manifest, item.record.envelopes, shares, OWNER)


@pytest.fixture(scope="module")
def image(shared_data: Path) -> MedicalImage:
    found = load(shared_data, CT)
    assert isinstance(found, MedicalImage)
    return found


@pytest.fixture(scope="module")
def with_roi(image: MedicalImage) -> tuple[Object, TileTags]:
    sinks = [io.BytesIO() for _ in range(4)]
    record = seal(image, sinks, owner=OWNER, roi=ROI)
    item = Object(record, tuple(sink.getvalue() for sink in sinks), image.original or b"")
    return item, _tags(item)


def test_tags_follow_their_definition(with_roi: tuple[Object, TileTags], image: MedicalImage) -> None:
    """A second way to the same bytes, from the description in the module."""
    item, tags = with_roi
    manifest = item.manifest
    expected, leaves = b"", [tags.blind]
    inside = mask(ROI, 512, 512)
    for top in range(0, 512, 64):
        row = b""
        for left in range(0, 512, 64):
            side = 16 if inside[top : top + 64, left : left + 64].any() else 64
            for y, x in product(range(top, top + 64, side), range(left, left + 64, side)):
                tile = image.pixels[0, y : y + side, x : x + side].astype("<i2").tobytes()
                place = b"".join(v.to_bytes(w, "big") for v, w in ((0, 4), (y, 4), (x, 4), (side, 2), (side, 2)))
                row += blake3(place + tile, key=tags.key).digest(16)
        expected += row
        leaves.append(row)
    assert tags.tags == expected
    assert merkle_root(leaves) == manifest.tile_root == tags.root()


def test_the_key_is_derived_as_described(with_roi: tuple[Object, TileTags]) -> None:
    item, tags = with_roi
    core = item.manifest.core
    assert tags.key == keyed(item.record.key, b"tile tags", core.object_id, (1).to_bytes(8, "big"), core.salt)


def test_unchanged_pixels_have_no_findings(with_roi: tuple[Object, TileTags], image: MedicalImage) -> None:
    findings, drawn = compare_pixels(image, with_roi[1])
    assert findings == ()
    assert drawn.clean


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 511), st.integers(0, 511), st.integers(0, 15)), min_size=1, max_size=6))
def test_exactly_the_changed_tiles(
    with_roi: tuple[Object, TileTags], image: MedicalImage, places: list[tuple[int, int, int]]
) -> None:
    pixels = image.pixels.copy()
    words = pixels.view(np.uint16)
    for row, column, bit in places:
        words[0, row, column] ^= np.uint16(1 << bit)
    changed = (pixels != image.pixels)[0]
    inside = mask(ROI, 512, 512)
    expected = np.zeros((512, 512), np.bool_)
    for row, column in zip(*np.nonzero(changed), strict=True):
        top, left = row // CELL * CELL, column // CELL * CELL
        side = FINE if inside[top : top + CELL, left : left + CELL].any() else CELL
        y, x = row // side * side, column // side * side
        expected[y : y + side, x : x + side] = True
    findings, drawn = compare_pixels(replace(image, pixels=pixels), with_roi[1])
    assert np.array_equal(drawn.touched[0], expected)
    assert bool(findings) == bool(expected.any())
    assert all(f.kind is FindingKind.MODIFIED for f in findings)


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "RLELossless", "JPEGLSLossless", "JPEG2000Lossless"])
def test_a_lossless_transcode_verifies(
    syntax: str, image: MedicalImage, with_roi: tuple[Object, TileTags], tmp_path: Path
) -> None:
    """What a PACS does: the file differs, the pixels do not."""
    dataset = pydicom.dcmread(io.BytesIO(image.original or b""))
    target = getattr(pydicom.uid, syntax)
    if target.is_compressed:
        dataset.compress(target, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = target
    out = tmp_path / "transcoded.dcm"
    dataset.save_as(out)
    returned = read(out)
    assert returned.original != image.original
    assert compare_pixels(returned, with_roi[1])[0] == ()


def test_one_image_in_nine_transfer_syntaxes(shared_data: Path) -> None:
    """Others' transcodes of one MR image, big endian among them: each verifies against any other's tags."""
    tags = _tags(make(load(shared_data, "dcm_qa_ts/1.dcm")))
    for number in range(1, 10):
        returned = load(shared_data, f"dcm_qa_ts/{number}.dcm")
        assert isinstance(returned, MedicalImage)
        assert compare_pixels(returned, tags)[0] == ()


def test_a_lossy_transcode_is_found(image: MedicalImage, with_roi: tuple[Object, TileTags]) -> None:
    lossy = replace(image, pixels=image.pixels // 4 * 4)
    findings, drawn = compare_pixels(lossy, with_roi[1])
    assert findings
    assert drawn.touched.any()


def test_values_count_and_not_their_width(image: MedicalImage, with_roi: tuple[Object, TileTags]) -> None:
    wide = replace(image, pixels=image.pixels.astype(np.int32), original=None, pixel_span=None)
    assert compare_pixels(wide, with_roi[1])[0] == ()
    wide.pixels[0, 3, 3] += 1 << 16  # the same in 16 bits
    findings, drawn = compare_pixels(wide, with_roi[1])
    assert findings
    assert int(drawn.touched.sum()) == CELL * CELL


def test_another_image_is_refused(shared_data: Path, with_roi: tuple[Object, TileTags]) -> None:
    other = load(shared_data, "pydicom_older_tests/CT_small.dcm")
    assert isinstance(other, MedicalImage)
    with pytest.raises(InputError, match="shape"):
        compare_pixels(other, with_roi[1])


def test_compare_through_the_scheme(image: MedicalImage, shared_data: Path) -> None:
    scheme = Sealed()
    protected = scheme.protect(image, roi=ROI)
    pixels = image.pixels.copy()
    pixels[0, 120, 230] ^= 1
    checked = scheme.compare(replace(image, pixels=pixels), protected.parts[1:3], protected.secret)
    assert checked.tamper_map is not None
    assert int(checked.tamper_map.touched.sum()) == FINE * FINE
    assert checked.tamper_map.touched[0, 112:128, 224:240].all()
    text = scheme.protect(load(shared_data, "README.md"))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError):
        scheme.compare(image, text.parts, text.secret)


@pytest.mark.parametrize(
    "name",
    [
        "pydicom_older_tests/US1_UNCR.dcm",
        "pydicom_older_tests/emri_small.dcm",
        "pydicom_older_tests/MR_small_bigendian.dcm",
        "pydicom_older_tests/693_J2KR.dcm",
        "pydicom_older_tests/color-pl.dcm",
        "pydicom_older_tests/SC_rgb_32bit_2frame.dcm",
        "pydicom_data/parametric_map_float.dcm",
        "highdicom/sm_image_dots.dcm",
    ],
)
def test_every_kind_of_image_has_tags(name: str, shared_data: Path) -> None:
    """Colour, many frames, big endian, compressed, planar, 32 bits, floats: the one changed tile is found."""
    image = load(shared_data, name)
    assert isinstance(image, MedicalImage)
    tags = _tags(make(image))
    assert compare_pixels(image, tags)[0] == ()
    pixels = image.pixels.copy()
    frame, row, column = image.frames - 1, image.rows - 1, image.columns - 1
    pixels[frame, row, column] = pixels[frame, row, column] + 1
    findings, drawn = compare_pixels(replace(image, pixels=pixels), tags)
    assert len(findings) == 1
    expected = np.zeros_like(drawn.touched)
    expected[frame, row // CELL * CELL :, column // CELL * CELL :] = True
    assert np.array_equal(drawn.touched, expected)


@given(rows=st.integers(1, 200), columns=st.integers(1, 200), seed=st.integers(0, 1 << 30))
@settings(max_examples=60, deadline=None)
def test_tiles_cover_every_pixel_once(rows: int, columns: int, seed: int) -> None:
    top, left = seed % rows, seed % columns
    roi = (Rectangle(top, left, top + 1, left + 1),) if seed % 3 else ()
    grid = TileGrid.of(1, rows, columns, roi)
    counts = np.zeros((rows, columns), np.int64)
    for cell_row in range(grid.down):
        for y, x, height, width in grid.tiles(cell_row):
            counts[y : y + height, x : x + width] += 1
    assert (counts == 1).all()
    assert grid.tags_per_frame == sum(len(grid.tiles(cell)) for cell in range(grid.down))
    if roi:
        assert any(h <= FINE and w <= FINE and y <= top < y + h for y, _, h, w in grid.tiles(top // CELL))


def test_a_polygon_is_cut_fine_too(image: MedicalImage) -> None:
    triangle = (Polygon(((10.0, 10.0), (100.0, 10.0), (100.0, 100.0))),)
    grid = TileGrid.of(1, 512, 512, triangle)
    assert grid.fine_cells[0, 0]
    assert grid.fine_cells[1, 1]
    assert not grid.fine_cells[0, 1]
    assert not grid.fine_cells[3, 3]


def test_the_place_is_part_of_a_tag() -> None:
    grid = TileGrid(2, 64, 128)
    band = np.zeros((64, 128), np.uint8)
    tags = band_tags(bytes(32), grid, 0, 0, band)
    assert tags[:16] != tags[16:]
    assert band_tags(bytes(32), grid, 1, 0, band) != tags


# ------------------------------------------------------------------------------------------------- stored parts


def test_a_flip_shows_the_band_it_lies_in(shared_data: Path) -> None:
    """Uncoded pixels: a changed byte of a part shows exactly the pixel that it is."""
    image = load(shared_data, CT)
    assert isinstance(image, MedicalImage)
    assert image.pixel_span is not None
    item = make(image, (2, 3), codec="none")
    manifest, opened = item.manifest, item.open()
    start = 4 + len(opened.index.encode())
    for row, column in ((0, 0), (17, 300), (255, 255), (511, 511)):
        place = start + image.pixel_span.offset + 2 * (512 * row + column)
        chunk, within = divmod(place, manifest.chunk)
        size = manifest.layout.fragment(chunk)
        share, offset = divmod(within, size)
        at = manifest.layout.place(chunk) + offset
        shares = dict(enumerate(item.shares, start=1))
        shares[share + 1] = flip(shares[share + 1], at)
        found = item.open(shares)
        assert found.original == image.original
        assert found.tamper_map is not None
        expected = np.zeros((1, 512, 512), np.bool_)
        expected[0, row, column] = True
        assert np.array_equal(found.tamper_map.touched, expected)


def test_a_flip_of_parity_shows_all_it_stands_for(shared_data: Path) -> None:
    image = load(shared_data, CT)
    item = make(image, (2, 3), codec="none")
    manifest = item.manifest
    start, _ = fragment_at(item, 20)
    found = item.open(dict(enumerate(item.shares, start=1)) | {3: flip(item.shares[2], start + 100)})
    assert found.tamper_map is not None
    assert 1 <= int(found.tamper_map.touched.sum()) <= manifest.k


def test_coded_bands_show_whole(shared_data: Path) -> None:
    """A coded band of 64 rows is one piece: a flip shows it, or two where it lies at their border, and no more."""
    image = load(shared_data, CT)
    item = make(image, (2, 3))
    seen = np.zeros(512, np.bool_)
    for chunk in range(item.manifest.layout.count):
        start, end = fragment_at(item, chunk)
        for at in range(start, end, 499):
            found = item.open(dict(enumerate(item.shares, start=1)) | {1: flip(item.shares[0], at)})
            assert found.original == image.original  # type: ignore[union-attr]
            drawn = found.tamper_map
            assert drawn is not None
            rows = drawn.touched[0].any(axis=1)
            assert np.array_equal(drawn.touched[0].all(axis=1), rows)
            assert int(rows.sum()) in (0, 64)
            seen |= rows
    assert seen.all()


def test_frames_of_a_compressed_file(shared_data: Path) -> None:
    """Compressed frames keep their bytes; a flip shows the frame that it lies in."""
    image = load(shared_data, "pydicom_older_tests/emri_small_RLE.dcm")
    assert isinstance(image, MedicalImage)
    item = make(image, (2, 3))
    shown = set()
    for at in range(100, item.manifest.layout.leaves, 701):
        drawn = item.open(dict(enumerate(item.shares, start=1)) | {2: flip(item.shares[1], at)}).tamper_map
        assert drawn is not None
        frames = np.flatnonzero(drawn.touched.any(axis=(1, 2)))
        assert len(frames) <= 2
        assert drawn.touched[frames].all()
        shown |= set(frames.tolist())
    assert len(shown) == image.frames
