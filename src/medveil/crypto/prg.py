"""Where random bytes come from: the operating system, or a seed where an experiment must repeat.

`SYSTEM` is what everything uses by default. `insecure_seeded` gives the same bytes for the same seed, which makes
an experiment repeatable and a secret worthless; it works only inside `allow_insecure_randomness`, so it cannot
slip into real use.
"""

from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, Protocol

from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medveil.crypto.hashing import tagged
from medveil.errors import InputError, RandomnessError

_MAX_REQUEST: Final = 1 << 31


class Randomness(Protocol):
    """A source of random bytes."""

    def bytes(self, n: int, /) -> builtins.bytes:
        """Return `n` random bytes."""
        ...


class SystemRandomness:
    """The operating system's generator, with a check for a source that has failed.

    The kernel reseeds across fork and virtual-machine clones, and nothing is buffered here, so a forked child
    never repeats its parent. `source` is `os.urandom`; tests hand in broken ones.
    """

    __slots__ = ("_last", "_lock", "_source")

    def __init__(self, source: Callable[[int], builtins.bytes] = os.urandom) -> None:
        self._source = source
        self._last = b""
        self._lock = threading.Lock()

    def bytes(self, n: int, /) -> builtins.bytes:
        """Return `n` random bytes.

        Raises RandomnessError where the source fails, returns too little, or, at 16 bytes and more, returns one
        byte over and over or starts as it did the last time; by chance that happens once in 2^120 calls.
        """
        if not 0 <= n <= _MAX_REQUEST:
            raise InputError(f"{n} random bytes cannot be drawn at once")
        try:
            drawn = self._source(n)
        except OSError as error:
            raise RandomnessError(f"the system gives no random bytes ({error.strerror}): nothing was done") from None
        if len(drawn) != n:
            raise RandomnessError(f"the system gave {len(drawn)} random bytes instead of {n}: nothing was done")
        if n >= 16:
            self._check(drawn)
        return drawn

    def _check(self, drawn: builtins.bytes) -> None:
        start = tagged("randomness check", drawn[:16])  # only a hash stays in memory
        with self._lock:
            repeated = constant_time.bytes_eq(start, self._last)
            self._last = start
        if repeated or drawn[:16] == drawn[:1] * 16:
            raise RandomnessError("the system's random bytes repeat: its generator has failed, nothing was done")

    def __repr__(self) -> str:
        return "SystemRandomness()"


SYSTEM: Final = SystemRandomness()
"""The operating system's generator, for everything that is not an experiment."""


class _Permission:
    """Whether the `with` block that allowed insecure randomness is still open."""

    __slots__ = ("active",)

    def __init__(self) -> None:
        self.active = True


_PERMISSION: ContextVar[_Permission | None] = ContextVar("insecure_randomness", default=None)


@contextmanager
def allow_insecure_randomness(reason: Literal["experiment", "test"]) -> Iterator[None]:
    """Allow `insecure_seeded` inside the block; its generators stop working when the block ends.

    Raises RandomnessError for any other reason than "experiment" or "test".
    """
    if reason not in ("experiment", "test"):
        raise RandomnessError("seeded randomness is only for an experiment or a test: real secrets never use it")
    permission = _Permission()
    token = _PERMISSION.set(permission)
    try:
        yield
    finally:
        permission.active = False
        _PERMISSION.reset(token)


class SeededRandomness:
    """AES-256-CTR under a key derived from seed and purpose; made by `insecure_seeded` only.

    Threads may share one (each byte is handed out once, in the order of the calls).
    """

    __slots__ = ("_lock", "_permission", "_pid", "_stream")

    def __init__(self, key: builtins.bytes, permission: _Permission) -> None:
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
        self._permission = permission
        self._pid = os.getpid()
        self._lock = threading.Lock()

    def bytes(self, n: int, /) -> builtins.bytes:
        """Return the next `n` bytes of the stream.

        Raises RandomnessError after the block that allowed it has ended, and in a forked child, which would
        repeat its parent's bytes.
        """
        if not self._permission.active:
            raise RandomnessError("the block that allowed seeded randomness has ended: open another for an experiment")
        if os.getpid() != self._pid:
            raise RandomnessError("a forked process would repeat its parent's bytes: seed a generator in the child")
        if not 0 <= n <= _MAX_REQUEST:
            raise InputError(f"{n} random bytes cannot be drawn at once")
        with self._lock:
            return self._stream.update(builtins.bytes(n))

    def __repr__(self) -> str:
        return "SeededRandomness(<insecure>)"


def insecure_seeded(seed: int | builtins.bytes, purpose: str) -> SeededRandomness:
    """Return a generator that gives the same bytes for the same seed and purpose.

    seed: an integer of at most 64 bits, or bytes. purpose: names the use, so that two uses of one seed differ.
    Raises RandomnessError outside `allow_insecure_randomness`.
    """
    permission = _PERMISSION.get()
    if permission is None or not permission.active:
        raise RandomnessError(
            "seeded randomness is refused here: it is for experiments and tests, inside allow_insecure_randomness"
        )
    if isinstance(seed, int) and not -(1 << 63) <= seed < 1 << 64:
        raise InputError("an integer seed has at most 64 bits: give longer seeds as bytes")
    raw = f"int {seed}".encode() if isinstance(seed, int) else b"raw " + seed
    return SeededRandomness(tagged("insecure seeded randomness", raw, purpose.encode()), permission)
