"""Reversible watermarking of half planes by several histogram peaks, always reversible (section 2.1 corrected).

A half plane holds v in 0..15. P is the smallest set of the fullest bins whose counts hold the payload (ties: the
smaller value first). The high plane has room between its values, so a pixel becomes 16 v, + bit if v is in P; the low
plane makes room by shifting: v + #{p in P, p < v}, + bit if v is in P, at most 31. Nothing overflows and no location
map is needed. Bits are taken in raster order; pixels of P after the payload carry zeros. Which pixels carry bits
depends on their values, so one changed value moves all bits behind it: the paper's weakness, kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError

Array = npt.NDArray[Any]


def choose_peaks(plane: Array, bits: int) -> int:
    """Return P as a 16-bit mask. Raises InputError where the whole plane cannot hold the payload."""
    counts = np.bincount(plane.reshape(-1), minlength=16)
    mask, room = 0, 0
    for value in np.argsort(-counts, kind="stable"):
        if room >= bits:
            break
        mask |= 1 << int(value)
        room += int(counts[value])
    if room < bits:
        raise InputError(
            f"the hashes of the region need {bits} bits and the image holds {room}: choose a smaller region of whole "
            "16x16 blocks"
        )
    return mask


def _peaks(mask: int) -> Array:
    return np.array([bool(mask >> v & 1) for v in range(16)])


def embed(plane: Array, payload: Array, mask: int, *, high: bool) -> Array:
    """Return containers (uint8, same shape) that carry `payload` (0/1 values) in a plane of v in 0..15."""
    peaks = _peaks(mask)
    flat = plane.reshape(-1)
    base = np.arange(16) * 16 if high else np.arange(16) + np.concatenate(([0], np.cumsum(peaks)[:-1]))
    out = base.astype(np.uint8)[flat]
    carriers = np.flatnonzero(peaks[flat])[: payload.size]
    out[carriers] += payload.astype(np.uint8)
    return out.reshape(plane.shape)


def extract(containers: Array, mask: int, bits: int, *, high: bool) -> tuple[Array, Array, Array]:
    """Undo `embed`.

    Returns the plane, the payload (`bits` values; zeros where containers that were changed hold fewer), and a bool
    mask of containers that no embedding makes.
    """
    peaks = _peaks(mask)
    values, bit, valid = np.zeros(256, np.uint8), np.zeros(256, np.uint8), np.zeros(256, np.bool_)
    shift = 0
    for v in range(16):
        at = 16 * v if high else v + shift
        for b in range(2 if peaks[v] else 1):
            values[at + b], bit[at + b], valid[at + b] = v, b, True
        shift += int(peaks[v])
    if high:
        values = (np.arange(256) >> 4).astype(np.uint8)
    flat = containers.reshape(-1)
    plane = values[flat]
    payload = bit[flat][peaks[plane] & valid[flat]][:bits]
    payload = np.concatenate((payload, np.zeros(bits - payload.size, np.uint8)))
    return plane.reshape(containers.shape), payload, ~valid[flat].reshape(containers.shape)
