"""Likeness of two pictures: PSNR, SSIM, HVS-PSNR; all in float64.

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
    x, y = _floats(a, b)
    if x.ndim not in (2, 3) or min(x.shape[:2]) < 11:
        raise InputError(f"pictures of shape {a.shape}: ssim compares at least 11 x 11 pixels")
    blur = [_blur_inside(v) for v in (x, y, x * x, y * y, x * y)]
    mx, my = blur[0], blur[1]
    vx, vy, cov = blur[2] - mx * mx, blur[3] - my * my, blur[4] - mx * my
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    likeness = ((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(likeness.mean())


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
