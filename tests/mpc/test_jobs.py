"""Whole jobs at three parties of one process: a resumed training is the uninterrupted one; views of jobs are noise."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.mpc.three_parties import run

from medveil.errors import InputError
from medveil.mpc import jobs
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.jobs import JobContext, run_job, shuffle
from medveil.mpc.nn.spec import NetworkSpec
from medveil.mpc.nn.trace import from_module
from medveil.mpc.requests import JobRequest
from medveil.mpc.session import Link, Session
from medveil.mpc.shares import join, split
from medveil.mpc.shelf import Bundle, Shelf

torch = pytest.importorskip("torch")
nn = torch.nn
FIXED = FixedPoint()
NAMES = itertools.count()
ENOUGH = 1e-7


@pytest.fixture(scope="module")
def chest(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        return data["images"][:20, None] / 255.0, data["labels"][:20].reshape(-1).astype(int)


class Three:
    """Three shelves, and the jobs that run on them."""

    def __init__(self, folder: Path) -> None:
        self.shelves = [Shelf(folder / str(party)) for party in range(3)]

    def put(self, tensors: dict[str, np.ndarray]) -> str:
        name = f"upload{next(NAMES)}"
        shared = {key: split(words) for key, words in tensors.items()}
        for party, shelf in enumerate(self.shelves):
            shelf.put(f"client-a.{name}", {key: three[party] for key, three in shared.items()})
        return name

    def run(self, request: JobRequest, *, resume: bool = False, record: bool = False) -> list[list[tuple[int, bytes]]]:
        def program(session: Session) -> None:
            if record:  # what is measured for the choice of the comparison's form is public, and no part of the view
                session.measure_link = lambda: Link(0.0, 1e9)  # type: ignore[method-assign]
            run_job(JobContext(session, self.shelves[session.party], request, lambda progress: None, resume))

        return run(program, record=record).views

    def get(self, name: str) -> dict[str, np.ndarray]:
        bundles: list[Bundle] = [shelf.get(name)[0] for shelf in self.shelves]
        return {key: FIXED.decode(join(tuple(b[key] for b in bundles))) for key in bundles[0]}


@pytest.fixture
def three(tmp_path: Path) -> Three:
    return Three(tmp_path)


def normalised() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 3, 5, stride=3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2)
    )


def training(
    three: Three, module: nn.Module, images: np.ndarray, targets: np.ndarray, **options: Any
) -> tuple[JobRequest, NetworkSpec]:
    spec, state = from_module(module, images.shape[1:], train=True)
    inputs = {
        "dataset": three.put({"images": FIXED.encode(images), "targets": FIXED.encode(targets)}),
        "weights": three.put({key: FIXED.encode(value) for key, value in state.items()}),
    }
    given = {
        "epochs": 4, "lr": 0.05, "momentum": 0.0, "optimizer": "sgd", "loss": "cross_entropy", "batch_size": 8,
        "seed": 5, "sizes": [len(images), 0], **options,
    }  # fmt: skip
    message = {
        "job": f"{next(NAMES):032d}",
        "kind": "train",
        "spec": spec.to_json(),
        "options": given,
        "inputs": inputs,
    }
    return JobRequest.from_message(message, "client-a"), spec


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9, "lr": 0.01}, {"optimizer": "adam", "lr": 0.003}], ids=["momentum", "adam"]
)
def test_a_resumed_training_is_the_uninterrupted_one(three: Three, chest, options: dict[str, Any]) -> None:
    """Weights, moving statistics, velocity or both moments, and the number of steps come back from the checkpoint."""
    images, labels = chest
    whole, _ = training(three, normalised(), images, np.eye(2)[labels], **options)
    three.run(whole)
    first, _ = training(three, normalised(), images, np.eye(2)[labels], **{**options, "epochs": 2})
    three.run(first)
    message = first.to_message()
    longer = JobRequest.from_message({**message, "options": {**message["options"], "epochs": 4}}, "client-a")
    three.run(longer, resume=True)
    once, twice = three.get(f"{whole.job}.result"), three.get(f"{first.job}.result")
    assert once.keys() == twice.keys()
    apart = np.abs(np.concatenate([(once[name] - twice[name]).reshape(-1) for name in once]))
    # The median: normalisation blows roundings up in single filters, in two uninterrupted runs as well. Without the
    # moments or the velocity it is 0.003 or more.
    assert np.median(apart) < 1e-3
    for epoch in range(4):
        mine, theirs = (three.get(f"{r.job}.metrics{epoch}")["train"] for r in (whole, first))
        assert np.all(np.abs(mine - theirs) < (0.3, 1.5))  # a loss of 20 images, and right answers
    moved = three.get(f"{first.job}.epoch3")
    assert max(np.abs(moved[f"parameter {k}"] - v).max() for k, v in once.items()) > 2e-3  # and it did go on


def test_binary_targets_train_as_in_torch(three: Three, chest) -> None:
    images, labels = chest
    targets = np.stack([labels, 1 - labels, images.mean((1, 2, 3)) > 0.5], axis=1).astype(float)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    request, _ = training(three, module, images, targets, loss="binary_cross_entropy", momentum=0.9, epochs=2, lr=0.002)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.002, momentum=0.9)
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(targets, dtype=torch.float32)
    three.run(request)
    for epoch in range(2):
        order = shuffle(5, epoch, len(images))
        loss, hits = 0.0, 0
        for at in range(0, len(images), 8):
            chosen = order[at : at + 8]
            optimiser.zero_grad()
            out = module(x[chosen])
            total = nn.functional.binary_cross_entropy_with_logits(out, y[chosen], reduction="sum")
            (total / len(chosen)).backward()
            optimiser.step()
            loss += float(total.detach())
            hits += int(((out > 0) == (y[chosen] > 0.5)).sum())
        measured = three.get(f"{request.job}.metrics{epoch}")["train"]
        assert measured[0] == pytest.approx(loss, rel=5e-3)
        assert abs(measured[1] - hits) <= 1
    got = three.get(f"{request.job}.result")
    for name, parameter in zip(got, module.parameters(), strict=True):
        assert np.abs(got[name] - parameter.detach().numpy()).max() < 2e-3, name


def test_dropout_trains(three: Three, chest) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Flatten(), nn.Dropout(0.1), nn.Linear(784, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2)
    )
    request, _ = training(three, module, chest[0], np.eye(2)[chest[1]], epochs=12, lr=0.02)
    three.run(request)
    x, y = torch.tensor(chest[0], dtype=torch.float32), torch.tensor(chest[1])
    before = nn.functional.cross_entropy(module.eval()(x), y).item()
    trained = three.get(f"{request.job}.result").values()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), trained, strict=True):
            parameter.copy_(torch.tensor(value))
    assert nn.functional.cross_entropy(module(x), y).item() < before - 0.02


def test_uploads_that_do_not_fit_a_job_are_named(three: Three, chest) -> None:
    images, labels = chest
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    good, _ = training(three, module, images, np.eye(2)[labels])
    words, targets = FIXED.encode(images), FIXED.encode(np.eye(2)[labels])
    for key, tensors, said in (
        ("dataset", {"images": words}, "images and targets"),
        ("dataset", {"images": words, "targets": targets, "extra": targets}, "nothing else"),
        ("dataset", {"images": words, "targets": targets[:3]}, "targets have shape"),
        ("dataset", {"images": words, "targets": FIXED.encode(np.zeros((20, 3)))}, "targets have shape"),
        ("dataset", {"images": words[:, :, 1:], "targets": targets}, "the network takes"),
        ("dataset", {"images": words[:0], "targets": targets[:0]}, "the network takes"),
        ("dataset", {"images": words, "targets": targets.astype(np.uint32)}, "Z_2"),
        ("weights", {"images": words}, "do not fit"),
    ):
        message = good.to_message()
        bad = JobRequest.from_message({**message, "inputs": {**message["inputs"], key: three.put(tensors)}}, "client-a")
        with pytest.raises(InputError, match=said):
            three.run(bad)


def test_nothing_that_the_servers_run_opens_anything() -> None:
    """Openings exist, for programs of one's own; no layer, function, engine or job calls one."""
    folder = Path(jobs.__file__).parent
    calling = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"(?<!def )\breveal_\w+\(", path.read_text("utf-8"))
    }
    assert not calling
    assert "def reveal_to_all(" in (folder / "protocols/rep3/arithmetic.py").read_text("utf-8")


@pytest.mark.parametrize("kind", ["train", "predict"])
def test_the_view_of_a_whole_job_is_noise_and_the_same_for_any_input(three: Three, kind: str) -> None:
    """Every message from the job's start to its last checkpoint: nothing is opened on the way, hashes included."""
    tables: dict[tuple[str, int], np.ndarray] = {}
    sizes: dict[int, set[Any]] = {0: set(), 1: set(), 2: set()}
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 2)
    )  # fmt: skip
    spec, state = from_module(module, (1, 8, 8), train=kind == "train")
    for label, images, scale in (
        ("black", np.zeros((48, 1, 8, 8)), 1.0),
        ("white", np.ones((48, 1, 8, 8)), 1.0),
        ("no weights", np.ones((48, 1, 8, 8)) / 3, 0.0),
    ):
        weights = three.put({k: FIXED.encode(v * scale) for k, v in state.items()})
        words = {"images": FIXED.encode(images)}
        if kind == "train":
            words["targets"] = FIXED.encode(np.eye(2)[(np.arange(48) % 3 == 0).astype(int)])
        uploads = {"dataset" if kind == "train" else "images": three.put(words), "weights": weights}
        options = {"batch_size": 16}
        if kind == "train":
            uploads["test_images"] = three.put(words)
            options |= {
                "epochs": 1, "lr": 0.1, "momentum": 0.9, "optimizer": "sgd", "loss": "cross_entropy", "seed": 1,
                "sizes": [48, 48],
            }  # fmt: skip
        job = {
            "job": f"{next(NAMES):032d}",
            "kind": kind,
            "spec": spec.to_json(),
            "options": options,
            "inputs": uploads,
        }
        views = three.run(JobRequest.from_message(job, "client-a"), record=True)
        for party, view in enumerate(views):
            tables[label, party] = np.bincount(np.frombuffer(b"".join(m for _, m in view), np.uint8), minlength=256)
            sizes[party].add(tuple((sender, len(message)) for sender, message in view))
    for (label, party), table in tables.items():
        assert table.sum() > 50_000
        assert stats.chisquare(table).pvalue > ENOUGH, f"party {party} sees a pattern for {label}"
    for party in range(3):
        both = np.array([table for (_, p), table in tables.items() if p == party])
        assert stats.chi2_contingency(both).pvalue > ENOUGH, f"party {party}'s view depends on the input"
        assert len(sizes[party]) == 1
