"""Common randomness of two parties: AES-128 in counter mode under a key that only they hold.

Both ends draw in program order, so the streams agree without a message. A stream is never rewound and a key is
never used for two sessions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import InputError

KEY_BYTES = 16
_ZEROS = memoryview(bytes(1 << 20))


class Stream:
    """An endless stream of uniform words under one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(f"a pairwise key has {KEY_BYTES} bytes")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def __repr__(self) -> str:
        return "Stream(key hidden)"

    def words(self, shape: int | tuple[int, ...], dtype: Any = np.uint64) -> NDArray[Any]:
        """Return fresh uniform words of a shape."""
        shape = (shape,) if isinstance(shape, int) else shape
        out = np.empty(shape, dtype=dtype)
        target = out.reshape(-1).view(np.uint8)
        view = memoryview(target.data)
        for start in range(0, len(view), len(_ZEROS)):
            part = view[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS[: len(part)], part)
        return out


def new_key(randomness: Randomness = SYSTEM) -> bytes:
    """Return a fresh pairwise key; seeded sources exist only inside `crypto.prg.allow_insecure_randomness`."""
    return randomness.bytes(KEY_BYTES)
