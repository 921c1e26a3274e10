"""PSNR and SSIM against second implementations, and the wrap-around that printed tables suffer from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medveil.errors import InputError
from medveil.imaging import reader, samples
from medveil.imaging.windowing import to_display
from medveil.metrics.image_quality import gaussian, hvs_psnr, psnr, ssim, wrapped_psnr

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
