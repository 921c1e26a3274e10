"""Training in several processes with torch.distributed: started here on one machine, or by torchrun on many.

On CPUs the processes talk through gloo, on GPUs through nccl. Processes that are started here meet in a file, so no
port is opened but gloo's own on the loopback interface.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medveil.errors import InputError, MedveilError, ProtocolError

MAX_PROCESSES = 64


def by_torchrun() -> bool:
    """Return whether torchrun started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


@contextmanager
def joined() -> Iterator[int]:
    """Join the group of processes that torchrun made; gives this process's number."""
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield torch.distributed.get_rank()
    finally:
        torch.distributed.destroy_process_group()


def run(processes: int, work: Callable[..., Any], *args: Any) -> None:
    """Call `work(*args)` in that many processes of one group on this machine, and wait for all.

    `work` and its arguments are pickled; results go through files that process 0 writes.
    Raises InputError for a number outside 2 to 64, the error that a process raised where it is one of medveil's,
    ProtocolError where a process ended otherwise.
    """
    import torch
    from torch import multiprocessing as torch_processes

    multiprocessing: Any = torch_processes
    if not 2 <= processes <= MAX_PROCESSES:
        raise InputError(f"{processes} processes: give 2 to {MAX_PROCESSES}")
    gpus = torch.cuda.device_count()
    if gpus and processes > gpus:
        raise InputError(f"{processes} processes and {gpus} GPUs: give at most one process a GPU")
    with tempfile.TemporaryDirectory(prefix="medveil-group-") as folder:
        meeting = Path(folder) / "meeting"
        try:
            multiprocessing.spawn(_process, args=(processes, str(meeting), work, args), nprocs=processes)
        except multiprocessing.ProcessRaisedException as e:
            raise _refusal(Path(folder)) from e
        except multiprocessing.ProcessExitedException as e:
            raise ProtocolError(f"a training process ended with code {e.exit_code}: resume to go on") from e


def _process(rank: int, world: int, meeting: str, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(rank)
    else:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        torch.set_num_threads(max(1, torch.get_num_threads() // world))
    torch.distributed.init_process_group(
        "nccl" if gpu else "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world
    )
    try:
        work(*args)
    except MedveilError as error:
        note = Path(meeting).parent / f"refusal-{rank}"
        note.write_text(f"{type(error).__name__}\n{error}", encoding="utf-8")
        raise
    finally:
        torch.distributed.destroy_process_group()


def _refusal(folder: Path) -> MedveilError:
    """Return the error that a process noted, as its own class where that takes a message alone."""
    from medveil import errors

    for note in sorted(folder.glob("refusal-*")):
        name, _, message = note.read_text(encoding="utf-8").partition("\n")
        kind = getattr(errors, name, ProtocolError)
        if name not in ("MissingExtraError", "StoreUnavailableError"):
            made: MedveilError = kind(message)
            return made
        return ProtocolError(message)
    return ProtocolError("a training process failed: see its traceback above, and resume to go on")
