"""The integer coupling network of `deep-invertible`: every byte comes back, on any machine, batch size and precision.

A plane of bytes is laid out as 16 channels of 4 x 4 blocks (pixel unshuffle) and passes 12 layers::

    a, b = channels 0-7, 8-15          b = (b + f(a)) mod 256          channels = b, a

f is three 3 x 3 convolutions 8-32-32-8 with weights round(64 w) in [-127, 127] and zero padding; hidden values are
clip(floor(sum / 2^s), 0, 255), the last sum is divided by 64. In layer i the middle convolution is dilated by
2^(i mod 6) and the last by 2^((i + 3) mod 6), so that each pixel reaches every other one of 512 x 512.

A float coupling flow adds what it computes to what it hides, so a last bit that depends on the batch size becomes
another picture. Here each sum is an integer of at most 288 x 255 x 127 + 2^15 < 2^24: int32, float32 and float64 hold
it and every partial sum exactly, whatever the order of addition, so all of them give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, InputError, UsageError
from medveil.schemes.deep.key import DeepKey

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Precision = Literal["int32", "float32", "float64", "torch"]

UNIT: Final = 4
"""Sides of a plane are multiples of this."""
SHAPE: Final[Mapping[str, int]] = {"layers": 12, "hidden": 32}
_HALF: Final = UNIT * UNIT // 2
_CENTRE: Final = 128
_SHIFTS: Final = (9, 10, 6)
_BIAS: Final = 1 << 15
_STRIP: Final = 1 << 11  # positions that are multiplied at once


def draw_key(rng: Randomness = SYSTEM, *, shape: Mapping[str, int] = SHAPE) -> DeepKey:
    """Return a key whose every weight is drawn uniformly from -127 to 127, every bias from -2^15 to 2^15 - 1."""
    tensors: dict[str, Array] = {}
    for layer in range(shape["layers"]):
        for place, (outputs, inputs) in enumerate(_sizes(shape["hidden"])):
            tensors[f"flow.{layer}.{place}.weight"] = _draw(rng, outputs * inputs * 9).reshape(outputs, inputs, 3, 3)
            words = np.frombuffer(rng.bytes(2 * outputs), "<u2").astype("<i4") - _BIAS
            tensors[f"flow.{layer}.{place}.bias"] = words
    return DeepKey("invertible", dict(shape), tensors)


class IntegerFlow:
    """The network of a key. `encrypt` and `decrypt` are exact inverses on (N, rows, columns) uint8, sides by 4.

    precision: what sums are computed in, "float32" (the fastest, by BLAS), "float64", "int32" or "torch" (float64 on
    `device`); all give the same bytes. Raises FormatError for a key that is not of this network, UsageError for a
    device that is not there.
    """

    def __init__(self, key: DeepKey, *, precision: Precision = "float32", device: str = "cpu") -> None:
        if key.method != "invertible":
            raise FormatError(f"a key of method {key.method} where one of method invertible is needed")
        if precision not in ("int32", "float32", "float64", "torch"):
            raise UsageError(f"there is no precision {precision!r}: choose int32, float32, float64 or torch")
        self._layers = [_layer(key, index) for index in range(key.shape["layers"])]
        self._precision = precision
        self._device = device
        if precision == "torch":
            _check_device(device)

    def encrypt(self, planes: Bytes) -> Bytes:
        """Return the ciphertext of planes (N, rows, columns) uint8, same shape. Raises InputError for other shapes."""
        return self._run(planes, inverse=False)

    def decrypt(self, planes: Bytes) -> Bytes:
        """Return the planes of a ciphertext; the exact inverse of `encrypt`."""
        return self._run(planes, inverse=True)

    def _run(self, planes: Bytes, *, inverse: bool) -> Bytes:
        if planes.dtype != np.uint8 or planes.ndim != 3 or planes.shape[1] % UNIT or planes.shape[2] % UNIT:
            raise InputError(
                f"planes of shape {planes.shape}, {planes.dtype}: give (N, rows, columns) uint8, sides by 4"
            )
        out = np.empty_like(planes)
        for index, plane in enumerate(planes):
            channels = _unshuffled(plane)
            a, b = channels[:_HALF], channels[_HALF:]
            if inverse:
                for number in reversed(range(len(self._layers))):
                    a, b = b, (a - self._f(b, number)).astype(np.uint8)
            else:
                for number in range(len(self._layers)):
                    a, b = (b + self._f(a, number)).astype(np.uint8), a
            out[index] = _shuffled(np.concatenate([a, b]))
        return out

    def _f(self, a: Bytes, number: int) -> Bytes:
        """Return f(a) mod 256; uint8 arithmetic of the caller wraps, which is the mod 256 of the layer."""
        if self._precision == "torch":
            return _f_torch(a, self._layers[number], _dilations(number), self._device)
        kind = np.dtype(self._precision)
        values: Array = a.astype(kind) - kind.type(_CENTRE)
        for place, (weight, bias) in enumerate(self._layers[number]):
            total = _convolve(values, weight.astype(kind), bias.astype(kind), _dilations(number)[place])
            values = _divided(total, _SHIFTS[place])
            if place < 2:
                values = values.clip(0, 255)
        return np.asarray(values.astype(np.int64) & 255, np.uint8)


def _sizes(hidden: int) -> tuple[tuple[int, int], ...]:
    return (hidden, _HALF), (hidden, hidden), (_HALF, hidden)


def _dilations(number: int) -> tuple[int, int, int]:
    return 1, 1 << number % 6, 1 << (number + 3) % 6


def _layer(key: DeepKey, index: int) -> tuple[tuple[Array, Array], ...]:
    """Return the three (weight, bias) of a layer, checked against the bounds that exactness rests on."""
    found = []
    for place, (outputs, inputs) in enumerate(_sizes(key.shape["hidden"])):
        weight = key.tensors.get(f"flow.{index}.{place}.weight")
        bias = key.tensors.get(f"flow.{index}.{place}.bias")
        if weight is None or bias is None or weight.dtype != np.int8 or bias.dtype.kind != "i":
            raise FormatError("a key of the invertible network lacks a layer or holds one of another type")
        if weight.shape != (outputs, inputs, 3, 3) or bias.shape != (outputs,):
            raise FormatError("a key of the invertible network holds a layer of another size")
        if weight.min() < -127 or np.abs(bias.astype(np.int64)).max() > _BIAS:
            raise FormatError("a key of the invertible network holds weights beyond their bounds: sums were not exact")
        found.append((weight, bias))
    return tuple(found)


def _draw(rng: Randomness, count: int) -> npt.NDArray[np.int8]:
    """Return `count` numbers of -127 to 127, uniform: bytes of 128 are drawn again."""
    kept = np.empty(0, np.int8)
    while len(kept) < count:
        fresh = np.frombuffer(rng.bytes(count - len(kept) + 16), np.int8)
        kept = np.concatenate([kept, fresh[fresh != -128]])
    return kept[:count]


def _unshuffled(plane: Bytes) -> Bytes:
    rows, columns = plane.shape[0] // UNIT, plane.shape[1] // UNIT
    return plane.reshape(rows, UNIT, columns, UNIT).transpose(1, 3, 0, 2).reshape(UNIT * UNIT, rows, columns)


def _shuffled(channels: Bytes) -> Bytes:
    _, rows, columns = channels.shape
    blocks = channels.reshape(UNIT, UNIT, rows, columns).transpose(2, 0, 3, 1)
    return blocks.reshape(rows * UNIT, columns * UNIT)


def _convolve(values: Array, weight: Array, bias: Array, dilation: int) -> Array:
    """Return a 3 x 3 convolution with zero padding, as products of matrices over strips of rows."""
    channels, rows, columns = values.shape
    outputs = weight.shape[0]
    flat = np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(outputs, -1)  # (outputs, 9 * channels)
    padded = np.pad(values, ((0, 0), (dilation, dilation), (dilation, dilation)))
    out = np.empty((outputs, rows, columns), values.dtype)
    step = max(1, _STRIP // columns)
    for top in range(0, rows, step):
        tall = min(step, rows - top)
        taps = [
            padded[:, top + i * dilation : top + i * dilation + tall, j * dilation : j * dilation + columns]
            for i in range(3)
            for j in range(3)
        ]
        stacked = np.concatenate(taps).reshape(9 * channels, tall * columns)
        out[:, top : top + tall] = (flat @ stacked + bias[:, None]).reshape(outputs, tall, columns)
    return out


def _divided(total: Array, shift: int) -> Array:
    """Return floor(total / 2^shift), exact in every type: a power of two only moves the exponent."""
    if total.dtype.kind == "i":
        return total >> shift
    return np.asarray(np.floor(total * total.dtype.type(2.0**-shift)))


def _check_device(device: str) -> None:
    from medveil.schemes.deep.extra import need_torch

    torch = need_torch()
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise UsageError(f"there is no device {device!r} here: choose cpu, or cuda where there is one")


def _f_torch(a: Bytes, layer: tuple[tuple[Array, Array], ...], dilations: tuple[int, int, int], device: str) -> Bytes:
    """Return f(a) mod 256 by torch's convolutions in float64; rounding undoes what a fast algorithm may add."""
    import torch
    from torch.nn import functional as F

    values = torch.from_numpy(a.astype(np.float64) - _CENTRE)[None].to(device)
    for place, ((weight, bias), reach) in enumerate(zip(layer, dilations, strict=True)):
        w, b = (torch.from_numpy(t.astype(np.float64)).to(device) for t in (weight, bias))
        total = F.conv2d(values, w, b, padding=reach, dilation=reach).round()
        values = torch.floor(total / (1 << _SHIFTS[place]))
        if place < 2:
            values = values.clamp(0, 255)
    return np.asarray((values[0].to(torch.int64) & 255).to(torch.uint8).cpu().numpy())
