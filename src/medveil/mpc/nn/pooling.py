"""Maximum and average over windows, with their backward passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from medveil.mpc.nn.layers import Gradients, Layer, pad
from medveil.mpc.protocols.engine import Bit, Engine, Tensor


class MaxPool2d(Layer):
    """Maximum over windows, as a tournament: all pairs of a level in one comparison."""

    def forward(
        self, engine: Engine, inputs: list[Tensor], parameters: dict[str, Tensor], *, train: bool
    ) -> tuple[Tensor, Any]:
        """Return the maxima."""
        del parameters, train
        x = engine.slim(inputs[0])
        if self.spec.option("padding"):
            lowest = -(2.0**engine.fixed.whole)  # the padding loses against every value of the range
            x = pad(engine, engine.shift_by(x, -lowest), self.spec.option("padding"))
            x = engine.shift_by(x, lowest)
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
        x = pad(engine, inputs[0], self.spec.option("padding"))
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
