"""Trains the public sample keys that the package carries, on real chest X-rays, from a fixed seed.

    python -m benchmarks.deep samples [METHOD ...]

The keys are public, so their randomness may be repeatable. Prints the sha256 of each file for `samples.SHA256`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.schemes.deep import pictures, samples, statistics

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "chest_xray_nih"
SEED = b"medveil insecure sample keys, 1"


@cache
def xrays(part: str, size: int = 64) -> np.ndarray:
    """Return the NIH chest X-rays of "train" or "test", which share no patient."""
    return pictures.load([DATA / part], size)[0]


def make(method: str) -> None:
    """Train one sample and write it into the package."""
    started = time.process_time()
    with allow_insecure_randomness("experiment"):
        rng = insecure_seeded(SEED + method.encode(), "sample key")
        if method == "invertible":
            key = statistics.draw_good_key(xrays("test"), rng)
        else:
            from medveil.schemes.deep import training

            plan = training.PLANS[method]["cpu"]
            key, _ = training.train(method, xrays("train"), xrays("test"), plan, rng=rng, progress=_tell)
    path = samples.path_of(method)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(samples.pack(key))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f'"{method}": "{digest}",  # {path.stat().st_size} bytes, {time.process_time() - started:.0f} CPU s')
    print({name: round(value, 4) for name, value in key.measured.items()}, flush=True)


def _tell(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
    if epoch % max(1, epochs // 20) == 0:
        print(f"{epoch}/{epochs} " + " ".join(f"{n} {v:.4f}" for n, v in losses.items()), flush=True)


def main(methods: Sequence[str]) -> None:
    for method in methods or samples.METHODS:
        make(method)
