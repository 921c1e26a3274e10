"""Three servers on this machine: own processes, own certificates, own state, over loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medveil.errors import ProtocolError
from medveil.mpc.client import Servers, connect
from medveil.mpc.cluster import write_cluster

_START_TIMEOUT = 60.0


def free_ports(count: int = 3) -> list[int]:
    """Return ports that are free on loopback at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_party(folder: Path, party: int, *, attached: bool = False) -> subprocess.Popen[bytes]:
    """Start the server of folder/partyN.toml; its log goes to folder/partyN.log.

    An `attached` one ends by itself when this process is gone, however that ended.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with (folder / f"party{party}.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-m", "medveil.mpc", str(folder / f"party{party}.toml"), *(["--attached"] * attached)],
            stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=environment,
        )


def wait_until_ready(folder: Path, processes: list[subprocess.Popen[bytes]]) -> Servers:
    """Return a client's connection once all three answer.

    Raises:
        ProtocolError: a server ended or did not answer in time; the message has its last line.
    """
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            return connect(folder / "cluster.toml")
        except ProtocolError:
            for party, process in enumerate(processes):
                if process.poll() is not None:
                    lines = (folder / f"party{party}.log").read_text("utf-8").splitlines()
                    last = lines[-1] if lines else "it left no log"
                    raise ProtocolError(f"party {party} ended at its start: {last}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End servers that `start_party` started."""
    for process in processes:
        process.terminate()
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        if process.poll() is None:
            process.kill()
            process.wait()


def local(folder: Path | None = None) -> Servers:
    """Start three servers on loopback and return a client's view; closing it ends them.

    Args:
        folder: where certificates, configuration and sealed state go; a temporary folder, removed at the end, by
            default.
    """
    where = Path(tempfile.mkdtemp(prefix="medveil-mpc-")) if folder is None else folder
    a, b, c = free_ports()
    if not (where / "cluster.toml").exists():
        where.mkdir(parents=True, exist_ok=True)
        write_cluster(where, "local", (a, b, c))
    processes = [start_party(where, party, attached=True) for party in range(3)]

    def end() -> None:
        stop(processes)
        if folder is None:
            shutil.rmtree(where, ignore_errors=True)

    try:
        servers = wait_until_ready(where, processes)
    except BaseException:
        end()
        raise
    servers.on_close(end)
    return servers
