"""The pictures of an evaluation, in one form for every row: grey, 8 bit, one size, with labels and patients.

Read by `medveil.recognition.datasets` (our sets, NIH, Kaggle, figshare and others), or from BraTS volumes: of each
patient's FLAIR the slices with most brain in them. Without a data folder the package's own chest X-rays are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.evaluation.plan import CorpusPlan
from medveil.imaging.resampling import resize

Array = npt.NDArray[Any]
_SLICES: Final = 3  # of each BraTS volume
_APART: Final = 12  # slices between them, at 1 mm


@dataclass(frozen=True, eq=False)
class Corpus:
    """Pictures, shuffled by the seed so that any first so many are a fair sample.

    images: uint8 (N, size, size). labels: int64 (N,), empty where there are none. groups: patient or cluster.
    large: one picture at full size to time schemes on, uint8 (rows, columns). source: words for a report.
    """

    name: str
    title: str
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    large: npt.NDArray[np.uint8]
    source: str

    def __len__(self) -> int:
        return len(self.images)

    def apart(self, count: int, more: int) -> tuple[list[int], list[int]]:
        """Return indices of `count` pictures, and of up to `more` pictures of other patients."""
        first = list(range(min(count, len(self))))
        taken = {self.groups[i] for i in first}
        rest = [i for i in range(len(first), len(self)) if self.groups[i] not in taken]
        return first, rest[:more]

    def digest(self) -> str:
        """Return 16 hex digits of the pictures, labels and groups."""
        h = blake2b(digest_size=8)
        h.update(repr((self.images.shape, self.classes, self.groups)).encode())
        h.update(np.ascontiguousarray(self.images).tobytes())
        h.update(self.labels.tobytes())
        return h.hexdigest()


def load(plan: CorpusPlan, data: Path | None, seed: int) -> Corpus:
    """Read a corpus. Raises InputError where there are fewer than 8 pictures, and what the readers raise."""
    root = None if plan.path is None or data is None else data / plan.path
    if root is not None and (volumes := sorted(root.rglob("*flair*.nii*"))):
        images, labels, classes, groups = _brats(volumes, plan.size)
        source = f"{len(volumes)} BraTS FLAIR volumes"
    else:
        images, labels, classes, groups, source = _labelled(root, plan.size)
    if len(images) < 8:
        raise InputError(f"corpus {plan.name} has {len(images)} pictures: at least 8 are needed")
    order = _shuffled(labels, len(images), seed)[: plan.images]
    return Corpus(
        plan.name,
        plan.title or plan.name,
        images[order],
        labels[order] if len(labels) else labels,
        classes,
        tuple(groups[i] for i in order),
        _large(),
        source,
    )


def _shuffled(labels: npt.NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Return a random order in which classes take turns."""
    rng = np.random.default_rng(seed)
    if not len(labels):
        return [int(i) for i in rng.permutation(count)]
    queues = [list(rng.permutation(np.flatnonzero(labels == c))) for c in np.unique(labels)]
    order: list[int] = []
    while any(queues):
        order += [int(q.pop()) for q in queues if q]
    return order


def _labelled(root: Path | None, size: int) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...], str]:
    from medveil.recognition import datasets

    if root is None:
        from medveil.mpc.datasets import SAMPLE

        root, source = SAMPLE, "320 chest X-rays of PneumoniaMNIST (CC BY 4.0), which the package carries"
    else:
        source = root.name
    found = datasets.load(root, size=size, mode="grey")
    return found.images[..., 0], found.labels, found.classes, found.groups, f"{source}: {len(found)} pictures"


def _brats(volumes: list[Path], size: int) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...]]:
    """Return slices of FLAIR volumes; the class is the grade where folders HGG and LGG say it."""
    from medveil.imaging.reader import read

    pictures, grades, groups = [], [], []
    for path in volumes:
        image = read(path)
        if image.samples != 1:
            raise InputError(f"{path.name} is a colour volume: FLAIR is grey")
        volume = image.pixels.astype(np.float32)
        filled = (volume > volume.min()).mean(axis=(1, 2))
        middle = int(filled.argmax())
        high = float(np.quantile(volume[middle], 0.995)) or 1.0
        for at in range(middle - _APART * (_SLICES // 2), middle + _APART * (_SLICES // 2) + 1, _APART):
            if 0 <= at < len(volume):
                shown = np.clip(volume[at] / high * 255, 0, 255).astype(np.uint8)
                pictures.append(resize(shown, size, size))
                groups.append(path.parent.name or path.stem)
                grades.append(next((p for p in path.parts if p in ("HGG", "LGG")), ""))
    classes = tuple(sorted(set(grades)))
    labels = np.array([classes.index(g) for g in grades], np.int64) if len(classes) == 2 else np.array([], np.int64)
    return np.stack(pictures), labels, classes if len(labels) else (), tuple(groups)


def _large() -> npt.NDArray[np.uint8]:
    from medveil.imaging import samples
    from medveil.imaging.reader import read
    from medveil.imaging.windowing import to_display

    return np.ascontiguousarray(to_display(read(samples.load("xray-chest-1024.png"))))
