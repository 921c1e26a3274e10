"""The mechanics of training on few real images: it learns, runs resume exactly, wrong checkpoints are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medveil.errors import ConfigError, InputError, OutputExistsError
from medveil.recognition import checkpoints, loop, models
from medveil.recognition.augmentation import augment
from medveil.recognition.datasets import Dataset, load
from medveil.recognition.plan import plan_from
from medveil.recognition.protections import encrypt_images
from medveil.recognition.training import MODEL, TrainingPlan, cross_validate, train

QUICK = TrainingPlan(model="small-cnn", epochs=2, step=2, validate=0)


@pytest.fixture(scope="module")
def digits(shared_data: Path) -> Dataset:
    """400 small X-rays of PneumoniaMNIST, 28 x 28."""
    return load(shared_data / "chest_xray_pneumoniamnist", None).subset(200, seed=1)


def test_a_small_network_learns_real_xrays(digits: Dataset) -> None:
    result = train(digits, TrainingPlan(model="small-cnn", epochs=6, step=4, lr=0.05, validate=0), hold_out=0.3)
    assert result.scores["auc"] > 0.85
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]


def test_the_same_seed_gives_the_same_network(digits: Dataset) -> None:
    first, again = (loop.fit(digits, QUICK).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[k], again[k]) for k in first)


class _InterruptedError(Exception):
    pass


def test_an_interrupted_run_resumes_to_the_same_weights(digits: Dataset, tmp_path: Path) -> None:
    plan = TrainingPlan(model="small-cnn", epochs=3, step=2, validate=0)
    whole = loop.fit(digits, plan)

    def stop(done: int, total: int) -> None:
        if done > total * 2 // 3 + 1:
            raise _InterruptedError

    place = tmp_path / "run" / checkpoints.NAME
    with pytest.raises(_InterruptedError):
        loop.fit(digits, plan, checkpoint=place, report=stop)
    resumed = loop.fit(digits, plan, checkpoint=place, resume=True)
    ours, theirs = whole.network.state_dict(), resumed.network.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert resumed.curve == whole.curve


def test_a_checkpoint_of_another_model_or_dataset_is_refused(digits: Dataset, xrays: Dataset, tmp_path: Path) -> None:
    place = tmp_path / checkpoints.NAME
    loop.fit(digits, QUICK, checkpoint=place)
    with pytest.raises(InputError, match="another run \\(model is 'small-cnn' there, 'resnet18' here"):
        loop.fit(xrays, TrainingPlan(model="resnet18", epochs=2, step=2), checkpoint=place, resume=True)
    with pytest.raises(InputError, match="another run \\(data is"):
        loop.fit(xrays, QUICK, checkpoint=place, resume=True)
    place.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InputError, match="not a checkpoint that can be read"):
        loop.fit(digits, QUICK, checkpoint=place, resume=True)


def test_train_leaves_model_results_and_pictures(digits: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(digits, QUICK, out)
    names = {p.name for p in out.iterdir()}
    assert names == {
        MODEL, "results.json", "predictions.csv", "curve.csv", "curve.png", "roc.png", "calibration.png",
        "confusion.png",
    }  # fmt: skip
    record = json.loads((out / "results.json").read_text())
    assert record["seed"] == 0
    assert record["environment"]["packages"]["torch"]
    assert record["outcome"]["scores"] == result.scores
    network, card = models.load(out / MODEL)
    test = digits.take([list(digits.names).index(n) for n in result.outcome.names])
    np.testing.assert_allclose(loop.predict(network, card, test.images), result.outcome.probabilities)
    with pytest.raises(OutputExistsError, match="finished run"):
        train(digits, QUICK, out)


def test_a_finished_run_is_read_back_and_never_trained_over(digits: Dataset, tmp_path: Path) -> None:
    whole = replace(digits, splits=())
    first = train(whole, QUICK, tmp_path)
    weights = (tmp_path / MODEL).read_bytes()
    trained: list[str] = []
    again = train(whole, QUICK, tmp_path, resume=True, report=lambda what, *_: trained.append(what))
    assert trained == []
    assert (again.scores, again.curve) == (first.scores, first.curve)
    np.testing.assert_allclose(again.outcome.probabilities, first.outcome.probabilities)
    other = TrainingPlan(model="small-cnn", epochs=3, step=2, validate=0)
    for data, plan, hold_out in ((whole, other, 0.2), (whole.subset(50, 1), QUICK, 0.2), (whole, QUICK, 0.3)):
        with pytest.raises(InputError, match="other settings or data"):
            train(data, plan, tmp_path, resume=True, hold_out=hold_out)
    with pytest.raises(InputError, match="without folds"):
        cross_validate(whole, QUICK, 2, tmp_path, resume=True)
    assert (tmp_path / MODEL).read_bytes() == weights


def test_folds_that_are_done_are_not_trained_again(digits: Dataset, tmp_path: Path) -> None:
    few = digits.subset(40, seed=2)
    first = cross_validate(few, QUICK, 3, tmp_path)
    (tmp_path / "fold-2" / "results.json").unlink()
    trained = []
    again = cross_validate(few, QUICK, 3, tmp_path, resume=True, report=lambda what, *_: trained.append(what))
    assert set(trained) == {"fold 2 of 3"}
    assert [f.scores for f in again.folds] == [f.scores for f in first.folds]
    assert first.summary["f1_macro"]["min"] <= first.f1 <= first.summary["f1_macro"]["max"]
    other = TrainingPlan(model="small-cnn", epochs=3, step=2, validate=0)
    with pytest.raises(InputError, match="fold of another run"):
        cross_validate(few, other, 3, tmp_path, resume=True)


def test_fold_input_cannot_tell_a_picture_from_its_negative(digits: Dataset) -> None:
    fitted = loop.fit(digits, TrainingPlan(model="small-cnn", epochs=1, input="fold", validate=0))
    some = digits.images[:8]
    np.testing.assert_array_equal(
        loop.predict(fitted.network, fitted.card, some), loop.predict(fitted.network, fitted.card, 255 - some)
    )


def test_fold_max_sees_of_an_skk_picture_what_it_sees_of_the_plain_one(xrays: Dataset) -> None:
    """Grey pictures encrypted as three channels: the same network comes out, to the last bit, without a key."""
    plan = replace(QUICK, input="fold-max")
    encrypted = encrypt_images(xrays, "learnable-skk", {"grey": "three"})
    assert encrypted.images.shape[3] == 3
    plain, other = loop.fit(xrays, plan), loop.fit(encrypted, plan)
    assert (plain.card.channels, other.card.channels, other.card.inputs) == (1, 3, 1)
    assert other.card.mean == plain.card.mean
    ours, theirs = plain.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    np.testing.assert_array_equal(
        loop.predict(plain.network, plain.card, xrays.images), loop.predict(other.network, other.card, encrypted.images)
    )


def test_fold_max_keeps_the_channel_farthest_from_the_middle(xrays: Dataset, tmp_path: Path) -> None:
    smoothed = encrypt_images(xrays, "learnable-smoothed", {"block": 2, "grey": "three"}, per_block=True)
    fitted = loop.fit(smoothed, replace(QUICK, input="fold-max", epochs=1))
    seen = models.scale(loop.as_tensor(smoothed.images), fitted.card).numpy()
    farthest = np.abs(smoothed.images.astype(int) * 2 - 255).max(axis=3)[:, None] / 255
    wanted = (farthest - fitted.card.mean[0]) / fitted.card.deviation[0]
    np.testing.assert_allclose(seen, wanted, atol=1e-5)
    models.save(fitted.network, fitted.card, tmp_path / MODEL)
    network, card = models.load(tmp_path / MODEL)
    np.testing.assert_array_equal(
        loop.predict(network, card, smoothed.images), loop.predict(fitted.network, fitted.card, smoothed.images)
    )


def test_shifts_and_flips_move_pixels_and_invent_none(xrays: Dataset) -> None:
    batch = loop.as_tensor(xrays.images[:16])
    out = augment(batch, 0.1, torch.Generator().manual_seed(5), flip=True)
    assert out.shape == batch.shape
    assert out.dtype == torch.uint8
    inner = slice(8, 24)
    found = 0
    for moved, original in zip(out, batch, strict=True):
        both = (original, original.flip(2))
        found += any(
            torch.equal(moved[:, inner, inner], b[:, 8 + dy : 24 + dy, 8 + dx : 24 + dx])
            for b in both for dy in range(-3, 4) for dx in range(-3, 4)
        )  # fmt: skip
    assert found == 16
    still = augment(batch, 0.0, torch.Generator().manual_seed(5), flip=False)
    assert torch.equal(still, batch)


def test_learning_rate_falls_as_the_paper_says() -> None:
    plan = TrainingPlan()
    assert [plan.rate(e) for e in (0, 9, 10, 20, 30, 40, 99)] == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "vgg"}, "there is no network"),
        ({"epochs": 0}, "epochs = 0"),
        ({"batch": 1}, "batch = 1"),
        ({"precision": "fp8"}, "choose one of fp32, bf16"),
        ({"groups": 2}, "name their file"),
        ({"freeze": True}, "name a file of weights"),
        ({"input": "sorted"}, "choose one of plain, fold, fold-max"),
    ],
)
def test_settings_that_make_no_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_from(settings)


def test_an_unknown_setting_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no setting 'learning_rate'"):
        plan_from({"learning_rate": 0.1})


def test_images_that_do_not_fit_are_refused(digits: Dataset, xrays: Dataset) -> None:
    with pytest.raises(InputError, match="too small for densenet121: it needs 32"):
        loop.fit(digits, TrainingPlan(epochs=1))
    with pytest.raises(InputError, match="two classes"):
        loop.fit(digits.take(np.flatnonzero(digits.labels == 1)), QUICK)
    fitted = loop.fit(digits.subset(20, 1), QUICK)
    with pytest.raises(InputError, match="the model takes 1 channels of 28 x 28"):
        loop.predict(fitted.network, fitted.card, xrays.images)
    with pytest.raises(InputError, match="load both alike"):
        train(digits, QUICK, test=xrays)


def test_no_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no GPU"):
        loop.device_of(TrainingPlan(device="cuda"))
