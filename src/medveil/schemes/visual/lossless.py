"""The lossless layer: the original file in the same share set, by Shamir's scheme over GF(2^8).

A halftone cannot give the original back, so each share also carries a share of salt | content, as long as the file::

    content = length of head (4 bytes) | head (deterministic CBOR) | the file's bytes, or the pixels as they lie

The statement of every share holds the salted commitment of the content: what k layers give is checked against it, and
nobody who has fewer can confirm a guess. A diagnosis is made on this layer, never on the halftone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, islice
from typing import Any, Final

import numpy as np

from medveil.attestation.statement import SALT_SIZE, Statement, check_commitment, commit
from medveil.crypto import canonical, shamir
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import FormatError, LimitError, TamperedError
from medveil.imaging import reader
from medveil.imaging.image import MedicalImage, Photometric

LABEL: Final = "original"
"""Label of the commitment in a statement."""
MAX_CONTENT: Final = 1 << 28
"""Largest file, in bytes."""

_MAX_HEAD: Final = 4096
_TRIES: Final = 64
_FIELDS: Final = {"v", "name", "pixels"}


def deal(image: MedicalImage, k: int, n: int, rng: Randomness = SYSTEM) -> tuple[tuple[bytes, ...], bytes]:
    """Return n layers and the commitment of their content. Raises LimitError past 256 MiB."""
    data = image.original if image.original is not None else np.ascontiguousarray(image.pixels).tobytes()
    if len(data) > MAX_CONTENT:
        raise LimitError(f"a file of {len(data)} bytes is larger than the {MAX_CONTENT} that shares carry")
    head: dict[str, Any] = {"v": 1, "name": image.name[:255], "pixels": None}
    if image.original is None:
        shape, kind = list(image.pixels.shape), image.pixels.dtype.str
        head["pixels"] = [shape, kind, image.bits_stored, image.photometric.value]
    raw = canonical.encode(head)
    content = len(raw).to_bytes(4, "big") + raw + data
    commitment, salt = commit(LABEL, content, rng)
    return shamir.split(salt + content, k, n, rng), commitment


def join(layers: Mapping[int, bytes], statement: Statement) -> tuple[MedicalImage, frozenset[int]]:
    """Return the original from layers of verified shares by index, and the indices whose layer was changed.

    With more layers than the threshold, other choices are tried where one layer was changed.
    Raises TamperedError where no choice opens the statement's commitment, FormatError for a content of another form.
    """
    k = statement.threshold
    whole = {index: layer for index, layer in layers.items() if len(layer) > SALT_SIZE}
    for chosen in islice(combinations(sorted(whole), k), _TRIES):
        try:
            opened = shamir.combine({index: layers[index] for index in chosen})
            check_commitment(statement, LABEL, opened[SALT_SIZE:], opened[:SALT_SIZE])
        except TamperedError:
            continue
        good = set(chosen)
        changed = {i for i in layers if i not in good and not _agrees(layers, chosen, i, opened)}
        return _read(opened[SALT_SIZE:]), frozenset(changed)
    raise TamperedError("the shares' lossless layers do not give what was dealt: at least one was changed or cut")


def _agrees(layers: Mapping[int, bytes], chosen: tuple[int, ...], index: int, opened: bytes) -> bool:
    """Whether the layer at `index` lies on the polynomial of the chosen ones."""
    others = {i: layers[i] for i in chosen[1:]} | {index: layers[index]}
    try:
        return shamir.combine(others) == opened
    except TamperedError:
        return False


def _read(content: bytes) -> MedicalImage:
    length = int.from_bytes(content[:4], "big")
    if length > _MAX_HEAD or 4 + length > len(content):
        raise FormatError("the lossless layer holds no head of an allowed size: it was made by another program")
    head = canonical.decode(content[4 : 4 + length], limit=_MAX_HEAD)
    if not isinstance(head, dict) or set(head) != _FIELDS or head["v"] != 1 or not isinstance(head["name"], str):
        raise FormatError("the lossless layer's head is of an unknown form or version")
    data = content[4 + length :]
    if head["pixels"] is None:
        return reader.read(data, name=head["name"])
    return _pixels(head["pixels"], data, head["name"])


def _pixels(form: Any, data: bytes, name: str) -> MedicalImage:
    try:
        shape, kind, bits, photometric = form
        pixels = np.frombuffer(data, np.dtype(kind)).reshape(shape)
        return MedicalImage(pixels.copy(), bits, Photometric(photometric), name=name)
    except (TypeError, ValueError):
        raise FormatError(
            "the lossless layer's pixels are of an unknown form: it was made by another program"
        ) from None
