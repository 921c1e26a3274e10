"""What a small network learns from labelled pictures, plain and encrypted: the other side of a leakage report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from medveil.attacks.base import Progress
from medveil.attacks.image_sets import Collection
from medveil.errors import MissingExtraError, UnsupportedError
from medveil.imaging.resampling import resize

if TYPE_CHECKING:
    from medveil.recognition.datasets import Dataset

SIDE: Final = 64
FOLDS: Final = 3
_EPOCHS: Final = 15


def usefulness(
    images: Collection, scheme: str, options: Mapping[str, Any], *, seed: int = 0, progress: Progress | None = None
) -> dict[str, Any] | None:
    """Return macro F1 of a small CNN by 3-fold cross-validation on plain and on encrypted pictures, and in words.

    Quick and coarse: 64 x 64 samples a picture. Where a scheme fills blocks with one value, pictures are encrypted
    larger and one sample of each block is kept, which loses nothing. Images without a label are left out. None where
    the extra `learn` is missing or a class has fewer images than folds.
    """
    labelled = images.take([i for i, label in enumerate(images.labels) if label])
    counts = {label: labelled.labels.count(label) for label in set(labelled.labels)}
    if len(counts) < 2 or min(counts.values()) < FOLDS:
        return None
    try:
        plain, encrypted = _score(labelled, scheme, options, seed, progress)
    except (MissingExtraError, UnsupportedError):
        return None
    chance = 1 / len(counts)
    words = (
        f"a small network reaches F1 {encrypted['mean']:.2f} on encrypted and {plain['mean']:.2f} on plain pictures "
        f"(chance about {chance:.2f}; {len(labelled.pictures)} pictures of {SIDE} x {SIDE}, {FOLDS} folds, quick)"
    )
    return {"plain": plain, "encrypted": encrypted, "chance": chance, "n": len(labelled.pictures), "words": words}


def _score(
    images: Collection, scheme: str, options: Mapping[str, Any], seed: int, progress: Progress | None
) -> tuple[dict[str, float], dict[str, float]]:
    from medveil.recognition.plan import TrainingPlan
    from medveil.recognition.protections import encrypt_images
    from medveil.recognition.training import cross_validate

    plan = TrainingPlan(model="small-cnn", epochs=_EPOCHS, lr=0.02, validate=0, seed=seed)
    filled = int(options.get("block", 4)) if scheme == "learnable-smoothed" else 1
    side = min(SIDE * filled, *(n for p in images.pictures for n in p.shape[:2]))
    encrypted = encrypt_images(_dataset(images, max(side, SIDE)), scheme, options, per_block=filled > 1)
    out = []
    for number, dataset in enumerate((_dataset(images, SIDE), encrypted), start=1):
        found = cross_validate(dataset, plan, FOLDS).summary
        out.append({k: float(v) for k, v in found["f1_macro"].items()})
        if progress is not None:
            progress(number, 2)
    return out[0], out[1]


def _dataset(images: Collection, side: int) -> Dataset:
    from medveil.recognition.datasets import Dataset

    pictures = np.stack([resize(p, side, side) for p in images.pictures])
    classes = tuple(sorted(set(images.labels)))
    return Dataset(
        pictures if pictures.ndim == 4 else pictures[..., None],
        np.array([classes.index(label) for label in images.labels], np.int64),
        classes,
        tuple(g or f"={n}" for g, n in zip(images.groups, images.names, strict=True)),
        tuple(images.names),
    )
