"""Labelled images for training among three servers: a folder with a sub-folder a class, or an .npz of arrays.

The loader takes any such folder, so also the IDC patches of breast pathology (class folders 0 and 1) where a user
has them. Images become (N, C, size, size) reals in 0..1.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import InputError, LimitError
from medveil.imaging.reader import read

MAX_IMAGES = 1_000_000
_MAX_ARRAY = 4 << 30
SAMPLE = Path(__file__).resolve().parent / "samples" / "pneumoniamnist-320.npz"


@dataclass(frozen=True, repr=False)
class LabelledImages:
    """images (N, C, H, W) in 0..1, labels (N,) whole numbers, and the classes' names."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"LabelledImages({len(self.labels)} images, classes {', '.join(self.classes)})"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: NDArray[np.int64]) -> LabelledImages:
        """Return some of the images."""
        return LabelledImages(self.images[chosen], self.labels[chosen], self.classes)

    def split(self, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Return a training and a test part, `share` of each class in the first."""
        rng = np.random.Generator(np.random.PCG64(seed))
        first: list[NDArray[np.int64]] = []
        for label in range(len(self.classes)):
            own = rng.permutation(np.flatnonzero(self.labels == label))
            first.append(own[: round(share * len(own))])
        chosen = rng.permutation(np.concatenate(first))
        rest = np.setdiff1d(np.arange(len(self)), chosen)
        return self.take(chosen), self.take(rest)


def resize(images: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Return (..., H, W) images in size x size: the mean over each target pixel's area, both directions."""
    rows, columns = _area_weights(images.shape[-2], size), _area_weights(images.shape[-1], size)
    out: NDArray[np.float64] = rows @ images.astype(np.float64) @ columns.T
    return out


def _area_weights(old: int, new: int) -> NDArray[np.float64]:
    edges = np.linspace(0, old, new + 1)
    low = np.maximum(edges[:-1, None], np.arange(old)[None, :])
    high = np.minimum(edges[1:, None], np.arange(old)[None, :] + 1)
    overlap = np.clip(high - low, 0, None)
    weights: NDArray[np.float64] = overlap / overlap.sum(axis=1, keepdims=True)
    return weights


def load_arrays(path: Path, size: int | None = None) -> LabelledImages:
    """Return the images and labels of an .npz with `images` (N, H, W) or (N, H, W, C) uint8 and `labels` (N,).

    Raises:
        InputError: the file or its arrays are not that.
        LimitError: the arrays are larger than 4 GiB; refused before they are read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_ARRAY:
                raise LimitError(f"{path.name} unpacks to more than {_MAX_ARRAY} bytes")
        with np.load(path, allow_pickle=False) as data:
            images, labels = data["images"], data["labels"].reshape(-1)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as e:
        raise InputError(f"{path.name} is not an .npz with the arrays images and labels") from e
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.dtype.kind not in "iu" or not len(images):
        raise InputError(f"{path.name}: images are (N, H, W) or (N, H, W, C) uint8 and labels whole numbers")
    if len(images) != len(labels) or labels.min() < 0:
        raise InputError(f"{path.name} has {len(images)} images and {len(labels)} labels")
    planes = images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)
    scaled = (planes if size is None else resize(planes, size)) / 255.0
    classes = tuple(str(i) for i in range(int(labels.max()) + 1))
    return LabelledImages(scaled, labels.astype(np.int64), classes)


def load_folder(path: Path, size: int, *, colour: bool = False) -> LabelledImages:
    """Return the images of a folder whose sub-folders are the classes, scaled by their own range's width.

    Every format that medveil reads is taken; a volume gives its first frame. `colour` keeps three channels.

    Raises:
        InputError: there are not at least two classes with images.
    """
    classes = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    if len(classes) < 2:
        raise InputError(f"{path} needs a sub-folder of images for each of at least two classes")
    images: list[NDArray[np.float64]] = []
    labels: list[int] = []
    for label, folder in enumerate(classes):
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            if len(images) >= MAX_IMAGES:
                raise LimitError(f"a dataset has at most {MAX_IMAGES} images")
            images.append(load_image(file, size, colour=colour))
            labels.append(label)
    if len(set(labels)) < 2:
        raise InputError(f"{path} has images of fewer than two classes")
    return LabelledImages(np.stack(images), np.array(labels), tuple(p.name for p in classes))


def load_image(file: Path, size: int, *, colour: bool = False) -> NDArray[np.float64]:
    """Return one image as (C, size, size) reals in 0..1, its first frame where it has several."""
    image = read(file)
    frame = image.pixels[0].astype(np.float64)
    top = float(2**image.bits_stored - 1) if image.pixels.dtype.kind == "u" else float(max(1.0, np.abs(frame).max()))
    planes = frame[None] if frame.ndim == 2 else np.moveaxis(frame[..., :3], 2, 0)
    if not colour:
        planes = planes.mean(axis=0, keepdims=True)
    elif len(planes) == 1:
        planes = np.repeat(planes, 3, axis=0)
    return np.clip(resize(planes, size) / top, -1.0, 1.0)


def load(path: Path, size: int, *, colour: bool = False) -> LabelledImages:
    """Return the dataset of an .npz file or of a folder of class folders, at size x size."""
    return load_arrays(path, size) if path.suffix == ".npz" else load_folder(path, size, colour=colour)
