"""Three real server processes in a folder, whose members a test can kill, stop and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from medveil.errors import MedveilError, ProtocolError
from medveil.mpc.certificates import make_certificates
from medveil.mpc.client import Run, Servers
from medveil.mpc.cluster import load_cluster, write_cluster
from medveil.mpc.local_servers import free_ports, start_party, stop, wait_until_ready


class Wire:
    """A TCP relay before a party's port, whose cable a test can pull out and put back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._ends: list[socket.socket] = []
        self.plugged = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            if not self.plugged:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:  # the party is not up
                near.close()
                continue
            self._ends += [near, far]
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()

    def unplug(self) -> None:
        self.plugged = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def plug(self) -> None:
        self.plugged = True

    def close(self) -> None:
        self.unplug()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


class Cluster:
    """Processes by party number; `client()` connects as the local client or as another one.

    All traffic to party 1 goes through `wire`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        a, b, c = free_ports()
        self.wire = Wire(b)
        write_cluster(folder, "tests", (a, self.wire.port, c))
        path = folder / "party1.toml"
        path.write_text(f'listen = "127.0.0.1:{b}"\n' + path.read_text())
        make_certificates(folder / "certs", ["client-other"])
        self.processes: list[subprocess.Popen[bytes]] = [start_party(folder, p) for p in range(3)]
        try:
            wait_until_ready(folder, self.processes).close()
        except MedveilError:
            self.stop()  # a process left behind would fail other tests
            raise

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
        self.wire.close()


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + patience(seconds)
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen within {seconds} s")
        time.sleep(0.05)


def patience(seconds: float) -> float:
    """Return `seconds`, which hold on a machine with a processor a process, stretched by how overloaded this one is."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


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
    deadline = time.monotonic() + patience(seconds)
    while True:
        try:
            run.resume()
        except MedveilError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return
