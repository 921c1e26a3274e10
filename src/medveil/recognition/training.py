"""`train` one network, or `cross_validate`: the two calls that the command line and the evaluation suite use.

With a folder to write to, a run leaves results.json, predictions.csv, curve.csv, the pictures and, of `train`, the
model; with `resume` it goes on where it was interrupted, and finished folds are not trained again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medveil.errors import InputError, OutputExistsError
from medveil.recognition import checkpoints, curves, loop, models, outcome, results, splits
from medveil.recognition.datasets import Dataset
from medveil.recognition.duplicates import find
from medveil.recognition.models import ModelCard
from medveil.recognition.outcome import Outcome
from medveil.recognition.plan import TrainingPlan

__all__ = ["CrossValidation", "TrainingPlan", "TrainingResult", "cross_validate", "train"]

Report = Callable[[str, int, int], None]
MODEL = "model.safetensors"
PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network and what it came to on its test part."""

    network: Any = field(repr=False)
    card: ModelCard
    outcome: Outcome
    curve: list[dict[str, float]] = field(repr=False)
    seconds: float
    record: dict[str, Any] = field(repr=False)

    @property
    def scores(self) -> dict[str, float]:
        """Return the scores on the test part."""
        return self.outcome.scores


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The outcome of each fold; `summary` has mean, sd, min and max of every score over the folds."""

    folds: list[Outcome] = field(repr=False)
    curves: list[list[dict[str, float]]] = field(repr=False)
    seconds: float
    record: dict[str, Any] = field(repr=False)

    @property
    def summary(self) -> dict[str, dict[str, float]]:
        """Return mean, sd, min and max over folds of accuracy, f1_macro, f1_weighted, auc, ece and brier."""
        return {k: outcome.summary([f.scores[k] for f in self.folds]) for k in self.folds[0].scores}

    @property
    def f1(self) -> float:
        """Return the mean over folds of the macro F1."""
        return self.summary["f1_macro"]["mean"]

    def pooled(self) -> Outcome:
        """Return the predictions of all folds as one outcome: each image was tested once."""
        return outcome.judge(
            self.folds[0].classes,
            np.concatenate([f.labels for f in self.folds]),
            np.concatenate([f.probabilities for f in self.folds]),
            tuple(n for f in self.folds for n in f.names),
        )


def train(
    dataset: Dataset,
    plan: TrainingPlan,
    out: Path | None = None,
    *,
    test: Dataset | None = None,
    hold_out: float = 0.2,
    allow_leakage: bool = False,
    resume: bool = False,
    force: bool = False,
    report: Report | None = None,
) -> TrainingResult:
    """Train one network and judge it on a test part.

    The test part is `test` where given, else the dataset's own split, else a share `hold_out` of whole clusters.
    Duplicates between the parts are refused unless `allow_leakage`. out: a folder to write to; refused where it
    holds a finished run and neither `resume` nor `force` is set. With `resume` a finished run of the same settings and
    data is read back, not trained again.

    Raises InputError for data that cannot be split or trained on and for a finished run or a checkpoint of other
    settings or data, OutputExistsError, MissingExtraError.
    """
    found = find(dataset)
    if test is not None:
        learn, judged = dataset, _joined(dataset, test, allow_leakage=allow_leakage)
    else:
        named = {"train", "test"} <= set(dataset.splits)
        first, second = (
            splits.given(dataset, allow_leakage=allow_leakage, duplicates=found)
            if named
            else splits.hold_out(dataset, hold_out, plan.seed, duplicates=found)
        )
        learn, judged = dataset.take(first), dataset.take(second)
    _prepare(out, resume=resume, force=force)
    identity = {"plan": plan.as_dict(), "train": learn.digest(), "test": judged.digest()}
    if out is not None and resume and _is_finished(out):
        return _read_back(out, identity)
    started = time.monotonic()
    tick = None if report is None else lambda done, total: report("train", done, total)
    fitted = loop.fit(
        learn, plan, test=judged, checkpoint=None if out is None else out / checkpoints.NAME, resume=resume, report=tick
    )
    result = outcome.judge_on(judged, loop.predict(fitted.network, fitted.card, judged.images, plan))
    seconds = time.monotonic() - started
    record = {
        "kind": "training",
        "identity": identity,
        "processes": loop.processes(),
        **_description(dataset, plan),
        "train": len(learn),
        "test": len(judged),
        "duplicates": {"exact": len(found.exact), "near": len(found.near), "conflicting": len(found.conflicting)},
        "leakage_allowed": allow_leakage,
        "seconds": round(seconds, 1),
        "outcome": result.as_dict(),
        "curve": fitted.curve,
    }
    if out is not None and loop.rank() == 0:
        models.save(fitted.network, fitted.card, out / MODEL, force=True)
        outcome.write_predictions(out / PREDICTIONS, result, force=True)
        curves.write_all(out, result, [fitted.curve])
        results.write(out / results.NAME, record)
        (out / checkpoints.NAME).unlink(missing_ok=True)
    return TrainingResult(fitted.network, fitted.card, result, fitted.curve, seconds, record)


def _is_finished(out: Path) -> bool:
    return (out / results.NAME).is_file() and not (out / checkpoints.NAME).exists()


def _read_back(out: Path, identity: dict[str, Any]) -> TrainingResult:
    """Return a finished run from its folder. Raises InputError where it is one of other settings or data."""
    record = results.read(out / results.NAME)
    if record.get("kind") != "training" or record.get("identity") != identity:
        raise InputError(
            f"{out} holds a finished run of other settings or data: choose another folder, or pass --force"
        )
    network, card = models.load(out / MODEL)
    found = outcome.read_predictions(out / PREDICTIONS)
    return TrainingResult(network, card, found, record["curve"], float(record["seconds"]), record)


def cross_validate(
    dataset: Dataset,
    plan: TrainingPlan,
    folds: int = 5,
    out: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    report: Report | None = None,
) -> CrossValidation:
    """Train one network a fold, from the same settings, and judge each on the fold it did not see.

    Folds cut no patient and no cluster of duplicates; what is reported is the last epoch's, never the best.
    Raises as `splits.folds` and `train`.
    """
    found = find(dataset)
    parts = splits.folds(dataset, folds, plan.seed, duplicates=found)
    _prepare(out, resume=resume, force=force)
    if out is not None and resume and _is_finished(out):
        kind = results.read(out / results.NAME).get("kind")
        if kind != "cross-validation":
            raise InputError(f"{out} holds a finished run without folds: choose another folder, or pass --force")
    outcomes, lines, seconds = [], [], 0.0
    for number, (first, second) in enumerate(parts, start=1):
        place = None if out is None else out / f"fold-{number}"
        tick = None if report is None else _ticker(report, number, folds)
        result, curve, took = _fold(dataset.take(first), dataset.take(second), plan, place, tick, resume=resume)
        outcomes.append(result)
        lines.append(curve)
        seconds += took
    done = CrossValidation(outcomes, lines, seconds, {})
    pooled = done.pooled()
    record = {
        "kind": "cross-validation",
        **_description(dataset, plan),
        "folds": [f.as_dict() for f in outcomes],
        "summary": done.summary,
        "pooled": pooled.as_dict(),
        "duplicates": {"exact": len(found.exact), "near": len(found.near), "conflicting": len(found.conflicting)},
        "seconds": round(seconds, 1),
        "curves": lines,
    }
    if out is not None:
        outcome.write_predictions(out / PREDICTIONS, pooled, force=True)
        curves.write_all(out, pooled, lines)
        results.write(out / results.NAME, record)
    return replace(done, record=record)


def _fold(
    learn: Dataset, judged: Dataset, plan: TrainingPlan, place: Path | None, tick: Any, *, resume: bool
) -> tuple[Outcome, list[dict[str, float]], float]:
    identity = {"plan": plan.as_dict(), "train": learn.digest(), "test": judged.digest()}
    if place is not None and resume and (place / results.NAME).is_file():
        said = results.read(place / results.NAME)
        if said.get("identity") != identity:
            raise InputError(f"{place} holds a fold of another run: choose another folder, or the same settings")
        return outcome.read_predictions(place / PREDICTIONS), said["curve"], float(said["seconds"])
    started = time.monotonic()
    checkpoint = None if place is None else place / checkpoints.NAME
    fitted = loop.fit(learn, plan, test=judged, checkpoint=checkpoint, resume=resume, report=tick)
    result = outcome.judge_on(judged, loop.predict(fitted.network, fitted.card, judged.images, plan))
    seconds = time.monotonic() - started
    if place is not None:
        outcome.write_predictions(place / PREDICTIONS, result, force=True)
        results.write(place / results.NAME, {"identity": identity, "curve": fitted.curve, "seconds": round(seconds, 1)})
        (place / checkpoints.NAME).unlink(missing_ok=True)
    return result, fitted.curve, seconds


def _ticker(report: Report, number: int, folds: int) -> Callable[[int, int], None]:
    return lambda done, total: report(f"fold {number} of {folds}", (number - 1) * total + done, folds * total)


def _joined(dataset: Dataset, test: Dataset, *, allow_leakage: bool) -> Dataset:
    """Return the test part with the training part's classes, checked for twins."""
    from medveil.recognition.duplicates import leakage, refuse_leakage

    if test.classes != dataset.classes or test.images.shape[1:] != dataset.images.shape[1:]:
        raise InputError(
            f"the test part has classes {', '.join(test.classes)} and shape {test.images.shape[1:]}, the training "
            f"part {', '.join(dataset.classes)} and {dataset.images.shape[1:]}: load both alike"
        )
    if not allow_leakage:
        both = Dataset(
            np.concatenate([dataset.images, test.images]),
            np.concatenate([dataset.labels, test.labels]),
            dataset.classes,
            dataset.groups + test.groups,
            dataset.names + test.names,
            sources=dataset.sources + test.sources if dataset.sources and test.sources else (),
        )
        n = len(dataset)
        refuse_leakage(leakage(both, range(n), range(n, len(both))))
    return test


def _prepare(out: Path | None, *, resume: bool, force: bool) -> None:
    if out is None:
        return
    if (out / results.NAME).exists() and not (resume or force):
        raise OutputExistsError(f"{out} holds a finished run: choose another folder, or pass --resume or --force")
    started = out / checkpoints.NAME
    if started.exists() and not (resume or force):
        raise OutputExistsError(f"{out} holds an unfinished run: pass --resume to go on, or --force to start again")
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"{out} is a file: name a folder for the results")
    out.mkdir(parents=True, exist_ok=True)
    if force and not resume:
        for old in (started, *out.glob(f"fold-*/{checkpoints.NAME}"), *out.glob(f"fold-*/{results.NAME}")):
            old.unlink(missing_ok=True)


def _description(dataset: Dataset, plan: TrainingPlan) -> dict[str, Any]:
    return {
        "plan": plan.as_dict(),
        "seed": plan.seed,
        "data": {
            "digest": dataset.digest(),
            "images": len(dataset),
            "shape": list(dataset.images.shape[1:]),
            "classes": list(dataset.classes),
            "notes": list(dataset.notes),
            "facts": dataset.facts,
        },
        "environment": results.environment(),
    }
