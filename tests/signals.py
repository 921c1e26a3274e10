"""Signals to one thread of another process: the kernel may give a process's signal to any of its threads."""

from __future__ import annotations

import ctypes
import signal
from pathlib import Path


def tell_another_thread(pid: int, number: signal.Signals) -> None:
    """Send a signal to a thread of a process that is not its main one, as the kernel may do with any.

    Python runs handlers in the main thread, which a signal of another thread does not wake from a wait for a lock or a
    socket.
    """
    threads = sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())
    other = next(thread for thread in threads if thread != pid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.tgkill(pid, other, int(number)) != 0:
        raise OSError(ctypes.get_errno(), "tgkill")
