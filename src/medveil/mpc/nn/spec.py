"""The public side of a network: its layers as data. Weights are shared, the architecture is not secret (paper 3.2)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
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
MAX_ELEMENTS = 1 << 26
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


_LARGEST = 1 << 20
_LEAST = {"stride": 1, "padding": 0, "groups": 1, "kernel": 0}
_OPTIONS = {
    "conv2d": {"stride", "padding", "groups"},
    "maxpool2d": {"kernel", "stride", "padding"},
    "avgpool2d": {"kernel", "stride", "padding"},
    "batchnorm2d": {"eps", "momentum"},
    "dropout": {"p"},
}


def _check_options(layer: LayerSpec) -> None:
    if layer.options.keys() != _OPTIONS.get(layer.kind, set()):
        raise InputError(f"layer {layer.name}: a {layer.kind} does not have these options")
    for name, value in layer.options.items():
        if name in _LEAST:
            fits = value == int(value) if _LEAST[name] <= value <= _LARGEST else False
        else:
            fits = 0 <= value < 1 if name == "p" else 0 <= value <= 1
        if not fits:
            raise InputError(f"layer {layer.name}: its {name} is out of range")


def output_shape(layer: LayerSpec, inputs: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return what a layer gives for one image.

    Raises:
        InputError: its options or parameters do not fit its kind or its inputs.
    """
    _check_options(layer)
    shape, parameters, reads = inputs[0], layer.parameters, 1
    expected: dict[str, tuple[int, ...]] = {}
    out: tuple[int, ...] | None = None
    if layer.kind in ("conv2d", "maxpool2d", "avgpool2d") and len(shape) == 3:
        out = _slid(layer, shape)
        if layer.kind == "conv2d":
            weight = parameters.get("weight", ())
            expected = {"weight": weight, "bias": weight[:1]} if "bias" in parameters else {"weight": weight}
    elif layer.kind == "linear" and len(shape) == 1:
        rows = parameters.get("weight", (0,))[0]
        expected = {"weight": (rows, *shape), "bias": (rows,)}
        expected = expected if "bias" in parameters else {"weight": (rows, *shape)}
        out = (rows,) if rows > 0 else None
    elif layer.kind in ("batchnorm2d", "affine") and len(shape) == 3:
        names = ("weight", "bias", "running_mean", "running_var")[: 4 if layer.kind == "batchnorm2d" else 2]
        expected, out = dict.fromkeys(names, shape[:1]), shape
    elif layer.kind in ("relu", "dropout") or (layer.kind in ("softmax", "sigmoid") and len(shape) == 1):
        out = shape
    elif layer.kind == "flatten":
        out = (math.prod(shape),)
    elif layer.kind == "add" and len(inputs) == 2 and inputs[1] == shape:
        out, reads = shape, 2
    elif layer.kind == "concat" and all(len(s) == 3 and s[1:] == shape[1:] for s in inputs):
        out, reads = (sum(s[0] for s in inputs), *shape[1:]), len(inputs)
    if out is None or len(inputs) != reads or parameters != expected:
        raise InputError(f"layer {layer.name}: a {layer.kind} with these parameters does not fit its inputs")
    return out


def _slid(layer: LayerSpec, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the output of a window that slides over (C, H, W), or None where there is none."""
    channels, height, width = shape
    stride, padding = layer.option("stride"), layer.option("padding")
    if layer.kind == "conv2d":
        weight, groups = layer.parameters.get("weight", ()), layer.option("groups")
        if len(weight) != 4 or min(weight) < 1 or weight[1] * groups != channels or weight[0] % groups:
            return None
        channels, (kh, kw) = weight[0], weight[2:]
    else:
        kh = kw = layer.option("kernel")
        if 2 * padding > kh or (kh == 0 and layer.kind == "maxpool2d"):
            return None
        if kh == 0:  # the whole image
            return (channels, 1, 1)
    rows, columns = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    return (channels, rows, columns) if rows > 0 and columns > 0 else None


@dataclass(frozen=True)
class NetworkSpec:
    """Layers in order of computing; the last one is the output. Shapes are those of one image: (C, H, W) goes in.

    Every layer's options and parameters are checked against what reaches it, so a spec that exists can run.
    """

    input_shape: tuple[int, int, int]
    layers: tuple[LayerSpec, ...]
    output_shape: tuple[int, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not self.layers or len(self.layers) > MAX_LAYERS:
            raise LimitError(f"a network has 1 to {MAX_LAYERS} layers, not {len(self.layers)}")
        shapes: dict[str, tuple[int, ...]] = {INPUT: self.input_shape}
        total = 0
        for layer in self.layers:
            if layer.kind not in KINDS:
                raise InputError(f"layer {layer.name} is of the unknown kind {layer.kind}: update the older side")
            if layer.name in shapes or not layer.inputs or not set(layer.inputs) <= shapes.keys():
                raise InputError(f"layer {layer.name} repeats a name or reads a layer that does not exist yet")
            total += sum(math.prod(shape) for shape in layer.parameters.values())
            if total > MAX_PARAMETERS:
                raise LimitError(f"a network has at most {MAX_PARAMETERS} parameters")
            shapes[layer.name] = output_shape(layer, [shapes[name] for name in layer.inputs])
            if math.prod(shapes[layer.name]) > MAX_ELEMENTS:
                raise LimitError(f"layer {layer.name} gives more than {MAX_ELEMENTS} elements an image")
        object.__setattr__(self, "output_shape", shapes[self.layers[-1].name])

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
