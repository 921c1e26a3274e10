"""Tables of an experiment beside the paper's figures: Markdown, CSV and pictures.

A cell says mean and spread over folds; its drop is from the same row's first column (the plain images), beside the
paper's own drop. A drop that is larger than the paper's says so, and whether by more than its standard error: that of
the mean difference from the first column, fold by fold, which folds that share training images make a little too small.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

from medveil.recognition import curves
from medveil.recognition.outcome import Outcome, judge
from medveil.schemes.bundle import new_file


def write_all(out: Path, record: Mapping[str, Any], outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """Write table.md, table.csv, bars.png and roc.png of an experiment into its folder."""
    with new_file(out / "table.md", force=True) as working:
        working.write_text(markdown(record), encoding="utf-8")
    with new_file(out / "table.csv", force=True) as working, working.open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(
            ["row", "column", "measure", "mean", "sd", "min", "max", "auc", "paper", "drop", "paper_drop", "drop_se"]
        )
        for c in rows(record):
            table.writerow([c["row"], c["column"], c["measure"], *(c[k] for k in ("mean", "sd", "min", "max")),
                            c["auc"]["mean"], c["paper"], c["drop"], c["paper_drop"], c["drop_se"]])  # fmt: skip
    curves.write_figure(out / "bars.png", _bars(record))
    curves.write_figure(out / "roc.png", curves.roc_figure({name: pooled(o) for name, o in outcomes.items()}))


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the predictions of several folds or repeats as one outcome."""
    import numpy as np

    return judge(
        outcomes[0].classes,
        np.concatenate([o.labels for o in outcomes]),
        np.concatenate([o.probabilities for o in outcomes]),
        tuple(n for o in outcomes for n in o.names),
    )


def rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells with `drop` and `paper_drop`, what is lost from the row's first column, in the same unit.

    `drop_se` is the drop's standard error, None where the cells' folds do not pair up. The paper's figures are
    percentages, or areas where the measure is one; both are turned into shares of 1.
    """
    first: dict[str, dict[str, Any]] = {}
    done = []
    for cell in record["cells"]:
        base = first.setdefault(cell["row"], cell)
        own = dict(cell)
        own["paper"] = _share(cell["paper"])
        before = _share(base["paper"])
        own["drop"] = None if cell is base else base["mean"] - cell["mean"]
        own["drop_se"] = None if cell is base else _error(base["values"], cell["values"])
        own["paper_drop"] = None if cell is base or own["paper"] is None or before is None else before - own["paper"]
        done.append(own)
    return done


def _error(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the standard error of the mean difference of two cells, fold by fold; None where folds do not pair up."""
    if len(first) != len(second) or len(first) < 2:
        return None
    return stdev(a - b for a, b in zip(first, second, strict=True)) / math.sqrt(len(first))


def _share(figure: float | None) -> float | None:
    return figure / 100 if figure is not None and figure > 1 else figure


def markdown(record: Mapping[str, Any]) -> str:
    """Return the table as Markdown, one line a cell, with what it was made from."""
    name = {"f1_macro": "macro F1", "f1_weighted": "weighted F1", "auc": "AUC"}[record["measure"]]
    spread_of = "over repeats" if record.get("plan", {}).get("hold_out") else "over folds"
    lines = [
        f"### {record['title']} ({record['profile']} profile)",
        "",
        f"| | | {name} | {spread_of} | AUC | drop | paper | paper's drop | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for c in rows(record):
        several = len(c["values"]) > 1
        spread = f"± {c['sd']:.4f} ({c['min']:.3f} to {c['max']:.3f})" if several else "one run"
        error = "" if c["drop_se"] is None else f" ± {c['drop_se']:.4f}"
        ours = f"{c['mean']:.4f} | {spread} | {c['auc']['mean']:.4f} | {_signed(c['drop'])}{error}"
        paper = f"{_plain(c['paper'])} | {_signed(c['paper_drop'])} | {_verdict(c)}"
        lines.append(f"| {c['row']} | {c['column']} | {ours} | {paper} |")
    made = record["environment"]
    machine = f"{made['threads']} thread(s), {made['gpu'] or made['processor']}; torch {made['packages']['torch']}"
    took = sum(c["seconds"] for c in record["cells"])
    lines += ["", f"Seed {record['seed']}; {machine}; {took:.0f} s of training.", ""]
    return "\n".join(lines)


def _verdict(cell: Mapping[str, Any]) -> str:
    if cell["drop"] is None or cell["paper_drop"] is None:
        return ""
    if cell["drop"] <= cell["paper_drop"]:
        return "held"
    within = cell["drop_se"] is not None and cell["drop"] - cell["drop_se"] <= cell["paper_drop"]
    return "larger than the paper's, within its error" if within else "larger than the paper's"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _bars(record: Mapping[str, Any]) -> Any:
    cells = rows(record)
    figure, axis = curves.pyplot().subplots(figsize=(1.5 + 0.55 * len(cells), 3.6))
    places = range(len(cells))
    axis.bar(
        places, [c["mean"] for c in cells], yerr=[c["sd"] for c in cells], capsize=3, color="tab:blue", label="ours"
    )
    paper = [(i, c["paper"]) for i, c in enumerate(cells) if c["paper"] is not None]
    axis.plot([i for i, _ in paper], [p for _, p in paper], "D", color="tab:orange", label="paper")
    axis.set_xticks(places, [f"{c['row']}, {c['column']}" for c in cells], rotation=60, ha="right", fontsize=7)
    axis.set(ylabel=record["measure"], ylim=(0, 1.02))
    axis.legend(fontsize=7)
    return figure
