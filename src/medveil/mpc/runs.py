"""What a client holds of work on the servers: a training in progress or done, and a model shared for prediction."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.mpc.nn.simplify import State
from medveil.mpc.nn.spec import NetworkSpec

if TYPE_CHECKING:
    from medveil.mpc.client import Servers

Reals = NDArray[np.float64]
_SETTLE = 12.0  # every party has noticed another's failure by then
_POLL = 0.1


class SharedModel:
    """A model whose weights lie on the servers as shares."""

    def __init__(self, servers: Servers, spec: NetworkSpec, weights: str) -> None:
        self.servers, self.spec, self.weights = servers, spec, weights

    def __repr__(self) -> str:
        return f"SharedModel({len(self.spec.layers)} layers)"

    def outputs(self, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return the network's outputs for (N, C, H, W) images, opened to the caller only."""
        return self.servers.predict(self.spec, self.weights, images, batch_size)

    def forget(self) -> None:
        """Remove the weights from the servers."""
        self.servers.drop(self.weights)


class Run:
    """A training on the servers. `reveals` lists what can be opened, as the servers said before it ran."""

    def __init__(self, servers: Servers, message: dict[str, Any], spec: NetworkSpec, reveals: list[str]) -> None:
        self.servers, self.spec, self.reveals = servers, spec, reveals
        self.job = str(message["job"])
        self._message = message

    def __repr__(self) -> str:
        return f"Run({self.job})"

    @property
    def epochs(self) -> int:
        """Return the number of passes over the data."""
        return int(self._message["options"]["epochs"])

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of images that train and that test."""
        train, test = self._message["options"]["sizes"]
        return int(train), int(test)

    def wait(self, timeout: float | None = None, on_progress: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Return when the training is done; see `Servers.wait`."""
        self.servers.wait(self.job, timeout, on_progress)

    def resume(self) -> None:
        """Go on from the newest checkpoint that all three servers have.

        Raises:
            PolicyError: a server is still running the job.
            ProtocolError: a server is gone.
        """
        deadline = time.monotonic() + _SETTLE
        while time.monotonic() < deadline:
            running = sum(party["state"] == "running" for party in self.servers.status(self.job))
            if running in (0, 3):
                break
            time.sleep(_POLL)
        self.servers.submit({**self._message, "resume": True})

    def reveal_metrics(self, epoch: int) -> dict[str, float]:
        """Open one epoch's mean loss and accuracy: train_loss, train_accuracy and, with test data, test_*."""
        opened = self.servers.download(self.job, f"metrics{epoch}")
        found = {}
        for part, size in zip(("train", "test"), self.sizes, strict=True):
            if part in opened:
                loss, hits = self.servers.fixed.decode(opened[part])
                found[f"{part}_loss"], found[f"{part}_accuracy"] = float(loss) / size, float(hits) / size
        return found

    def reveal_state_dict(self) -> State:
        """Open the trained weights, by "layer.parameter", where the servers' operators allow it."""
        words = self.servers.download(self.job, "result")
        return {key: self.servers.fixed.decode(value) for key, value in words.items()}

    def predict(self, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return class probabilities for (N, C, H, W) images, opened to the caller only.

        The servers compute logits; the softmax or sigmoid is the caller's.
        """
        z = self.servers.predict(self.spec, self.job, images, batch_size)
        if self._message["options"]["loss"] == "binary_cross_entropy":
            return np.asarray(1 / (1 + np.exp(-z)))
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
