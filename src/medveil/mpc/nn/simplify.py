"""Equal networks that cost less on shares: what the owner can fold before sharing, and layers in a better order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medveil.mpc.nn.spec import LayerSpec

State = dict[str, NDArray[np.float64]]


def fold_normalisation(layers: list[LayerSpec], state: State) -> list[LayerSpec]:
    """Fold batch normalisation into the convolution that alone feeds it; others become one product and one sum."""
    readers = {s.name: [r for r in layers if s.name in r.inputs] for s in layers}
    by_name = {s.name: s for s in layers}
    for name in [s.name for s in layers if s.kind == "batchnorm2d"]:
        norm = by_name[name]
        conv = by_name.get(norm.inputs[0])
        if conv is None or conv.kind != "conv2d" or len(readers[conv.name]) != 1:
            layers = _to_affine(layers, norm, state)
            by_name = {s.name: s for s in layers}
            continue
        gain = state[f"{norm.name}.weight"] / np.sqrt(state[f"{norm.name}.running_var"] + norm.options["eps"])
        bias = state.get(f"{conv.name}.bias", np.zeros(len(gain))) - state[f"{norm.name}.running_mean"]
        state[f"{conv.name}.weight"] = state[f"{conv.name}.weight"] * gain[:, None, None, None]
        state[f"{conv.name}.bias"] = bias * gain + state[f"{norm.name}.bias"]
        for key in norm.parameters:
            del state[f"{norm.name}.{key}"]
        # The convolution takes the place and the name's readers of the normalisation.
        folded = replace(conv, parameters={**conv.parameters, "bias": (len(gain),)})
        layers = [
            folded if s.name == conv.name else _renamed(s, norm.name, conv.name) for s in layers if s.name != name
        ]
        by_name = {s.name: s for s in layers}
        readers = {s.name: [r for r in layers if s.name in r.inputs] for s in layers}
    return layers


def _to_affine(layers: list[LayerSpec], norm: LayerSpec, state: State) -> list[LayerSpec]:
    gain = state[f"{norm.name}.weight"] / np.sqrt(state.pop(f"{norm.name}.running_var") + norm.options["eps"])
    state[f"{norm.name}.bias"] = state[f"{norm.name}.bias"] - state.pop(f"{norm.name}.running_mean") * gain
    state[f"{norm.name}.weight"] = gain
    shapes = {key: norm.parameters[key] for key in ("weight", "bias")}
    affine = replace(norm, kind="affine", options={}, parameters=shapes)
    return [affine if s.name == norm.name else s for s in layers]


def _renamed(spec: LayerSpec, old: str, new: str) -> LayerSpec:
    return replace(spec, inputs=tuple(new if i == old else i for i in spec.inputs))


def pool_first(layers: list[LayerSpec]) -> list[LayerSpec]:
    """Swap ReLU and the maximum pool that alone reads it."""
    order = list(layers)
    for pool in [s for s in layers if s.kind == "maxpool2d"]:
        relu = next((s for s in order if s.name == pool.inputs[0] and s.kind == "relu"), None)
        if relu is None or sum(relu.name in s.inputs for s in order) != 1:
            continue
        at, to = order.index(relu), order.index(pool)
        moved_pool = replace(pool, inputs=relu.inputs)
        order = [_renamed(s, pool.name, relu.name) if s not in (relu, pool) else s for s in order]
        moved_relu = replace(relu, inputs=(pool.name,))
        order[to] = moved_relu
        order[at] = moved_pool
        # Between the two only layers that read neither may stand, so both orders are valid.
    return order
