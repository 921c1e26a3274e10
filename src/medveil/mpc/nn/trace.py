"""From a plain torch.nn.Module to layers as data and its weights, by torch.fx; nothing is sent before this succeeds.

Whatever the servers cannot compute is refused here, by name and with the alternative. Batch normalisation after a
convolution is folded into it for prediction, and a ReLU before a maximum pool moves behind it, where it works on a
quarter of the elements: the two commute.
"""

from __future__ import annotations

import operator
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import MissingExtraError, UnsupportedError
from medveil.mpc.nn.simplify import State, fold_normalisation, pool_first
from medveil.mpc.nn.spec import INPUT, LayerSpec, NetworkSpec

_TRACING = threading.Lock()  # torch.fx patches torch.nn while it traces
_ALTERNATIVES = {
    "GELU": "ReLU", "SiLU": "ReLU", "LeakyReLU": "ReLU", "ELU": "ReLU", "PReLU": "ReLU", "Tanh": "ReLU",
    "Hardswish": "ReLU", "LayerNorm": "BatchNorm2d", "GroupNorm": "BatchNorm2d", "InstanceNorm2d": "BatchNorm2d",
    "BatchNorm1d": "BatchNorm2d before the flatten", "ConvTranspose2d": "Conv2d", "Conv3d": "Conv2d on slices",
    "Conv1d": "Conv2d", "MultiheadAttention": "convolutions", "LSTM": "convolutions", "GRU": "convolutions",
    "AdaptiveMaxPool2d": "MaxPool2d or AdaptiveAvgPool2d(1)", "Dropout2d": "Dropout",
}  # fmt: skip


def refuse(layer: str, what: str, alternative: str) -> UnsupportedError:
    """Return the error for a layer that the servers cannot compute."""
    return UnsupportedError(f"layer {layer}: {what} cannot run on shares: use {alternative}")


@dataclass
class _Builder:
    """Collects layers and weights while the graph is walked; `shapes` are without the batch."""

    layers: list[LayerSpec]
    state: State
    shapes: dict[str, tuple[int, ...]]

    def add(
        self, name: str, kind: str, inputs: list[str], shape: tuple[int, ...], options: dict[str, float] | None = None,
        weights: State | None = None,
    ) -> str:  # fmt: skip
        weights = weights or {}
        self.layers.append(
            LayerSpec(name, kind, tuple(inputs), options or {}, {k: tuple(v.shape) for k, v in weights.items()})
        )
        self.state.update({f"{name}.{k}": v for k, v in weights.items()})
        self.shapes[name] = shape
        return name


def from_module(module: Any, input_shape: tuple[int, int, int], *, train: bool = False) -> tuple[NetworkSpec, State]:
    """Return the layers and the weights (float64 arrays by "layer.parameter") of a torch module.

    Args:
        module: a torch.nn.Module of the supported layers.
        input_shape: (C, H, W) of one image.
        train: keep batch normalisation as a trained layer, and refuse an output that is not logits.

    Raises:
        UnsupportedError: a layer or an option that the servers cannot compute, with the alternative.
    """
    try:
        import torch
        from torch import fx
    except ImportError as e:
        raise MissingExtraError("the three-server computation", "mpc") from e
    if type(module).__name__ in _MODULES:  # a single layer has no graph of its own
        module = torch.nn.Sequential(module)
    try:
        with _TRACING:
            graph = fx.symbolic_trace(module)
    except (fx.proxy.TraceError, TypeError) as e:
        raise UnsupportedError(
            f"this module's forward depends on values, so its graph cannot be traced ({e}): use plain layers"
        ) from e
    builder = _Builder([], {}, {INPUT: tuple(input_shape)})
    names: dict[Any, str] = {}
    used = [node.target for node in graph.graph.nodes if node.op == "call_module"]
    twice = [t for t in used if used.count(t) > 1 and any(True for _ in graph.get_submodule(t).parameters())]
    if train and twice:
        raise refuse(twice[0], "training a layer that is used twice", "one layer for each place")
    out = INPUT
    with torch.no_grad():
        for node in graph.graph.nodes:
            if node.op == "placeholder":
                if names:
                    raise refuse(node.name, "a second input", "one image tensor")
                names[node] = INPUT
            elif node.op == "output":
                out = names[node.args[0]] if node.args[0] in names else _refuse_output()
            elif not _is_shape(node):
                names[node] = _convert(builder, node, dict(graph.named_modules()), names)
    if not builder.layers or builder.layers[-1].name != out:
        raise UnsupportedError("the module's output must be its last layer's: remove what follows or is unused")
    layers = builder.layers
    if train and layers[-1].kind in ("softmax", "sigmoid"):
        raise refuse(layers[-1].name, f"training from {layers[-1].kind} probabilities", "logits as the output")
    if not train:
        layers = fold_normalisation(layers, builder.state)
    return NetworkSpec(input_shape, tuple(pool_first(layers))), builder.state


def _refuse_output() -> str:
    raise UnsupportedError("the module must return one tensor: return the logits alone")


def _convert(b: _Builder, node: Any, modules: dict[str, Any], names: dict[Any, str]) -> str:
    inputs = _inputs(node, names)
    name = node.name
    if node.op == "call_module":
        return _module(b, name, modules[node.target], inputs)
    if node.op == "get_attr":
        raise refuse(name, "a bare tensor attribute", "a layer with parameters")
    return _function(b, node, name, inputs)


def _inputs(node: Any, names: dict[Any, str]) -> list[str]:
    found: list[str] = []
    for argument in node.args:
        items = argument if isinstance(argument, (list, tuple)) else [argument]
        found += [names[item] for item in items if item.__hash__ is not None and item in names]
    return found


def _array(tensor: Any) -> NDArray[np.float64]:
    words: NDArray[np.float64] = tensor.detach().cpu().numpy().astype(np.float64)
    return words


def _pair(value: Any, layer: str, what: str) -> int:
    first, second = (value, value) if isinstance(value, int) else tuple(value)
    if first != second:
        raise refuse(layer, f"a {what} of {value}", f"an equal {what} in both directions")
    return int(first)


def _module(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    kind = type(m).__name__
    converter = _MODULES.get(kind)
    if converter is None:
        raise refuse(name, kind, _ALTERNATIVES.get(kind, "the layers that docs/mpc.md lists"))
    return str(converter(b, name, m, inputs))


def _flattens(node: Any) -> bool:
    """Return whether a view or reshape is x.view(x.size(0), -1) or the like: a flatten that keeps the batch."""
    sizes = node.args[1:]
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        sizes = tuple(sizes[0])
    return len(sizes) == 2 and sizes[1] == -1 and _is_batch_size(sizes[0], node.args[0])


def _is_batch_size(node: Any, of: Any) -> bool:
    """Return whether a graph node is of.size(0) or of.shape[0]."""
    if getattr(node, "op", "") == "call_method" and node.target == "size":
        return bool(node.args == (of, 0))
    if getattr(node, "op", "") != "call_function" or node.target is not operator.getitem or node.args[1] != 0:
        return False
    shape = node.args[0]
    asks = (shape.op, shape.target, shape.args)
    return asks in (("call_function", getattr, (of, "shape")), ("call_method", "size", (of,)))


def _is_shape(node: Any) -> bool:
    """Return whether a graph node only asks for sizes."""
    if node.op == "call_method":
        return bool(node.target == "size")
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return bool(node.args[1] == "shape")
    return node.target is operator.getitem and _is_shape(node.args[0])


def _conv(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    if m.padding_mode != "zeros" or isinstance(m.padding, str):
        raise refuse(name, f"padding {m.padding!r} ({m.padding_mode})", "a number of zeros")
    if _pair(m.dilation, name, "dilation") != 1:
        raise refuse(name, "a dilation", "dilation=1")
    stride, padding = _pair(m.stride, name, "stride"), _pair(m.padding, name, "padding")
    weights = {"weight": _array(m.weight)}
    if m.bias is not None:
        weights["bias"] = _array(m.bias)
    c, h, w = b.shapes[inputs[0]]
    kh, kw = m.kernel_size
    if c != m.in_channels or h + 2 * padding < kh or w + 2 * padding < kw:
        raise refuse(name, f"a {kh} x {kw} kernel on {c} channels of {h} x {w}", "an input that fits the layer")
    shape = (m.out_channels, (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1)
    return b.add(name, "conv2d", inputs, shape, {"stride": stride, "padding": padding, "groups": m.groups}, weights)


def _linear(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    weights = {"weight": _array(m.weight)}
    if m.bias is not None:
        weights["bias"] = _array(m.bias)
    if b.shapes[inputs[0]] != (m.in_features,):
        raise refuse(name, f"an input of {b.shapes[inputs[0]]}", f"Flatten and {m.in_features} features before it")
    return b.add(name, "linear", inputs, (m.out_features,), None, weights)


def _batchnorm(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    if not m.affine or m.running_mean is None:
        raise refuse(name, "BatchNorm2d without weights or running statistics", "the default options")
    weights = {k: _array(getattr(m, k)) for k in ("weight", "bias", "running_mean", "running_var")}
    options = {"eps": float(m.eps), "momentum": 0.1 if m.momentum is None else float(m.momentum)}
    return b.add(name, "batchnorm2d", inputs, b.shapes[inputs[0]], options, weights)


def _relu(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    del m
    return b.add(name, "relu", inputs, b.shapes[inputs[0]])


def _pool(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    kind = "maxpool2d" if "Max" in type(m).__name__ else "avgpool2d"
    if getattr(m, "ceil_mode", False) or _pair(getattr(m, "dilation", 1), name, "dilation") != 1:
        raise refuse(name, "ceil_mode or a dilation", "their defaults")
    if getattr(m, "divisor_override", None) or not getattr(m, "count_include_pad", True):
        raise refuse(name, "an own divisor", "the defaults")
    return _add_pool(
        b, name, kind, inputs,
        _pair(m.kernel_size, name, "kernel"),
        _pair(m.stride if m.stride is not None else m.kernel_size, name, "stride"),
        _pair(m.padding, name, "padding"),
    )  # fmt: skip


def _add_pool(b: _Builder, name: str, kind: str, inputs: list[str], k: int, stride: int, padding: int) -> str:
    c, h, w = b.shapes[inputs[0]]
    shape = (c, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1)
    if min(shape) < 1:
        raise refuse(name, f"a window of {k} on {h} x {w}", "a smaller window or a larger image")
    return b.add(name, kind, inputs, shape, {"kernel": k, "stride": stride, "padding": padding})


def _adaptive(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    size = _pair(m.output_size, name, "output size")
    c, h, w = b.shapes[inputs[0]]
    if size == 1:
        return b.add(name, "avgpool2d", inputs, (c, 1, 1), {"kernel": 0, "stride": 1, "padding": 0})
    if h % size or w % size or h != w:
        raise refuse(name, f"an output of {size} for {h} x {w}", "an output that divides the input, or 1")
    return _add_pool(b, name, "avgpool2d", inputs, h // size, h // size, 0)


def _flatten(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    if getattr(m, "start_dim", 1) != 1 or getattr(m, "end_dim", -1) != -1:
        raise refuse(name, "a partial flatten", "Flatten()")
    return b.add(name, "flatten", inputs, (int(np.prod(b.shapes[inputs[0]])),))


def _dropout(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    if not 0 <= m.p < 1:
        raise refuse(name, f"a dropout of {m.p}", "a probability below 1")
    return b.add(name, "dropout", inputs, b.shapes[inputs[0]], {"p": float(m.p)})


def _identity(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    del b, name, m
    return inputs[0]


def _probabilities(b: _Builder, name: str, m: Any, inputs: list[str]) -> str:
    kind = type(m).__name__.lower()
    if kind == "softmax" and m.dim not in (1, -1):
        raise refuse(name, f"a softmax over axis {m.dim}", "dim=1")
    return b.add(name, kind, inputs, b.shapes[inputs[0]])


_MODULES: dict[str, Any] = {
    "Conv2d": _conv, "Linear": _linear, "BatchNorm2d": _batchnorm, "ReLU": _relu, "MaxPool2d": _pool,
    "AvgPool2d": _pool, "AdaptiveAvgPool2d": _adaptive, "Flatten": _flatten, "Dropout": _dropout,
    "Identity": _identity, "Softmax": _probabilities, "Sigmoid": _probabilities,
}  # fmt: skip


def _function(b: _Builder, node: Any, name: str, inputs: list[str]) -> str:
    import torch
    from torch.nn import functional

    target = node.target
    if target in (operator.add, operator.iadd, torch.add, "add", "add_"):
        if len(inputs) != 2 or b.shapes[inputs[0]] != b.shapes[inputs[1]]:
            raise refuse(name, "an addition of a constant or of different shapes", "a sum of two equal branches")
        return b.add(name, "add", inputs, b.shapes[inputs[0]])
    if target in (torch.cat, torch.concat):
        if node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0) != 1:
            raise refuse(name, "a concatenation not along the channels", "dim=1")
        first = b.shapes[inputs[0]]
        return b.add(name, "concat", inputs, (sum(b.shapes[i][0] for i in inputs), *first[1:]))
    if target in (torch.relu, functional.relu, "relu", "relu_"):
        return _relu(b, name, None, inputs)
    if target in (torch.flatten, "flatten") and (list(node.args[1:]) + list(node.kwargs.values())) == [1]:
        return _flatten(b, name, None, inputs)
    if target in ("view", "reshape", torch.reshape) and _flattens(node):
        return _flatten(b, name, None, inputs)
    if target is functional.adaptive_avg_pool2d and node.args[1:] in ((1,), ((1, 1),)):
        return b.add(
            name, "avgpool2d", inputs, (b.shapes[inputs[0]][0], 1, 1), {"kernel": 0, "stride": 1, "padding": 0}
        )
    raise refuse(name, getattr(target, "__name__", str(target)), "the layers that docs/mpc.md lists, as modules")
