"""Likeness of two pictures: MSE, RMSE, PSNR, SSIM, MS-SSIM, NCC, HVS-PSNR, exact pixels; all in float64.

`wrapped_psnr` reproduces an error that is common in print: squared differences of 8-bit arrays that wrap at 256 give
about 27.8 dB for any two unrelated pictures, pure noise included. It measures nothing.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

HVS_SIGMA: Final = 1.5
"""Low-pass of `hvs_psnr`, in pixels: about what an eye resolves of a 300 dpi print at arm's length."""
_K1, _K2, _SSIM_SIGMA = 0.01, 0.03, 1.5
_MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def mse(a: Array, b: Array) -> float:
    """Return the mean squared error in squared sample values. Raises InputError for other shapes."""
    x, y = _floats(a, b)
    return float(np.mean((x - y) ** 2))


def rmse(a: Array, b: Array) -> float:
    """Return the root of the mean squared error, in sample values. Raises InputError for other shapes."""
    return float(np.sqrt(mse(a, b)))


def root_error_of_paper_004(a: Array, b: Array) -> float:
    """Return what the "mse" of paper 004, section 4.1, computes as printed: the mean of sqrt(|a - b|).

    The root stands inside the sum and nothing is squared, so it is neither MSE nor RMSE; reported beside both.
    Raises InputError for other shapes.
    """
    x, y = _floats(a, b)
    return float(np.mean(np.sqrt(np.abs(x - y))))


def pixels_exact(a: Array, b: Array) -> float:
    """Return the share of samples that are equal, 0 to 1. Raises InputError for other shapes."""
    _floats(a, b)
    return float(np.mean(a == b))


def bits_per_pixel(stored: int, rows: int, columns: int, frames: int = 1) -> float:
    """Return stored bytes as bits a pixel. Raises InputError where there is no pixel or a negative size."""
    if stored < 0 or min(rows, columns, frames) < 1:
        raise InputError(f"{stored} bytes over {frames} x {rows} x {columns} pixels: no rate")
    return 8 * stored / (rows * columns * frames)


def ncc(a: Array, b: Array) -> float:
    """Return the normalised cross-correlation, -1 to 1: Pearson's coefficient of all samples.

    0 where one picture is constant, since it then says nothing of the other. Raises InputError for other shapes.
    """
    x, y = _floats(a, b)
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / spread if spread else 0.0


def psnr(a: Array, b: Array, peak: float = 255.0) -> float:
    """Return the peak signal-to-noise ratio in dB, 10 log10(peak^2 / MSE); infinite for equal arrays.

    a, b: numbers of one shape, compared as float64. Raises InputError for other shapes.
    """
    difference = _floats(a, b)
    error = float(np.mean((difference[0] - difference[1]) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(peak * peak / error))


def hvs_psnr(a: Array, b: Array, sigma: float = HVS_SIGMA, peak: float = 255.0) -> float:
    """Return the PSNR in dB of both pictures after a Gaussian low-pass of `sigma` pixels, as an eye sees halftones.

    a, b: (rows, columns) or (rows, columns, channels) of one shape. Raises InputError for other shapes.
    """
    first, second = _floats(a, b)
    return psnr(gaussian(first, sigma), gaussian(second, sigma), peak)


def ssim(a: Array, b: Array, peak: float = 255.0) -> float:
    """Return the mean structural similarity, -1 to 1; of colour pictures the mean over channels.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 13(4), 2004,
    equation 13, with the paper's Gaussian window (11 x 11, sigma 1.5) and constants, over all pixels whose window
    lies inside. a, b: (rows, columns) or (rows, columns, channels), at least 11 x 11.
    Raises InputError for other shapes and smaller pictures.
    """
    luminance, structure = _likeness(*_pictures(a, b, 11, "ssim"), peak)
    return float((luminance * structure).mean())


def ms_ssim(a: Array, b: Array, peak: float = 255.0, scales: int | None = None) -> float:
    """Return the multi-scale structural similarity, 0 to 1; of colour pictures the mean over channels.

    Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", Asilomar 2003, equation
    7 with the weights of section 3.2: contrast and structure at each scale, luminance at the last; the picture is
    halved by 2 x 2 means. A negative mean at a scale counts as 0.
    scales: 1 to 5; None takes as many as leave 11 x 11 pixels, so pictures below 176 x 176 have fewer than the
    paper's five. Fewer scales use the first weights, divided by their sum. a, b: as `ssim`.
    Raises InputError for other shapes, and for pictures too small for `scales`.
    """
    most = 1 + int(np.log2(max(1, min(a.shape[:2], default=1) // 11)))
    count = min(len(_MS_SSIM_WEIGHTS), most) if scales is None else scales
    if not 1 <= count <= len(_MS_SSIM_WEIGHTS):
        raise InputError(f"{count} scales: ms-ssim has 1 to {len(_MS_SSIM_WEIGHTS)}")
    x, y = _pictures(a, b, 11 << (count - 1), f"ms-ssim of {count} scales")
    weights = np.array(_MS_SSIM_WEIGHTS[:count])
    if count < len(_MS_SSIM_WEIGHTS):
        weights /= weights.sum()
    if x.ndim == 2:
        x, y = x[:, :, None], y[:, :, None]
    total = np.ones(x.shape[2])
    for scale, weight in enumerate(weights):
        luminance, structure = _likeness(x, y, peak)
        last = scale == count - 1
        level = (luminance * structure if last else structure).mean(axis=(0, 1))
        total *= np.maximum(level, 0) ** weight
        x, y = _halved(x), _halved(y)
    return float(total.mean())


def _pictures(a: Array, b: Array, least: int, what: str) -> tuple[Floats, Floats]:
    x, y = _floats(a, b)
    if x.ndim not in (2, 3) or min(x.shape[:2]) < least:
        raise InputError(f"pictures of shape {a.shape}: {what} compares at least {least} x {least} pixels")
    return x, y


def _likeness(x: Floats, y: Floats, peak: float) -> tuple[Floats, Floats]:
    """Return luminance, and contrast times structure, at all windows that lie inside."""
    mx, my, xx, yy, xy = (_blur_inside(v) for v in (x, y, x * x, y * y, x * y))
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    structure = (2 * (xy - mx * my) + c2) / (xx - mx * mx + yy - my * my + c2)
    return luminance, structure


def _halved(values: Floats) -> Floats:
    rows, columns = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    v = values[:rows, :columns]
    return np.asarray((v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]) / 4)


def wrapped_psnr(a: Array, b: Array) -> float:
    """Return what `10 * log10(255^2 / mean((a - b)**2))` gives on uint8 arrays: a number without meaning.

    The square wraps at 256, so the mean lies near 107 for unrelated pictures. Only to explain published tables.
    Raises InputError for other types and shapes.
    """
    _floats(a, b)
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise InputError(f"wrapping needs uint8 pictures, not {a.dtype} and {b.dtype}")
    difference = a - b
    error = float(np.mean((difference * difference).astype(np.float64)))
    return float("inf") if error == 0 else float(10 * np.log10(255.0 * 255.0 / error))


def gaussian(picture: Array, sigma: float) -> Floats:
    """Return a picture (rows, columns[, channels]) low-passed by a Gaussian, float64; edges are mirrored.

    The window reaches ceil(4 sigma) pixels. Mirroring repeats the edge pixel. Raises InputError for other shapes.
    """
    if picture.ndim not in (2, 3) or not sigma > 0:
        raise InputError(f"a low-pass takes (rows, columns[, channels]) and a positive sigma, not {picture.shape}")
    weights = _weights(sigma, int(np.ceil(4 * sigma)))
    reach = len(weights) // 2
    values = picture.astype(np.float64)
    for axis in (0, 1):
        pads = [(0, 0)] * values.ndim
        pads[axis] = (reach, reach)
        values = _slide(np.pad(values, pads, mode="symmetric"), weights, axis)
    return values


def _weights(sigma: float, reach: int) -> Floats:
    at = np.arange(-reach, reach + 1)
    weights = np.exp(-(at**2) / (2 * sigma * sigma))
    return np.asarray(weights / weights.sum())


def _slide(values: Floats, weights: Floats, axis: int) -> Floats:
    """Return the weighted sums of `values` along an axis where the window lies inside; symmetric weights."""
    values = np.moveaxis(values, axis, 0)
    size, reach = len(values) - len(weights) + 1, len(weights) // 2
    total = weights[reach] * values[reach : reach + size]
    for i in range(reach):
        other = len(weights) - 1 - i
        total += weights[i] * (values[i : i + size] + values[other : other + size])
    return np.moveaxis(total, 0, axis)


def _blur_inside(values: Floats) -> Floats:
    weights = _weights(_SSIM_SIGMA, 5)
    return _slide(_slide(values, weights, 0), weights, 1)


def _floats(a: Array, b: Array) -> tuple[Floats, Floats]:
    if a.shape != b.shape or a.size == 0:
        raise InputError(f"pictures of shapes {a.shape} and {b.shape}: give two of one shape")
    return a.astype(np.float64), b.astype(np.float64)
