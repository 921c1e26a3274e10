"""`python -m benchmarks.mpc [--spu PYTHON] [--out FILE.json]`: the figures of docs/mpc.md, peers in the same run.

SPU pins numpy < 2, so it lives in a virtual environment of its own; its interpreter is given by --spu.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mpc import processes
from benchmarks.mpc.programs import Figure, Operations, PaperNetwork, Truncations
from medveil.mpc import ring, ring_ifma

WAN = (0.04425, 220e6 / 8)


def gemm_rate() -> dict[str, float]:
    """Return GMAC/s of one core at 1024^3: our kernel, torch's int64, float32 for scale."""
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 2**64, (1024, 1024), dtype=np.uint64) for _ in range(2))
    plan = ring.plan_matmul(1024, 1024, 1024)
    single = np.ones((1024, 1024), np.float32)
    t = torch.from_numpy(single)
    calls = {
        "torch int64": (lambda: ring.matmul(a, b), 1),
        "torch float32": (lambda: t @ t, 1),
    }
    if ring_ifma.available():
        calls["ours (52 bit, IFMA)"] = (lambda: ring.contract_pair(plan, (a, a), (b, b)), 2)
    found = {}
    for name, (call, products) in calls.items():
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        found[name] = round(products * 1024**3 / best / 1e9, 1)
    return found


def conv_rate() -> dict[str, float]:
    """Return GMAC/s of one core on the network's convolutions, which is what the engine reaches of the above."""
    rng = np.random.default_rng(0)
    shapes = [((32, 3, 50, 50), (32, 3, 3, 3)), ((32, 32, 24, 24), (64, 32, 3, 3)), ((32, 64, 11, 11), (128, 64, 3, 3))]
    found = {}
    for x, w in shapes:
        image, weight = (rng.integers(0, 2**64, s, dtype=np.uint64) for s in (x, w))
        plan = ring.plan_conv(x, w, 1)
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            ring.contract_pair(plan, (weight, weight), (image, image), shift=16, dtype=np.uint32)
            best = min(best, time.perf_counter() - start)
        found[f"conv {w[1]}->{w[0]}"] = round(2 * plan.macs / best / 1e9, 1)
    return found


def spu(python: str, job: str, repeats: int) -> dict[str, Any]:
    """Run one job of SPU in its own environment."""
    script = str(Path(__file__).parent / "spu_peer.py")
    done = subprocess.run([python, script, job, str(repeats)], capture_output=True, text=True, timeout=900, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {"job": job, "failed": done.stderr[-300:]}


def merged(parties: list[dict[str, Figure]]) -> dict[str, dict[str, Any]]:
    """Return the slowest party's time and the mean of the bytes a party."""
    found = {}
    for name in parties[0]:
        figures = [p[name] for p in parties]
        found[name] = {
            **asdict(max(figures, key=lambda f: f.seconds)),
            "bytes_a_party": sum(f.bytes_sent for f in figures) // 3,
            "rounds": max(f.rounds for f in figures),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spu", default="", help="interpreter of the environment that has spu")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no WAN training")
    parser.add_argument("--truncations", type=int, default=0, help="also count large errors in so many truncations")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    repeats = 3 if options.quick else 5
    result: dict[str, Any] = {
        "load": os.getloadavg(),
        "cores": os.cpu_count(),
        "gemm": gemm_rate(),
        "conv": conv_rate(),
    }
    if options.truncations:
        counts = processes.run(Truncations(options.truncations), tls=False, timeout=3600)
        result["truncations"] = {"count": options.truncations, "large errors": counts[0]}
    result["ours, TLS 1.3"] = merged(processes.run(PaperNetwork(repeats=repeats)))
    result["ours, plain TCP"] = merged(processes.run(PaperNetwork(repeats=repeats), tls=False))
    result["operations, plain TCP"] = merged(processes.run(Operations(repeats=repeats), tls=False))
    if options.spu:
        jobs = ["predict 1", "predict 32", "training step 32", "10^6 comparisons with choice",
                "10^6 products, truncated", "matmul 1024^3, truncated"]  # fmt: skip
        result["SPU (ABY3), plain TCP"] = {job: spu(options.spu, job, 2) for job in jobs}
    for form in ("low_byte", "low_round"):
        program = PaperNetwork(repeats=2, train=not options.quick)
        result[f"WAN 44.25 ms one way, 220 Mbit/s, simulated, {form}"] = merged(
            processes.run(program, link=WAN, form=form)
        )
    result["load at the end"] = os.getloadavg()
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
