"""Plans are checked before anything runs; an experiment leaves tables beside the paper's figures and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medveil.errors import ConfigError, InputError, UsageError
from medveil.recognition import plans, tables
from medveil.recognition.datasets import Dataset
from medveil.recognition.experiments import prepare, run_plan
from medveil.recognition.outcome import summary
from medveil.recognition.plans import Condition, Data
from medveil.recognition.protections import encrypt_images, through_shares

TINY = """
title = "two cells"
profile = "quick"
folds = 2
[training]
model = "small-cnn"
epochs = 1
step = 1
validate = 0
[[data]]
name = "breast"
path = "breast"
size = 32
subset = 12
[[condition]]
name = "plain"
[[condition]]
name = "smoothed"
scheme = "learnable-smoothed"
options = { block = 2, grey = "three" }
source_size = 64
per_block = true
[[run]]
row = "small CNN"
column = "plain"
data = "breast"
condition = "plain"
paper = 98.36
[[run]]
row = "small CNN"
column = "M = 2"
data = "breast"
condition = "smoothed"
paper = 89.30
"""


def _plan(tmp_path: Path, text: str = TINY) -> plans.Plan:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return plans.read(path)


def test_an_experiment_leaves_tables_and_resumes(few: Path, tmp_path: Path) -> None:
    plan, out = _plan(tmp_path), tmp_path / "out"
    record = run_plan(plan, few, out)
    assert [c["column"] for c in record["cells"]] == ["plain", "M = 2"]
    assert {"results.json", "table.md", "table.csv", "bars.png", "roc.png"} <= {p.name for p in out.iterdir()}
    rows = tables.rows(record)
    assert rows[0]["drop"] is None
    assert rows[1]["paper_drop"] == pytest.approx(0.0906)
    assert rows[1]["drop"] == pytest.approx(rows[0]["mean"] - rows[1]["mean"])
    assert "two cells (quick profile)" in (out / "table.md").read_text()
    again = run_plan(plan, few, out, resume=True)
    assert [c["values"] for c in again["cells"]] == [c["values"] for c in record["cells"]]
    assert json.loads((out / "results.json").read_text())["environment"]["packages"]["medveil"]
    with pytest.raises(InputError, match="no run of the plan matches"):
        run_plan(plan, few, out, only="Xception")


def test_a_drop_says_its_error_fold_by_fold() -> None:
    def cell(column: str, values: list[float], paper: float) -> dict[str, object]:
        about = {"row": "r", "column": column, "paper": paper, "values": values, "seconds": 1.0}
        return {**about, **summary(values), "auc": summary(values), "measure": "f1_macro"}

    cells = [
        cell("plain", [0.90, 0.80, 0.70], 95),
        cell("less", [0.88, 0.78, 0.68], 94),  # each fold loses 0.02: no doubt that it is more than 0.01
        cell("perhaps", [0.86, 0.81, 0.67], 94),
        cell("alike", [0.90, 0.79, 0.70], 94),
        cell("fewer", [0.80, 0.70], 94),
    ]
    made = {"environment": {"threads": 1, "gpu": None, "processor": "p", "packages": {"torch": "2"}}, "seed": 1}
    record = {"cells": cells, "title": "t", "profile": "quick", "measure": "f1_macro", **made}
    found = {c["column"]: c for c in tables.rows(record)}
    assert [found[c]["drop_se"] for c in ("plain", "fewer")] == [None, None]
    assert found["less"]["drop_se"] == pytest.approx(0, abs=1e-9)
    assert found["perhaps"]["drop_se"] == pytest.approx(np.std([0.04, -0.01, 0.03], ddof=1) / np.sqrt(3))
    verdicts = [line.split("|")[-2].strip() for line in tables.markdown(record).splitlines() if line.startswith("| r")]
    larger = "larger than the paper's"
    assert verdicts == ["", larger, f"{larger}, within its error", "held", larger]


def test_folds_are_drawn_again_as_often_as_a_run_asks(few: Path, tmp_path: Path) -> None:
    text = TINY.replace('condition = "smoothed"', 'condition = "smoothed"\nrepeats = 2')
    plan, out = _plan(tmp_path, text), tmp_path / "out"
    record = run_plan(plan, few, out)
    assert [len(c["values"]) for c in record["cells"]] == [2, 4]
    place = out / "small-cnn-m-2"
    names = [{line.split(",")[0] for line in (place / f"seed-{seed}" / "fold-1" / "predictions.csv").read_text()
              .splitlines()} for seed in (1, 2)]  # fmt: skip
    assert names[0] != names[1]
    trained: list[str] = []
    again = run_plan(plan, few, out, resume=True, report=lambda what, *_: trained.append(what))
    assert not trained
    assert [c["values"] for c in again["cells"]] == [c["values"] for c in record["cells"]]


def test_held_out_repeats_and_transfer(few: Path, tmp_path: Path) -> None:
    text = TINY.replace("folds = 2", 'hold_out = 0.3\nrepeats = 2\nmeasure = "auc"')
    text = text.replace("[[data]]", '[pretraining]\ndata = "breast"\n[[data]]', 1).replace(
        'condition = "smoothed"', 'condition = "smoothed"\ntransfer = true\nsettings = { groups = 2 }'
    )
    text = text.replace('options = { block = 2, grey = "three" }', "options = { block = 2 }")
    plan, out = _plan(tmp_path, text), tmp_path / "out"
    record = run_plan(plan, few, out, only="M = 2")
    (cell,) = record["cells"]
    assert len(cell["values"]) == 2
    assert (out / "pretrained-small-cnn-breast" / "model.safetensors").is_file()
    assert run_plan(plan, few, out, only="M = 2", resume=True)["cells"][0]["values"] == cell["values"]


def test_a_condition_is_the_same_for_the_same_seed(few: Path) -> None:
    data = Data(name="b", path="breast", size=32, subset=4)
    encrypted = Condition(name="e", scheme="learnable-skk", options={"grey": "three"})
    first, again, other = (prepare(data, encrypted, few, seed) for seed in (1, 1, 2))
    assert first.images.shape[3] == 3
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()
    restored = prepare(data, Condition(name="r", recovery="descreen", source_size=96), few, 1)
    plain = prepare(data, Condition(name="p"), few, 1)
    assert restored.images.shape == plain.images.shape
    assert np.abs(restored.images.astype(int) - plain.images).mean() < 12


def test_smoothing_thinned_by_block_is_the_smoothed_picture(xrays: Dataset) -> None:
    few = xrays.take(range(4))
    thin = encrypt_images(few, "learnable-smoothed", {"block": 4}, key=bytes(32), per_block=True)
    whole = encrypt_images(few, "learnable-smoothed", {"block": 4}, key=bytes(32))
    np.testing.assert_array_equal(thin.images.repeat(4, axis=1).repeat(4, axis=2), whole.images)
    assert thin.facts == {"scheme": "learnable-smoothed", "options": {"block": 4}, "per_block": 4}


def test_thinned_pictures_are_repeated_to_the_side_that_a_condition_asks_for(few: Path) -> None:
    data = Data(name="b", path="breast", size=16, subset=4)
    smoothed = {"name": "s", "scheme": "learnable-smoothed", "options": {"block": 6}, "source_size": 64}
    thin = prepare(data, Condition(**smoothed, per_block=True), few, 1)
    assert thin.images.shape[1:3] == (11, 11)
    wide = prepare(data, Condition(**smoothed, per_block=True, side=16), few, 1)
    picked = np.arange(16) * 11 // 16
    np.testing.assert_array_equal(wide.images, thin.images[:, picked][:, :, picked])
    assert wide.groups == thin.groups
    with pytest.raises(InputError, match="11 x 11 pixels are larger than 10"):
        thin.repeated(10)


def test_what_cannot_protect_is_refused(xrays: Dataset) -> None:
    with pytest.raises(UsageError, match="networks cannot learn from sealed"):
        encrypt_images(xrays, "sealed")
    with pytest.raises(UsageError, match="does not take these options: blocks"):
        encrypt_images(xrays, "learnable-smoothed", {"blocks": 3})
    with pytest.raises(InputError, match="there is no recovery"):
        through_shares(xrays, "guess")
    with pytest.raises(InputError, match="larger than"):
        encrypt_images(xrays, "learnable-smoothed", {"block": 40})


@pytest.mark.parametrize("name", plans.names())
def test_carried_plans_are_whole(name: str) -> None:
    plan = plans.read(name)
    assert plan.profile == name.rpartition("-")[2]
    assert all(run.paper is not None or plan.profile == "quick" for run in plan.run)


def test_the_papers_figures_stand_in_the_plans() -> None:
    two = {(r.row, r.column): r.paper for r in plans.read("paper-001-table-2-full").run}
    assert two["DenseNet-121, brain", "proposed, M = 4"] == 89.30
    assert two["Xception, chest", "SKK"] == 94.63
    three = [r.paper for r in plans.read("paper-001-table-3-full").run]
    assert three == [98.36, 93.36, 90.97, 89.30, 86.85, 96.25, 95.01, 94.84, 94.71, 94.33]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('data = "breast"', 'data = "lung"', "names the data 'lung', not given"),
        ("folds = 2", "folds = 1", "greater than or equal to 2"),
        ("paper = 98.36", "paper = 98.36\ntransfer = true", "the plan has no pretraining"),
        ("per_block = true", 'per_block = true\nrecovery = "stack"', "a scheme and a recovery"),
        ("per_block = true", "side = 64", "pictures that are not thinned"),
        ('column = "M = 2"', 'column = "plain"', "one row and column"),
        ('name = "smoothed"\n', 'name = "plain"\n', "two tables of condition"),
        ("epochs = 1", "epoch = 1", "no setting 'epoch'"),
        ("title", "titel", "titel|title"),
        ("[training]", "[training", "not TOML"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _plan(tmp_path, TINY.replace(old, new, 1))
    with pytest.raises(InputError, match="there is no plan nothing"):
        plans.read("nothing")
