"""Training a key: from pictures to a `DeepKey` with its measured loss; interruptible, resumable, stopped by NaN.

Initial weights are drawn from the given randomness number by number (the key is nothing else, so a seed of 64 bits
would bound it); shuffles, flips, shifts and noise of each epoch derive from one 32-byte seed and the epoch's number, so
a resumed training is bit for bit the uninterrupted one on the same machine and number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import cos, pi, sqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError, UnrecoverableError, UsageError
from medveil.metrics.image_quality import psnr, ssim
from medveil.schemes.deep.codec import Codec
from medveil.schemes.deep.key import DeepKey
from medveil.schemes.deep.learners import KEPT, LEARNERS, Learner
from medveil.schemes.deep.roi_targets import dice, lung_fields

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train. rate: of Adam, held for half of the epochs and then lowered along a cosine to a fiftieth."""

    shape: Mapping[str, int]
    epochs: int
    batch: int
    rate: float
    device: str = "cpu"


PLANS: Final[dict[str, dict[str, Plan]]] = {
    "backprop": {
        "cpu": Plan({"size": 64, "block": 8, "codes": 32}, 300, 16, 3e-2),
        "gpu": Plan({"size": 256, "block": 8, "codes": 32}, 300, 64, 3e-2, "cuda"),
    },
    "cyclegan": {
        "cpu": Plan({"size": 64, "channels": 12, "blocks": 1, "roi_channels": 8}, 8, 8, 1e-3),
        "gpu": Plan({"size": 256, "channels": 64, "blocks": 9, "roi_channels": 32}, 100, 4, 2e-4, "cuda"),
    },
    "scramble_aae": {
        "cpu": Plan({"size": 64, "channels": 64, "blocks": 2}, 90, 16, 1e-3),
        "gpu": Plan({"size": 256, "channels": 128, "blocks": 4}, 200, 32, 5e-4, "cuda"),
    },
}
"""The configurations that `medveil deep train --config cpu|gpu` takes."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything to go on from: finished epochs, the seed, all weights and the optimisers' moments; all secret."""

    method: str
    shape: Mapping[str, int]
    epoch: int
    seed: bytes = field(repr=False)
    tensors: Mapping[str, Array] = field(repr=False)
    history: tuple[Mapping[str, float], ...] = ()


_LARGEST: Final = 65504.0  # the largest float16
Progress = Callable[[int, int, Mapping[str, float]], None]


def train(
    method: str,
    pictures: Bytes,
    held_out: Bytes,
    plan: Plan,
    *,
    rng: Randomness = SYSTEM,
    resume: Checkpoint | None = None,
    save: Callable[[Checkpoint], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> tuple[DeepKey, tuple[Mapping[str, float], ...]]:
    """Train a key and measure it on held-out pictures; returns it with the mean losses of each epoch.

    pictures, held_out: (N, S, S) uint8 with S the plan's size, no picture in both. save: called after each epoch with
    a checkpoint, from which `resume` goes on. Raises UsageError for an unknown method, another method's or size's
    checkpoint or an absent device, InputError for too few pictures, UnrecoverableError where a loss or a weight is not
    finite: the last checkpoint that `save` got is then the last good state.
    """
    learner = _learner(method, plan)
    _check_pictures(pictures, held_out, plan)
    if resume is None:
        _draw_weights(learner, rng)
        state = Checkpoint(method, dict(plan.shape), 0, rng.bytes(32), {})
    else:
        if (resume.method, dict(resume.shape)) != (method, dict(plan.shape)):
            raise UsageError("the checkpoint is of another method or shape: give the options it was started with")
        _put_back(learner, resume.tensors)
        state = resume
    learner.networks.to(plan.device)
    history = list(state.history)
    for epoch in range(state.epoch, plan.epochs):
        learner.take_rate(_rate_factor(epoch, plan.epochs))
        losses = _epoch(learner, pictures, plan, tagged("deep epoch", state.seed, epoch.to_bytes(4, "big")))
        if losses is None:
            raise UnrecoverableError(
                f"a loss or weight of epoch {epoch + 1} is not finite: training stopped and the state after epoch "
                f"{epoch} is kept; lower --rate and go on with --resume"
            )
        history.append(losses)
        save(Checkpoint(method, dict(plan.shape), epoch + 1, state.seed, _snapshot(learner), tuple(history)))
        progress(epoch + 1, plan.epochs, losses)
    key = DeepKey(method, dict(plan.shape), _key_tensors(learner))
    measured = measure(key, held_out, device=plan.device)
    trained: dict[str, str | int] = {"pictures": len(pictures), "epochs": plan.epochs, "batch": plan.batch}
    trained["torch"] = torch.__version__.partition("+")[0]
    return DeepKey(method, dict(plan.shape), key.tensors, measured, trained), tuple(history)


def measure(key: DeepKey, held_out: Bytes, *, device: str = "cpu") -> dict[str, float]:
    """Return what a key loses on held-out pictures, with the weights as they are stored.

    Mean squared error of 8-bit values, mean and worst PSNR in dB, mean SSIM, bytes of the code and of the picture;
    with a ROI network also Dice's coefficient against the silver labels.
    """
    codec = Codec(key, device=device)
    codes = codec.encode(held_out)
    back = codec.decode(codes)
    quality = [psnr(a, b) for a, b in zip(held_out, back, strict=True)]
    measured = {
        "pictures": float(len(held_out)),
        "mse": float(np.mean((held_out.astype(float) - back) ** 2)),
        "psnr": float(np.mean(quality)),
        "psnr_worst": float(np.min(quality)),
        "ssim": float(np.mean([ssim(a, b) for a, b in zip(held_out, back, strict=True)])),
        "code_bytes": float(codes[0].size),
        "plain_bytes": float(held_out[0].size),
    }
    if any(name.startswith("roi.") for name in key.tensors):
        pairs = zip(codec.segment(codes), lung_fields(held_out), strict=True)
        measured["roi_dice"] = float(np.mean([dice(found, wanted) for found, wanted in pairs]))
    return {name: round(value, 6) for name, value in measured.items()}


def _learner(method: str, plan: Plan) -> Learner:
    if method not in LEARNERS:
        raise UsageError(f"there is no method {method!r} to train: choose one of {', '.join(LEARNERS)}")
    if plan.device != "cpu" and not torch.cuda.is_available():
        raise UsageError("there is no GPU here: train with --config cpu")
    return LEARNERS[method](plan.shape, plan.rate)


def _check_pictures(pictures: Bytes, held_out: Bytes, plan: Plan) -> None:
    size = plan.shape["size"]
    for name, given in (("training", pictures), ("held-out", held_out)):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[1:] != (size, size):
            raise InputError(
                f"{name} pictures of shape {given.shape}, {given.dtype}: give (N, {size}, {size}) of uint8"
            )
    if len(pictures) < max(plan.batch, 16) or len(held_out) < 4:
        raise InputError(
            f"{len(pictures)} pictures to train and {len(held_out)} to measure with: give at least "
            f"{max(plan.batch, 16)} and 4"
        )


def _draw_weights(learner: Learner, rng: Randomness) -> None:
    """Draw each number uniformly within 1 / sqrt(inputs) (LeCun), weights from fresh random words, biases zero."""
    with torch.no_grad():
        for parameter in learner.networks.parameters():
            if parameter.ndim < 2:
                parameter.zero_()
                continue
            words = np.frombuffer(rng.bytes(4 * parameter.numel()), "<u4").astype(np.float64)
            bound = sqrt(3 / parameter[0].numel())
            drawn = (words / (1 << 31) - 1) * bound
            parameter.copy_(torch.from_numpy(drawn.reshape(parameter.shape).astype(np.float32)))


def _epoch(learner: Learner, pictures: Bytes, plan: Plan, seed: bytes) -> dict[str, float] | None:
    """Run one epoch; returns mean losses, None where one, or a weight as it would be stored, is not finite."""
    chance = np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "big")))
    noise = torch.Generator(plan.device).manual_seed(int.from_bytes(seed[16:23], "big"))
    order = chance.permutation(len(pictures))
    sums: dict[str, float] = {}
    steps = len(order) // plan.batch
    learner.networks.train()
    for step in range(steps):
        chosen = pictures[order[step * plan.batch : (step + 1) * plan.batch]]
        losses = learner.step(_batch(chosen, chance).to(plan.device), noise)
        for name, loss in losses.items():
            value = float(loss)
            if not np.isfinite(value):
                return None
            sums[name] = sums.get(name, 0.0) + value / steps
    if not all(bool((p.abs() <= _LARGEST).all()) for p in learner.networks.parameters()):  # False for NaN as well
        return None
    return sums


def _batch(pictures: Bytes, chance: np.random.Generator) -> Tensor:
    """Return pictures in [0, 1], half of them mirrored, each shifted by up to a sixteenth with its edge repeated."""
    reach = pictures.shape[1] // 16
    wide = np.pad(pictures, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    out = np.empty_like(pictures)
    side = pictures.shape[1]
    for i, (row, column, mirror) in enumerate(chance.integers(0, (2 * reach + 1, 2 * reach + 1, 2), (len(out), 3))):
        cut = wide[i, row : row + side, column : column + side]
        out[i] = cut[:, ::-1] if mirror else cut
    return torch.from_numpy(out)[:, None].float() / 255


def _rate_factor(epoch: int, epochs: int) -> float:
    late = max(0.0, (2 * epoch - epochs) / epochs)
    return 0.02 + 0.98 * (1 + cos(pi * late)) / 2


def _key_tensors(learner: Learner) -> dict[str, Array]:
    state = learner.networks.state_dict()
    kept = {name: t for name, t in state.items() if name.partition(".")[0] in KEPT}
    return {name: t.detach().cpu().numpy().astype("<f2") for name, t in kept.items()}


def _snapshot(learner: Learner) -> dict[str, Array]:
    found = {f"net/{name}": t.detach().cpu().numpy().copy() for name, t in learner.networks.state_dict().items()}
    for label, optimiser in learner.optimisers.items():
        for index, moments in optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                found[f"opt/{label}/{index}/{name}"] = value.detach().cpu().numpy().copy()
    return found


def _put_back(learner: Learner, tensors: Mapping[str, Array]) -> None:
    own = {name.removeprefix("net/"): torch.from_numpy(t.copy()) for name, t in tensors.items() if name[:4] == "net/"}
    learner.networks.load_state_dict(own)
    for label, optimiser in learner.optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "opt" and rest.startswith(f"{label}/"):
                _, index, moment = rest.split("/")
                state.setdefault(int(index), {})[moment] = torch.from_numpy(tensor.copy())
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
