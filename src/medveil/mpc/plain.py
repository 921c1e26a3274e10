"""The same training in plain torch: same start, shuffles and schedule, to lay its curve over the private one."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from medveil.errors import MissingExtraError
from medveil.mpc.datasets import LabelledImages
from medveil.mpc.jobs import shuffle

Curve = dict[str, float]


class PlainTraining:
    """Trains a copy of a module with SGD, one epoch a call; `train` and `test` as for the servers."""

    def __init__(
        self, model: Any, train: LabelledImages, test: LabelledImages, *, lr: float, momentum: float, seed: int,
        batch_size: int = 32,
    ) -> None:  # fmt: skip
        try:
            import torch
        except ImportError as e:
            raise MissingExtraError("plain training", "mpc") from e
        self.model = copy.deepcopy(model)
        self._optimiser = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=momentum)
        self._sets = {
            name: (torch.tensor(d.images, dtype=torch.float32), torch.tensor(d.labels))
            for name, d in (("train", train), ("test", test))
        }
        self._seed, self._batch, self._epoch = seed, batch_size, 0

    def epoch(self) -> Curve:
        """Train one epoch; returns its mean loss and accuracy as the servers measure them."""
        import torch
        from torch.nn.functional import cross_entropy

        images, labels = self._sets["train"]
        loss_sum, hits = 0.0, 0
        order = shuffle(self._seed, self._epoch, len(labels))
        self.model.train()
        for start in range(0, len(labels), self._batch):
            chosen = torch.tensor(order[start : start + self._batch])
            self._optimiser.zero_grad()
            out = self.model(images[chosen])
            loss: Any = cross_entropy(out, labels[chosen])
            loss.backward()
            self._optimiser.step()
            loss_sum += float(loss.detach()) * len(chosen)
            hits += int((out.argmax(1) == labels[chosen]).sum())
        self._epoch += 1
        self.model.eval()
        x, y = self._sets["test"]
        with torch.no_grad():
            out = self.model(x)
        return {
            "train_loss": loss_sum / len(labels),
            "train_accuracy": hits / len(labels),
            "test_loss": float(cross_entropy(out, y)),
            "test_accuracy": float((out.argmax(1) == y).float().mean()),
        }

    def predict(self, images: Any) -> Any:
        """Return class probabilities."""
        import torch

        with torch.no_grad():
            return torch.softmax(self.model(torch.tensor(np.asarray(images), dtype=torch.float32)), 1).numpy()
