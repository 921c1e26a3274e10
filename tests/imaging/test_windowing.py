"""Windows and look-up tables against the standard's formulas, written out, and pydicom's own."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from medveil.errors import InputError
from medveil.imaging import samples
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.reader import read
from medveil.imaging.windowing import Window, apply_window, auto_window, modality_values, to_display


def formula(x: float, c: float, w: float, function: str) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 with output 0 to 1."""
    if function == "SIGMOID":
        return 1 / (1 + math.exp(-4 * (x - c) / w)) if -4 * (x - c) / w < 700 else 0.0
    if function == "LINEAR_EXACT":
        return 0.0 if x <= c - w / 2 else 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


@given(
    st.lists(st.integers(-4096, 65535), min_size=1, max_size=20),
    st.floats(-2000, 4000),
    st.floats(1, 8000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_windows_follow_the_standard(values: list[int], center: float, width: float, function: str) -> None:
    shown = apply_window(np.array(values), Window(center, width, function))
    expected = [formula(x, center, width, function) for x in values]
    # near width 1 a LINEAR window is a step, where the last bit of x decides
    step = function == "LINEAR" and width < 1.001
    if not step:
        np.testing.assert_allclose(shown, expected, atol=1e-9)
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_width_one_is_a_step() -> None:
    assert apply_window(np.array([99, 100, 101]), Window(100, 1)).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("center", "width", "function"),
    [(0, 0, "LINEAR"), (0, 0.5, "LINEAR"), (0, -1, "SIGMOID"), (0, 1, "CUBIC"), (math.nan, 1, "LINEAR")],
)
def test_windows_that_are_none(center: float, width: float, function: str) -> None:
    with pytest.raises(InputError):
        Window(center, width, function)


def _as_pydicom_shows(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        return apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm"])
def test_tables_give_what_pydicom_gives(name: str, shared_data: Path) -> None:
    path = shared_data / "dicom_zoo" / "pydicom_older_tests" / name
    image = read(path)
    assert {"modality_lut", "voi_lut"} & set(image.details)
    expected = _as_pydicom_shows(path).astype(float)
    ours = to_display(image).astype(float)
    scaled = expected / expected.max() * 255 if "voi_lut" in image.details else expected
    assert np.corrcoef(ours.ravel(), scaled.ravel())[0, 1] > 0.999
    if "voi_lut" in image.details and "windows" not in image.details:
        top = (1 << image.details["voi_lut"][1]) - 1
        np.testing.assert_allclose(ours, expected / top * 255, atol=0.51)


def test_ct_is_in_hounsfield_units() -> None:
    image = read(samples.path("ct-thorax.dcm"))
    values = modality_values(image)
    np.testing.assert_array_equal(values, image.pixels[0].astype(float) - 1024)
    assert -1100 < np.median(values[150:350, 80:140]) < -600  # the right lung is mostly air
    lung, soft = to_display(image, window=(-600, 1500)), to_display(image, window=Window(40, 400))
    assert lung[200, 100] > 0
    assert soft[200, 100] == 0  # air is black in a soft tissue window
    assert lung.dtype == np.uint8


def test_monochrome1_is_turned_round() -> None:
    image = read(samples.path("xray-chest-15-bit.dcm"))
    assert image.photometric is Photometric.MONOCHROME1
    shown = to_display(image)
    stored = image.pixels[0].astype(float)
    assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] < -0.5
    plain = MedicalImage(image.pixels, 15, Photometric.MONOCHROME2, details=image.details)
    assert (to_display(plain).astype(int) + shown).max() <= 256


@pytest.mark.parametrize("name", samples.names())
def test_every_sample_can_be_shown(name: str) -> None:
    image = read(samples.path(name))
    for frame in range(image.frames):
        shown = to_display(image, frame)
        assert shown.dtype == np.uint8
        assert shown.shape == (image.rows, image.columns) + ((3,) if image.samples > 1 else ())
    assert shown.max() > 150
    with pytest.raises(InputError, match="numbered from 0"):
        to_display(image, image.frames)


def test_the_whole_zoo_can_be_shown(shared_data: Path) -> None:
    from medveil.imaging.reader import read_any

    shown = 0
    for path in sorted((shared_data / "dicom_zoo").rglob("*")):
        image = read_any(path) if path.is_file() else None
        if isinstance(image, MedicalImage):
            picture = to_display(image, image.frames - 1)
            assert picture.shape[:2] == (image.rows, image.columns)
            shown += 1
    assert shown > 200


def test_eight_bit_pictures_are_shown_as_they_are() -> None:
    image = read(samples.path("xray-chest-1024.png"))
    np.testing.assert_array_equal(to_display(image), image.pixels[0])
    colour = read(samples.path("mr-brain-glioma.jpg"))
    np.testing.assert_array_equal(to_display(colour), colour.pixels[0])
    with pytest.raises(InputError, match="colour"):
        to_display(colour, window=(40, 400))
    with pytest.raises(InputError, match="colour"):
        modality_values(colour)


def test_odd_values() -> None:
    flat = MedicalImage(np.full((1, 4, 4), 700, np.uint16), 16)
    assert len(set(to_display(flat).ravel().tolist())) == 1
    floats = np.array([[[np.nan, np.inf, -1.0, 2.0]]], np.float32)
    assert to_display(MedicalImage(floats, 32)).shape == (1, 4)
    assert auto_window(MedicalImage(np.full((1, 1, 1), np.nan), 64)).width > 0
    wide = MedicalImage(np.full((1, 2, 2, 4), 65535, np.uint16), 16, Photometric.RGB)
    assert to_display(wide).tolist() == [[[255] * 3] * 2] * 2
