"""How good a classifier is: F1, ROC and its area, confusion, calibration; scikit-learn where it has the measure.

labels: whole numbers (N,) from 0. probabilities: floats (N, K), rows summing to 1. A class is predicted where its
probability is largest. Measures of classes that do not occur in `labels` are NaN (area) or left out of means (F1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError

Labels = npt.NDArray[Any]
Probabilities = npt.NDArray[Any]


def _sklearn() -> Any:
    try:
        from sklearn import metrics
    except ImportError as e:
        raise MissingExtraError("measuring a classifier", "learn") from e
    return metrics


def _checked(labels: Labels, probabilities: Probabilities) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    truth, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    if truth.ndim != 1 or truth.dtype.kind not in "iu" or p.ndim != 2 or len(p) != len(truth) or not len(truth):
        raise InputError(f"labels (N,) and probabilities (N, K) are needed, not {truth.shape} and {p.shape}")
    if p.shape[1] < 2 or truth.min() < 0 or truth.max() >= p.shape[1]:
        raise InputError(f"labels from {truth.min()} to {truth.max()} do not fit {p.shape[1]} classes")
    if not np.isfinite(p).all() or (np.abs(p.sum(axis=1) - 1) > 1e-3).any():
        raise InputError("probabilities that are not finite or whose rows do not sum to 1")
    return truth.astype(np.int64), p


def scores(labels: Labels, probabilities: Probabilities) -> dict[str, float]:
    """Return accuracy, balanced_accuracy, f1_macro, f1_weighted, auc (one class against the rest, mean), ece, brier.

    Raises InputError for arrays that do not fit, MissingExtraError without scikit-learn.
    """
    m = _sklearn()
    truth, p = _checked(labels, probabilities)
    predicted = p.argmax(axis=1)
    present = np.unique(truth)
    recalls = [float((predicted[truth == c] == c).mean()) for c in present]
    areas = [auc(truth, p, int(c)) for c in present]
    onehot = np.eye(p.shape[1])[truth]
    return {
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "f1_macro": float(m.f1_score(truth, predicted, labels=present, average="macro", zero_division=0)),
        "f1_weighted": float(m.f1_score(truth, predicted, labels=present, average="weighted", zero_division=0)),
        "auc": float(np.mean(areas)),
        "ece": calibration_error(truth, p),
        "brier": float(((p - onehot) ** 2).sum(axis=1).mean()),
    }


def per_class(labels: Labels, probabilities: Probabilities) -> list[dict[str, float]]:
    """Return precision, recall, f1, auc and support of each class."""
    m = _sklearn()
    truth, p = _checked(labels, probabilities)
    every = list(range(p.shape[1]))
    table = m.precision_recall_fscore_support(truth, p.argmax(axis=1), labels=every, zero_division=0)
    return [
        {
            "precision": float(table[0][c]),
            "recall": float(table[1][c]),
            "f1": float(table[2][c]),
            "auc": auc(truth, p, c),
            "support": float(table[3][c]),
        }
        for c in every
    ]


def auc(labels: Labels, probabilities: Probabilities, label: int) -> float:
    """Return the area under the ROC of one class against the rest; NaN where one side is empty."""
    truth, p = _checked(labels, probabilities)
    own = truth == label
    if own.all() or not own.any():
        return float("nan")
    return float(_sklearn().roc_auc_score(own, p[:, label]))


def roc(labels: Labels, probabilities: Probabilities, label: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return (false positive rates, true positive rates) of one class against the rest, from (0, 0) to (1, 1).

    Raises InputError where one side is empty.
    """
    truth, p = _checked(labels, probabilities)
    own = truth == label
    if own.all() or not own.any():
        raise InputError(f"class {label} has no curve: all or none of the images are of it")
    false, true, _ = _sklearn().roc_curve(own, p[:, label])
    return false, true


def confusion(labels: Labels, probabilities: Probabilities) -> npt.NDArray[np.int64]:
    """Return counts (K, K): rows are the truth, columns the prediction."""
    truth, p = _checked(labels, probabilities)
    k = p.shape[1]
    return np.bincount(truth * k + p.argmax(axis=1), minlength=k * k).reshape(k, k).astype(np.int64)


def calibration(labels: Labels, probabilities: Probabilities, bins: int = 10) -> list[dict[str, float]]:
    """Return for each bin of confidence (largest probability) its bounds, mean confidence, accuracy and count."""
    truth, p = _checked(labels, probabilities)
    if bins < 1:
        raise InputError(f"{bins} bins: give at least 1")
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    rows = []
    for b in range(bins):
        own = place == b
        if own.any():
            rows.append(
                {
                    "low": b / bins,
                    "high": (b + 1) / bins,
                    "confidence": float(confidence[own].mean()),
                    "accuracy": float(right[own].mean()),
                    "n": float(own.sum()),
                }
            )
    return rows


def calibration_error(labels: Labels, probabilities: Probabilities, bins: int = 10) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, equation 3) over equal bins of confidence."""
    rows = calibration(labels, probabilities, bins)
    total = sum(r["n"] for r in rows)
    return float(sum(r["n"] * abs(r["accuracy"] - r["confidence"]) for r in rows) / total)
