"""SGD with momentum and Adam on shares. All parameters are one flat vector, so a step costs its rounds once.

Weights are kept at 40 fraction bits, so a small step is not lost; the layers read them truncated to f = 16.
Gradients arrive summed over the batch, which keeps more of their bits; the learning rate divides by its size. The
last batch of an epoch may be smaller: its sum is scaled up to a full batch before it meets the velocity.
"""

from __future__ import annotations

import abc
import itertools
import math
from typing import Any, Literal

import numpy as np

from medveil.errors import InputError
from medveil.mpc import functions
from medveil.mpc.nn.network import STATISTICS
from medveil.mpc.protocols.engine import Engine, Tensor

_EXTRA = 24
OptimiserName = Literal["sgd", "adam"]


class Optimiser(abc.ABC):
    """Keeps the precise weights; `state` is what a checkpoint stores."""

    def __init__(self, engine: Engine, parameters: dict[str, Tensor], lr: float) -> None:
        if not 0 < lr <= 10:
            raise InputError("the learning rate lies above 0 and at most at 10")
        self.engine = engine
        self.lr = lr
        self.names = [n for n in parameters if not n.endswith(STATISTICS)]
        self.shapes = [engine.shape(parameters[n]) for n in self.names]
        flat = engine.join([engine.reshape(parameters[n], -1) for n in self.names])
        self.state: dict[str, Tensor] = {"weights": engine.times(flat, 1 << _EXTRA)}
        self.steps = 0

    @abc.abstractmethod
    def direction(self, gradient: Tensor, batch: int) -> tuple[Tensor, float]:
        """Return a wide direction at f bits and the real it is multiplied by, from narrow summed gradients."""

    def step(self, parameters: dict[str, Tensor], gradients: dict[str, Tensor], batch: int) -> None:
        """Move all weights once and write the truncated ones into `parameters`."""
        engine = self.engine
        self.steps += 1
        flat = engine.join([engine.reshape(gradients[n], -1) for n in self.names])
        direction, rate = self.direction(flat, batch)
        move = engine.times(direction, round(rate * 2.0**_EXTRA))
        self.state["weights"] = engine.sub(self.state["weights"], move)
        self.write(parameters)

    def write(self, parameters: dict[str, Tensor]) -> None:
        """Write the weights at f bits into `parameters`."""
        engine = self.engine
        weights = engine.trunc(self.state["weights"], _EXTRA)
        cuts = np.cumsum([0, *(math.prod(s) for s in self.shapes)])
        for name, shape, (a, b) in zip(self.names, self.shapes, itertools.pairwise(cuts), strict=True):
            parameters[name] = engine.reshape(engine.cut(weights, slice(a, b)), *shape)


class Sgd(Optimiser):
    """v = momentum v + g; w = w - lr v (torch's form)."""

    def __init__(
        self, engine: Engine, parameters: dict[str, Tensor], lr: float, momentum: float = 0.0, batch: int = 0
    ) -> None:
        super().__init__(engine, parameters, lr)
        if not 0 <= momentum < 1:
            raise InputError("momentum lies at 0 or above and below 1")
        self.momentum = momentum
        self.full = batch  # images of a full batch; 0: as many as the first one has

    def direction(self, gradient: Tensor, batch: int) -> tuple[Tensor, float]:
        """Return the velocity, in sums over a full batch."""
        engine = self.engine
        self.full = self.full or batch
        if batch != self.full:
            gradient = engine.scale(gradient, self.full / batch)
        if self.momentum and "velocity" in self.state:
            gradient = engine.add(gradient, engine.scale(self.state["velocity"], self.momentum))
        velocity = engine.extend(gradient)
        if self.momentum:
            self.state["velocity"] = velocity
        return velocity, self.lr / self.full


class Adam(Optimiser):
    """Kingma and Ba 2015, with bias correction, on the batch's mean gradient at 20 bits (|g| < 8).

    The second moment is kept at 24 bits and floored at 2^-19, where Adam's epsilon would take over.
    """

    _MEAN_BITS = 20
    _SQUARE_BITS = 24

    def __init__(
        self, engine: Engine, parameters: dict[str, Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        super().__init__(engine, parameters, lr)
        self.betas = betas

    def direction(self, gradient: Tensor, batch: int) -> tuple[Tensor, float]:
        """Return m / sqrt(v) of the bias-corrected moments."""
        engine, (b1, b2) = self.engine, self.betas
        f = engine.fixed.fraction
        mean = self._part(engine.extend(gradient), 2.0 ** (self._MEAN_BITS - f) / batch)
        square = engine.extend(engine.mul_narrow(mean, mean, 2 * self._MEAN_BITS - self._SQUARE_BITS))
        # Both moments are kept bias-corrected: early ones would otherwise be too small for fixed point.
        for name, now, beta in (("first", mean, b1), ("second", square, b2)):
            kept = beta * (1 - beta ** (self.steps - 1)) / (1 - beta**self.steps)
            new = self._part(now, 1 - kept)
            self.state[name] = engine.add(self._part(self.state[name], kept), new) if name in self.state else new
        first, second = self.state["first"], self.state["second"]
        # second is v 2^24: read at f bits it is v 2^8, whose inverse root is that of v over 16.
        lifted, _ = engine.relu(engine.shift_by(engine.slim(second), -(2.0**-11)))
        inverse = functions.rsqrt(engine, engine.shift_by(engine.extend(lifted), 2.0**-11))
        direction = engine.extend(engine.mul_narrow(first, inverse, self._MEAN_BITS))
        return direction, self.lr * 2.0 ** ((self._SQUARE_BITS - f) / 2)

    def _part(self, x: Tensor, weight: float) -> Tensor:
        bits = 20
        return self.engine.trunc(self.engine.times(x, round(weight * 2.0**bits)), bits)


def make_optimiser(engine: Engine, parameters: dict[str, Tensor], options: dict[str, Any]) -> Optimiser:
    """Return the optimiser that a job's options name."""
    name = options.get("optimizer", "sgd")
    if name == "sgd":
        momentum, batch = float(options.get("momentum", 0.0)), int(options.get("batch_size", 0))
        return Sgd(engine, parameters, float(options["lr"]), momentum, batch)
    if name == "adam":
        return Adam(engine, parameters, float(options["lr"]))
    raise InputError(f"there is no optimiser {name}: take sgd or adam")
