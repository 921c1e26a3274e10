from __future__ import annotations

import os

import numpy as np
import pytest

from medveil.errors import InputError
from medveil.imaging import reader
from medveil.imaging.samples import FOLDER
from medveil.metrics import cipher_statistics as stats


def noise(shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(os.urandom(size), dtype).reshape(shape)


def test_npcr_and_uaci_by_hand() -> None:
    a = np.array([[0, 10], [20, 255]], np.uint8)
    b = np.array([[0, 11], [18, 0]], np.uint8)
    assert stats.npcr(a, b) == 0.75
    assert stats.uaci(a, b) == pytest.approx((1 + 2 + 255) / 4 / 255)
    assert stats.npcr(a, a) == stats.uaci(a, a) == 0


@pytest.mark.parametrize(
    ("side", "alpha", "npcr", "uaci"),
    [  # Wu, Noonan, Agaian 2011, Tables 4 and 5 (percent)
        (512, 0.05, 99.5893, (33.3730, 33.5541)),
        (512, 0.01, 99.5810, (33.3445, 33.5826)),
        (512, 0.001, 99.5717, (33.3115, 33.6156)),
        (256, 0.05, 99.5693, (33.2824, 33.6447)),
        (256, 0.01, 99.5527, (33.2255, 33.7016)),
        (1024, 0.05, 99.5994, (33.4183, 33.5088)),
    ],
)
def test_critical_values_of_the_source(side: int, alpha: float, npcr: float, uaci: tuple[float, float]) -> None:
    found = stats.critical_values(side * side, alpha)
    assert 100 * found.npcr == pytest.approx(npcr, abs=5e-5)
    assert 100 * found.uaci[0] == pytest.approx(uaci[0], abs=6e-5)
    assert 100 * found.uaci[1] == pytest.approx(uaci[1], abs=6e-5)


def test_noise_passes_and_a_picture_does_not() -> None:
    bounds = stats.critical_values(512 * 512, 1e-6)
    a, b = noise((512, 512)), noise((512, 512))
    assert stats.npcr(a, b) > bounds.npcr
    assert bounds.uaci[0] < stats.uaci(a, b) < bounds.uaci[1]
    assert stats.entropy(a) > 7.999
    assert stats.chi_square(a) < 400
    picture = reader.read(FOLDER / "us-breast-benign.png").pixels[0]
    assert stats.entropy(picture) < 7.9
    assert stats.chi_square(picture) > 1000
    for direction in ("horizontal", "vertical", "diagonal"):
        assert abs(stats.adjacent_correlation(a, direction)) < 0.015
        assert stats.adjacent_correlation(picture, direction) > 0.8


def test_correlation_of_drawn_pairs_is_near_that_of_all() -> None:
    picture = reader.read(FOLDER / "us-breast-benign.png").pixels[0]
    drawn = stats.adjacent_correlation(picture, "vertical", pairs=16384, rng=np.random.default_rng(1))
    assert drawn == pytest.approx(stats.adjacent_correlation(picture, "vertical"), abs=0.02)
    exact = np.corrcoef(picture[:-1].reshape(-1), picture[1:].reshape(-1))[0, 1]
    assert stats.adjacent_correlation(picture, "vertical") == pytest.approx(exact)
    assert stats.adjacent_correlation(np.full((4, 4), 7, np.uint8), "diagonal") == 0


def test_bad_input() -> None:
    a = np.zeros((4, 4), np.uint8)
    for call in (
        lambda: stats.npcr(a, a[:2]),
        lambda: stats.uaci(a, a.astype(np.int16)),
        lambda: stats.critical_values(0, 0.05),
        lambda: stats.critical_values(100, 1.5),
        lambda: stats.entropy(a[:0]),
        lambda: stats.chi_square(a.astype(np.uint16)),
        lambda: stats.adjacent_correlation(a[:1], "vertical"),
        lambda: stats.adjacent_correlation(a, "vertical", pairs=5),
    ):
        with pytest.raises(InputError):
            call()
