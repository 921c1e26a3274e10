"""Real images that the package carries, for the tests of this folder."""

from __future__ import annotations

import functools

import numpy as np

from medveil.imaging import reader
from medveil.imaging.image import MedicalImage
from medveil.imaging.samples import FOLDER


@functools.cache
def sample(name: str) -> MedicalImage:
    return reader.read(FOLDER / name)


def cut(name: str, rows: slice, columns: slice, frames: slice = slice(0, 1)) -> MedicalImage:
    image = sample(name)
    pixels = np.ascontiguousarray(image.pixels[frames, rows, columns])
    return MedicalImage(pixels, image.bits_stored, image.photometric)
