"""Curves of a run as CSV and as pictures: loss and F1 by epoch, ROC by class, calibration, confusion."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medveil.errors import MissingExtraError
from medveil.metrics import classification
from medveil.recognition.outcome import Outcome
from medveil.schemes.bundle import new_file

Curve = Sequence[Mapping[str, float]]


def write_all(out: Path, outcome: Outcome, lines: Sequence[Curve]) -> None:
    """Write curve.csv, curve.png, roc.png, calibration.png and confusion.png; a line for each fold."""
    write_csv(out / "curve.csv", lines)
    _write(out / "curve.png", _curve_figure(lines))
    _write(out / "roc.png", roc_figure({"": outcome}))
    _write(out / "calibration.png", _calibration_figure(outcome))
    _write(out / "confusion.png", _confusion_figure(outcome))


def write_csv(path: Path, lines: Sequence[Curve]) -> None:
    """Write the curve: fold, epoch, lr, loss and the scores on the test part."""
    names = list(dict.fromkeys(name for line in lines for row in line for name in row))
    with new_file(path, force=True) as working, working.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["fold", *names])
        for fold, line in enumerate(lines, start=1):
            table.writerows([fold, *(row.get(name, "") for name in names)] for row in line)


def pyplot() -> Any:
    """Return matplotlib's pyplot on a backend that needs no screen. Raises MissingExtraError."""
    try:
        import matplotlib as mpl
    except ImportError as e:
        raise MissingExtraError("drawing curves", "learn") from e
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _write(path: Path, figure: Any) -> None:
    with new_file(path, force=True) as working:
        figure.savefig(working, format="png", dpi=110, bbox_inches="tight")
    pyplot().close(figure)


write_figure = _write


def _curve_figure(lines: Sequence[Curve]) -> Any:
    figure, axes = pyplot().subplots(1, 2, figsize=(8, 3))
    for line in lines:
        epochs = [row["epoch"] for row in line]
        axes[0].plot(epochs, [row["loss"] for row in line], color="tab:blue", alpha=0.6)
        measured = [row for row in line if "test_f1_macro" in row]
        axes[0].plot([r["epoch"] for r in measured], [r["test_loss"] for r in measured], color="tab:orange", alpha=0.6)
        axes[1].plot([r["epoch"] for r in measured], [r["test_f1_macro"] for r in measured], ".-", alpha=0.6)
    axes[0].set(xlabel="epoch", ylabel="loss: training (blue), test (orange)", yscale="log")
    axes[1].set(xlabel="epoch", ylabel="macro F1 on the test part", ylim=(0, 1.02))
    return figure


def roc_figure(outcomes: Mapping[str, Outcome], title: str = "") -> Any:
    """Return a figure of ROC curves: one a class, or for several named outcomes one each of the mean over classes."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(4.5, 4))
    for name, outcome in outcomes.items():
        if len(outcomes) > 1:
            false, true = mean_roc(outcome)
            axis.plot(false, true, label=f"{name} ({outcome.scores['auc']:.3f})")
            continue
        for c, label in enumerate(outcome.classes):
            false, true = classification.roc(outcome.labels, outcome.probabilities, c)
            area = classification.auc(outcome.labels, outcome.probabilities, c)
            axis.plot(false, true, label=f"{label} ({area:.3f})")
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", title=title, aspect="equal")
    axis.legend(title="area under the curve", fontsize=8)
    return figure


def mean_roc(outcome: Outcome, points: int = 201) -> tuple[Any, Any]:
    """Return the ROC of one class against the rest, averaged over classes at equal false positive rates."""
    grid = np.linspace(0, 1, points)
    curves = [
        np.interp(grid, *classification.roc(outcome.labels, outcome.probabilities, c))
        for c in range(len(outcome.classes))
    ]
    mean = np.mean(curves, axis=0)
    mean[0] = 0.0
    return grid, mean


def _calibration_figure(outcome: Outcome) -> Any:
    rows = classification.calibration(outcome.labels, outcome.probabilities)
    figure, axis = pyplot().subplots(figsize=(4, 4))
    axis.plot([0, 1], [0, 1], color="grey", lw=0.8, ls=":")
    axis.plot([r["confidence"] for r in rows], [r["accuracy"] for r in rows], "o-")
    axis.set(
        xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02),
        title=f"expected calibration error {outcome.scores['ece']:.3f}",
    )  # fmt: skip
    return figure


def _confusion_figure(outcome: Outcome) -> Any:
    counts = classification.confusion(outcome.labels, outcome.probabilities)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axis = pyplot().subplots(figsize=(1.2 + len(counts), 1.2 + len(counts)))
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(counts.shape):
        axis.text(j, i, str(counts[i, j]), ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
    ticks = range(len(counts))
    axis.set_xticks(ticks, outcome.classes, rotation=45, ha="right")
    axis.set_yticks(ticks, outcome.classes)
    axis.set(xlabel="predicted", ylabel="truth")
    return figure
