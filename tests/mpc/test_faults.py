"""Faults with three real processes: a typed error at every living party within 10 s, and the job can go on."""

from __future__ import annotations

import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.mpc.servers import Cluster, failures_within, resume_when_possible, wait_for

from medveil.errors import ProtocolError, StoreFullError
from medveil.mpc.client import Run, Servers

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.slow


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
    return servers.train(model, *chest, epochs=epochs, lr=0.05, batch_size=16, seed=1)


def in_the_middle(servers: Servers, run: Run) -> bool:
    answer = servers._ask(0, {"op": "status", "job": run.job})
    return answer["progress"].get("epoch", 0) >= 2


def test_a_party_killed_in_an_epoch_comes_back_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, 10)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.kill(1)
        for failure in failures_within(servers, run, [0, 2]):
            assert failure["type"] == "ProtocolError"
        cluster.start(1)
        with pytest.raises(ProtocolError):
            run.wait(timeout=10)
        resume_when_possible(run)
        run.wait(timeout=60)
        losses = [run.reveal_metrics(epoch)["train_loss"] for epoch in range(10)]
        assert losses[-1] < losses[0]
        cluster.processes[1].poll()


def test_a_hanging_party_is_given_up_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, 10)
        wait_for(lambda: in_the_middle(servers, run))
        cluster.signal(2, signal.SIGSTOP)
        try:
            for failure in failures_within(servers, run, [0, 1]):
                assert failure["type"] == "ProtocolError"
        finally:
            cluster.signal(2, signal.SIGCONT)
        failures_within(servers, run, [2])
        resume_when_possible(run)
        run.wait(timeout=60)


def test_a_full_disk_at_a_checkpoint_is_named_and_the_job_goes_on(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        run = start(servers, chest, 10)
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
        run.wait(timeout=60)


def test_a_party_missing_at_the_start(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        started = time.monotonic()
        run = start(servers, chest, 3)
        run.wait(timeout=60)
        cluster.kill(2)
        with pytest.raises(ProtocolError, match="party 2"):
            start(servers, chest, 3)
        with pytest.raises(ProtocolError, match="party 2"):
            cluster.client()
        # The job reaches two servers only: both give it up by themselves.
        message = dict(run._message, job="f" * 32)
        for party in (0, 1):
            servers._ask(party, {"op": "submit", **message})
        lone = Run(servers, message, run.spec, [], (1, 0))
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
