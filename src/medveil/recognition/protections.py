"""A dataset as a cloud or a receiver would have it: encrypted by a learnable scheme, or shared and restored.

For experiments: `encrypt_images` encrypts what is in memory; `through_shares` deals visual shares of every picture
and restores it from them. Real outsourcing goes through `medveil learnable encrypt` and `medveil visual restore`,
whose folders `datasets.load` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError, UsageError
from medveil.recognition.datasets import Dataset, one_per_block
from medveil.schemes import registry

_BATCH = 64


def encrypt_images(
    dataset: Dataset,
    scheme: str,
    options: Mapping[str, Any] | None = None,
    *,
    key: bytes | None = None,
    per_block: bool = False,
) -> Dataset:
    """Return the dataset encrypted picture by picture by a learnable scheme.

    options: the scheme's own. key: 32 bytes, the system's random ones by default. per_block: keep one pixel of each
    of the scheme's blocks, which loses nothing where a scheme fills blocks with one value.

    Raises UsageError for a scheme that is not learnable or an unknown option, and what the scheme raises.
    """
    made: Any = registry.load(scheme)
    if not made.claim.learnable or not hasattr(made, "encrypt"):
        raise UsageError(f"networks cannot learn from {scheme}: choose a learnable scheme")
    given = dict(options or {})
    try:
        instance = made(**given, key=key or SYSTEM.bytes(32))
    except TypeError as e:
        raise UsageError(f"{scheme} does not take these options: {', '.join(given) or 'none'}") from e
    block = int(getattr(instance, "block", 1)) if per_block else 1
    pieces = []
    for start in range(0, len(dataset), _BATCH):
        pictures = instance.encrypt(dataset.images[start : start + _BATCH])
        pictures = pictures if pictures.ndim == 4 else pictures[..., None]
        pieces.append(one_per_block(pictures, block) if block > 1 else pictures)
    made_by = {"scheme": scheme, "options": given, **({"per_block": block} if block > 1 else {})}
    encrypted = dataset.with_images(np.concatenate(pieces), f"encrypted by {scheme} {_options(given)}".rstrip())
    return replace(encrypted, facts={**dataset.facts, **made_by})


def through_shares(
    dataset: Dataset, recovery: str = "descreen", *, sigma: float = 1.5, rng: Randomness = SYSTEM
) -> Dataset:
    """Return the dataset with each picture dealt to two visual shares and restored from both (paper 000).

    recovery: stack (AND, the paper's), xor (the halftone, exactly) or descreen (the halftone, low-passed by sigma).
    Raises InputError for another recovery.
    """
    from medveil.schemes.visual import halftone, sharing
    from medveil.schemes.visual import recovery as recoveries

    recoveries.check_method(recovery, 2, 2)
    if not 0 < sigma <= recoveries.MAX_SIGMA:
        raise InputError(f"a low-pass of sigma {sigma}: give pixels above 0 and up to {recoveries.MAX_SIGMA}")
    restored = np.empty_like(dataset.images)
    for i, picture in enumerate(dataset.images):
        bits = halftone.halftone(picture)
        dealt = sharing.share(bits, 2, 2, rng)
        both = [sharing.unpack(plane, bits.shape) for plane in dealt]
        restored[i] = recoveries.recover(both, 2, 2, recovery, sigma)
    return dataset.with_images(restored, f"restored from two visual shares by {recovery}")


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(options.items()))
