"""Pictures to train a key on: files or folders of any format that medveil reads, grey, 8 bits, one size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MedveilError
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read
from medveil.imaging.windowing import to_display

Bytes = npt.NDArray[np.uint8]
_HELD_OUT: Final = 8  # every eighth group of files is kept for measuring


def load(
    places: Sequence[Path], size: int, *, progress: Callable[[int, int], None] = lambda *_: None
) -> tuple[Bytes, tuple[str, ...]]:
    """Return pictures (N, size, size) uint8, MONOCHROME2, and the names of their files.

    Deeper images pass their window; colour is averaged; each frame of a series counts as a picture; another shape is
    squeezed to the square. Files that are no images are left out.
    Raises InputError where nothing is left, or where a place is not there.
    """
    files = []
    for place in places:
        if not place.exists():
            raise InputError(f"there is no folder or file {place}: check the path")
        files += sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
    pictures: list[Bytes] = []
    names: list[str] = []
    for number, path in enumerate(files, start=1):
        try:
            image = read(path)
        except MedveilError:
            continue
        for frame in range(image.frames):
            pictures.append(resized(_grey(image, frame), size))
            names.append(path.name)
        progress(number, len(files))
    if not pictures:
        raise InputError(f"{', '.join(map(str, places))}: no images that medveil can read are there")
    return np.stack(pictures), tuple(names)


def split(pictures: Bytes, names: Sequence[str]) -> tuple[Bytes, Bytes]:
    """Return pictures to train on and about an eighth to measure with, no group of files in both.

    A group is what a name says before its first underscore, as NIH and many archives name a patient's images; which
    groups are kept out depends on their names alone, and so is the same in every run.
    """
    groups = [name.rpartition(".")[0].partition("_")[0] or name for name in names]
    rank = {g: hashlib.sha256(g.encode("utf-8", "surrogateescape")).digest() for g in set(groups)}
    ordered = sorted(rank, key=lambda g: rank[g])
    kept_out = set(ordered[: max(1, len(ordered) // _HELD_OUT)])
    apart = np.array([g in kept_out for g in groups])
    return pictures[~apart], pictures[apart]


def resized(picture: npt.NDArray[Any], size: int) -> Bytes:
    """Return (size, size) uint8 of a picture (rows, columns): the mean of what each pixel covers."""
    values = picture.astype(np.float64)
    for axis in (0, 1):
        values = np.moveaxis(_areas(values.shape[axis], size) @ np.moveaxis(values, axis, 0), 0, axis)
    return np.asarray(values.round().clip(0, 255), np.uint8)


def _areas(old: int, new: int) -> npt.NDArray[np.float64]:
    """Return the matrix (new, old) of how much of each old pixel each new one covers; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    starts = np.arange(old)
    cover = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    cover = cover.clip(0, None)
    return np.asarray(cover / cover.sum(axis=1, keepdims=True))


def _grey(image: MedicalImage, frame: int) -> npt.NDArray[Any]:
    shown: npt.NDArray[Any] = to_display(image, frame)
    return shown.mean(axis=2) if shown.ndim == 3 else shown
