"""DICOM reading over 250 files made by others, checked against what another reader recorded about them."""

from __future__ import annotations

import csv
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tests.conftest import find_shared_data

from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.imaging import dicom, samples
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.imaging.reader import read, read_any

DATA = find_shared_data()
ZOO = DATA / "dicom_zoo" if DATA else None

# Encodings that the manifest's reader lacked and ours has; each is compared with its uncompressed twin below.
DECODED_HERE_ONLY = {
    "pydicom_data/liver_deflate.dcm",
    "pydicom_data/liver_nonbyte_aligned_deflate.dcm",
    "pydicom_data/liver_nonbyte_aligned_rle.dcm",
    "pydicom_data/liver_rle.dcm",
    "pydicom_older_tests/JPEG-lossy.dcm",
}

NOT_EVEN_A_DATA_SET = {
    "pydicom_older_tests/emri_small_jpeg_2k_lossless_too_short.dcm",
    "pydicom_older_tests/no_meta.dcm",
}


def manifest() -> list[dict[str, str]]:
    if ZOO is None:
        return []
    with (ZOO / "manifest.csv").open() as file:
        return list(csv.DictReader(file))


ROWS = manifest()


@pytest.fixture
def zoo(shared_data: Path) -> Path:
    return shared_data / "dicom_zoo"


def test_the_whole_zoo_is_there(zoo: Path) -> None:
    assert len(ROWS) == 250
    assert sum(row["decodes_here"] == "ok" for row in ROWS) == 210


@pytest.mark.parametrize("row", [r for r in ROWS if r["decodes_here"] == "ok"], ids=lambda r: r["path"])
def test_decodes_as_recorded(row: dict[str, str], zoo: Path) -> None:
    data = (zoo / row["path"]).read_bytes()
    image = read(data)
    shape = (int(row["frames"] or 1), int(row["rows"]), int(row["columns"]))
    assert image.pixels.shape == (shape if row["samples"] == "1" else (*shape, 3))
    assert f"{image.pixels.min()}..{image.pixels.max()}" == row["value_range"]
    assert image.original == data
    assert image.media_type == "application/dicom"
    assert image.pixels.flags.c_contiguous
    assert image.pixels.dtype.isnative
    if row["bits_stored"]:
        assert image.bits_stored == int(row["bits_stored"])
        assert image.signed == (row["pixel_representation"] == "1")
    photometric = row["photometric"]
    assert image.photometric.value == ("RGB" if photometric.startswith("YBR") else photometric)


@pytest.mark.parametrize("row", [r for r in ROWS if r["decodes_here"] != "ok"], ids=lambda r: r["path"])
def test_the_rest_is_kept_as_bytes_with_a_reason(row: dict[str, str], zoo: Path) -> None:
    data = (zoo / row["path"]).read_bytes()
    found = read_any(data, name=row["path"])
    assert found.original == data
    if row["path"] in DECODED_HERE_ONLY:
        assert isinstance(found, MedicalImage)
        return
    assert isinstance(found, OpaqueFile)
    assert found.reason
    assert found.name == row["path"]
    with pytest.raises((InputError, UnsupportedError)) as caught:
        read(data)
    assert str(caught.value) == found.reason
    if row["decodes_here"] == "no pixel data" and row["path"] not in NOT_EVEN_A_DATA_SET:
        assert isinstance(caught.value, UnsupportedError)
        assert "without pixel data" in found.reason


@pytest.mark.parametrize("row", [r for r in ROWS if r["decodes_here"] == "ok"], ids=lambda r: r["path"])
def test_pixel_span_is_exact_or_absent(row: dict[str, str], zoo: Path) -> None:
    image = read(zoo / row["path"])
    span = image.pixel_span
    native = row["transfer_syntax"].endswith("Endian") and not row["transfer_syntax"].startswith("Deflated")
    if span is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(zoo / row["path"], force=True)
        planar = dataset.get("PlanarConfiguration") == 1
        converted = row["photometric"].startswith("YBR")
        awkward = row["bits_allocated"] in ("1", "") or not row["bits_stored"] or planar or converted
        big_words = row["transfer_syntax"] == "Explicit VR Big Endian" and row["bits_allocated"] == "8"
        overlay_bits = row["bits_stored"] != row["bits_allocated"]
        assert not native or awkward or big_words or overlay_bits
        return
    assert native
    assert image.original is not None
    assert span.length == np.dtype(span.dtype).itemsize * int(np.prod(span.shape))
    stored = np.frombuffer(image.original[span.offset : span.offset + span.length], span.dtype).reshape(span.shape)
    np.testing.assert_array_equal(stored.reshape(image.pixels.shape), image.pixels)


def test_most_native_files_have_a_span(zoo: Path) -> None:
    assert sum(read_any(zoo / r["path"]).pixel_span is not None for r in ROWS if r["decodes_here"] == "ok") >= 100  # type: ignore[union-attr]


def test_nine_syntaxes_one_picture(zoo: Path) -> None:
    pictures = [read(zoo / f"dcm_qa_ts/{number}.dcm").pixels for number in range(1, 10)]
    for other in pictures[1:]:
        np.testing.assert_array_equal(pictures[0], other)
    assert pictures[0].max() == 2362


def test_fragments_and_offset_tables_make_no_difference(zoo: Path) -> None:
    for pattern in ("CT1_UNC*", "CT0012*80.dcm", "CT0012*lossless*"):
        pictures = [read(path).pixels for path in sorted((zoo / "dicomparser").glob(pattern))]
        assert len(pictures) >= 2
        for other in pictures[1:]:
            np.testing.assert_array_equal(pictures[0], other)


@pytest.mark.parametrize(
    ("plain", "packed"),
    [
        ("pydicom_older_tests/liver.dcm", "pydicom_data/liver_deflate.dcm"),
        ("pydicom_older_tests/liver.dcm", "pydicom_data/liver_rle.dcm"),
        ("pydicom_data/liver_nonbyte_aligned.dcm", "pydicom_data/liver_nonbyte_aligned_deflate.dcm"),
        ("pydicom_data/liver_nonbyte_aligned.dcm", "pydicom_data/liver_nonbyte_aligned_rle.dcm"),
        ("pydicom_older_tests/emri_small.dcm", "pydicom_older_tests/emri_small_RLE.dcm"),
        ("pydicom_older_tests/emri_small.dcm", "pydicom_older_tests/emri_small_big_endian.dcm"),
        ("pydicom_older_tests/emri_small.dcm", "pydicom_older_tests/emri_small_jpeg_2k_lossless.dcm"),
        ("pydicom_older_tests/emri_small.dcm", "pydicom_older_tests/emri_small_jpeg_ls_lossless.dcm"),
        ("pydicom_older_tests/rtdose.dcm", "pydicom_older_tests/rtdose_rle.dcm"),
        ("pydicom_older_tests/rtdose.dcm", "pydicom_older_tests/rtdose_expb.dcm"),
        ("pydicom_older_tests/SC_rgb_expb_16bit.dcm", "pydicom_older_tests/SC_rgb_rle_16bit.dcm"),
        ("pydicom_older_tests/color-px.dcm", "pydicom_older_tests/color-pl.dcm"),
        ("pydicom_older_tests/liver.dcm", "pydicom_older_tests/liver_expb.dcm"),
        ("pydicom_older_tests/US1_UNCR.dcm", "pydicom_older_tests/US1_J2KR.dcm"),
    ],
)
def test_the_same_picture_in_another_encoding(plain: str, packed: str, zoo: Path) -> None:
    first, second = read(zoo / plain), read(zoo / packed)
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.pixels.dtype == second.pixels.dtype


def test_twelve_bit_jpeg(zoo: Path) -> None:
    image = read(zoo / "pydicom_older_tests/JPEG-lossy.dcm")
    assert (image.pixels.shape, image.bits_stored, image.pixels.dtype) == ((1, 1024, 256), 12, np.uint16)
    assert 200 < image.pixels.max() < 4096


def test_lossy_colour_is_near_the_lossless_one(zoo: Path) -> None:
    exact = read(zoo / "dicomparser/IM00001.implicit_little_endian.dcm").pixels.astype(int)
    lossy = read(zoo / "dicomparser/IM00001.fragmented_no_bot_jpeg_baseline.50.dcm").pixels
    assert np.abs(lossy - exact).mean() < 4


def test_palette_keeps_indices_and_can_be_applied(zoo: Path) -> None:
    image = read(zoo / "pydicom/examples_palette.dcm")
    assert image.photometric is Photometric.PALETTE_COLOR
    coloured = dicom.apply_palette(image)
    assert coloured.pixels.shape == (1, 350, 800, 3)
    assert coloured.photometric is Photometric.RGB
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydicom.pixels import apply_color_lut

        dataset = pydicom.dcmread(zoo / "pydicom/examples_palette.dcm")
        expected = apply_color_lut(dataset.pixel_array, dataset)
    np.testing.assert_array_equal(coloured.pixels[0], expected)
    with pytest.raises(InputError, match="without a colour palette"):
        dicom.apply_palette(read(samples.path("ct-thorax.dcm")))


def test_details_hold_what_showing_needs_and_no_patient() -> None:
    image = read(samples.path("ct-thorax.dcm"))
    assert image.details["rescale"] == (1.0, -1024.0)
    assert image.details["modality"] == "CT"
    assert image.spacing is not None
    assert "CompressedSamples" not in repr(image.details)
    assert "CompressedSamples" not in repr(image)


def test_warnings_filters_are_left_as_they_were(zoo: Path) -> None:
    before = list(warnings.filters)
    odd = [zoo / row["path"] for row in ROWS[:40]]
    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(pool.map(read_any, odd))) == 40
    assert list(warnings.filters) == before


# --- damage ---------------------------------------------------------------------------------------------------


def _with(data: bytes, tag: bytes, value: bytes) -> bytes:
    """Replace the value of an explicit little-endian element of short form and the same length."""
    at = data.index(tag)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    assert length == len(value)
    return data[: at + 8] + value + data[at + 8 + length :]


ROWS_TAG, COLUMNS_TAG, ALLOCATED_TAG = b"\x28\x00\x10\x00US", b"\x28\x00\x11\x00US", b"\x28\x00\x00\x01US"
FRAMES_TAG = b"\x28\x00\x08\x00IS"


def _ct() -> bytes:
    return samples.load("ct-thorax.dcm")


DAMAGED = {
    "cut in the pixels": (lambda: _ct()[:-1000], InputError, "cannot be decoded"),
    "cut before the pixels": (lambda: _ct()[:3000], UnsupportedError, "without pixel data"),
    "cut in the file meta": (lambda: _ct()[:150], InputError, "DICOM"),
    "only a prefix": (lambda: _ct()[:132], InputError, "without a data set"),
    "no rows": (lambda: _with(_ct(), ROWS_TAG, b"\0\0"), InputError, "no pixels"),
    "more rows than bytes": (lambda: _with(_ct(), ROWS_TAG, b"\xff\xff"), InputError, "cannot be decoded"),
    "odd bits": (lambda: _with(_ct(), ALLOCATED_TAG, b"\x07\0"), InputError, "cannot be decoded"),
    "no frames": (lambda: _with(samples.load("mr-10-frames.dcm"), FRAMES_TAG, b"0 "), InputError, "no pixels"),
    "frames in words": (lambda: _with(samples.load("mr-10-frames.dcm"), FRAMES_TAG, b"x "), InputError, "decoded"),
    "more frames than there are": (
        lambda: _with(samples.load("ct-perfusion-2-frames.dcm"), FRAMES_TAG, b"9 "), InputError, "truncated",
    ),
    "another size inside": (
        lambda: _with(samples.load("ct-perfusion-2-frames.dcm"), ROWS_TAG, b"\x10\0"), InputError, "its own header",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_has_its_error(case: str) -> None:
    make, error, words = DAMAGED[case]
    with pytest.raises(error, match=words) as caught:
        read(make())
    assert type(caught.value) is error
    assert isinstance(read_any(make()), OpaqueFile)


def test_limit_before_allocation() -> None:
    packed = samples.load("ct-perfusion-2-frames.dcm")
    with pytest.raises(LimitError, match="refused before allocation"):
        read(packed, limit=(1 << 20) - 1)
    assert read(packed, limit=1 << 20).pixels.nbytes == 1 << 20
    huge = _with(_with(samples.load("ct-perfusion-2-frames.dcm"), ROWS_TAG, b"\xff\xff"), COLUMNS_TAG, b"\xff\xff")
    with pytest.raises(LimitError, match="refused before allocation"):
        read(huge)


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _deflated(body: bytes) -> bytes:
    meta = _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99\0"[:22])
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (
        b"\0" * 128
        + b"DICM"
        + _element(2, 0, b"UL", struct.pack("<I", len(meta)))
        + meta
        + (engine.compress(body) + engine.flush())
    )


def test_a_deflated_bomb_is_refused_while_it_is_counted() -> None:
    bomb = _deflated(
        _element(8, 0x60, b"CS", b"OT") + b"\x09\x00\x10\x00UT\0\0" + struct.pack("<I", 1 << 28) + bytes(1 << 28)
    )
    assert len(bomb) < 1 << 19
    with pytest.raises(LimitError, match="deflated"):
        read(bomb, limit=1 << 26)


def test_mutated_files_never_escape_the_error_tree(zoo: Path) -> None:
    rng = np.random.default_rng(20240501)
    files = [(zoo / row["path"]).read_bytes() for row in ROWS if int(row["bytes"]) < 60_000]
    for _ in range(600):
        data = bytearray(files[rng.integers(len(files))])
        for _ in range(int(rng.integers(1, 12))):
            data[rng.integers(len(data))] = rng.integers(256)
        if rng.integers(3) == 0:
            del data[rng.integers(len(data)) :]
        try:
            read(bytes(data), limit=1 << 26)
        except MedveilError:
            continue
