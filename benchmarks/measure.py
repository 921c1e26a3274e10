"""Honest timing: several runs after a warm-up, the median quoted, peers taken in turn with ours."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds of several runs."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g}"


def time_call(call: Callable[[], object], *, runs: int = 7, warmup: int = 1) -> Timing:
    """Time a call in this process."""
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return Timing(tuple(seconds))


def time_in_turn(
    calls: dict[str, Callable[[], object]],
    *,
    runs: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time several calls A B C A B C ..., so that a drift of the machine touches all of them alike.

    clock: `time.process_time` counts this process's own work, whatever else runs on the machine.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(runs + warmup):
        for name, call in calls.items():
            start = clock()
            call()
            if turn >= warmup:
                taken[name].append(clock() - start)
    return {name: Timing(tuple(seconds)) for name, seconds in taken.items()}


def run_command(command: Sequence[str], *, env: dict[str, str] | None = None, stdin: bytes | None = None) -> None:
    """Run a peer's program; its failure is an error, its output is read and thrown away."""
    done = subprocess.run(
        list(command), input=stdin, capture_output=True, env={**os.environ, **(env or {})}, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-400:]}")


def peak_memory_of(command: Sequence[str], env: dict[str, str] | None = None) -> int:
    """Return the peak resident set of a child process in bytes, from the operating system's own accounting."""
    pid = os.posix_spawnp(command[0], list(command), {**os.environ, **(env or {})})
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{command[0]} failed with status {status}")
    return int(usage.ru_maxrss) * 1024


def machine() -> str:
    """Describe the machine in one line."""
    model = "unknown processor"
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as handle:
            for line in handle:
                if line.startswith("model name"):
                    model = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit = "" if soft == resource.RLIM_INFINITY else f", address space {soft >> 20} MiB"
    return f"{model}, {os.cpu_count()} cores, {pages >> 30} GiB{limit}"
