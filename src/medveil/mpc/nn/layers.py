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
from medveil.mpc.protocols.engine import Bit, Engine, Tensor

Gradients = tuple[list[Tensor], dict[str, Tensor]]
_LOWEST = -8192.0  # padding of a maximum; activations stay far above


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


def _pad(engine: Engine, x: Tensor, amount: int) -> Tensor:
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
        x = _pad(engine, engine.wide(inputs[0]), self.spec.option("padding"))
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


class MaxPool2d(Layer):
    """Maximum over windows, as a tournament: all pairs of a level in one comparison."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the maxima."""
        del parameters, train
        x = engine.slim(inputs[0])
        if self.spec.option("padding"):
            x = _pad(engine, engine.shift_by(x, -_LOWEST), self.spec.option("padding"))
            x = engine.shift_by(x, _LOWEST)
        _, _, height, width = engine.shape(x)
        stack = engine.join([engine.cut(x, None, slice(None), slice(None), *at) for at in self._windows(height, width)])
        levels: list[tuple[int, Bit]] = []
        while (count := engine.shape(stack)[0]) > 1:
            half = count // 2
            left = engine.cut(stack, slice(half))
            right = engine.cut(stack, slice(half, 2 * half))
            best, bit = engine.maximum(left, right)
            levels.append((count, bit))
            stack = best if count % 2 == 0 else engine.join([best, engine.cut(stack, slice(2 * half, None))])
        return engine.cut(stack, 0), (levels, (height, width))

    def _windows(self, height: int, width: int) -> list[tuple[slice, slice]]:
        k, s = self.spec.option("kernel"), self.spec.option("stride")
        rows, columns = (height - k) // s + 1, (width - k) // s + 1
        return [
            (slice(i, i + rows * s - s + 1, s), slice(j, j + columns * s - s + 1, s))
            for i in range(k)
            for j in range(k)
        ]

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Send the gradient down the tournament to the winners."""
        del parameters
        if not to_input:
            return [], {}
        levels, (height, width) = saved
        stack = engine.cut(gradient, None)
        for count, bit in reversed(levels):
            half = count // 2
            g = engine.cut(stack, slice(half))
            won = engine.choose(bit, g)
            pieces = [won, engine.sub(g, won)]
            if count % 2:
                pieces.append(engine.cut(stack, slice(half, None)))
            stack = engine.join(pieces)
        windows = self._windows(height, width)
        p = self.spec.option("padding")

        def scatter(words: Any) -> Any:
            out = np.zeros((*words.shape[1:3], height, width), words.dtype)
            for (rows, columns), piece in zip(windows, words, strict=True):
                out[:, :, rows, columns] += piece
            return out[:, :, p : height - p, p : width - p] if p else out

        return [engine.map(stack, scatter)], {}


class AvgPool2d(Layer):
    """Mean over windows; `kernel` 0 stands for the whole image."""

    def _geometry(self, height: int, width: int) -> tuple[int, int, int]:
        kernel = self.spec.option("kernel")
        return (height, width, 1) if kernel == 0 else (kernel, kernel, self.spec.option("stride"))

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the means."""
        del parameters, train
        x = _pad(engine, inputs[0], self.spec.option("padding"))
        n, c, height, width = engine.shape(x)
        kh, kw, s = self._geometry(height, width)
        rows, columns = (height - kh) // s + 1, (width - kw) // s + 1

        def total(words: Any) -> Any:
            out = np.zeros((n, c, rows, columns), words.dtype)
            for i in range(kh):
                for j in range(kw):
                    out += words[:, :, i : i + rows * s - s + 1 : s, j : j + columns * s - s + 1 : s]
            return out

        wide = engine.wide(x) if kh * kw > 4 and not engine.is_wide(x) else x
        return _mean(engine, engine.map(wide, total), kh * kw), engine.shape(x)

    def backward(
        self, engine: Engine, gradient: Tensor, saved: Any, parameters: dict[str, Tensor], *, to_input: bool
    ) -> Gradients:
        """Spread the gradient evenly."""
        del parameters
        if not to_input:
            return [], {}
        kh, kw, s = self._geometry(saved[2], saved[3])
        p = self.spec.option("padding")
        g = _mean(engine, gradient, kh * kw)

        def scatter(words: Any) -> Any:
            out = np.zeros(saved, words.dtype)
            rows, columns = words.shape[2:]
            for i in range(kh):
                for j in range(kw):
                    out[:, :, i : i + rows * s - s + 1 : s, j : j + columns * s - s + 1 : s] += words
            return out[:, :, p : saved[2] - p, p : saved[3] - p] if p else out

        return [engine.map(g, scatter)], {}


def _mean(engine: Engine, total: Tensor, count: int) -> Tensor:
    """Return a sum over a public count, with 24 bits for the constant."""
    bits = 24
    return engine.narrow(engine.times(engine.wide(total), round(2**bits / count)), bits)


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
