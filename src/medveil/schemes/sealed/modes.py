"""Modes A to D: where the key lies, and how ciphertext becomes fragments.

A keyed: envelopes hold the data key (DEK). B two-factor: envelopes hold a, the parts hold Shamir shares of b, and
DEK = a xor b; deleting n - k + 1 parts destroys the key. C keyless: the parts hold Shamir shares of the DEK; any k
holders can read ("break glass"). D perfect: as A, but each chunk's ciphertext is shared by XOR (k = n) or Shamir
instead of Reed-Solomon, so that k - 1 parts say nothing even to someone who breaks every cipher.

Any missing share can be made again from k others without a key: Lagrange interpolation at its own place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Final, Protocol

from medveil.crypto import shamir
from medveil.crypto.erasure import Erasure, erasure
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.stream import KEY_SIZE, StreamKey
from medveil.errors import InputError, UnrecoverableError, WrongKeyError
from medveil.schemes.sealed.format import EXTRA_SIZE, Core, Mode

MAX_COMBINATIONS: Final = 4096
"""Most ways to choose k shares that are tried where none can be told apart beforehand."""

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A fresh data key and what goes where: `sealed` into envelopes (empty in mode C), `extras` into shares."""

    dek: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    extras: tuple[bytes, ...] = field(repr=False)


def plan_keys(mode: Mode, k: int, n: int, rng: Randomness = SYSTEM, *, key: bytes | None = None) -> KeyPlan:
    """Draw a data key and split it as the mode says.

    key: what envelopes would hold (32 bytes, for this object and version only), where the caller derives it; in mode C
    there is no envelope. Raises InputError for another length.
    """
    if key is not None and len(key) != KEY_SIZE:
        raise InputError(f"a data key has {len(key)} bytes where {KEY_SIZE} belong")
    dek = rng.bytes(KEY_SIZE) if key is None or mode not in (Mode.KEYED, Mode.PERFECT) else key
    if mode is Mode.KEYED:
        return KeyPlan(dek, dek, (b"",) * n)
    if mode is Mode.PERFECT:
        return KeyPlan(dek, dek, shamir.split(rng.bytes(EXTRA_SIZE[mode]), k, n, rng))
    if mode is Mode.KEYLESS:
        return KeyPlan(dek, b"", shamir.split(dek, k, n, rng))
    sealed = rng.bytes(KEY_SIZE) if key is None else key
    return KeyPlan(dek, sealed, shamir.split(_xor(dek, sealed), k, n, rng))


def recover_key(
    core: Core, core_bytes: bytes, commitment: bytes, sealed: bytes, extras: Mapping[int, bytes]
) -> tuple[bytes, StreamKey]:
    """Return the data key and the stream key that the manifest commits to.

    sealed: what an envelope held. extras: the extra field of each share that is there, by 1-based index, verified
    ones first. Raises WrongKeyError where nothing fits, UnrecoverableError for fewer than k extras where the mode
    needs them.
    """
    wrong = WrongKeyError("the key does not open this object: it belongs to another object, version or owner")
    if core.mode in (Mode.KEYED, Mode.PERFECT):
        candidates: Iterator[bytes] = iter([sealed])
    else:
        if len(extras) < core.k:
            raise UnrecoverableError(
                f"{len(extras)} parts are there and {core.k} are needed to bring back the key: find more parts"
            )
        candidates = _combined(core, sealed, extras)
    for dek in candidates:
        if len(dek) != KEY_SIZE:
            continue
        key = StreamKey.derive(dek, core_bytes, core.salt)
        try:
            key.check_commitment(commitment)
        except WrongKeyError:
            continue
        return dek, key
    raise wrong


def _combined(core: Core, sealed: bytes, extras: Mapping[int, bytes]) -> Iterator[bytes]:
    usable = [index for index, extra in extras.items() if len(extra) == KEY_SIZE]
    for chosen in islice(combinations(usable, core.k), MAX_COMBINATIONS):
        half = shamir.combine({index: extras[index] for index in chosen})
        if core.mode is Mode.KEYLESS:
            yield half
        elif len(sealed) == KEY_SIZE:
            yield _xor(half, sealed)


def rebuild_extra(core: Core, extras: Mapping[int, bytes], wanted: int) -> bytes:
    """Return the extra field of share `wanted` from k others (all must be right). Raises UnrecoverableError."""
    if EXTRA_SIZE[core.mode] == 0:
        return b""
    return _interpolate(dict(islice(extras.items(), core.k)), wanted, core.k)


class Disperser(Protocol):
    """Turns a sealed chunk into n fragments and back; fragments are numbered from 1 like shares."""

    def split(self, sealed: Buffer) -> tuple[bytes, ...]:
        """Return the n fragments."""
        ...

    def join(self, fragments: Mapping[int, Buffer], length: int) -> bytes:
        """Return the sealed chunk of `length` bytes from k fragments. Raises UnrecoverableError for fewer."""
        ...

    def others(self, fragments: Mapping[int, Buffer], length: int, wanted: frozenset[int]) -> dict[int, bytes]:
        """Return the fragments `wanted` from any k. Raises UnrecoverableError for fewer."""
        ...


def disperser(core: Core, rng: Randomness = SYSTEM) -> Disperser:
    """Return the way of this object's mode."""
    return _Perfect(core.k, core.n, rng) if core.mode is Mode.PERFECT else _ReedSolomon(core.k, core.n)


class _ReedSolomon:
    """Modes A to C: systematic Reed-Solomon of the ciphertext."""

    __slots__ = ("_code",)

    def __init__(self, k: int, n: int) -> None:
        self._code: Erasure = erasure(k, n)

    def split(self, sealed: Buffer) -> tuple[bytes, ...]:
        return self._code.encode(sealed)

    def join(self, fragments: Mapping[int, Buffer], length: int) -> bytes:
        return self._code.decode({index - 1: data for index, data in fragments.items()}, length)

    def others(self, fragments: Mapping[int, Buffer], length: int, wanted: frozenset[int]) -> dict[int, bytes]:
        pieces = self._code.encode(self.join(fragments, length))
        return {index: pieces[index - 1] for index in wanted}


class _Perfect:
    """Mode D: XOR where all are needed, else Shamir."""

    __slots__ = ("_k", "_n", "_rng")

    def __init__(self, k: int, n: int, rng: Randomness) -> None:
        self._k, self._n, self._rng = k, n, rng

    def split(self, sealed: Buffer) -> tuple[bytes, ...]:
        if self._k == self._n:
            return shamir.split_xor(bytes(sealed), self._n, self._rng)
        return shamir.split(bytes(sealed), self._k, self._n, self._rng)

    def join(self, fragments: Mapping[int, Buffer], length: int) -> bytes:
        del length
        chosen = {index: bytes(data) for index, data in islice(fragments.items(), self._k)}
        if len(chosen) < self._k:
            raise UnrecoverableError(f"{len(chosen)} fragments are there and {self._k} are needed: find more parts")
        if self._k == self._n:
            return shamir.combine_xor(list(chosen.values()))
        return shamir.combine(chosen)

    def others(self, fragments: Mapping[int, Buffer], length: int, wanted: frozenset[int]) -> dict[int, bytes]:
        del length
        chosen = {index: bytes(data) for index, data in islice(fragments.items(), self._k)}
        if self._k == self._n:
            if len(chosen) < self._k:
                raise UnrecoverableError("every share is needed and one is lost: it cannot be made again")
            return {index: chosen[index] for index in wanted}
        return {index: _interpolate(chosen, index, self._k) for index in wanted}


def _interpolate(shares: Mapping[int, bytes], wanted: int, k: int) -> bytes:
    """Return the Shamir share at x = wanted: with x shifted by it, that is the secret at 0."""
    if wanted in shares:
        return shares[wanted]
    if len(shares) < k:
        raise UnrecoverableError(f"{len(shares)} shares are there and {k} are needed: find more parts")
    return shamir.combine({index ^ wanted: share for index, share in shares.items()})


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
