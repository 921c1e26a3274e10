"""Three real server processes in a folder, whose members a test can kill, stop and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from medveil.errors import MedveilError, ProtocolError
from medveil.mpc.certificates import make_certificates
from medveil.mpc.client import Run, Servers
from medveil.mpc.cluster import load_cluster, write_cluster
from medveil.mpc.local_servers import free_ports, start_party, stop, wait_until_ready


class Cluster:
    """Processes by party number; `client()` connects as the local client or as another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        a, b, c = free_ports()
        write_cluster(folder, "tests", (a, b, c))
        make_certificates(folder / "certs", ["client-other"])
        self.processes: list[subprocess.Popen[bytes]] = [start_party(folder, p) for p in range(3)]
        wait_until_ready(folder, self.processes).close()

    def client(self, name: str = "client-local") -> Servers:
        cluster = load_cluster(self.folder / "cluster.toml")
        certs = self.folder / "certs"
        tls = cluster.tls.model_copy(update={"certificate": certs / f"{name}.pem", "key": certs / f"{name}.key"})
        return Servers(cluster.model_copy(update={"tls": tls}))

    def kill(self, party: int) -> None:
        self.processes[party].kill()
        self.processes[party].wait()

    def signal(self, party: int, number: signal.Signals) -> None:
        os.kill(self.processes[party].pid, number)

    def start(self, party: int) -> None:
        self.processes[party] = start_party(self.folder, party)
        wait_until_ready(self.folder, self.processes).close()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
        stop(self.processes)


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {seconds} s")
        time.sleep(0.05)


def failures_within(servers: Servers, run: Run, parties: list[int], seconds: float = 10.0) -> list[dict]:
    """Return each party's reported failure; fails the test where one does not report in time."""
    deadline = time.monotonic() + seconds
    found: dict[int, dict] = {}
    while len(found) < len(parties):
        for party in parties:
            try:
                answer = servers._ask(party, {"op": "status", "job": run.job})
            except ProtocolError:
                continue
            if answer["state"] in ("failed", "interrupted"):
                found[party] = answer["failure"]
        assert time.monotonic() < deadline, f"only {sorted(found)} reported a failure within {seconds} s"
        time.sleep(0.05)
    return [found[p] for p in parties]


def resume_when_possible(run: Run, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            run.resume()
        except MedveilError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
