"""Halftones: from 8 bits a sample to one, so that the mean brightness of a neighbourhood stays.

The normative halftone is Floyd-Steinberg in integers, raster order, the same on every machine::

    v = 16 * p + carry          p: 0 to 255, carry: what arrived at this pixel
    b = 1 if v >= 2040 else 0   1 is white
    q = v - 4080 * b            16 times the error
    q1 = floor(q / 16)
    right neighbour gets q - 9 * q1, down-left 3 * q1, down 5 * q1, down-right q1

Error that would leave the picture is dropped. Jarvis and Stucki follow the same rule with their own weights of sum
48 and 42: q1 = floor(q / sum), the right neighbour also gets the rest. Void-and-cluster compares with a 64 x 64
matrix of ranks: b = 1 where 2 * 4096 * p >= 255 * (2 * rank + 1).

Floyd, Steinberg, "An adaptive algorithm for spatial greyscale", Proc. SID 17, 1976; Jarvis, Judice, Ninke, CGIP 5,
1976; Stucki, IBM RZ1060, 1981; Ulichney, "Void-and-cluster method for dither array generation", SPIE 1913, 1993.
Atkinson's filter spreads only 3/4 of the error, which shifts brightness: it is refused for medical images.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, UnsupportedError

Bits = npt.NDArray[np.uint8]

FLOYD_STEINBERG: Final = "floyd-steinberg"
HALFTONES: Final = (FLOYD_STEINBERG, "jarvis", "stucki", "void-and-cluster")
"""Names of halftones; they stand in statements."""
MATRIX_SIDE: Final = 64
"""Side of the void-and-cluster matrix, in pixels."""

_WEIGHTS: Final = {
    "jarvis": ((0, 0, 0, 7, 5), (3, 5, 7, 5, 3), (1, 3, 5, 3, 1)),
    "stucki": ((0, 0, 0, 8, 4), (2, 4, 8, 4, 2), (1, 2, 4, 2, 1)),
}
_PARALLEL: Final = 1 << 20  # samples below which threads cost more than they bring


def check_halftone(name: str) -> None:
    """Raise UnsupportedError for Atkinson's filter and InputError for a name that is not in `HALFTONES`."""
    if name == "atkinson":
        raise UnsupportedError(
            "atkinson drops a quarter of the error and so shifts brightness: choose floyd-steinberg for medical images"
        )
    if name not in HALFTONES:
        raise InputError(f"there is no halftone {name!r}: choose one of {', '.join(HALFTONES)}")


def halftone(pixels: npt.NDArray[Any], method: str = FLOYD_STEINBERG, *, threads: int = 1) -> Bits:
    """Return the bits of a picture: uint8 of the same shape, 1 white and 0 black.

    pixels: uint8 (rows, columns) or (rows, columns, channels), each channel on its own. threads: channels at once.
    Raises InputError for another dtype or shape or an unknown method, UnsupportedError for Atkinson's.
    """
    check_halftone(method)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise InputError(f"a halftone is made of uint8 (rows, columns[, channels]), not {pixels.dtype} {pixels.shape}")
    pixels = np.ascontiguousarray(pixels)
    if method == "void-and-cluster":
        return _ordered(pixels)
    out = np.empty_like(pixels)
    if pixels.ndim == 2:
        _diffuse(pixels, method, out)
    elif method == FLOYD_STEINBERG:
        _floyd_steinberg(pixels, out)
    elif threads > 1 and pixels.size >= _PARALLEL:
        with ThreadPoolExecutor(min(threads, pixels.shape[2])) as pool:
            list(pool.map(lambda c: _diffuse(pixels[..., c], method, out[..., c]), range(pixels.shape[2])))
    else:
        for c in range(pixels.shape[2]):
            _diffuse(pixels[..., c], method, out[..., c])
    return out


def complement(bits: Bits) -> Bits:
    """Return the halftone of the complementary channels (C = 255 - R, ...): 1 there is ink, 1 here is light.

    Paper 000 halftones C, M and Y; here the halftone of R, G and B is computed once and turned round.
    """
    return bits ^ np.uint8(1)


def _floyd_steinberg(pixels: Bits, out: Bits) -> None:
    from medveil.schemes.visual import halftone_kernels as kernels

    rows, _, channels = pixels.shape
    if channels == 3:
        kernels.floyd_steinberg_rgb(pixels.reshape(rows, -1), out.reshape(rows, -1))
        return
    for c in range(channels):
        plane = np.ascontiguousarray(pixels[..., c])
        bits = np.empty_like(plane)
        kernels.floyd_steinberg(plane, bits)
        out[..., c] = bits


def _diffuse(plane: Bits, method: str, out: Bits) -> None:
    from medveil.schemes.visual import halftone_kernels as kernels

    if method == FLOYD_STEINBERG:
        kernels.floyd_steinberg(plane, out)
        return
    weights = np.array(_WEIGHTS[method], np.int32)
    kernels.diffuse_three_rows(plane, weights, int(weights.sum()), out)


@lru_cache(maxsize=1)
def threshold_matrix() -> npt.NDArray[np.uint16]:
    """Return the ranks 0 to 4095 of the 64 x 64 void-and-cluster matrix, read-only uint16.

    Made by benchmarks/visual/void_and_cluster.py.
    """
    data = (Path(__file__).parent / "void_and_cluster.bin").read_bytes()
    return np.frombuffer(data, "<u2").astype(np.uint16).reshape(MATRIX_SIDE, MATRIX_SIDE)


@lru_cache(maxsize=1)
def _least_white() -> Bits:
    """Return for each rank the darkest value that becomes white, uint8 (64, 64)."""
    ranks = threshold_matrix().astype(np.int64)
    step = 2 * MATRIX_SIDE * MATRIX_SIDE
    return np.asarray((255 * (2 * ranks + 1) + step - 1) // step).astype(np.uint8)


def _ordered(pixels: Bits) -> Bits:
    rows, columns = pixels.shape[:2]
    down, across = -(-rows // MATRIX_SIDE), -(-columns // MATRIX_SIDE)
    least = np.tile(_least_white(), (down, across))[:rows, :columns]
    return (pixels >= (least if pixels.ndim == 2 else least[:, :, np.newaxis])).astype(np.uint8)
