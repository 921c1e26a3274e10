"""`deep-invertible` decodes exactly in every batch of 1 to 32 pictures, by integers or floats, with one or two threads.

Each number of threads is a process of its own, as BLAS takes it from the environment. Its work is in `decoded`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.schemes.deep.deep_images import xrays

from medveil.schemes.deep import samples
from medveil.schemes.deep.integer_flow import IntegerFlow

BATCHES = range(1, 33)
PATHS = ("float64", "int32")
SIDES = {"float64": 24, "int32": 12}
"""Of the pictures: with 24 x 24 the float products are large enough for BLAS to share among threads."""


def decoded(folder: str) -> dict[str, object]:
    """Return which batch sizes of each path gave other pictures back, and how many threads BLAS had."""
    from threadpoolctl import threadpool_info

    flows = {path: IntegerFlow(samples.load("invertible"), precision=path) for path in PATHS}  # type: ignore[arg-type]
    found: dict[str, object] = {}
    for path in PATHS:
        pictures = np.load(f"{folder}/{SIDES[path]}.npy")
        other = PATHS[1 - PATHS.index(path)]
        codes, again = flows[path].encrypt(pictures), flows[other].encrypt(pictures)
        found[f"{path} as {other}"] = bool(np.array_equal(codes, again))
        # a batch starts at another picture each time, so that none is always the first
        turned = [np.roll(np.arange(len(pictures)), -n)[:n] for n in BATCHES]
        wrong = [len(at) for at in turned if not np.array_equal(flows[path].decrypt(again[at]), pictures[at])]
        found[path] = {"tried": len(turned), "wrong": wrong}
    found["threads"] = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    return found


@cache
def in_a_process(threads: int, folder: Path) -> dict[str, object]:
    given = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    root = Path(__file__).resolve().parents[3]
    code = (
        f"import sys, json; sys.path.insert(0, {str(root)!r})\n"
        "from tests.schemes.deep.test_batch_sizes import decoded; print(json.dumps(decoded(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env={**os.environ, **given}
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("batches")
    for side in SIDES.values():
        shown = xrays(shared_data, size=side)[:32]
        assert len({picture.tobytes() for picture in shown}) == 32
        np.save(where / f"{side}.npy", shown)
    return where


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("path", PATHS)
def test_every_batch_decodes_exactly(path: str, threads: int, folder: Path) -> None:
    """Of ciphertexts that the other path made."""
    found = in_a_process(threads, folder)
    assert found[path] == {"tried": 32, "wrong": []}
    assert found["threads"] == min(threads, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("threads", [1, 2])
def test_both_paths_encode_alike(threads: int, folder: Path) -> None:
    found = in_a_process(threads, folder)
    assert found["float64 as int32"] is True
    assert found["int32 as float64"] is True
