"""The commands: a network trained on real pictures, in two processes too, predicts and explains; refusals in words."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medveil.errors import InputError, OutputExistsError
from medveil.imaging.reader import read
from medveil.recognition import distributed
from medveil.recognition.datasets import load
from medveil.recognition.reading import arrays
from medveil.recognition.training import TrainingPlan, train

pytest.importorskip("torch", reason="needs the extra learn")

QUICK = ("--model", "small-cnn", "--epochs", "2", "--step", "2", "--size", "0")


@pytest.fixture(scope="module")
def digits(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 X-rays of PneumoniaMNIST as an .npz."""
    images, labels = arrays(shared_data / "chest_xray_pneumoniamnist" / "train.npz")
    chosen = np.concatenate([np.flatnonzero(labels == c)[:60] for c in (0, 1)])
    path = tmp_path_factory.mktemp("digits") / "pneumonia.npz"
    np.savez(path, images=images[chosen], labels=labels[chosen])
    return path


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("run") / "out"
    train(load(digits, None), TrainingPlan(model="small-cnn", epochs=2, step=2, validate=0), out)
    return out


@pytest.fixture
def rays(shared_data: Path, tmp_path: Path) -> Path:
    """A folder of 12 chest X-rays of each of two classes."""
    for label in ("normal", "pneumonia"):
        (tmp_path / "rays" / label).mkdir(parents=True)
        for path in sorted((shared_data / "chest_xray_nih" / "train" / label).iterdir())[:12]:
            shutil.copyfile(path, tmp_path / "rays" / label / path.name)
    return tmp_path / "rays"


def test_train_predict_and_explain(medveil: Any, run: Path, shared_data: Path, tmp_path: Path) -> None:
    record = json.loads((run / "results.json").read_text())
    assert record["plan"]["model"] == "small-cnn"
    pictures = sorted((shared_data / "chest_xray_nih" / "test" / "normal").glob("*.png"))[:2]
    done = medveil("predict", run / "model.safetensors", *pictures, "--out", tmp_path / "p.csv", "--json")
    assert done.code == 0, done.err
    assert [round(sum(p["probabilities"].values()), 6) for p in done.json["predictions"]] == [1, 1]
    with (tmp_path / "p.csv").open(newline="") as handle:
        assert next(csv.reader(handle))[:2] == ["image", "class"]
    refused = medveil("predict", run / "model.safetensors", *pictures, "--out", tmp_path / "p.csv")
    assert refused.code == 2
    model = f"plain={run / 'model.safetensors'}"
    done = medveil("explain", *pictures, "--model", model, "--model", model, "--out", tmp_path / "cam.png", "--json")
    assert done.code == 0, done.err
    assert read(tmp_path / "cam.png").rows > 100
    done = medveil("explain", *pictures, "--model", model, "--class", "lesion", "--out", tmp_path / "c.png")
    assert done.code == 2
    assert "has no class 'lesion'" in done.err


def test_each_model_of_a_comparison_sees_its_own_version(
    medveil: Any, run: Path, shared_data: Path, tmp_path: Path
) -> None:
    picture = next((shared_data / "chest_xray_nih" / "test" / "normal").glob("*.png"))
    model = str(run / "model.safetensors")
    (tmp_path / "encrypted").mkdir()
    command = ("explain", picture, "--model", model, "--model", model, "--encrypted", tmp_path / "encrypted")
    refused = medveil(*command, "--out", tmp_path / "cam.png")
    assert refused.code == 2
    assert "has no version of" in refused.err
    shutil.copyfile(picture, tmp_path / "encrypted" / picture.name)
    assert medveil(*command, "--out", tmp_path / "cam.png").code == 0
    refused = medveil("explain", picture, "--model", model, "--encrypted", tmp_path, "--out", tmp_path / "x.png")
    assert "1 encrypted folders for 1 models" in refused.err


def test_models_of_an_encrypted_dataset_are_explained_under_its_pseudonyms(
    medveil: Any, rays: Path, tmp_path: Path
) -> None:
    encrypted, ledger = tmp_path / "enc", ("--ledger", tmp_path / "ledger")
    done = medveil("learnable", "encrypt", rays, "--block", 4, "--size", 128, "--out", encrypted, *ledger)
    assert done.code == 0, done.err
    short = ("--model", "small-cnn", "--epochs", 1, "--per-block", 4, "--size", 0)
    done = medveil("train", encrypted, *short, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    model = tmp_path / "run" / "model.safetensors"
    picture = next((rays / "normal").iterdir())
    command = ("explain", picture, "--model", model, "--model", f"M=4={model}", "--encrypted", encrypted)
    done = medveil(*command, "--out", tmp_path / "cam.png")
    assert done.code == 0, done.err
    (tmp_path / "enc.names.csv").unlink()
    assert "keep enc.names.csv" in medveil(*command, "--out", tmp_path / "other.png").err
    done = medveil("predict", model, picture)
    assert done.code == 0
    assert "learnt from pictures encrypted by learnable-smoothed" in done.err


def test_grey_pictures_encrypted_as_three_channels_are_folded_to_one(medveil: Any, rays: Path, tmp_path: Path) -> None:
    encrypted, three = tmp_path / "enc", ("--scheme", "skk", "--option", "grey=three", "--size", 32)
    done = medveil("learnable", "encrypt", rays, *three, "--out", encrypted, "--ledger", tmp_path / "led")
    assert done.code == 0, done.err
    short = (*QUICK, "--mode", "keep", "--fold-max", "--rescramble")
    done = medveil("train", encrypted, *short, "--out", tmp_path / "run", "--json")
    assert done.code == 0, done.err
    assert (done.json["plan"]["input"], done.json["plan"]["rescramble"]) == ("fold-max", True)
    model = tmp_path / "run" / "model.safetensors"
    pictures = sorted(encrypted.rglob("*.png"))[:3]
    done = medveil("predict", model, *pictures, "--json")
    assert len(done.json["predictions"]) == 3
    assert medveil("explain", *pictures, "--model", model, "--out", tmp_path / "cam.png").code == 0
    done = medveil("train", rays, *QUICK, "--rescramble", "--out", tmp_path / "plain")
    assert done.code == 2
    assert "these images are plain: leave it out" in done.err


def test_a_broken_file_is_named_or_left_out(medveil: Any, run: Path, shared_data: Path, tmp_path: Path) -> None:
    picture = next((shared_data / "chest_xray_nih" / "test" / "normal").glob("*.png"))
    shutil.copyfile(picture, tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:400])
    model = run / "model.safetensors"
    refused = medveil("predict", model, tmp_path)
    assert refused.code == 2
    assert "cut.png cannot be read" in refused.err
    done = medveil("predict", model, tmp_path, "--broken", "skip", "--json")
    assert done.code == 0
    assert [Path(p["image"]).name for p in done.json["predictions"]] == ["whole.png"]
    assert "cut.png" in done.json["skipped"][0]
    (tmp_path / "whole.png").unlink()
    assert "none of the 1 files" in medveil("predict", model, tmp_path, "--broken", "skip").err


def test_two_processes_train_one_network(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "medveil", "train", str(digits), "--out", str(out), *QUICK, "--processes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((out / "results.json").read_text())
    assert record["processes"] == 2
    assert record["curve"][1]["loss"] < record["curve"][0]["loss"]


def test_what_a_process_refused_is_said_as_if_it_were_one(tmp_path: Path) -> None:
    (tmp_path / "refusal-1").write_text("OutputExistsError\nthe folder holds a finished run")
    error = distributed._refusal(tmp_path)
    assert isinstance(error, OutputExistsError)
    assert str(error) == "the folder holds a finished run"
    with pytest.raises(InputError, match="give 2 to 64"):
        distributed.run(1, print)


def test_cross_validation_and_resuming(medveil: Any, digits: Path, tmp_path: Path) -> None:
    command = ("train", digits, "--out", tmp_path / "cv", *QUICK, "--folds", "2", "--json")
    first = medveil(*command)
    assert first.code == 0, first.err
    assert first.json["kind"] == "cross-validation"
    assert medveil(*command).code == 2
    again = medveil(*command, "--resume")
    assert again.json["summary"] == first.json["summary"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name a dataset to train on"),
        (("--plan", "paper-001-table-2-quick"), "--plan needs --data"),
        (("--plan", "nothing", "--data", "."), "there is no plan nothing"),
    ],
)
def test_what_cannot_run_is_refused(medveil: Any, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = medveil("train", "--out", tmp_path / "out", *options)
    assert done.code == 2
    assert message in done.err


def test_refusals_about_data_and_models(medveil: Any, digits: Path, tmp_path: Path) -> None:
    done = medveil("train", digits, "--out", tmp_path / "a", "--model", "densenet121", "--epochs", "1", "--size", "0")
    assert done.code == 2
    assert "too small for densenet121" in done.err
    done = medveil("train", digits, "--out", tmp_path / "b", *QUICK, "--folds", "2", "--processes", "2")
    assert done.code == 2
    assert "cross-validation runs in one process" in done.err
    done = medveil("predict", digits, digits)
    assert done.code == 2
    assert "not a model that medveil train wrote" in done.err
    assert not (tmp_path / "b").exists()
