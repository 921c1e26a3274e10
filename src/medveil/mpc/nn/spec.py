"""The public side of a network: its layers as data. Weights are shared, the architecture is not secret (paper 3.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from medveil.errors import InputError, LimitError

KINDS = frozenset(
    {
        "conv2d", "linear", "batchnorm2d", "affine", "relu", "maxpool2d", "avgpool2d", "flatten", "dropout", "add",
        "concat", "softmax", "sigmoid",
    }
)  # fmt: skip
MAX_LAYERS = 4096
MAX_PARAMETERS = 200_000_000
_MAX_JSON = 4 << 20
INPUT = "input"


@dataclass(frozen=True)
class LayerSpec:
    """One layer: a kind of `KINDS`, the layers it reads, whole-number or real options, its parameters' shapes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    options: dict[str, float]
    parameters: dict[str, tuple[int, ...]]

    def option(self, name: str) -> int:
        """Return a whole-number option."""
        return int(self.options[name])


@dataclass(frozen=True)
class NetworkSpec:
    """Layers in order of computing; the last one is the output. `input_shape` is (C, H, W) of one image."""

    input_shape: tuple[int, int, int]
    layers: tuple[LayerSpec, ...]

    def __post_init__(self) -> None:
        if not self.layers or len(self.layers) > MAX_LAYERS:
            raise LimitError(f"a network has 1 to {MAX_LAYERS} layers, not {len(self.layers)}")
        known = {INPUT}
        total = 0
        for layer in self.layers:
            if layer.kind not in KINDS:
                raise InputError(f"layer {layer.name} is of the unknown kind {layer.kind}: update the older side")
            if layer.name in known or not set(layer.inputs) <= known:
                raise InputError(f"layer {layer.name} repeats a name or reads a layer that does not exist yet")
            known.add(layer.name)
            for shape in layer.parameters.values():
                count = 1
                for size in shape:
                    count *= size
                total += count
        if total > MAX_PARAMETERS:
            raise LimitError(f"a network has at most {MAX_PARAMETERS} parameters, not {total}")

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return all parameters' shapes by "layer.parameter"."""
        return {f"{x.name}.{key}": shape for x in self.layers for key, shape in x.parameters.items()}

    def to_json(self) -> str:
        """Return the network as JSON text."""
        layers = [
            {
                "name": x.name, "kind": x.kind, "inputs": list(x.inputs), "options": x.options,
                "parameters": {k: list(v) for k, v in x.parameters.items()},
            }
            for x in self.layers
        ]  # fmt: skip
        return json.dumps({"input_shape": list(self.input_shape), "layers": layers}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NetworkSpec:
        """Return the network of JSON text; refuses anything that is not one."""
        if len(text) > _MAX_JSON:
            raise LimitError(f"a network's description has at most {_MAX_JSON} characters")
        try:
            raw: Any = json.loads(text)
            c, h, w = (int(v) for v in raw["input_shape"])
            layers = tuple(
                LayerSpec(
                    str(x["name"]),
                    str(x["kind"]),
                    tuple(str(i) for i in x["inputs"]),
                    {str(k): float(v) for k, v in x["options"].items()},
                    {str(k): tuple(int(n) for n in v) for k, v in x["parameters"].items()},
                )
                for x in raw["layers"]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise InputError("this is not a network's description: it was damaged or made by another version") from e
        if min(c, h, w) < 1:
            raise InputError("a network's input has positive channels, height and width")
        return cls((c, h, w), layers)
