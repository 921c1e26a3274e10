"""Folds and hold-out parts that cut no patient and no cluster of duplicates, with the classes in proportion."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError
from medveil.recognition.datasets import Dataset
from medveil.recognition.duplicates import Duplicates, clusters, find, leakage, refuse_leakage

Indices = npt.NDArray[np.int64]


def folds(
    dataset: Dataset, count: int = 5, seed: int = 0, *, duplicates: Duplicates | None = None
) -> list[tuple[Indices, Indices]]:
    """Return `count` pairs (training, test) of ascending indices; each image is tested once.

    Raises InputError for one class only, fewer images or clusters than folds, or a fold that would be empty or lack
    a class; MissingExtraError without scikit-learn.
    """
    _check_classes(dataset)
    if count < 2:
        raise InputError(f"{count} folds: cross-validation needs 2 at least")
    if len(dataset) < count:
        raise InputError(f"{len(dataset)} images are fewer than {count} folds: bring more, or use fewer folds")
    found = find(dataset) if duplicates is None else duplicates
    groups = clusters(dataset, found)
    _check_clusters(dataset, groups, count, f"fewer than {count} folds: a fold would be without it; use fewer folds")
    out = []
    for train, test in _splitter(count, seed).split(np.zeros(len(dataset)), dataset.labels, groups):
        pair = (np.sort(train).astype(np.int64), np.sort(test).astype(np.int64))
        _check_pair(dataset, *pair)
        refuse_leakage(leakage(dataset, *pair, duplicates=found))
        out.append(pair)
    return out


def hold_out(
    dataset: Dataset, share: float = 0.3, seed: int = 0, *, duplicates: Duplicates | None = None
) -> tuple[Indices, Indices]:
    """Return (training, test) with about `share` of the images in the test part (tenths are kept to).

    Raises InputError as `folds`, and for a share outside 0.1 to 0.9.
    """
    tenths = round(share * 10)
    if not 1 <= tenths <= 9:
        raise InputError(f"a share of {share} held out: give one from 0.1 to 0.9")
    _check_classes(dataset)
    found = find(dataset) if duplicates is None else duplicates
    cut = "too few to hold out tenths of them: bring 10 at least, or cross-validate with few folds"
    _check_clusters(dataset, clusters(dataset, found), 10, cut)
    pairs = folds(dataset, 10, seed, duplicates=found)
    test = np.sort(np.concatenate([pairs[i][1] for i in range(tenths)]))
    return np.setdiff1d(np.arange(len(dataset)), test), test


def given(
    dataset: Dataset, *, allow_leakage: bool = False, duplicates: Duplicates | None = None
) -> tuple[Indices, Indices]:
    """Return the (training, test) indices that the dataset's own splits name.

    Raises InputError where one is missing or, without `allow_leakage`, where they share an image or a patient.
    """
    _check_classes(dataset)
    splits = np.array(dataset.splits or ("",) * len(dataset))
    train, test = np.flatnonzero(splits == "train"), np.flatnonzero(splits == "test")
    if not len(train) or not len(test):
        raise InputError("the dataset does not name a training and a test part: cross-validate, or hold a share out")
    _check_pair(dataset, train, test)
    if not allow_leakage:
        refuse_leakage(leakage(dataset, train, test, duplicates=duplicates))
    return train.astype(np.int64), test.astype(np.int64)


def _check_clusters(dataset: Dataset, groups: npt.NDArray[Any], needed: int, otherwise: str) -> None:
    for label, name in enumerate(dataset.classes):
        held = len(np.unique(groups[dataset.labels == label]))
        if held < needed:
            raise InputError(f"class {name} has {held} separate patients or clusters, {otherwise}")


def _check_classes(dataset: Dataset) -> None:
    present = np.unique(dataset.labels)
    if len(present) < 2:
        raise InputError(
            f"the dataset has one class only ({dataset.classes[int(present[0])] if len(present) else '-'}): "
            "a network tells two at least apart, so add images of another"
        )
    if len(present) < len(dataset.classes):
        missing = sorted(set(range(len(dataset.classes))) - set(present.tolist()))
        raise InputError(f"class {dataset.classes[missing[0]]} has no images: leave it out of the classes")


def _check_pair(dataset: Dataset, train: Indices, test: Indices) -> None:
    if not len(train) or not len(test):
        raise InputError("a fold would be empty: its patients or clusters are too large; use fewer folds")
    for side, chosen in (("training", train), ("test", test)):
        missing = set(range(len(dataset.classes))) - set(dataset.labels[chosen].tolist())
        if missing:
            raise InputError(
                f"the {side} part would be without class {dataset.classes[min(missing)]}: "
                "use fewer folds or another seed"
            )


def _splitter(count: int, seed: int) -> Any:
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as e:
        raise MissingExtraError("cross-validation", "learn") from e
    return StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
