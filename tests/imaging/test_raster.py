"""PNG, TIFF and the JPEG family: exact round trips, and Pillow or the codec's own encoder as the other side."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import codestream, raster, samples
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.reader import read


def crop(name: str, dtype: type, samples_: int = 1) -> np.ndarray:
    """Return (48, 40[, samples]) real pixels of a carried image in the wanted type."""
    pixels = read(samples.path(name)).pixels[0][200:248, 60:100]
    if samples_ > 1 and pixels.ndim == 2:
        pixels = np.stack([pixels + shift for shift in range(samples_)], axis=-1)
    return np.ascontiguousarray(pixels.astype(dtype))


@pytest.mark.parametrize("samples_", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(dtype: type, samples_: int) -> None:
    pixels = crop("xray-chest-15-bit.dcm", dtype, samples_)
    image = read(raster.encode_png(pixels))
    np.testing.assert_array_equal(image.pixels[0], pixels)
    assert image.bits_stored == 8 * pixels.itemsize
    assert image.photometric is (Photometric.RGB if samples_ > 1 else Photometric.MONOCHROME2)
    assert image.media_type == "image/png"


@given(arrays.arrays(np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
@settings(max_examples=50)
def test_any_16_bit_png_round_trip(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(read(raster.encode_png(pixels)).pixels[0], pixels)


def test_png_of_grey_with_alpha_becomes_rgba() -> None:
    pixels = crop("xray-chest-1024.png", np.uint8, 2)
    image = read(raster.encode_png(pixels))
    assert image.samples == 4
    np.testing.assert_array_equal(image.pixels[0, ..., 0], pixels[..., 0])
    np.testing.assert_array_equal(image.pixels[0, ..., 3], pixels[..., 1])


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), np.int16), np.zeros((1, 2, 2, 3), np.uint8), np.zeros((0, 2), np.uint8),
     np.zeros((2, 2, 5), np.uint8)],
    ids=["signed", "frames", "empty", "samples"],
)  # fmt: skip
def test_what_png_cannot_hold(pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="PNG"):
        raster.encode_png(pixels)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("samples_", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64])
def test_tiff_round_trip(dtype: type, samples_: int, frames: int) -> None:
    one = crop("ct-thorax.dcm", dtype, samples_)
    pixels = np.stack([one + frame for frame in range(frames)]).astype(dtype)
    image = read(raster.encode_tiff(pixels))
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == pixels.dtype
    assert image.signed == (np.dtype(dtype).kind == "i")


def test_tiff_of_white_zero_palette_and_big_endian() -> None:
    grey = crop("xray-chest-1024.png", np.uint8)
    white = imagecodecs.tiff_encode(grey, photometric="miniswhite")
    image = read(bytes(white))
    assert image.photometric is Photometric.MONOCHROME1
    np.testing.assert_array_equal(image.pixels[0], grey)
    big = read(bytes(imagecodecs.tiff_encode(grey.astype(np.uint16) * 257, byteorder=">", photometric="minisblack")))
    np.testing.assert_array_equal(big.pixels[0], grey.astype(np.uint16) * 257)
    large = read(bytes(imagecodecs.tiff_encode(grey, bigtiff=True, photometric="minisblack")))
    np.testing.assert_array_equal(large.pixels[0], grey)


def test_tiff_pages_that_differ_are_refused() -> None:
    first, second = np.zeros((8, 8), np.uint8), np.zeros((9, 8), np.uint8)
    data = bytes(imagecodecs.tiff_encode(first, photometric="minisblack"))
    both = imagecodecs.tiff_encode(second, photometric="minisblack", appendto=data)
    with pytest.raises(UnsupportedError, match="differ in size"):
        read(bytes(both))


def test_what_tiff_cannot_hold() -> None:
    for pixels in (np.zeros((2, 2), np.uint8), np.zeros((1, 2, 2, 2), np.uint8), np.zeros((1, 2, 2), np.complex64)):
        with pytest.raises(InputError, match="TIFF"):
            raster.encode_tiff(pixels)


@pytest.mark.parametrize(
    ("encode", "media_type", "kind"),
    [
        (imagecodecs.jpegls_encode, "image/jls", "jpeg-ls"),
        (lambda p: imagecodecs.jpeg2k_encode(p, level=0, reversible=True, codecformat="j2k"), "image/j2c", "j2k"),
        (lambda p: imagecodecs.jpeg2k_encode(p, level=0, reversible=True, codecformat="jp2"), "image/jp2", "j2k"),
        (lambda p: imagecodecs.jpeg8_encode(p, lossless=True), "image/jpeg", "jpeg-lossless"),
    ],
    ids=["jpeg-ls", "j2k", "jp2", "jpeg-lossless"],
)
@pytest.mark.parametrize("name", ["xray-chest-15-bit.dcm", "xray-chest-1024.png"])
def test_lossless_pictures_are_exact(name: str, encode: object, media_type: str, kind: str) -> None:
    pixels = crop(name, np.uint16 if "15" in name else np.uint8)
    data = bytes(encode(pixels))  # type: ignore[operator]
    found = codestream.inspect(data)
    assert (found.kind, found.rows, found.columns, found.samples) == (kind, *pixels.shape, 1)
    image = read(data)
    np.testing.assert_array_equal(image.pixels[0], pixels)
    assert image.media_type == media_type
    assert image.bits_stored == found.bits


def test_jpeg_is_read_as_it_is_stored() -> None:
    image = read(samples.path("mr-brain-glioma.jpg"))
    assert isinstance(image, MedicalImage)
    assert image.pixels.shape == (1, 224, 224, 3)  # grey stored as colour stays colour
    assert np.ptp(image.pixels.astype(int), axis=-1).max() == 0
