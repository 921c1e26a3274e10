"""What the ROI network learns to find: lung fields of a frontal chest X-ray, by a classical method.

No data set that this project may use has hand-drawn lung masks, so the network's targets are silver labels: dark
regions inside the body that do not touch the picture's edge. Its score is agreement with these, not with a reader.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_MARGIN = 0.06  # of a side: air beside the body and collimator edges
_SMALLEST = 0.015  # of the picture: smaller dark spots are no lung
_EDGE = 0.08  # of a region: more pixels on the edge of what is looked at, and it is the air beside the body


def lung_fields(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return masks of the darker tissue inside the body, at most two regions a picture.

    pictures: (N, rows, columns) uint8, MONOCHROME2. Each picture, slightly smoothed, is compared with its own average
    over a sixth of a side; what lies below it by Otsu's threshold is dark. One region of each half of the picture,
    the largest off the edge, is kept and filled.
    """
    return np.stack([_of_one(picture) for picture in pictures])


def _of_one(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    side = picture.shape[0]
    values = picture.astype(np.float64)
    local = ndimage.gaussian_filter(values, side / 64) - ndimage.gaussian_filter(values, side / 6)
    inside = np.zeros(picture.shape, bool)
    top, left = (max(1, int(_MARGIN * s)) for s in picture.shape)
    inside[top:-top, left:-left] = True
    dark = ndimage.binary_opening((local < min(otsu(local[inside]), 0.0)) & inside, iterations=max(1, side // 64))
    labels, count = ndimage.label(dark)
    if count == 0:
        return np.zeros(picture.shape, bool)
    number = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(dark, labels, number)
    across = np.array([c for _, c in ndimage.center_of_mass(dark, labels, number)])
    frame = inside & ~ndimage.binary_erosion(inside)
    off_edge = ndimage.sum_labels(frame, labels, number) < _EDGE * sizes
    chosen = []
    for half in (across < picture.shape[1] / 2, across >= picture.shape[1] / 2):
        fit = np.where(half & off_edge & (sizes >= _SMALLEST * picture.size), sizes, 0)
        if fit.max() > 0:
            chosen.append(int(fit.argmax()) + 1)
    return np.asarray(ndimage.binary_fill_holes(np.isin(labels, chosen)), bool)


def otsu(values: npt.NDArray[Any]) -> float:
    """Return the threshold that splits `values` with the largest variance between both sides (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=128)
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = below[-1] - below
    mean_below = (counts * middles).cumsum() / np.maximum(below, 1)
    mean_above = ((counts * middles).sum() - (counts * middles).cumsum()) / np.maximum(above, 1)
    return float(edges[1:][np.argmax(below * above * (mean_below - mean_above) ** 2)])


def dice(found: npt.NDArray[np.bool_], wanted: npt.NDArray[np.bool_]) -> float:
    """Return Dice's coefficient of two masks of one shape, 1 for two empty ones."""
    total = int(found.sum()) + int(wanted.sum())
    return 2 * int((found & wanted).sum()) / total if total else 1.0
