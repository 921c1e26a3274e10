"""Starts a real server as an ordinary process on loopback and ends it by its own handle."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])


@dataclass(frozen=True)
class Server:
    """How to start a server that stays in the foreground, where it will listen, and where its output goes."""

    command: Sequence[str]
    port: int
    log: Path


def need_programs(package: str, *programs: str) -> dict[str, str]:
    """Return where the programs are; skips the test, in one line, where one is not installed."""
    found = {program: shutil.which(program, path=SYSTEM_PATH) for program in programs}
    missing = [program for program, path in found.items() if path is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install --no-install-recommends {package}")
    return {program: str(path) for program, path in found.items()}


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def running(*servers: Server, patience: float = 60.0) -> Iterator[None]:
    """Run servers, started together, until the block ends; entered once all accept connections."""
    with contextlib.ExitStack() as stack:
        started = [(server, stack.enter_context(_started(server))) for server in servers]
        for server, process in started:
            _wait_for(process, server, patience)
        yield


@contextlib.contextmanager
def _started(server: Server) -> Iterator[subprocess.Popen[bytes]]:
    with server.log.open("ab") as output:
        process = subprocess.Popen(
            server.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=server.log.parent
        )
    try:
        yield process
    finally:
        stop_process(process)


def stop_process(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """Ask a process to end, and end it where it does not within `patience` seconds."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _wait_for(process: subprocess.Popen[bytes], server: Server, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=1):
            return
        time.sleep(0.05)
    tail = server.log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args!r} did not listen on port {server.port}:\n{tail}")
