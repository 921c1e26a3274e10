"""Scores of a classifier against values worked out by hand and against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from medveil.errors import InputError
from medveil.metrics import classification as c

TRUTH = np.array([0, 0, 0, 1, 1, 2])
P = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.5, 0.2, 0.3]])


def test_scores_by_hand() -> None:
    s = c.scores(TRUTH, P)
    assert s["accuracy"] == pytest.approx(4 / 6)
    assert s["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert s["f1_macro"] == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert s["f1_weighted"] == pytest.approx(f1_score(TRUTH, P.argmax(1), average="weighted"))
    assert s["auc"] == pytest.approx(roc_auc_score(TRUTH, P, multi_class="ovr", average="macro"))


def test_confusion_rows_are_the_truth() -> None:
    assert c.confusion(TRUTH, P).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_calibration_by_hand() -> None:
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.95, 0.05]])
    assert c.calibration_error(np.array([0, 0, 0, 1]), p) == pytest.approx(0.2)
    (row,) = c.calibration(np.array([0, 0, 0, 1]), p)
    assert (row["low"], row["accuracy"], row["n"]) == (0.9, 0.75, 4)


def test_roc_runs_from_corner_to_corner() -> None:
    false, true = c.roc(TRUTH, P, 0)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.isnan(c.auc(np.array([0, 0]), P[:2], 0))


@pytest.mark.parametrize(
    ("truth", "p"),
    [
        (np.array([0, 3]), P[:2]),
        (np.array([0]), P[:2]),
        (np.array([0, 1]), P[:2] * 2),
        (np.array([0.0, 1.0]), P[:2]),
        (np.array([], int), P[:0]),
    ],
    ids=["label too large", "lengths", "no distribution", "not whole", "empty"],
)
def test_what_does_not_fit_is_refused(truth: np.ndarray, p: np.ndarray) -> None:
    with pytest.raises(InputError):
        c.scores(truth, p)
    with pytest.raises(InputError):
        c.roc(np.array([0, 0]), P[:2], 0)
