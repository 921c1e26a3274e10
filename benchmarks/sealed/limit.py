"""How near one thread comes to the sum of its stages, each calibrated alone in the same run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from blake3 import blake3

from benchmarks.measure import Timing, time_in_turn
from benchmarks.sealed.material import large
from medveil.crypto.erasure import Erasure
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.crypto.stream import KEY_SIZE, SALT_SIZE, StreamKey
from medveil.schemes.sealed import SealOptions, seal, workers
from medveil.schemes.sealed.body import SupportsWrite
from medveil.schemes.sealed.source import FileSource

_MIB = 1 << 20


class _Sink:
    """Takes bytes and keeps none, as a socket would."""

    def write(self, data: bytes, /) -> int:
        return len(data)


def _stages(path: Path, k: int, n: int) -> dict[str, object]:
    """One call a stage, over the whole file in pieces of a chunk, as `seal` cuts it."""
    data = path.read_bytes()
    pieces = [memoryview(data)[at : at + _MIB] for at in range(0, len(data), _MIB)]
    code = Erasure(k, n)
    sealed = bytes(_MIB + 16)
    fragments = code.encode(sealed)

    def read() -> None:
        with path.open("rb") as handle:
            while handle.read(_MIB):
                pass

    def digests() -> None:
        for piece in pieces:
            blake3(piece).digest(16)

    def cipher() -> None:
        key = StreamKey.derive(SYSTEM.bytes(KEY_SIZE), b"limit", SYSTEM.bytes(SALT_SIZE))
        for number, piece in enumerate(pieces):
            key.seal_chunk(number, piece)

    def erasure() -> None:
        for _ in pieces:
            code.encode(sealed)

    def leaves() -> None:
        for _ in pieces:
            for fragment in fragments:
                blake3(fragment).digest()

    return {"read": read, "digest": digests, "AES-256-GCM": cipher, "Reed-Solomon": erasure, "BLAKE3 of shares": leaves}


TIMES = {"read": 2, "digest": 2}
"""The file is read and hashed twice: once to know its length in coded form, once to send it unchanged."""


def protect_one_large(size: int = 256 * _MIB, runs: int = 5) -> str:
    """Return a table of the stages, their sum and the whole, for 2 of 3 and 2 of 4."""
    owner = OwnerKey.generate()
    lines = ["| threshold | " + " | ".join(_stages_names()) + " | sum | whole | share of the limit |", "|---" * 9 + "|"]
    threads, workers.THREADS = workers.THREADS, 1  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = large(size, Path(folder) / "large.bin")
            for k, n in ((2, 3), (2, 4)):
                sinks: list[SupportsWrite] = [_Sink() for _ in range(n)]
                options = SealOptions((k, n), codec="none")
                calls = _stages(path, k, n)
                calls["whole"] = lambda s=sinks, o=options: seal(FileSource(path), s, owner=owner, options=o)
                taken: dict[str, Timing] = time_in_turn(calls, runs=runs)  # type: ignore[arg-type]
                stages = [taken[name].median * TIMES.get(name, 1) for name in _stages_names()]
                whole, total = taken["whole"].median, sum(stages)
                cells = [f"{size / s / 1e6:,.0f}" for s in (*stages, total, whole)]
                lines.append(f"| {k} of {n} | " + " | ".join(cells) + f" | {total / whole:.0%} |")
    finally:
        workers.THREADS = threads  # type: ignore[misc]
    return "\n".join(lines)


def _stages_names() -> tuple[str, ...]:
    return ("read", "digest", "AES-256-GCM", "Reed-Solomon", "BLAKE3 of shares")
