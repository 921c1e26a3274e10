"""Runs a plan: prepares the images of each condition, trains each cell, and writes tables and pictures.

Every cell has a folder of its own, so an interrupted experiment goes on where it stopped; the images of a condition
are made again from the plan's seed, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medveil.crypto import prg
from medveil.errors import InputError
from medveil.recognition import results, tables
from medveil.recognition.datasets import Dataset, load
from medveil.recognition.duplicates import clusters
from medveil.recognition.outcome import Outcome, summary
from medveil.recognition.plans import Condition, Data, Plan, Run
from medveil.recognition.protections import encrypt_images, through_shares
from medveil.recognition.training import MODEL, cross_validate, train

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Cell:
    """A finished run: the measure of each fold or repeat, all outcomes, and what its folder's results.json says."""

    run: Run
    values: list[float]
    outcomes: list[Outcome] = field(repr=False)
    seconds: float

    def as_dict(self, measure: str) -> dict[str, Any]:
        """Return the cell as a table of results has it."""
        return {
            **self.run.model_dump(),
            "measure": measure,
            "values": self.values,
            **summary(self.values),
            "auc": summary([o.scores["auc"] for o in self.outcomes]),
            "f1_macro": summary([o.scores["f1_macro"] for o in self.outcomes]),
            "f1_weighted": summary([o.scores["f1_weighted"] for o in self.outcomes]),
            "ece": summary([o.scores["ece"] for o in self.outcomes]),
            "seconds": round(self.seconds, 1),
        }


def run_plan(
    plan: Plan,
    data: Path,
    out: Path,
    *,
    resume: bool = False,
    force: bool = False,
    only: str | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Run every cell of a plan and return the results, which are also in OUT/results.json.

    data: the folder that the datasets' paths start from. only: a regular expression; cells whose "row / column" it
    does not match are left out.
    Raises what `load`, `train` and `cross_validate` raise; InputError where `only` matches nothing.
    """
    chosen = [r for r in plan.run if only is None or re.search(only, f"{r.row} / {r.column}")]
    if not chosen:
        raise InputError(f"no run of the plan matches {only!r}: its runs are rows and columns of the table")
    out.mkdir(parents=True, exist_ok=True)
    prepared: dict[tuple[str, str], Dataset] = {}
    cells = []
    for number, run in enumerate(chosen, start=1):
        key = (run.data, run.condition)
        if key not in prepared:
            prepared.clear()  # one condition in memory at a time
            prepared[key] = prepare(plan.named_data(run.data), plan.named_condition(run.condition), data, plan.seed)
        said = f"{number}/{len(chosen)} {run.row}, {run.column}"
        tick: Report | None = None if report is None else _prefixed(report, said)
        place = out / folder_name(f"{run.row} {run.column}")
        cells.append(_cell(plan, run, prepared[key], data, place, out, tick, resume=resume, force=force))
    record = {
        "kind": "experiment",
        "title": plan.title,
        "profile": plan.profile,
        "plan": plan.model_dump(mode="json"),
        "seed": plan.seed,
        "measure": plan.measure,
        "cells": [cell.as_dict(plan.measure) for cell in cells],
        "environment": results.environment(),
    }
    tables.write_all(out, record, {f"{c.run.row}, {c.run.column}": c.outcomes for c in cells})
    results.write(out / results.NAME, record)
    return record


def prepare(data: Data, condition: Condition, folder: Path, seed: int) -> Dataset:
    """Return the images of a dataset under a condition; the same for the same seed.

    Groups are the clusters of the plain images, so that every condition is split alike.
    """
    plain = _loaded(data, data.size, folder, seed)
    groups = tuple(f"cluster{number}" for number in clusters(plain))
    if condition.scheme is None and condition.recovery is None:
        return replace(plain, groups=groups)
    dataset = replace(_loaded(data, condition.source_size or data.size, folder, seed), groups=groups)
    with prg.allow_insecure_randomness("experiment"):
        rng = prg.insecure_seeded(seed, f"recognition experiment {condition.name}")
        if condition.recovery is not None:
            return through_shares(dataset, condition.recovery, sigma=condition.sigma, rng=rng).resized(data.size)
        encrypted = encrypt_images(
            dataset, str(condition.scheme), condition.options, key=rng.bytes(32), per_block=condition.per_block
        )
    return encrypted if condition.side is None else encrypted.repeated(condition.side)


def _loaded(data: Data, size: int, folder: Path, seed: int) -> Dataset:
    found = load(folder / data.path, size, data.mode, data.split, findings=data.findings, resolution=data.resolution)
    return found if data.subset is None else found.subset(data.subset, seed)


def _cell(
    plan: Plan, run: Run, dataset: Dataset, data: Path, place: Path, out: Path, tick: Report | None,
    *, resume: bool, force: bool,
) -> Cell:  # fmt: skip
    weights = _pretrained(plan, run, data, out, resume=resume, force=force) if run.transfer else None
    extra = {} if weights is None else {"weights": str(weights)}
    changed = run.model_copy(update={"settings": {**run.settings, **extra}})
    outcomes: list[Outcome] = []
    seconds = 0.0
    repeats = run.repeats or plan.repeats
    if plan.hold_out is None:
        for repeat in range(repeats):
            settings = plan.training_of(changed, seed=plan.seed + repeat)
            where = place if repeats == 1 else place / f"seed-{settings.seed}"
            done = cross_validate(dataset, settings, plan.folds, where, resume=resume, force=force, report=tick)
            outcomes += done.folds
            seconds += done.seconds
        return Cell(run, [f.scores[plan.measure] for f in outcomes], outcomes, seconds)
    unsplit = Dataset(dataset.images, dataset.labels, dataset.classes, dataset.groups, dataset.names)
    for repeat in range(repeats):
        settings = plan.training_of(changed, seed=plan.seed + repeat)
        where = place / f"seed-{plan.seed + repeat}"
        found = _finished(where, settings.as_dict(), unsplit.digest()) if resume else None
        if found is None:
            made = train(unsplit, settings, where, hold_out=plan.hold_out, resume=resume, force=force, report=tick)
            found = made.outcome, made.seconds
        outcomes.append(found[0])
        seconds += found[1]
    return Cell(run, [o.scores[plan.measure] for o in outcomes], outcomes, seconds)


def _finished(where: Path, settings: dict[str, Any], digest: str) -> tuple[Outcome, float] | None:
    from medveil.recognition.outcome import read_predictions
    from medveil.recognition.training import PREDICTIONS

    if not (where / results.NAME).is_file():
        return None
    said = results.read(where / results.NAME)
    if said.get("plan") != settings or said.get("data", {}).get("digest") != digest:
        raise InputError(f"{where} holds a run of other settings or data: choose another folder")
    return read_predictions(where / PREDICTIONS), float(said["seconds"])


def _pretrained(plan: Plan, run: Run, data: Path, out: Path, *, resume: bool, force: bool) -> Path:
    """Return the weights that a run starts from, trained now where they are not there yet."""
    if plan.pretraining is None:
        raise InputError("the plan has no pretraining to transfer from")
    source = plan.named_data(plan.pretraining.data)
    model = plan.training_of(run).model
    place = out / folder_name(f"pretrained {model} {source.name}")
    if not (place / MODEL).is_file():
        dataset = prepare(source, Condition(name="plain"), data, plan.seed)
        own = {"model": model, **plan.pretraining.settings}
        settings = plan.training_of(run.model_copy(update={"settings": own, "transfer": False}))
        train(dataset, settings, place, hold_out=0.1, resume=resume, force=force)
    return place / MODEL


def _prefixed(report: Report, said: str) -> Report:
    return lambda what, done, total: report(f"{said}: {what}", done, total)


def folder_name(text: str) -> str:
    """Return a file name made of a title."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
