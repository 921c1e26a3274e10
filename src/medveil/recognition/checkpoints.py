"""The state of an unfinished run: written after each epoch, whole or not at all, read without running its code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from medveil.errors import InputError
from medveil.schemes.bundle import new_file

NAME = "checkpoint.pt"
_VERSION = 1


def write(path: Path, *, run: dict[str, Any], epoch: int, network: Any, optimiser: Any, curve: list[Any]) -> None:
    """Write a checkpoint after `epoch` whole epochs; `run` says which run it is (plan, data, network)."""
    import torch

    state = {
        "version": _VERSION,
        "run": run,
        "epoch": epoch,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "curve": curve,
    }
    with new_file(path, force=True) as working, working.open("wb") as handle:
        torch.save(state, handle)


def read(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint of the same run.

    Raises InputError where the file is no checkpoint, or one of another model, plan or dataset.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = dict(state["run"])
        if state["version"] != _VERSION:
            raise InputError(f"{path} is a checkpoint of another version: start the run again")
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as e:
        raise InputError(f"{path} is not a checkpoint that can be read: remove it to start again") from e
    for name, value in run.items():
        if found.get(name) != value:
            raise InputError(
                f"{path} is a checkpoint of another run ({name} is {found.get(name)!r} there, {value!r} here): "
                "choose another folder, or the same settings"
            )
    return dict(state)
