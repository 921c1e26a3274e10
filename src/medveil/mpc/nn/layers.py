"""Layers with their backward passes. Tensors are (N, C, H, W) or (N, F); gradients and outputs are narrow.

A layer gets its inputs and parameters (wide) and returns its output and what its backward pass needs. Parameter
gradients are sums over the batch; the optimiser divides.
"""

from __future__ import annotations

import abc
import itertools
from typing import Any

import numpy as np

from medveil.mpc import functions, ring
from medveil.mpc.nn.spec import LayerSpec
from medveil.mpc.protocols.engine import Engine, Tensor

Gradients = tuple[list[Tensor], dict[str, Tensor]]


class Layer(abc.ABC):
    """One layer of a network."""

    def __init__(self, spec: LayerSpec) -> None:
        self.spec = spec

    @abc.abstractmethod
    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the output and what `backward` needs; may replace running statistics in `parameters`."""

    @abc.abstractmethod
    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return the gradients of the inputs (empty unless `to_input`) and of the parameters, all narrow."""


def pad(engine: Engine, x: Tensor, amount: int) -> Tensor:
    """Return images with `amount` zeros on every side."""
    if not amount:
        return x
    return engine.map(x, lambda w: np.pad(w, ((0, 0), (0, 0), (amount, amount), (amount, amount))))


class Conv2d(Layer):
    """Convolution with stride, symmetric padding and groups."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return w * x + b."""
        del train
        x = pad(engine, engine.wide(inputs[0]), self.spec.option("padding"))
        groups, stride = self.spec.option("groups"), self.spec.option("stride")
        outputs = []
        for g in range(groups):
            part, w, b = self._group(engine, x, parameters, g, groups)
            plan = ring.plan_conv(_four(engine.shape(part)), _four(engine.shape(w)), stride)
            outputs.append(engine.linear(plan, w, part, b))
        return (outputs[0] if groups == 1 else engine.join(outputs, axis=1)), x

    def _group(
        self, engine: Engine, x: Tensor, parameters: dict[str, Tensor], g: int, groups: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        w, b = parameters["weight"], parameters.get("bias")
        if groups == 1:
            return x, w, b
        out, channels = engine.shape(w)[0] // groups, engine.shape(x)[1] // groups
        rows = slice(g * out, (g + 1) * out)
        return (
            engine.cut(x, slice(None), slice(g * channels, (g + 1) * channels)),
            engine.cut(w, rows),
            None if b is None else engine.cut(b, rows),
        )

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return dx (a convolution with the flipped kernel), dw and db."""
        groups, stride = self.spec.option("groups"), self.spec.option("stride")
        wide = engine.wide(gradient)
        found: dict[str, Tensor] = {}
        if "bias" in parameters:
            found["bias"] = engine.narrow(engine.total(wide, (0, 2, 3)))
        weights, inputs = [], []
        rows = engine.shape(wide)[1] // groups
        for g in range(groups):
            x, w, _ = self._group(engine, saved, parameters, g, groups)
            part = wide if groups == 1 else engine.cut(wide, slice(None), slice(g * rows, (g + 1) * rows))
            plan = ring.plan_conv_weight(_four(engine.shape(x)), _four(engine.shape(w)), stride)
            weights.append(engine.linear(plan, part, x))
            if to_input:
                inputs.append(self._input_gradient(engine, part, w, engine.shape(x), stride))
        found["weight"] = weights[0] if groups == 1 else engine.join(weights, axis=0)
        if not to_input:
            return [], found
        dx = inputs[0] if groups == 1 else engine.join(inputs, axis=1)
        p = self.spec.option("padding")
        return [engine.map(dx, lambda v: v[:, :, p : v.shape[2] - p, p : v.shape[3] - p]) if p else dx], found

    def _input_gradient(self, engine: Engine, g: Tensor, w: Tensor, x: tuple[int, ...], stride: int) -> Tensor:
        kh, kw = engine.shape(w)[2:]
        n, o, oh, ow = engine.shape(g)

        def spread(words: Any) -> Any:
            out = np.zeros((n, o, x[2] + kh - 1, x[3] + kw - 1), words.dtype)
            out[:, :, kh - 1 : kh - 1 + oh * stride : stride, kw - 1 : kw - 1 + ow * stride : stride] = words
            return out

        wide = engine.map(g, spread)
        return engine.linear(ring.plan_conv_input(_four(engine.shape(wide)), _four(engine.shape(w))), w, wide)


def _four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    a, b, c, d = shape
    return a, b, c, d


class Linear(Layer):
    """x W^T + b."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the dense product."""
        del train
        x, w = engine.wide(inputs[0]), parameters["weight"]
        n, k = engine.shape(x)
        return engine.linear(ring.plan_linear(n, k, engine.shape(w)[0]), w, x, parameters.get("bias")), x

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return g W, g^T x and the column sums of g."""
        g, w = engine.wide(gradient), parameters["weight"]
        n, o = engine.shape(g)
        k = engine.shape(w)[1]
        found = {"weight": engine.linear(ring.plan_matmul(o, n, k, transpose_a=True), g, saved)}
        if "bias" in parameters:
            found["bias"] = engine.narrow(engine.total(g, 0))
        return ([engine.linear(ring.plan_matmul(n, o, k), g, w)] if to_input else []), found


class Relu(Layer):
    """max(x, 0); the comparison bit serves the backward pass."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the positive part."""
        del parameters, train
        return engine.relu(engine.slim(inputs[0]))

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return bit * g."""
        del parameters
        return ([engine.choose(saved, gradient)] if to_input else []), {}


class Flatten(Layer):
    """(N, C, H, W) to (N, F)."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the rows."""
        del parameters, train
        shape = engine.shape(inputs[0])
        return engine.reshape(inputs[0], shape[0], -1), shape

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return the images again."""
        del parameters
        return ([engine.reshape(gradient, *saved)] if to_input else []), {}


class Dropout(Layer):
    """Zeroes with probability p in training; which ones is public, as it depends on nothing secret."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return x, or the masked and rescaled x in training."""
        del parameters
        p = self.spec.options["p"]
        if not train or p == 0:
            return inputs[0], None
        mask = engine.public_mask(engine.shape(inputs[0]), 1 - p)
        return self._apply(engine, engine.slim(inputs[0]), mask), mask

    def _apply(self, engine: Engine, x: Tensor, mask: Any) -> Tensor:
        gain = 1 / (1 - self.spec.options["p"])
        kept = engine.times(x, mask)
        return engine.times(kept, round(gain)) if gain.is_integer() else engine.scale(kept, gain)

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Mask the gradient alike."""
        del parameters
        return ([gradient if saved is None else self._apply(engine, gradient, saved)] if to_input else []), {}


class Add(Layer):
    """Sum of two branches (a residual connection)."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return x + y."""
        del parameters, train
        return engine.add(engine.slim(inputs[0]), engine.slim(inputs[1])), None

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Return the gradient for both."""
        del engine, saved, parameters
        return ([gradient, gradient] if to_input else []), {}


class Concat(Layer):
    """Branches side by side along the channels."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the joined channels."""
        del parameters, train
        slim = [engine.slim(x) for x in inputs]
        return engine.join(slim, axis=1), [engine.shape(x)[1] for x in slim]

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Cut the gradient again."""
        del parameters
        if not to_input:
            return [], {}
        cuts = np.cumsum([0, *saved])
        return [engine.cut(gradient, slice(None), slice(a, b)) for a, b in itertools.pairwise(cuts)], {}


class Output(Layer):
    """Softmax or sigmoid as the last layer of a network that only predicts."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return probabilities."""
        del parameters, train
        function = functions.softmax if self.spec.kind == "softmax" else functions.sigmoid
        return function(engine, inputs[0]), None

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Refuse: training starts from logits."""
        raise NotImplementedError("a loss takes logits; `trace` refuses to train a network that ends in probabilities")
