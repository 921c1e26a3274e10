"""Real chest X-rays and keys for the tests of the deep schemes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from medveil.imaging.image import MedicalImage
from medveil.schemes.deep import pictures


@cache
def xrays(data: Path, part: str = "test", size: int = 64, most: int = 64) -> np.ndarray:
    files = sorted((data / "chest_xray_nih" / part).rglob("*.png"))
    return pictures.load(files[:: max(1, len(files) // most)][:most], size)[0]


def as_image(picture: np.ndarray) -> MedicalImage:
    return MedicalImage(picture[np.newaxis] if picture.ndim == 2 else picture, 8 * picture.dtype.itemsize)
