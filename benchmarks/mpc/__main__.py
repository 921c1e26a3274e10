"""`python -m benchmarks.mpc [--spu PYTHON] [--out FILE.json]`: the figures of docs/mpc.md, peers in the same run.

Beside each time stand the processors' seconds that it took and those that other programs took meanwhile.

SPU pins numpy < 2, so it lives in a virtual environment of its own; its interpreter is given by --spu.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from benchmarks.mpc import processes, wan
from benchmarks.mpc.programs import Figure, Operations, PaperNetwork, Truncations
from medveil.mpc import ring, ring_ifma

PARTS = ["network", "operations", "wan", "spu", "spu-wan", "truncations"]
JOBS = ["predict 1", "predict 32", "training step 32", "10^6 comparisons with choice", "10^6 products, truncated",
        "matmul 1024^3, truncated", "10^4 divisions"]  # fmt: skip


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


def spu(python: str, job: str, repeats: int, *, over_wan: bool = False) -> dict[str, Any]:
    """Run one job of SPU in its own environment."""
    script = str(Path(__file__).parent / "spu_peer.py")
    command = [python, script, job, str(repeats), *(["wan"] if over_wan else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"failed": done.stderr[-300:]}
    found = json.loads(lines[-1])
    return {**found, "seconds": min(found["seconds"]), "runs": [round(x, 4) for x in found["seconds"]]}


def merged(parties: list[dict[str, Figure]]) -> dict[str, dict[str, Any]]:
    """Return, for each job, the best repeat (the slowest party's time), its processors' load and the traffic."""
    found = {}
    for name in parties[0]:
        figures = [p[name] for p in parties]
        runs = [max(x) for x in zip(*(f.runs for f in figures), strict=True)]
        best = min(range(len(runs)), key=runs.__getitem__)
        own = sum(f.cpu[best] for f in figures)
        found[name] = {
            "seconds": round(runs[best], 4),
            "runs": [round(x, 4) for x in runs],
            "CPU seconds, three parties": round(own, 3),
            "CPU seconds, other programs": round(max(0.0, figures[0].machine[best] - own), 2),
            "bytes_a_party": sum(f.bytes_sent for f in figures) // 3,
            "rounds": max(f.rounds for f in figures),
        }
    return found


def ours(part: str, repeats: int, *, quick: bool) -> dict[str, Any]:
    """Measure this engine: the network over plain TCP and TLS, single operations, or the network over the WAN."""
    if part == "network":
        return {
            "gemm, GMAC/s of a core": gemm_rate(),
            "convolutions, GMAC/s of a core": conv_rate(),
            "ours, plain TCP": merged(processes.run(PaperNetwork(repeats=repeats), tls=False)),
            "ours, TLS 1.3": merged(processes.run(PaperNetwork(repeats=repeats))),
        }
    if part == "operations":
        return {"ours, operations, plain TCP": merged(processes.run(Operations(repeats=repeats), tls=False))}
    if not wan.available():
        return {}
    return {"ours, WAN, TLS 1.3": merged(processes.run(PaperNetwork(repeats=2, train=not quick), over_wan=True))}


def peer(python: str, *, over_wan: bool) -> dict[str, Any]:
    """Measure SPU on the same jobs."""
    if over_wan:
        return {"SPU (ABY3), WAN, plain TCP": {job: spu(python, job, 1, over_wan=True) for job in JOBS[:3]}}
    return {"SPU (ABY3), plain TCP": {job: spu(python, job, 1 if "32" in job else 3) for job in JOBS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spu", default="", help="interpreter of the environment that has spu")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="what to measure; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no WAN training")
    parser.add_argument("--truncations", type=int, default=10**8, help="of each kind, counting large errors")
    parser.add_argument("--out", type=Path, default=None, help="a JSON file; parts that are not measured stay in it")
    options = parser.parse_args()
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    for part in options.parts:
        load = os.getloadavg()
        if part in ("network", "operations", "wan"):
            result |= ours(part, 3 if options.quick else 7, quick=options.quick)
        elif part == "truncations":
            counts = processes.run(Truncations(options.truncations), tls=False, timeout=3600)
            result["truncations"] = {"count of each": options.truncations, "large errors": counts[0]}
        elif options.spu and (part == "spu" or wan.available()):
            result |= peer(options.spu, over_wan=part == "spu-wan")
        result.setdefault("conditions", {})[part] = {
            "command": f"python -m benchmarks.mpc --parts {part}{' --quick' if options.quick else ''}",
            "machine": machine(),
            "load average before and after": [round(load[0], 2), round(os.getloadavg()[0], 2)],
            "WAN": f"{wan.LATENCY * 1e3} ms one way, {wan.BANDWIDTH * 8e-6:g} Mbit/s uplink a host, TUN devices in "
            "network namespaces" if wan.available() else "not measured: needs root and /dev/net/tun",
        }  # fmt: skip
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
