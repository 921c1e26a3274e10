"""Folds cut no patient and no duplicate; what cannot be split is refused in words."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.errors import InputError
from medveil.recognition.datasets import Dataset
from medveil.recognition.duplicates import clusters, find, leakage
from medveil.recognition.splits import folds, given, hold_out


def _with_twins(data: Dataset) -> Dataset:
    """Ten images once more, under other names and groups."""
    both = [i for c in range(len(data.classes)) for i in np.flatnonzero(data.labels == c)[:5]]
    again = data.take(both)
    return Dataset(
        np.concatenate([data.images, again.images]),
        np.concatenate([data.labels, again.labels]),
        data.classes,
        data.groups + tuple(f"copy{i}" for i in range(10)),
        data.names + tuple(f"copy/{n}" for n in again.names),
        splits=("train",) * len(data) + ("test",) * 10,
    )


def test_each_image_is_tested_once_and_patients_stay_whole(xrays: Dataset) -> None:
    groups = np.array(xrays.groups)
    tested = []
    for train, test in folds(xrays, 5, seed=3):
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(xrays)
        tested += test.tolist()
    assert sorted(tested) == list(range(len(xrays)))


def test_folds_depend_on_the_seed_alone(xrays: Dataset) -> None:
    first, again, other = (folds(xrays, 3, seed)[0][1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_twins_are_found_and_kept_on_one_side(xrays: Dataset) -> None:
    data = _with_twins(xrays)
    n = len(xrays)
    found = find(data)
    first = [xrays.names.index(name.removeprefix("copy/")) for name in data.names[n:]]
    assert {(i, n + k) for k, i in enumerate(first)} <= set(found.exact)
    cluster = clusters(data)
    assert all(cluster[i] == cluster[n + k] for k, i in enumerate(first))
    for train, test in folds(data, 4):
        assert not len(leakage(data, train, test))


def test_a_slightly_changed_copy_is_a_near_duplicate(xrays: Dataset) -> None:
    copy = np.clip(xrays.images[0].astype(int) + 9, 0, 255).astype(np.uint8)
    data = xrays.with_images(np.concatenate([xrays.images[:1], copy[None], xrays.images[2:]]), "one copied")
    assert (0, 1) in find(data).near
    assert not find(xrays).pairs()


def test_twins_across_given_splits_are_refused_unless_allowed(xrays: Dataset) -> None:
    data = _with_twins(xrays)
    with pytest.raises(InputError, match="10 test images have a twin in training"):
        given(data)
    train, test = given(data, allow_leakage=True)
    assert leakage(data, train, test).as_dict()["exact"] == 10


def test_patients_across_given_splits_are_refused(xrays: Dataset) -> None:
    splits = tuple("test" if i % 4 == 0 else "train" for i in range(len(xrays)))
    data = Dataset(xrays.images, xrays.labels, xrays.classes, ("one patient",) * len(xrays), xrays.names, splits)
    with pytest.raises(InputError, match="by group"):
        given(data)


def test_the_sets_own_splits_hold(ultrasound: Dataset) -> None:
    train, test = given(ultrasound)
    assert (len(train), len(test)) == (350, 125)


def test_equal_sources_of_encrypted_images_are_one_cluster(xrays: Dataset) -> None:
    few = xrays.take(range(6))
    data = Dataset(few.images, few.labels, few.classes, few.groups, few.names, sources=("a", "b", "a", "c", "d", "e"))
    assert clusters(data)[0] == clusters(data)[2]
    assert leakage(data, [0, 1], [2, 3]).source == ((0, 2),)


def test_hold_out_keeps_the_share(xrays: Dataset) -> None:
    train, test = hold_out(xrays, 0.3, seed=1)
    assert 0.25 < len(test) / len(xrays) < 0.35
    assert not set(np.array(xrays.groups)[train]) & set(np.array(xrays.groups)[test])


def test_a_part_without_a_class_is_refused(xrays: Dataset) -> None:
    splits = tuple("test" if label == 0 and i % 2 else "train" for i, label in enumerate(xrays.labels))
    data = Dataset(xrays.images, xrays.labels, xrays.classes, xrays.groups, xrays.names, splits)
    with pytest.raises(InputError, match="the test part would be without class pneumonia"):
        given(data, allow_leakage=True)


def test_what_cannot_be_split_is_refused(xrays: Dataset) -> None:
    with pytest.raises(InputError, match="one class only"):
        folds(xrays.take(np.flatnonzero(xrays.labels == 0)), 3)
    both = np.sort(np.concatenate([np.flatnonzero(xrays.labels == c)[:2] for c in (0, 1)]))
    with pytest.raises(InputError, match="fewer than 5 folds"):
        folds(xrays.take(both), 5)
    one_patient = Dataset(xrays.images, xrays.labels, xrays.classes, ("p",) * len(xrays), xrays.names)
    with pytest.raises(InputError, match="1 separate patients or clusters"):
        folds(one_patient, 5)
    with pytest.raises(InputError, match="2 separate patients or clusters, too few to hold out"):
        hold_out(xrays.take(both))
    with pytest.raises(InputError, match="2 at least"):
        folds(xrays, 1)
    with pytest.raises(InputError, match="does not name a training and a test part"):
        given(Dataset(xrays.images, xrays.labels, xrays.classes, xrays.groups, xrays.names))
    with pytest.raises(InputError, match=r"0\.1 to 0\.9"):
        hold_out(xrays, 0.99)
