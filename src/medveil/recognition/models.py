"""From an architecture to a network that is ready to train: input layer, transferred weights, new head, saved file.

A saved model is safetensors with a JSON description (architecture, classes, channels, size, input scaling), so it
can be loaded without running anybody's code. Weights of other training runs are carried over whole but for the head
(transfer learning) or for the first groups of layers only (weighted transfusion, paper 000 section 3.3).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from medveil.errors import InputError, MissingExtraError
from medveil.networks.architectures import architecture

INPUTS = ("plain", "fold", "fold-max")
"""How pixels enter: scaled as they are, or folded, which undoes negative-positive transformation; see `scale`."""
_FORMAT = "medveil-model"
_TORCHVISION_DENSE = re.compile(r"(denselayer\d+)\.(norm\d|relu\d|conv\d)\.")


def build(name: str, classes: int, channels: int = 3) -> Any:
    """Return a fresh network of that name: densenet121, xception, resnet18 or small-cnn.

    Raises InputError for an unknown name or no classes, MissingExtraError without torch or MONAI.
    """
    return architecture(name).build(classes, channels)


@dataclass(frozen=True)
class ModelCard:
    """What a network was built and trained for; a model file carries it.

    per_block: the images were thinned to one pixel of each block of that side before they came to `size`.
    scheme: what had encrypted the images; empty where they were plain.
    """

    model: str
    classes: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    input: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    data: str = ""
    seed: int = 0
    per_block: int = 1
    scheme: str = ""

    @property
    def inputs(self) -> int:
        """Return how many channels the first layer sees: one where the folded channels become one."""
        return 1 if self.input == "fold-max" else self.channels

    def check(self, channels: int, size: tuple[int, int]) -> None:
        """Raise InputError where images of other channels or size are given to this network."""
        if (channels, size) != (self.channels, self.size):
            raise InputError(
                f"the model takes {self.channels} channels of {self.size[0]} x {self.size[1]} pixels, "
                f"not {channels} of {size[0]} x {size[1]}"
            )


def scale(batch: Any, card: ModelCard) -> Any:
    """Return uint8 (N, C, H, W) as the floats that the network takes: input form, then zero mean, unit deviation.

    "fold-max" keeps the greatest of a pixel's folded channels, max_c |2 v_c - 255|: of a grey picture encrypted as
    three the channel that smoothing left farthest from the middle, as the linkage attack does. After SKK all are equal.
    """
    import torch

    values = batch.float() / 255.0 if card.input == "plain" else fold(batch)
    if card.input == "fold-max":
        values = values.amax(dim=1, keepdim=True)
    mean = torch.tensor(card.mean, device=batch.device).view(1, -1, 1, 1)
    deviation = torch.tensor(card.deviation, device=batch.device).view(1, -1, 1, 1)
    return (values - mean) / deviation


def fold(batch: Any) -> Any:
    """Return |2 v - 255| / 255 of uint8 values: equal for v and its negative 255 - v, so free of SKK's first step.

    Anybody can compute it from an encrypted image, without a key; that it helps a network is a leak of the scheme.
    """
    return (batch.float() * 2.0 - 255.0).abs() / 255.0


def save(network: Any, card: ModelCard, path: Path, *, force: bool = False) -> None:
    """Write a model file, whole or not at all. Raises OutputExistsError where it is there and `force` is not set."""
    from safetensors.torch import save as pack

    from medveil.schemes.bundle import new_file

    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    described = {"format": _FORMAT, "version": "1", "card": json.dumps(asdict(card), sort_keys=True)}
    with new_file(path, force=force) as working:
        working.write_bytes(pack(state, metadata=described))


def read_card(path: Path) -> ModelCard:
    """Return the description in a model file. Raises InputError where it is none."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as e:
        raise MissingExtraError("reading a model", "learn") from e
    try:
        with safe_open(str(path), framework="pt") as file:
            described = file.metadata() or {}
        if described.get("format") != _FORMAT or described.get("version") != "1":
            raise InputError(f"{path} is not a model that medveil train wrote")
        values = json.loads(described["card"])
        known = {f.name for f in fields(ModelCard)}
        for name in ("classes", "size", "mean", "deviation"):
            values[name] = tuple(values[name])
        return ModelCard(**{k: v for k, v in values.items() if k in known})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as e:
        raise InputError(f"{path} is not a model that medveil train wrote") from e


def load(path: Path) -> tuple[Any, ModelCard]:
    """Return the network of a model file, in evaluation mode, and its description."""
    card = read_card(path)
    network = build(card.model, len(card.classes), card.inputs)
    state = read_weights(path)
    _check_same(network.state_dict(), state, path)
    network.load_state_dict(state)
    return network.eval(), card


def read_weights(path: Path) -> dict[str, Any]:
    """Return the tensors of a .safetensors file or of a torch file with a state dict (loaded without running code).

    Names of torchvision's DenseNet are turned into MONAI's. Raises InputError where there are none.
    """
    try:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as e:
        raise MissingExtraError("reading weights", "learn") from e
    import pickle
    import struct
    import warnings

    damaged = (OSError, SafetensorError, RuntimeError, ValueError, LookupError, AttributeError, TypeError, EOFError)
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(str(path))
        else:
            with warnings.catch_warnings(action="ignore"):  # torch warns of pickles that it then refuses
                state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state) if isinstance(state, dict) else state
    except (*damaged, pickle.UnpicklingError, struct.error) as e:
        raise InputError(f"{path} holds no weights that can be read safely: give .safetensors or a state dict") from e
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"{path} holds no state dict: save the model's state_dict()")
    return {_TORCHVISION_DENSE.sub(r"\1.layers.\2.", k.removeprefix("module.")): v for k, v in state.items()}


def transfer(network: Any, name: str, weights: Mapping[str, Any], *, groups: int | None = None) -> tuple[str, ...]:
    """Carry weights over in place and return the names of what was carried; the head always starts afresh.

    groups: carry only the first so many groups of layers (weighted transfusion); None carries all of them.
    A first convolution for other channels is adapted: its kernels are averaged over channels and repeated.
    Raises InputError where the weights belong to another network.
    """
    plan = architecture(name)
    prefixes = plan.carried(len(plan.groups) if groups is None else groups)
    own = network.state_dict()
    wanted = [k for k in own if k.startswith(prefixes)] if prefixes else []
    carried = {}
    for key in wanted:
        if key not in weights:
            raise InputError(f"these are weights of another network than {name}: they lack {key}")
        value = weights[key]
        if value.shape != own[key].shape:
            value = _other_channels(value, own[key], key, name)
        carried[key] = value
    network.load_state_dict(carried, strict=False)
    return tuple(carried)


def _other_channels(value: Any, own: Any, key: str, name: str) -> Any:
    if value.ndim != 4 or own.ndim != 4 or value.shape[0] != own.shape[0] or value.shape[2:] != own.shape[2:]:
        raise InputError(f"these are weights of another network than {name}: {key} is {tuple(value.shape)}")
    total = value.sum(dim=1, keepdim=True)
    return (total / own.shape[1]).expand_as(own).contiguous()


def _check_same(own: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    wrong = [k for k in own if k not in given or given[k].shape != own[k].shape] or [k for k in given if k not in own]
    if wrong:
        raise InputError(f"{path} holds the weights of another network: {wrong[0]} does not fit")
