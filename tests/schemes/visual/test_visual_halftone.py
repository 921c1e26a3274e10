"""Halftones are bit for bit those of the vectors, keep brightness, and refuse what would not."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.schemes.visual.visual_material import VECTORS, shown, vector

from medveil.errors import InputError, UnsupportedError
from medveil.metrics.image_quality import hvs_psnr
from medveil.schemes.visual.halftone import HALFTONES, complement, halftone, threshold_matrix

CASES = sorted(VECTORS.glob("halftone-*.vector"))


def oracle() -> ModuleType:
    spec = importlib.util.spec_from_file_location("visual_vector_generator", VECTORS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_vectors() -> None:
    assert len(CASES) == 24


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_vectors(path: object) -> None:
    case = vector(path)  # type: ignore[arg-type]
    shape = int(case["rows"]), int(case["columns"])
    pixels = np.frombuffer(bytes.fromhex(case["pixels"]), np.uint8).reshape(shape)
    assert halftone(pixels, case["method"]).tobytes().hex() == case["bits"]


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)),
    st.sampled_from(("floyd-steinberg", "jarvis", "stucki")),
)
def test_equals_plain_loops(pixels: np.ndarray, method: str) -> None:
    assert halftone(pixels, method).tolist() == oracle().diffuse(pixels.tolist(), method)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from((2, 3, 4)))))
def test_channels_are_independent(pixels: np.ndarray) -> None:
    for method in HALFTONES:
        together = halftone(pixels, method, threads=2)
        for c in range(pixels.shape[2]):
            assert np.array_equal(together[..., c], halftone(np.ascontiguousarray(pixels[..., c]), method))


@pytest.mark.parametrize("method", HALFTONES)
def test_a_real_image_keeps_its_brightness_and_its_look(method: str) -> None:
    picture = shown("mr-brain-glioma.jpg")
    bits = halftone(picture, method)
    assert abs(float(bits.mean()) * 255 - float(picture.mean())) < 0.5
    assert hvs_psnr(picture, bits * np.uint8(255)) > 22


def test_threads_change_nothing() -> None:
    picture = np.tile(shown("mr-brain-glioma.jpg"), (3, 3, 1))
    for method in ("jarvis", "floyd-steinberg"):
        assert np.array_equal(halftone(picture, method, threads=3), halftone(picture, method))


def test_the_matrix_holds_every_rank_once() -> None:
    assert sorted(threshold_matrix().reshape(-1).tolist()) == list(range(4096))
    for level in (0, 1, 64, 128, 254, 255):  # mean light of a flat field is its level
        bits = halftone(np.full((64, 64), level, np.uint8), "void-and-cluster")
        assert abs(float(bits.mean()) - level / 255) <= 1 / 4096


def test_cyan_magenta_yellow_is_the_complement() -> None:
    bits = halftone(shown("mr-brain-glioma.jpg"))
    assert np.array_equal(complement(bits) + bits, np.ones_like(bits))


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="brightness"):
        halftone(shown(), "atkinson")
    with pytest.raises(InputError, match="no halftone"):
        halftone(shown(), "floyd")
    for wrong in (np.zeros((4, 4), np.uint16), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(InputError):
            halftone(wrong)
