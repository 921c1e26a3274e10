"""Trains the public sample keys that the package carries, on real chest X-rays, from a fixed seed.

    python -m benchmarks.deep samples [--seconds N] [METHOD ...]

The keys are public, so their randomness may be repeatable. --seconds: stop after about that long; the same command
goes on from there (the state lies in .cache/ and is as public as the key). Prints the sha256 of each finished file for
`samples.SHA256`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.schemes.deep import keyfile, pictures, samples, statistics
from medveil.schemes.deep.key import DeepKey

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "chest_xray_nih"
SEED = b"medveil insecure sample keys, 1"


class EnoughError(Exception):
    """The time given is over."""


@cache
def xrays(part: str, size: int = 64) -> np.ndarray:
    """Return the NIH chest X-rays of "train" or "test", which share no patient."""
    return pictures.load([DATA / part], size)[0]


def make(method: str, seconds: float) -> None:
    """Train one sample and write it into the package."""
    started = time.process_time()
    with allow_insecure_randomness("experiment"):
        rng = insecure_seeded(SEED + method.encode(), "sample key")
        key = statistics.draw_good_key(xrays("test"), rng) if method == "invertible" else train(method, rng, seconds)
    path = samples.path_of(method)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(samples.pack(key))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f'"{method}": "{digest}",  # {path.stat().st_size} bytes, {time.process_time() - started:.0f} CPU s')
    print({name: round(value, 4) for name, value in key.measured.items()}, flush=True)


def train(method: str, rng: object, seconds: float) -> DeepKey:
    from medveil.schemes.deep import training

    owner = OwnerKey(hashlib.sha256(SEED).digest())
    scratch = ROOT / ".cache" / f"deep-sample-{method}.training"
    scratch.parent.mkdir(exist_ok=True)
    state = keyfile.load_checkpoint(scratch, owner) if scratch.exists() else None
    until = time.monotonic() + seconds

    def save(reached: training.Checkpoint) -> None:
        keyfile.save_checkpoint(scratch, reached, owner)
        if time.monotonic() > until:
            raise EnoughError(f"{method}: {reached.epoch} epochs are done; run the same command again")

    def tell(epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        if epoch % max(1, epochs // 20) == 0:
            print(f"{epoch}/{epochs} " + " ".join(f"{n} {v:.4f}" for n, v in losses.items()), flush=True)

    plan = training.PLANS[method]["cpu"]
    key, _ = training.train(
        method,
        xrays("train"),
        xrays("test"),
        plan,
        rng=rng,
        resume=state,
        save=save,
        progress=tell,  # type: ignore[arg-type]
    )
    scratch.unlink(missing_ok=True)
    return key


def main(arguments: Sequence[str]) -> None:
    methods = list(arguments)
    seconds = float("inf")
    if methods[:1] == ["--seconds"]:
        seconds = float(methods[1])
        methods = methods[2:]
    try:
        for method in methods or samples.METHODS:
            make(method, seconds)
    except EnoughError as enough:
        print(enough, flush=True)
        raise SystemExit(75) from None
