"""Resampling keeps means and constants, and is the identity where the size stays."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.errors import InputError
from medveil.imaging import samples
from medveil.imaging.reader import read
from medveil.imaging.resampling import resize, triangle_weights


@pytest.mark.parametrize(("old", "new"), [(224, 64), (64, 256), (7, 7), (1, 5), (33, 1)])
def test_weights_sum_to_one(old: int, new: int) -> None:
    weights = triangle_weights(old, new)
    assert weights.shape == (new, old)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


def test_a_real_picture_keeps_its_brightness_and_its_mirror_image() -> None:
    picture = read(samples.FOLDER / "xray-chest-1024.png").pixels[0]
    small = resize(picture, 64, 48)
    assert small.shape == (64, 48)
    assert small.dtype == np.uint8
    assert abs(small.mean() - picture.mean()) < 0.5
    assert (np.abs(resize(picture[:, ::-1], 64, 48)[:, ::-1].astype(int) - small) <= 1).all()


def test_same_size_is_untouched_and_constants_stay() -> None:
    picture = read(samples.FOLDER / "mr-brain-glioma.jpg").pixels[0]
    assert resize(picture, *picture.shape[:2]) is picture
    deep = np.full((9, 9, 3), 40_000, np.uint16)
    assert (resize(deep, 20, 4) == 40_000).all()
    assert resize(picture, 64, 48).flags.c_contiguous  # encrypting and hashing need no copy


def test_other_arrays_are_refused() -> None:
    with pytest.raises(InputError, match="uint8 or uint16"):
        resize(np.zeros((4, 4), np.float32), 2, 2)
    with pytest.raises(InputError, match="at least 1"):
        resize(np.zeros((4, 4), np.uint8), 0, 2)
