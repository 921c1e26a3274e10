"""`DeepKey`: the numbers of a trained network, what they were trained for, and what was measured with them.

::

    body = canonical CBOR {v, method, shape, tensors, measured, trained}
    tensors = {name: [dtype, [sizes], little-endian bytes]},  measured = {name: text of a number}

The key id is a tagged hash of the whole body. Weights of the three lossy methods are float16, exactly as they were
when the figures in `measured` were taken; those of the invertible network are int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite, prod
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.errors import FormatError, InputError

Array = npt.NDArray[Any]

VERSION: Final = 1
METHODS: Final = ("backprop", "cyclegan", "invertible", "scramble_aae")
MAX_BODY: Final = 1 << 30
"""Largest body of a key or of a checkpoint, in bytes."""
_DTYPES: Final = ("|i1", "<i4", "<i8", "<f2", "<f4", "<f8")
_FIELDS: Final = {"v": int, "method": str, "shape": dict, "tensors": dict, "measured": dict, "trained": dict}
_SHAPES: Final[dict[str, dict[str, tuple[int, int]]]] = {  # what each method's networks are made of, with its bounds
    "backprop": {"size": (8, 1024), "block": (2, 32), "codes": (1, 1024)},
    "cyclegan": {"size": (16, 1024), "channels": (1, 256), "blocks": (0, 32), "roi_channels": (1, 128)},
    "invertible": {"layers": (2, 64), "hidden": (8, 64)},
    "scramble_aae": {"size": (16, 1024), "channels": (2, 512), "blocks": (0, 32)},
}


@dataclass(frozen=True, eq=False)
class DeepKey:
    """A trained key. Never compared; shown without its numbers.

    method: one of METHODS. shape: what the networks are made of, among it `size`, the side of the pictures that it was
    trained for (the invertible network takes any). tensors: named "encoder.0.weight", "decoder..." and so on.
    measured: figures on held-out pictures. trained: how it came about, for the record.
    insecure_sample: True for the public keys that the package carries; whoever has the package can decrypt with them.
    """

    method: str
    shape: Mapping[str, int]
    tensors: Mapping[str, Array] = field(repr=False)
    measured: Mapping[str, float] = field(default_factory=dict)
    trained: Mapping[str, str | int] = field(default_factory=dict)
    insecure_sample: bool = False

    @property
    def size(self) -> int | None:
        """Side of the pictures that the key was trained for, None where it takes any."""
        return self.shape.get("size")

    @cached_property
    def key_id(self) -> bytes:
        """16-byte tagged hash of the body."""
        return tagged("deep key", self.pack())[:16]

    def part(self, *roles: str) -> DeepKey:
        """Return the same key with the networks of those roles only, for example the decoder."""
        kept = {name: t for name, t in self.tensors.items() if name.partition(".")[0] in roles}
        return replace(self, tensors=kept)

    def pack(self) -> bytes:
        """Return the body."""
        return canonical.encode(
            {
                "v": VERSION,
                "method": self.method,
                "shape": dict(self.shape),
                "tensors": pack_tensors(self.tensors),
                "measured": {name: repr(float(value)) for name, value in self.measured.items()},
                "trained": dict(self.trained),
            }
        )

    @classmethod
    def unpack(cls, body: bytes, *, insecure_sample: bool = False) -> DeepKey:
        """Read a body. Raises FormatError where it is none of a version that this program knows, LimitError."""
        record = canonical.decode(body, limit=MAX_BODY)
        if not isinstance(record, dict) or set(record) != set(_FIELDS) or record["v"] != VERSION:
            raise FormatError("not a deep-learning key of a version that this program reads")
        if not all(isinstance(record[name], kind) for name, kind in _FIELDS.items()):
            raise FormatError("a deep-learning key holds fields of wrong types")
        check_shape(record["method"], record["shape"])
        tensors = unpack_tensors(record["tensors"])
        measured = {str(name): _number(text) for name, text in record["measured"].items()}
        return cls(record["method"], record["shape"], tensors, measured, record["trained"], insecure_sample)


def check_shape(method: str, shape: Mapping[Any, Any]) -> None:
    """Raise FormatError unless `shape` says exactly what networks of `method` are made of, within bounds."""
    bounds = _SHAPES.get(method)
    if bounds is None or set(shape) != set(bounds):
        raise FormatError(f"a deep-learning key of method {method!r} with an unknown shape of its networks")
    for name, (low, high) in bounds.items():
        if not isinstance(shape[name], int) or not low <= shape[name] <= high:
            raise FormatError(f"a deep-learning key asks for {name} beyond {low} to {high}")
    unit = {"backprop": shape.get("block", 1), "cyclegan": 4, "scramble_aae": 4}.get(method, 1)
    if method == "backprop" and shape["codes"] % unit:
        raise FormatError(f"a deep-learning key asks for codes that are no multiple of the block's {unit} columns")
    if shape.get("size", 0) % unit:
        raise FormatError(f"a deep-learning key asks for a picture size that is no multiple of {unit}")


def pack_tensors(tensors: Mapping[str, Array]) -> dict[str, list[Any]]:
    """Return arrays in the form that a canonical record holds."""
    packed = {}
    for name, tensor in tensors.items():
        little = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
        if little.dtype.str not in _DTYPES:
            raise InputError(f"a tensor of {tensor.dtype} has no place in a key")
        packed[name] = [little.dtype.str, list(little.shape), little.tobytes()]
    return packed


def unpack_tensors(packed: Mapping[Any, Any]) -> dict[str, Array]:
    """Read the arrays of a canonical record. Raises FormatError where one is not what it says."""
    found = {}
    for name, entry in packed.items():
        if not (isinstance(name, str) and isinstance(entry, list) and len(entry) == 3 and entry[0] in _DTYPES):
            raise FormatError("a deep-learning key holds a tensor of an unknown form")
        kind, sizes, data = np.dtype(entry[0]), entry[1], entry[2]
        good = isinstance(sizes, list) and len(sizes) <= 8 and all(isinstance(s, int) and s >= 0 for s in sizes)
        if not good or not isinstance(data, bytes) or prod(sizes) * kind.itemsize != len(data):
            raise FormatError("a deep-learning key holds a tensor of another size than it says")
        array = np.frombuffer(data, kind).reshape(sizes)
        if kind.kind == "f" and not np.isfinite(array).all():
            raise FormatError("a deep-learning key holds numbers that are not finite: it was never usable")
        found[name] = array
    return found


def _number(text: object) -> float:
    try:
        value = float(text) if isinstance(text, str) else float("nan")
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise FormatError("a deep-learning key holds a figure that is no number")
    return value
