"""The training loop: one network, one training part, on a CPU, a GPU or several processes.

The order of the images, the shifts and the flips of an epoch depend on seed and epoch alone, so a run that was
interrupted and resumed ends with the same weights (on one machine and one thread count).

Among processes (torch.distributed) each batch is dealt out; gradients are weighted so that a step equals that of one
process, except that batch norm sees only a process's own images, as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError
from medveil.metrics.classification import scores
from medveil.networks.architectures import architecture
from medveil.recognition import checkpoints, models
from medveil.recognition.augmentation import augment, rescramble
from medveil.recognition.datasets import Dataset
from medveil.recognition.models import ModelCard
from medveil.recognition.plan import TrainingPlan

Report = Callable[[int, int], None]
_PREDICT = 128
SCRAMBLED = ("learnable-skk", "learnable-smoothed")


@dataclass
class Fitted:
    """A trained network with its card, and the curve: one dict an epoch."""

    network: Any
    card: ModelCard
    curve: list[dict[str, float]] = field(default_factory=list)


def device_of(plan: TrainingPlan) -> Any:
    """Return the torch device that a plan asks for. Raises InputError where there is no GPU."""
    torch = _torch()
    there = torch.cuda.is_available()
    if plan.device == "cuda" and not there:
        raise InputError("there is no GPU that torch can use here: train on the device cpu")
    if plan.device != "cpu" and there:
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def as_tensor(images: npt.NDArray[np.uint8]) -> Any:
    """Return (N, H, W, C) uint8 as a torch tensor (N, C, H, W)."""
    return _torch().from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1)))


def fit(
    train: Dataset,
    plan: TrainingPlan,
    *,
    test: Dataset | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> Fitted:
    """Train a fresh network on a training part; `test` is only measured, every `plan.validate` epochs.

    checkpoint: a file to write after each epoch; with `resume` the run goes on from it where it is there.
    Raises InputError for images that are too small for the network, a training part of fewer than two images or one
    class, and a checkpoint of another run.
    """
    torch = _torch()
    _check(train, plan)
    device = device_of(plan)
    with torch.random.fork_rng(devices=[] if device.type == "cpu" else None):
        torch.manual_seed(plan.seed)
        card = _card(train, plan)
        network = _network(card, plan).to(device)
        run = _Run(network, card, plan, train, test, device)
        if checkpoint is not None and resume and checkpoint.is_file():
            run.go_on(checkpoints.read(checkpoint, run.identity()))
        while run.epoch < plan.epochs:
            run.one_epoch(report)
            if checkpoint is not None and _rank()[0] == 0:
                checkpoints.write(
                    checkpoint, run=run.identity(), epoch=run.epoch, network=network, optimiser=run.optimiser,
                    curve=run.curve,
                )  # fmt: skip
    return Fitted(network.eval(), card, run.curve)


class _Run:
    """The state of a run between epochs."""

    def __init__(
        self, network: Any, card: ModelCard, plan: TrainingPlan, train: Dataset, test: Dataset | None, device: Any
    ) -> None:
        torch = _torch()
        self.network, self.card, self.plan, self.test, self.device = network, card, plan, test, device
        self.rank, self.world = _rank()
        self.stepped = network
        if self.world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.stepped = torch.nn.parallel.DistributedDataParallel(network, device_ids=ids)
        self.images, self.labels = as_tensor(train.images), torch.from_numpy(train.labels)
        self.rows, self.columns = map(torch.from_numpy, train.cells())
        counts = np.bincount(train.labels, minlength=len(train.classes))
        weight = len(train) / (len(counts) * counts) if plan.balance else np.ones(len(counts))
        self.weight = torch.tensor(weight, dtype=torch.float32, device=device)
        trained = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=plan.lr, momentum=plan.momentum, weight_decay=plan.weight_decay)
        self.data = train.digest()
        self.epoch = 0
        self.curve: list[dict[str, float]] = []

    def identity(self) -> dict[str, Any]:
        """Return what makes two runs the same but for how far they are: all settings but device, data, processes."""
        settings = {k: v for k, v in self.plan.as_dict().items() if k not in ("device", "validate")}
        return {**settings, "data": self.data, "processes": self.world}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up a checkpoint's state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.curve = int(state["epoch"]), list(state["curve"])

    def one_epoch(self, report: Report | None) -> None:
        """Train one epoch and note what it came to."""
        torch = _torch()
        rate = self.plan.rate(self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = torch.Generator().manual_seed((self.plan.seed * 1_000_003 + self.epoch) % (1 << 63))
        torch.manual_seed(int(torch.randint(1 << 62, (1,), generator=draws)))  # dropout, and nothing else
        order = torch.randperm(len(self.labels), generator=draws)
        batches = [b for b in order.split(self.plan.batch) if len(b) >= 2 * self.world] or [order]
        self.stepped.train()
        total, seen = 0.0, 0
        for number, batch in enumerate(batches):
            pictures = self.images[batch]
            if self.plan.rescramble:
                pictures = rescramble(pictures, self.rows, self.columns, draws)
            pictures = augment(pictures, self.plan.shift, draws, flip=self.plan.flip)
            own = slice(self.rank, None, self.world)
            loss = self._step(pictures[own], self.labels[batch][own], len(batch))
            total, seen = total + loss, seen + len(batch)
            if report is not None:
                report(self.epoch * len(batches) + number + 1, self.plan.epochs * len(batches))
        if not np.isfinite(total):
            raise InputError(f"training diverged in epoch {self.epoch + 1}: lower the learning rate")
        row = {"epoch": self.epoch + 1.0, "lr": rate, "loss": total / seen}
        self.epoch += 1
        last = self.epoch == self.plan.epochs
        if self.test is not None and (last or (self.plan.validate and self.epoch % self.plan.validate == 0)):
            row |= self._measure(self.test)
        self.curve.append(row)

    def _step(self, pictures: Any, labels: Any, whole: int) -> float:
        torch = _torch()
        self.optimiser.zero_grad(set_to_none=True)
        inputs = models.scale(pictures.to(self.device), self.card)
        with _precision(self.plan, self.device):
            logits = self.stepped(inputs)
        target = labels.to(self.device)
        losses = torch.nn.functional.cross_entropy(logits.float(), target, weight=self.weight, reduction="none")
        loss = losses.sum() / whole
        (loss * self.world).backward()  # processes average their gradients: this makes the mean over the whole batch
        self.optimiser.step()
        value = loss.detach()
        if self.world > 1:
            torch.distributed.all_reduce(value)
        return float(value) * whole

    def _measure(self, test: Dataset) -> dict[str, float]:
        p = predict(self.network, self.card, test.images, self.plan)
        truth = np.clip(p[np.arange(len(test)), test.labels], 1e-12, 1)
        return {
            "test_loss": float(-np.log(truth).mean()),
            **{f"test_{k}": v for k, v in scores(test.labels, p).items()},
        }


def predict(
    network: Any, card: ModelCard, images: npt.NDArray[np.uint8], plan: TrainingPlan | None = None
) -> npt.NDArray[np.float64]:
    """Return probabilities (N, K) for uint8 images (N, H, W, C). Raises InputError where they do not fit the model."""
    torch = _torch()
    card.check(images.shape[3], (images.shape[1], images.shape[2]))
    device = next(network.parameters()).device
    was = network.training
    network.eval()
    rows = []
    with torch.inference_mode(), _precision(plan, device):
        for batch in as_tensor(images).split(_PREDICT):
            logits = network(models.scale(batch.to(device), card))
            rows.append(torch.softmax(logits.double(), dim=1).cpu().numpy())
    network.train(was)
    return np.concatenate(rows)


def _check(train: Dataset, plan: TrainingPlan) -> None:
    smallest = architecture(plan.model).smallest
    if min(train.images.shape[1:3]) < smallest:
        raise InputError(
            f"images of {train.images.shape[1]} x {train.images.shape[2]} pixels are too small for {plan.model}: "
            f"it needs {smallest}"
        )
    scheme = str(train.facts.get("scheme", ""))
    if plan.rescramble and scheme not in SCRAMBLED:
        raise InputError(
            f"rescramble takes the steps of {' and '.join(SCRAMBLED)} once more, and these images are "
            f"{f'encrypted by {scheme}' if scheme else 'plain'}: leave it out"
        )
    if len(train) < 2 or len(np.unique(train.labels)) < 2:
        raise InputError(f"a training part of {len(train)} images needs two classes at least")


def _card(train: Dataset, plan: TrainingPlan) -> ModelCard:
    torch = _torch()
    channels = int(train.images.shape[3])
    raw = ModelCard(
        plan.model, train.classes, channels, (int(train.images.shape[1]), int(train.images.shape[2])), plan.input,
        (0.0,), (1.0,), train.digest(), plan.seed, int(train.facts.get("per_block", 1)),
        str(train.facts.get("scheme", "")),
    )  # fmt: skip
    sums, squares, count = np.zeros(raw.inputs), np.zeros(raw.inputs), 0
    for batch in torch.from_numpy(train.images).split(256):
        values = models.scale(batch.permute(0, 3, 1, 2), raw).double()
        sums += values.sum(dim=(0, 2, 3)).numpy()
        squares += (values**2).sum(dim=(0, 2, 3)).numpy()
        count += values.numel() // raw.inputs
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
    settled = {"mean": tuple(mean.tolist()), "deviation": tuple(deviation.tolist())}
    return ModelCard(**{**raw.__dict__, **settled})


def _network(card: ModelCard, plan: TrainingPlan) -> Any:
    network = models.build(card.model, len(card.classes), card.inputs)
    if plan.weights is not None:
        carried = models.transfer(network, card.model, models.read_weights(Path(plan.weights)), groups=plan.groups)
        if plan.freeze:
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(name not in set(carried))
    return network


def _precision(plan: TrainingPlan | None, device: Any) -> Any:
    if plan is None or plan.precision == "fp32":
        return nullcontext()
    return _torch().autocast(device.type, dtype=_torch().bfloat16)


def rank() -> int:
    """Return this process's number, 0 where there is one only."""
    return _rank()[0]


def processes() -> int:
    """Return how many processes train together."""
    return _rank()[1]


def _rank() -> tuple[int, int]:
    """Return this process's number and how many there are."""
    distributed = _torch().distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _torch() -> Any:
    try:
        import torch
    except ImportError as e:
        raise MissingExtraError("training a network", "learn") from e
    return torch
