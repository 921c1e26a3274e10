"""A network over an engine: forward, backward, and the parameters it reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medveil.errors import InputError
from medveil.mpc.nn import layers, pooling
from medveil.mpc.nn.batchnorm import Affine, BatchNorm2d
from medveil.mpc.nn.layers import Layer
from medveil.mpc.nn.spec import INPUT, NetworkSpec
from medveil.mpc.protocols.engine import Engine, Tensor

LAYERS: dict[str, type[Layer]] = {
    "conv2d": layers.Conv2d,
    "linear": layers.Linear,
    "batchnorm2d": BatchNorm2d,
    "affine": Affine,
    "relu": layers.Relu,
    "maxpool2d": pooling.MaxPool2d,
    "avgpool2d": pooling.AvgPool2d,
    "flatten": layers.Flatten,
    "dropout": layers.Dropout,
    "add": layers.Add,
    "concat": layers.Concat,
    "softmax": layers.Output,
    "sigmoid": layers.Output,
}
STATISTICS = ("running_mean", "running_var")


@dataclass
class Tape:
    """What a forward pass left for the backward pass."""

    saved: dict[str, Any] = field(default_factory=dict)
    reaches_parameters: set[str] = field(default_factory=set)


class Network:
    """Layers of a spec; `parameters` are given to each call, so one network serves many models."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._layers = {s.name: LAYERS[s.kind](s) for s in spec.layers}

    def check(self, parameters: dict[str, tuple[int, ...]]) -> None:
        """Refuse parameters whose names or shapes are not the spec's."""
        if parameters != self.spec.parameters:
            raise InputError("the parameters do not fit the network: their names or shapes differ from its layers'")

    def _own(self, name: str, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        keys = self._layers[name].spec.parameters
        return {key: parameters[f"{name}.{key}"] for key in keys}

    def forward(
        self, engine: Engine, parameters: dict[str, Tensor], x: Tensor, *, train: bool = False
    ) -> tuple[Tensor, Tape]:
        """Return the output for images (N, C, H, W) and the tape; training moves running statistics in place."""
        values: dict[str, Tensor] = {INPUT: x}
        tape = Tape()
        left = {name: sum(name in s.inputs for s in self.spec.layers) for name in [INPUT, *self._layers]}
        out = x
        for spec in self.spec.layers:
            own = self._own(spec.name, parameters)
            out, saved = self._layers[spec.name].forward(engine, [values[i] for i in spec.inputs], own, train=train)
            for key in STATISTICS:
                if train and key in own:
                    parameters[f"{spec.name}.{key}"] = own[key]
            if train:
                tape.saved[spec.name] = saved
                if spec.parameters or any(i in tape.reaches_parameters for i in spec.inputs):
                    tape.reaches_parameters.add(spec.name)
            values[spec.name] = out
            for name in spec.inputs:
                left[name] -= 1
                if not left[name]:
                    values.pop(name, None)
        return out, tape

    def backward(
        self, engine: Engine, parameters: dict[str, Tensor], tape: Tape, gradient: Tensor
    ) -> dict[str, Tensor]:
        """Return the narrow gradients, summed over the batch, of all trained parameters by name."""
        flowing: dict[str, Tensor] = {self.spec.layers[-1].name: gradient}
        found: dict[str, Tensor] = {}
        for spec in reversed(self.spec.layers):
            g = flowing.pop(spec.name, None)
            if g is None or spec.name not in tape.reaches_parameters:
                continue
            to_input = any(i in tape.reaches_parameters for i in spec.inputs)
            into, own = self._layers[spec.name].backward(
                engine, g, tape.saved.pop(spec.name), self._own(spec.name, parameters), to_input=to_input
            )
            found.update({f"{spec.name}.{key}": value for key, value in own.items()})
            if to_input:
                for name, value in zip(spec.inputs, into, strict=True):
                    flowing[name] = engine.add(flowing[name], value) if name in flowing else value
        return found
