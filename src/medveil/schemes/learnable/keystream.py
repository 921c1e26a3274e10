"""Secret choices from a key: AES-256-CTR streams, unbiased bytes, permutations, and the key of one image."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medveil.crypto.hashing import keyed
from medveil.errors import InputError

KEY_SIZE: Final = 32
_CTR: Final = modes.CTR(bytes(16))
_ZEROS: Final = bytes(1 << 20)


def image_key(key: bytes, pixels: npt.NDArray[Any]) -> bytes:
    """Return the key of one image: a keyed hash of its samples, so equal images get equal keys and no others do.

    The same image therefore never appears under fresh randomness of the same data set key, however often it is
    encrypted; fresh randomness is what the multi-encryption attack lives on.
    Raises InputError where `key` is not 32 bytes.
    """
    check_key(key)
    form = f"{pixels.dtype.str} {pixels.shape}".encode()
    return keyed(key, b"learnable image key", form, np.ascontiguousarray(pixels).data)


def check_key(key: bytes) -> None:
    """Refuse a key that is not 32 bytes. Raises InputError."""
    if not isinstance(key, bytes) or len(key) != KEY_SIZE:
        raise InputError(f"a data set key has {KEY_SIZE} bytes: draw one with the operating system's generator")


class Stream:
    """An endless stream of pseudorandom choices; the same key and purpose give the same choices."""

    __slots__ = ("_stream",)

    def __init__(self, key: bytes, purpose: str) -> None:
        check_key(key)
        own = keyed(key, b"learnable stream", purpose.encode())
        self._stream = Cipher(algorithms.AES256(own), _CTR).encryptor()

    def bytes(self, n: int) -> npt.NDArray[np.uint8]:
        """Return the next n bytes, uint8 (n,)."""
        if n <= len(_ZEROS):
            return np.frombuffer(self._stream.update(memoryview(_ZEROS)[:n]), np.uint8)
        out = bytearray(n + 15)
        for done in range(0, n, len(_ZEROS)):
            step = min(len(_ZEROS), n - done)
            self._stream.update_into(memoryview(_ZEROS)[:step], memoryview(out)[done : done + step + 15])
        return np.frombuffer(out, np.uint8, n)

    def bits(self, n: int) -> npt.NDArray[np.bool_]:
        """Return n fair coins, bool (n,)."""
        return np.unpackbits(self.bytes((n + 7) // 8), count=n).astype(np.bool_)

    def below(self, bound: int, n: int) -> npt.NDArray[np.uint8]:
        """Return n uniform integers 0..bound-1, uint8 (n,); bytes beyond a multiple of `bound` are drawn again.

        Raises InputError for bounds outside 1..256.
        """
        if not 1 <= bound <= 256:
            raise InputError(f"choices of 1 to 256, not {bound}")
        limit = 256 - 256 % bound
        pieces: list[npt.NDArray[np.uint8]] = []
        missing = n
        while missing > 0:
            drawn = self.bytes(missing + missing // 8 + 16)
            kept = (drawn if limit == 256 else drawn[drawn < limit])[:missing]
            pieces.append(kept % np.uint8(bound) if bound < 256 else kept)
            missing -= len(kept)
        return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.empty(0, np.uint8)])

    def permutation(self, n: int, rows: int = 1) -> npt.NDArray[np.int64]:
        """Return `rows` permutations of 0..n-1, int64 (rows, n), by sorting random 64-bit numbers.

        Two of them are equal with probability below n^2 / 2^65, so the bias is nil for any picture.
        """
        numbers = self.bytes(8 * n * rows).view("<u8").reshape(rows, n)
        return np.argsort(numbers, axis=1, kind="stable")
