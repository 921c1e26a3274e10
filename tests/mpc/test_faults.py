"""Faults with three real processes: a typed error at every living party within 10 s, and the job can go on."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.mpc.servers import Cluster, failures_within, patience, resume_when_possible, wait_for
from tests.signals import tell_another_thread

from medveil.errors import MedveilError, ProtocolError, StoreFullError
from medveil.mpc.certificates import make_certificates
from medveil.mpc.client import Run, Servers
from medveil.mpc.cluster import load_party
from medveil.mpc.local_servers import start_party, wait_until_ready
from medveil.mpc.meeting import meet
from medveil.mpc.party import Party
from medveil.mpc.transport.frames import ABORT, DATA, HEADER, MAGIC

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.slow
LONG = 20  # epochs: enough that a fault strikes in the middle, however late the test gets its turn on a busy machine


@pytest.fixture(scope="module")
def chest(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        return data["images"][:64, None] / 255.0, data["labels"][:64].reshape(-1).astype(int)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        running = Cluster(Path(folder))
        yield running
        running.stop()


def start(servers: Servers, chest, epochs: int) -> Run:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 2))
    return servers.train(model, *chest, epochs=epochs, lr=0.05, batch_size=32, seed=1)


def in_the_middle(servers: Servers, run: Run) -> bool:
    answer = servers._ask(0, {"op": "status", "job": run.job})
    return answer["progress"].get("epoch", 0) >= 2


@pytest.mark.parametrize("victim", [0, 1], ids=["party 0, which orders the jobs", "party 1"])
def test_a_party_killed_in_an_epoch_comes_back_and_the_job_goes_on(cluster: Cluster, chest, victim: int) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.kill(victim)
        for failure in failures_within(servers, run, [p for p in range(3) if p != victim]):
            assert failure["type"] == "ProtocolError"
        cluster.start(victim)
        with pytest.raises(ProtocolError):
            run.wait(timeout=10)
        resume_when_possible(run)
        run.wait(timeout=patience(60))
        losses = [run.reveal_metrics(epoch)["train_loss"] for epoch in (0, LONG - 1)]
        assert losses[1] < losses[0]


def test_all_three_killed_at_once_go_on_from_their_checkpoints(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        for party in range(3):
            cluster.kill(party)
        for party in range(3):
            cluster.processes[party] = start_party(cluster.folder, party)
        wait_until_ready(cluster.folder, cluster.processes).close()
        states = [s["state"] for s in servers.status(run.job)]
        assert "interrupted" in states
        assert set(states) <= {"interrupted", "failed"}  # one that was killed a moment later had noticed the others
        with pytest.raises(ProtocolError):
            run.wait(timeout=10)
        run.resume()
        seen = []
        run.wait(timeout=patience(60), on_progress=seen.append)
        assert all(progress.get("epoch", 2) >= 1 for progress in seen)  # not from the start
        assert run.reveal_metrics(LONG - 1)["train_loss"] < run.reveal_metrics(0)["train_loss"]


WRONG = {
    "another authority": ("certificate", "ProtocolError"),
    "another cluster": ("another cluster", "ConfigError"),
    "another version": ("version", "ConfigError"),
}


def wrong_party(cluster: Cluster, what: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a third server that is not one of this cluster, at its address."""
    text = (cluster.folder / "party2.toml").read_text().replace('state = "state2"', f'state = "{folder / "state"}"')
    command = "import medveil.mpc.wire as w, medveil.mpc.party as p, pathlib, sys; "
    if what == "another authority":
        make_certificates(folder, ["party-2"])
        text = text.replace("certs/", f"{folder}/")
    elif what == "another cluster":
        text = text.replace('name = "tests"', 'name = "elsewhere"').replace("certs/", f"{cluster.folder}/certs/")
    else:
        text = text.replace("certs/", f"{cluster.folder}/certs/")
        command += "w.VERSION = 99; "
    path = folder / "party2.toml"
    path.write_text(text)
    command += "p.main(pathlib.Path(sys.argv[1]))"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", command, str(path)], stderr=log)
    wait_for(lambda: b"is ready" in (folder / "log").read_bytes())
    return process


@pytest.mark.parametrize("what", WRONG)
def test_a_server_of_another_kind_is_refused_and_the_job_goes_on(
    cluster: Cluster, chest, tmp_path: Path, what: str
) -> None:
    said, kind = WRONG[what]
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.kill(2)
        failures_within(servers, run, [0, 1])
        wrong = wrong_party(cluster, what, tmp_path)
        try:
            with pytest.raises(MedveilError, match=said) as refusal:
                cluster.client()
            assert type(refusal.value).__name__ == kind
            for party in (0, 1):  # whatever the client is told, the servers find out by themselves
                servers._ask(party, {"op": "submit", **run._message, "resume": True})
            failures = failures_within(servers, run, [0, 1])
            assert any(f["type"] == kind and said in f["message"] for f in failures), failures
        finally:
            wrong.kill()
            wrong.wait()
        cluster.start(2)
        resume_when_possible(run)
        run.wait(timeout=patience(60))


def test_a_full_disk_at_an_upload_is_named_and_leaves_nothing(cluster: Cluster, chest) -> None:
    pid = cluster.processes[1].pid
    with cluster.client() as servers:
        before = {p.name for p in (cluster.folder / "state1").iterdir()}
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        try:
            with pytest.raises(StoreFullError, match="no space"):
                start(servers, chest, 1)
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert {p.name for p in (cluster.folder / "state1").iterdir()} == before
        assert servers.unused() == []
        start(servers, chest, 1).wait(timeout=patience(60))


def test_a_hanging_party_is_given_up_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.signal(2, signal.SIGSTOP)
        try:
            for failure in failures_within(servers, run, [0, 1]):
                assert failure["type"] == "ProtocolError"
        finally:
            cluster.signal(2, signal.SIGCONT)
        failures_within(servers, run, [2])
        resume_when_possible(run)
        run.wait(timeout=patience(60))


def test_a_cut_cable_is_noticed_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.wire.unplug()
        try:
            for failure in failures_within(servers, run, [0, 2]):
                assert failure["type"] == "ProtocolError"
        finally:
            cluster.wire.plug()
        assert failures_within(servers, run, [1])[0]["type"] == "ProtocolError"
        resume_when_possible(run)
        run.wait(timeout=patience(60))


def test_a_party_restored_from_an_old_backup_is_refused(cluster: Cluster, chest) -> None:
    """Its checkpoint is older than any that the others keep; with the newer state the job goes on."""
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        state = cluster.folder / "state2"
        cluster.kill(2)
        failures_within(servers, run, [0, 1])
        newest = {path.name: path.read_bytes() for path in state.glob(f"{run.job}.*")}
        cluster.start(2)
        resume_when_possible(run)
        wait_for(lambda: servers._ask(0, {"op": "status", "job": run.job})["progress"].get("epoch", 0) >= 7)
        cluster.kill(2)
        failures_within(servers, run, [0, 1])
        kept = {path: path.read_bytes() for path in state.glob(f"{run.job}.*")}
        for path in kept:
            path.unlink()
        for name, data in newest.items():
            (state / name).write_bytes(data)
        cluster.start(2)
        resume_when_possible(run)
        found = failures_within(servers, run, [0, 1, 2])
        assert [f["type"] for f in found[:2]] == ["ObjectMissingError"] * 2
        assert "old" in found[0]["message"]
        cluster.kill(2)
        for path, data in kept.items():
            path.write_bytes(data)
        cluster.start(2)
        resume_when_possible(run)
        run.wait(timeout=patience(60))


def header(**changes: Any) -> bytes:
    fields = {"magic": MAGIC, "kind": DATA, "depth": 1, "sequence": 0, "sent": 0.0, "length": 48, **changes}
    return HEADER.pack(*fields.values())


GARBAGE = {
    b"\xff" * 256: "not a frame",
    header(length=1 << 60): "bytes where",
    header(sequence=7, length=32) + bytes(32): "message 7",
    header(kind=ABORT, length=1 << 40): "oversized",
    header(kind=9): "not a frame",
    header(length=31) + bytes(31): "bytes where",
}


class Garbler(Party):
    """A third server that has party 2's certificate and its own ideas of the protocol."""

    garbage = b""

    def _run(self, job: Any, key: Any) -> None:
        transport = meet(self.cluster, self._point, 2, key)
        for connection in transport._outgoing.values():
            connection.sendall(self.garbage)
        time.sleep(0.3)
        transport.close()


def test_a_party_that_sends_garbage_is_given_up(cluster: Cluster, chest, tmp_path: Path) -> None:
    cluster.kill(2)
    garbler = Garbler(load_party(cluster.folder / "party2.toml").model_copy(update={"state": tmp_path}))
    thread = threading.Thread(target=garbler.serve, daemon=True)
    thread.start()
    try:
        with cluster.client() as servers:
            for garbage, said in GARBAGE.items():
                garbler.garbage = garbage
                failures = failures_within(servers, start(servers, chest, 1), [0, 1])
                assert [f["type"] for f in failures] == ["ProtocolError"] * 2
                assert any(said in f["message"] for f in failures), failures
    finally:
        garbler.close()
        thread.join(10)
        cluster.start(2)


def test_a_full_disk_at_a_checkpoint_is_named_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, LONG)
        wait_for(lambda: in_the_middle(servers, run))
        pid = cluster.processes[2].pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        failures = failures_within(servers, run, [0, 1, 2])
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert [f["type"] for f in failures] == ["ProtocolError", "ProtocolError", "StoreFullError"]
        with pytest.raises(StoreFullError, match="no space"):
            run.wait(timeout=10)
        assert not list((cluster.folder / "state2").glob("*.partial"))
        resume_when_possible(run)
        run.wait(timeout=patience(60))


def test_a_party_missing_at_the_start(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        started = time.monotonic()
        run = start(servers, chest, 3)
        run.wait(timeout=patience(60))
        cluster.kill(2)
        with pytest.raises(ProtocolError, match="party 2"):
            start(servers, chest, 3)
        with pytest.raises(ProtocolError, match="party 2"):
            cluster.client()
        # The job reaches two servers only: both give it up by themselves.
        message = dict(run._message, job="f" * 32)
        for party in (0, 1):
            servers._ask(party, {"op": "submit", **message})
        lone = Run(servers, message, run.spec, [])
        assert all(f["type"] == "ProtocolError" for f in failures_within(servers, lone, [0, 1]))
        cluster.start(2)
        assert time.monotonic() - started < 60


def test_every_state_on_disk_is_sealed(cluster: Cluster) -> None:
    for party in range(3):
        for path in (cluster.folder / f"state{party}").iterdir():
            assert path.suffix in (".shares", ".job", ".key"), path.name
            if path.suffix == ".shares":
                assert path.read_bytes().startswith(b"MVSH1")
            if path.suffix == ".key":
                assert path.stat().st_mode & 0o077 == 0


def test_sigterm_given_to_another_thread_ends_a_party(cluster: Cluster) -> None:
    with cluster.client():  # whose connection has a thread of its own
        tell_another_thread(cluster.processes[1].pid, signal.SIGTERM)
        assert cluster.processes[1].wait(patience(10)) == 0
    cluster.start(1)
