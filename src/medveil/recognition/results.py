"""The results file of a run: one JSON object with settings, seed, data, environment and outcome."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medveil.errors import InputError
from medveil.schemes.bundle import new_file

NAME = "results.json"
_PACKAGES = ("medveil", "torch", "monai", "scikit-learn", "numpy")


def environment() -> dict[str, Any]:
    """Return versions, processor, threads and device: what a number depends on. No names of machines or people."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write(path: Path, record: dict[str, Any], *, force: bool = True) -> None:
    """Write a results file, whole or not at all."""
    with new_file(path, force=force) as working:
        working.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Return a results file's object. Raises InputError where it is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path} is not a results file: remove it to run again") from e
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a results file: remove it to run again")
    return record
