"""PSNR and SSIM against second implementations, and the wrap-around that printed tables suffer from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medveil.errors import InputError
from medveil.imaging import reader, samples
from medveil.imaging.windowing import to_display
from medveil.metrics.image_quality import (
    bits_per_pixel,
    gaussian,
    hvs_psnr,
    ms_ssim,
    mse,
    ncc,
    pixels_exact,
    psnr,
    rmse,
    root_error_of_paper_004,
    ssim,
    wrapped_psnr,
)

GREY = to_display(reader.read(samples.load("us-breast-benign.png")))
COLOUR = to_display(reader.read(samples.load("mr-brain-glioma.jpg")))


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Window by window, as equation 13 says."""
    at = np.arange(-5, 6)
    window = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11].astype(float), b[y : y + 11, x : x + 11].astype(float)
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append(
                (2 * mp * mq + 6.5025) * (2 * cov + 58.5225) / ((mp**2 + mq**2 + 6.5025) * (vp + vq + 58.5225))
            )
    return float(np.mean(values))


@pytest.mark.parametrize("picture", [GREY, COLOUR])
def test_equal_pictures(picture: np.ndarray) -> None:
    assert psnr(picture, picture) == float("inf")
    assert hvs_psnr(picture, picture) == float("inf")
    assert ssim(picture, picture) == pytest.approx(1.0)


def test_psnr_by_definition() -> None:
    other = GREY.copy()
    other[0, 0] ^= 128
    error = 128.0**2 / GREY.size
    assert psnr(GREY, other) == pytest.approx(10 * np.log10(255**2 / error))


def test_ssim_equals_the_slow_definition() -> None:
    a, b = GREY[90:120, 100:140], np.rot90(GREY)[90:120, 100:140]
    assert ssim(a, b) == pytest.approx(reference_ssim(a, b), abs=1e-9)
    noisy = np.clip(a.astype(int) + np.arange(a.size).reshape(a.shape) % 17 - 8, 0, 255).astype(np.uint8)
    assert ssim(a, noisy) == pytest.approx(reference_ssim(a, noisy), abs=1e-9)


def test_the_low_pass_equals_scipys() -> None:
    for sigma in (0.7, 1.5, 3.0):
        ours = gaussian(COLOUR, sigma)
        theirs = gaussian_filter(COLOUR.astype(float), (sigma, sigma, 0), radius=(*[int(np.ceil(4 * sigma))] * 2, 0))
        assert np.allclose(ours, theirs, atol=1e-9)


def test_wrapped_psnr_gives_the_printed_number_for_noise() -> None:
    """Paper 000 prints about 27.8 dB; uniform noise against any picture gives 27.7, so the number says nothing."""
    noise = np.random.default_rng(1).integers(0, 256, COLOUR.shape, dtype=np.uint8)
    assert wrapped_psnr(COLOUR, noise) == pytest.approx(27.75, abs=0.15)
    assert psnr(COLOUR, noise) < 10


def test_refusals() -> None:
    for measure in (psnr, ssim, hvs_psnr, wrapped_psnr):
        with pytest.raises(InputError):
            measure(GREY, GREY[1:])
    with pytest.raises(InputError, match="11 x 11"):
        ssim(GREY[:10], GREY[:10])
    with pytest.raises(InputError, match="uint8"):
        wrapped_psnr(GREY.astype(float), GREY.astype(float))
    with pytest.raises(InputError):
        gaussian(GREY, 0.0)


def test_errors_by_hand() -> None:
    a, b = np.array([[0, 10], [20, 255]], np.uint8), np.array([[4, 10], [11, 255]], np.uint8)
    assert mse(a, b) == (16 + 81) / 4
    assert rmse(a, b) == pytest.approx(np.sqrt(97 / 4))
    assert root_error_of_paper_004(a, b) == (2 + 3) / 4  # as printed: neither of the two above
    assert pixels_exact(a, b) == 0.5
    assert bits_per_pixel(3, 2, 2) == 6


def test_ncc_is_pearsons() -> None:
    other = np.rot90(COLOUR)
    assert ncc(COLOUR, other) == pytest.approx(np.corrcoef(COLOUR.reshape(-1), other.reshape(-1))[0, 1])
    assert ncc(GREY, 255 - GREY) == pytest.approx(-1)
    assert ncc(GREY, np.full_like(GREY, 7)) == 0


def reference_ms_ssim(a: np.ndarray, b: np.ndarray, weights: list[float]) -> float:
    """Wang's equation 7 with scipy's filter and a plain loop."""
    x, y, total = a.astype(float), b.astype(float), 1.0
    for i, w in enumerate(weights):
        blur = [gaussian_filter(v, 1.5, radius=5)[5:-5, 5:-5] for v in (x, y, x * x, y * y, x * y)]
        lum = (2 * blur[0] * blur[1] + 6.5025) / (blur[0] ** 2 + blur[1] ** 2 + 6.5025)
        cs = (2 * (blur[4] - blur[0] * blur[1]) + 58.5225) / (blur[2] - blur[0] ** 2 + blur[3] - blur[1] ** 2 + 58.5225)
        total *= max(float((cs * lum if i == len(weights) - 1 else cs).mean()), 0) ** w
        rows, columns = x.shape[0] // 2, x.shape[1] // 2
        x, y = (v[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3)) for v in (x, y))
    return total


def test_ms_ssim_equals_a_plain_loop() -> None:
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    noisy = np.clip(GREY.astype(int) + np.random.default_rng(2).normal(0, 20, GREY.shape), 0, 255).astype(np.uint8)
    assert GREY.shape == (256, 256)
    assert ms_ssim(GREY, noisy) == pytest.approx(reference_ms_ssim(GREY, noisy, weights), abs=1e-9)
    small = (GREY[::4, ::4], noisy[::4, ::4])  # 64 x 64: three scales fit
    first = [w / sum(weights[:3]) for w in weights[:3]]
    assert ms_ssim(*small) == pytest.approx(reference_ms_ssim(*small, first), abs=1e-9)
    assert ms_ssim(GREY, GREY) == pytest.approx(1)
    assert ms_ssim(COLOUR, COLOUR) == pytest.approx(1)
    assert ms_ssim(GREY, 255 - GREY) == 0


def test_refusals_of_the_later_measures() -> None:
    for measure in (mse, rmse, root_error_of_paper_004, pixels_exact, ncc, ms_ssim):
        with pytest.raises(InputError):
            measure(GREY, GREY[1:])
    with pytest.raises(InputError, match="176 x 176"):
        ms_ssim(GREY[:100], GREY[:100], scales=5)
    with pytest.raises(InputError, match="1 to 5"):
        ms_ssim(GREY, GREY, scales=6)
    with pytest.raises(InputError):
        bits_per_pixel(1, 0, 4)
