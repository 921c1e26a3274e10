"""One image of a dataset from its file: decoded, one frame, grey or colour, 8 bit.

Pixels of more than 8 bits are refused unless a window is asked for: nothing is reduced to 8 bit silently. A file
that is grey but stored as three equal channels counts as grey.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, LimitError, MissingExtraError, UnsupportedError
from medveil.imaging.reader import read
from medveil.imaging.windowing import to_display
from medveil.recognition.layouts import Entry

Picture = npt.NDArray[np.uint8]

_MAX_ARRAY = 4 << 30
_NEARLY_GREY = 12
"""Largest difference between channels that JPEG leaves in a grey picture stored as colour."""


def picture_of(entry: Entry, *, window: bool = False) -> Picture:
    """Return an entry's picture: uint8 (rows, columns), or (rows, columns, 3) where it has colour.

    window: show pixels of more than 8 bits through the file's own window (lossy).
    Raises InputError for a damaged file, UnsupportedError for deep pixels without `window` or several frames.
    """
    if entry.kind == "row":
        return _same_channels(arrays(entry.path)[0][entry.row])
    if entry.kind == "figshare":
        return _figshare_picture(entry.path)
    image = read(entry.path)
    if image.frames > 1:
        raise UnsupportedError(f"{entry.name} has {image.frames} frames: a dataset takes pictures of one")
    if image.pixels.dtype != np.uint8 and not window:
        raise UnsupportedError(
            f"{entry.name} has {image.bits_stored} bits a sample and networks here take 8: ask for its window (lossy)"
        )
    return _same_channels(to_display(image) if window or image.photometric.value != "RGB" else image.pixels[0])


def _same_channels(pixels: npt.NDArray[Any]) -> Picture:
    """Return grey for pictures whose colour channels are equal, else RGB without alpha."""
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels)
    rgb = pixels[..., :3]
    if rgb.shape[2] == 1 or ((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()):
        return np.ascontiguousarray(rgb[..., 0])
    return np.ascontiguousarray(rgb)


def to_grey(picture: Picture) -> Picture:
    """Return the luma of a colour picture (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B), rounded; grey stays as it is."""
    if picture.ndim == 2:
        return picture
    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.rint(luma).astype(np.uint8)


def coloured(picture: Picture) -> bool:
    """Return whether a picture has colour beyond what JPEG leaves in a grey one."""
    if picture.ndim == 2:
        return False
    spread = picture.max(axis=2).astype(np.int16) - picture.min(axis=2)
    return bool((spread > _NEARLY_GREY).mean() > 1e-3)


@lru_cache(maxsize=4)
def arrays(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return images (N, H, W[, C]) uint8 and labels (N,) of an .npz.

    Raises InputError where it does not hold them, LimitError where it unpacks to more than 4 GiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _MAX_ARRAY:
                raise LimitError(f"{path.name} unpacks to more than {_MAX_ARRAY} bytes: refused before it was read")
        with np.load(path, allow_pickle=False) as data:
            images, labels = data["images"], data["labels"].reshape(-1)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as e:
        raise InputError(f"{path.name} is not an .npz with the arrays images and labels") from e
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.dtype.kind not in "iu" or not len(images):
        raise InputError(f"{path.name}: images are (N, H, W[, C]) uint8 and labels whole numbers")
    if len(images) != len(labels) or labels.min() < 0:
        raise InputError(f"{path.name} has {len(images)} images and {len(labels)} labels: give one label to each")
    return images, labels.astype(np.int64)


def labels_of_arrays(path: Path) -> list[str]:
    """Return the label of each row of an .npz; 0 and 1 of PneumoniaMNIST have names."""
    labels = arrays(path)[1]
    names = {0: "normal", 1: "pneumonia"} if "pneumonia" in str(path.resolve()) and labels.max() <= 1 else {}
    return [names.get(int(i), str(int(i))) for i in labels]


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as e:
        raise MissingExtraError("reading the figshare brain tumour set", "learn") from e
    return h5py


def figshare_label(path: Path) -> tuple[int, str]:
    """Return label (1 to 3) and patient of a figshare .mat file (MATLAB 7.3, an HDF5 file).

    Raises InputError where the file is not one.
    """
    try:
        with _h5py().File(path, "r") as data:
            record = data["cjdata"]
            patient = "".join(chr(int(c)) for c in np.asarray(record["PID"]).reshape(-1)[:64])
            return int(np.asarray(record["label"]).reshape(-1)[0]), patient
    except (OSError, KeyError, ValueError, IndexError) as e:
        raise InputError(
            f"{path} is not a file of the figshare brain tumour set (cjdata with image, label, PID)"
        ) from e


def _figshare_picture(path: Path) -> Picture:
    """Return the slice as paper 001 prepares it: scaled to 8 bits, then its histogram equalised."""
    try:
        with _h5py().File(path, "r") as data:
            stored = data["cjdata"]["image"]
            if stored.ndim != 2 or stored.size > _MAX_ARRAY // 8:
                raise InputError(f"{path}: an image of shape {stored.shape} is not one of the figshare set")
            values = np.asarray(stored).astype(np.float64).T  # MATLAB stores columns first
    except (OSError, KeyError, ValueError) as e:
        raise InputError(
            f"{path} is not a file of the figshare brain tumour set (cjdata with image, label, PID)"
        ) from e
    span = float(values.max() - values.min())
    grey = np.rint((values - values.min()) / span * 255 if span else values * 0).astype(np.uint8)
    return equalise(grey)


def equalise(picture: Picture) -> Picture:
    """Return a grey picture with its histogram equalised: each value becomes its scaled cumulative frequency."""
    counts = np.bincount(picture.reshape(-1), minlength=256)
    total = np.cumsum(counts)
    first = int(total[np.flatnonzero(counts)[0]])
    if first == picture.size:
        return picture
    table = np.rint(np.clip((total - first) / (picture.size - first), 0, 1) * 255).astype(np.uint8)
    return table[picture]
