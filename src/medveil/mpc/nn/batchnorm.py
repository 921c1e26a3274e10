"""Batch normalisation, trained with moving statistics; in prediction an affine map a channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from medveil.mpc import functions
from medveil.mpc.nn.layers import Gradients, Layer
from medveil.mpc.protocols.engine import Engine, Tensor

_AXES = (0, 2, 3)
_BITS = 24
_VARIANCE_BITS = 20
_EXTRA = 8


def _channel_mean(engine: Engine, x: Tensor, extra: int = 0) -> Tensor:
    """Return the wide mean over batch and positions of a narrow or wide tensor, (C,), with `extra` more bits."""
    shape = engine.shape(x)
    count = shape[0] * shape[2] * shape[3]
    total = engine.total(engine.wide(x), _AXES)
    return engine.extend(engine.narrow(engine.times(total, max(1, round(2**_BITS / count))), _BITS - extra))


def _spread(engine: Engine, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return engine.broadcast(engine.map(values, lambda w: w.reshape(1, -1, 1, 1)), shape)


class BatchNorm2d(Layer):
    """weight (x - mean) / sqrt(var + eps) + bias; running_mean and running_var are shared too.

    The variance of a batch is computed at 20 fraction bits (|x - mean| < 45), so that eps = 1e-5 counts.
    """

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the normalised input; in training also moves the running statistics."""
        x = engine.wide(inputs[0])
        shape = engine.shape(x)
        gain = 1 << (_VARIANCE_BITS - engine.fixed.fraction)
        if train:
            mean = _channel_mean(engine, x)
            centred = engine.sub(x, _spread(engine, mean, shape))
            squares = engine.mul_narrow(centred, centred, 2 * engine.fixed.fraction - _VARIANCE_BITS)
            lifted = _channel_mean(engine, squares)
            self._move(engine, parameters, mean, lifted, shape)
        else:
            centred = engine.sub(x, _spread(engine, parameters["running_mean"], shape))
            lifted = engine.times(parameters["running_var"], gain)
        # lifted is the variance times 16 at f = 16 bits: its inverse root is a quarter of the wanted one.
        root = functions.rsqrt(engine, engine.shift_by(lifted, gain * self.spec.options["eps"]), low=-14)
        inverse = engine.times(root, round(gain**0.5))
        if not train:
            slope = engine.mul(inverse, parameters["weight"])
            scaled = engine.mul_narrow(centred, _spread(engine, slope, shape))
            return engine.add(scaled, _spread(engine, engine.narrow(parameters["bias"]), shape)), None
        hat = engine.extend(engine.mul_narrow(centred, _spread(engine, inverse, shape)))
        scaled = engine.mul_narrow(hat, _spread(engine, parameters["weight"], shape))
        return engine.add(scaled, _spread(engine, engine.narrow(parameters["bias"]), shape)), (hat, inverse)

    def _move(
        self, engine: Engine, parameters: dict[str, Tensor], mean: Tensor, lifted: Tensor, shape: tuple[int, ...]
    ) -> None:
        momentum = self.spec.options["momentum"]
        count = shape[0] * shape[2] * shape[3]
        whole = 1 << (_VARIANCE_BITS - engine.fixed.fraction)
        unbiased = engine.extend(engine.scale(lifted, count / max(1, count - 1) / whole))
        for name, now in (("running_mean", mean), ("running_var", unbiased)):
            step = engine.extend(engine.scale(engine.sub(now, parameters[name]), momentum))
            parameters[name] = engine.add(parameters[name], step)

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return the gradients through the batch's own statistics."""
        hat, inverse = saved
        g = engine.wide(gradient)
        shape = engine.shape(g)
        product = engine.wide(engine.mul_narrow(g, hat))

        def channel(x: Tensor) -> Tensor:
            return engine.total(x, _AXES)

        found = {"weight": engine.narrow(channel(product)), "bias": engine.narrow(channel(g))}
        if not to_input:
            return [], found
        # The two means are subtracted at 8 more bits: their error would add up over all positions.
        mean_g = _channel_mean(engine, g, _EXTRA)
        mean_product = _channel_mean(engine, product, _EXTRA)
        rest = engine.sub(engine.times(g, 1 << _EXTRA), _spread(engine, mean_g, shape))
        rest = engine.sub(rest, engine.extend(engine.mul_narrow(hat, _spread(engine, mean_product, shape))))
        slope = engine.mul(inverse, parameters["weight"])
        return [engine.mul_narrow(rest, _spread(engine, slope, shape), engine.fixed.fraction + _EXTRA)], found

    @staticmethod
    def initial(channels: int) -> dict[str, np.ndarray[Any, Any]]:
        """Return the running statistics of a layer that has seen nothing."""
        return {"running_mean": np.zeros(channels), "running_var": np.ones(channels)}


class Affine(Layer):
    """weight x + bias a channel: a batch normalisation of a network that only predicts, folded by its owner."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the scaled and shifted channels."""
        del train
        x = engine.wide(inputs[0])
        shape = engine.shape(x)
        scaled = engine.mul_narrow(x, _spread(engine, parameters["weight"], shape))
        return engine.add(scaled, _spread(engine, engine.narrow(parameters["bias"]), shape)), None

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Refuse: a training keeps the normalisation itself."""
        raise NotImplementedError("a training keeps batch normalisation; `trace` folds it for prediction only")
