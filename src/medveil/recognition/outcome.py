"""What a trained network came to on images that it had not seen: scores, per class, confusion, calibration."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.metrics import classification
from medveil.recognition.datasets import Dataset
from medveil.schemes.bundle import new_file


@dataclass(frozen=True, eq=False)
class Outcome:
    """Predictions on a test part.

    labels: int64 (N,). probabilities: float64 (N, K). names: N file names. scores: see `classification.scores`.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64] = field(repr=False)
    probabilities: npt.NDArray[np.float64] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    scores: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return scores, the figures of each class, confusion (rows are the truth) and calibration, JSON-ready."""
        truth, p = self.labels, self.probabilities
        return {
            "n": len(truth),
            "scores": self.scores,
            "per_class": dict(zip(self.classes, classification.per_class(truth, p), strict=True)),
            "confusion": classification.confusion(truth, p).tolist(),
            "calibration": classification.calibration(truth, p),
        }


def judge(
    classes: tuple[str, ...],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    names: tuple[str, ...],
) -> Outcome:
    """Return the outcome of predictions."""
    return Outcome(classes, labels, probabilities, names, classification.scores(labels, probabilities))


def judge_on(test: Dataset, probabilities: npt.NDArray[np.float64]) -> Outcome:
    """Return the outcome of predictions on a test part."""
    return judge(test.classes, test.labels, probabilities, test.names)


def write_predictions(path: Path, outcome: Outcome, *, force: bool = False) -> None:
    """Write one line an image: name, truth, and the probability of each class."""
    with new_file(path, force=force) as working, working.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["name", "truth", *outcome.classes])
        for name, label, row in zip(outcome.names, outcome.labels, outcome.probabilities, strict=True):
            table.writerow([name, outcome.classes[label], *(repr(float(v)) for v in row)])


def read_predictions(path: Path) -> Outcome:
    """Return what `write_predictions` wrote. Raises InputError where the file is another."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            head, *rows = list(csv.reader(handle))
        classes = tuple(head[2:])
        labels = np.array([classes.index(r[1]) for r in rows], np.int64)
        probabilities = np.array([[float(v) for v in r[2:]] for r in rows])
        return judge(classes, labels, probabilities, tuple(r[0] for r in rows))
    except (OSError, ValueError, IndexError) as e:
        raise InputError(f"{path} is not a table of predictions: remove it to train again") from e


def summary(values: list[float]) -> dict[str, float]:
    """Return mean, standard deviation over folds (n - 1), least and greatest."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "sd": spread, "min": float(min(values)), "max": float(max(values))}
