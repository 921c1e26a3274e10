"""Training: resumed as if never interrupted, stopped by NaN, measured on pictures it did not see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.schemes.deep.deep_images import xrays

from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import FormatError, InputError, UnrecoverableError, UsageError, WrongKeyError
from medveil.schemes.deep import keyfile, pictures, training
from medveil.schemes.deep.codec import Codec
from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.roi_targets import dice, lung_fields
from medveil.schemes.deep.training import Checkpoint, Plan

PLANS = {
    "backprop": Plan({"size": 16, "block": 8, "codes": 16}, 4, 8, 1e-2),
    "cyclegan": Plan({"size": 16, "channels": 2, "blocks": 1, "roi_channels": 2}, 2, 8, 1e-3),
    "scramble_aae": Plan({"size": 16, "channels": 4, "blocks": 1}, 3, 8, 1e-3),
}


@pytest.fixture(scope="module")
def small(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    both = xrays(shared_data, "train", 16, 40)
    return both[:32], both[32:]


def _train(
    method: str, small: tuple[np.ndarray, np.ndarray], plan: Plan, **more: object
) -> tuple[DeepKey, list[Checkpoint]]:
    states: list[Checkpoint] = []
    with allow_insecure_randomness("test"):
        rng = insecure_seeded(11, "training")
        key, _ = training.train(method, *small, plan, rng=rng, save=states.append, **more)  # type: ignore[arg-type]
    return key, states


@pytest.mark.parametrize("method", PLANS)
def test_a_resumed_training_is_the_uninterrupted_one(method: str, small: tuple[np.ndarray, np.ndarray]) -> None:
    plan = PLANS[method]
    whole, states = _train(method, small, plan)
    resumed, later = _train(method, small, plan, resume=states[0])
    assert resumed.key_id == whole.key_id
    assert [s.epoch for s in later] == list(range(2, plan.epochs + 1))
    assert whole.measured["pictures"] == 8
    assert {"mse", "psnr", "psnr_worst", "ssim"} <= set(whole.measured)
    assert ("roi_dice" in whole.measured) is (method == "cyclegan")


def test_training_learns(small: tuple[np.ndarray, np.ndarray]) -> None:
    plan = replace(PLANS["backprop"], epochs=40)
    key, states = _train("backprop", small, plan)
    losses = [h["reconstruction"] for h in states[-1].history]
    assert losses[-1] < losses[0] / 3
    assert key.measured["psnr"] > 17


def test_not_a_number_stops_and_the_last_good_state_is_kept(small: tuple[np.ndarray, np.ndarray]) -> None:
    plan = PLANS["scramble_aae"]
    _, states = _train("scramble_aae", small, replace(plan, epochs=1))
    kept: list[Checkpoint] = []
    with pytest.raises(UnrecoverableError, match=r"of epoch 2 is not finite.*after epoch 1"):
        training.train("scramble_aae", *small, replace(plan, rate=1e30), resume=states[0], save=kept.append)
    assert kept == []
    for state in states:
        assert all(np.isfinite(t).all() for t in state.tensors.values())
    key, _ = _train("scramble_aae", small, plan, resume=states[-1])
    assert np.isfinite(key.measured["psnr"])


def test_checkpoints_are_sealed_and_typed(small: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    owner = OwnerKey.generate()
    plan = PLANS["backprop"]
    whole, states = _train("backprop", small, plan)
    path = tmp_path / "k.training"
    keyfile.save_checkpoint(path, states[0], owner)
    assert states[0].tensors["net/encoder.1.weight"].tobytes()[:32] not in path.read_bytes()
    resumed, _ = _train("backprop", small, plan, resume=keyfile.load_checkpoint(path, owner))
    assert resumed.key_id == whole.key_id
    with pytest.raises(FormatError, match="unfinished"):
        keyfile.load(path, owner)
    with pytest.raises(WrongKeyError):
        keyfile.load_checkpoint(path, OwnerKey.generate())
    keyfile.save(tmp_path / "k", whole, owner)
    with pytest.raises(FormatError, match="finished key"):
        keyfile.load_checkpoint(tmp_path / "k", owner)


def test_bad_calls(small: tuple[np.ndarray, np.ndarray]) -> None:
    some, apart = small
    plan = PLANS["backprop"]
    with pytest.raises(UsageError, match="rot13"):
        training.train("rot13", some, apart, plan)
    with pytest.raises(InputError, match="16, 16"):
        training.train("backprop", some[:, :8], apart, plan)
    with pytest.raises(InputError, match="at least 16 and 4"):
        training.train("backprop", some[:3], apart, plan)
    with pytest.raises(UsageError, match="another method or shape"):
        training.train("backprop", some, apart, plan, resume=Checkpoint("cyclegan", {}, 1, b"", {}))
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no GPU"):
            training.train("backprop", some, apart, replace(plan, device="cuda"))


def test_a_key_whose_tensors_do_not_fit_is_refused(small: tuple[np.ndarray, np.ndarray]) -> None:
    key, _ = _train("backprop", small, replace(PLANS["backprop"], epochs=1))
    for wrong in (
        {n: t for n, t in key.tensors.items() if not n.endswith("bias")},
        {n: t.reshape(-1) for n, t in key.tensors.items()},
    ):
        with pytest.raises(FormatError, match="do not fit"):
            Codec(replace(key, tensors=wrong))
    with pytest.raises(UsageError, match="device"):
        Codec(key, device="cuda:7")
    with pytest.raises(UsageError, match="no encoder"):
        Codec(key.part("decoder")).encode(small[0])


def test_patients_are_not_in_both_halves(shared_data: Path) -> None:
    loaded, names = pictures.load([shared_data / "chest_xray_nih" / "fullsize_1024"], 16)
    many = [f"{patient:03}_{scan}.png" for patient in range(40) for scan in range(3)]
    train, apart = pictures.split(np.arange(120).repeat(256).reshape(120, 16, 16).astype(np.uint8), many)
    seen, kept = ({int(p[0, 0]) // 3 for p in part} for part in (train, apart))
    assert not seen & kept
    assert len(kept) == 5
    assert len(loaded) == len(names) == 4
    with pytest.raises(InputError, match="no images"):
        pictures.load([shared_data / "README_images.md"], 16)
    with pytest.raises(InputError, match="no folder"):
        pictures.load([shared_data / "nowhere"], 16)


def test_resizing_keeps_the_mean_and_every_shape(shared_data: Path) -> None:
    whole = xrays(shared_data, size=64)[0]
    small = pictures.resized(whole, 16)
    assert np.array_equal(small, np.rint(whole.reshape(16, 4, 16, 4).mean((1, 3))))
    assert pictures.resized(whole[:50, :31], 24).shape == (24, 24)
    assert pictures.resized(whole, 100).mean() == pytest.approx(whole.mean(), abs=1)


def test_lung_fields_lie_in_both_halves_and_off_the_edge(shared_data: Path) -> None:
    shown = xrays(shared_data, size=64, most=24)
    masks = lung_fields(shown)
    assert not (masks[:, [0, -1]].any())
    assert not (masks[:, :, [0, -1]].any())
    both = (masks[:, :, :32].any((1, 2)) & masks[:, :, 32:].any((1, 2))).mean()
    assert both > 0.7
    inside = np.array([s[m].mean() < s[~m].mean() for s, m in zip(shown, masks, strict=True) if m.any()])
    assert inside.mean() > 0.7
    assert not lung_fields(np.full((1, 64, 64), 7, np.uint8)).any()
    assert dice(masks[0], masks[0]) == 1
    assert dice(masks[0], ~masks[0]) == 0
