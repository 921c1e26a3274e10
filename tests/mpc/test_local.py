"""`mv.mpc.local` and `mv.mpc.connect`, as a notebook uses them: three processes that leave nothing behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from tests.mpc.servers import patience, wait_for

import medveil as mv
from medveil.errors import ConfigError, ProtocolError
from medveil.mpc.cluster import Cluster, load_cluster

torch = pytest.importorskip("torch")


def answering(cluster: Cluster) -> int:
    """Return how many of a cluster's addresses take connections."""
    count = 0
    for party in range(3):
        try:
            socket.create_connection(cluster.address(party), timeout=1).close()
        except OSError:
            continue
        count += 1
    return count


def test_local_servers_compute_and_leave_nothing(shared_data: Path) -> None:
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        images = data["images"][:6, None] / 255.0
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 2))
    before = {p.name for p in Path(tempfile.gettempdir()).glob("medveil-mpc-*")}
    with mv.mpc.local() as servers:
        folder = servers.cluster.tls.ca.parent.parent
        outputs = servers.share_model(model, (1, 28, 28)).outputs(images)
        with mv.mpc.connect(folder / "cluster.toml") as again:
            assert again.unused() == servers.unused() != []
    want = model(torch.tensor(images, dtype=torch.float32)).detach().numpy()
    assert np.abs(outputs - want).max() < 1e-3
    assert answering(servers.cluster) == 0
    assert not folder.exists()
    assert {p.name for p in Path(tempfile.gettempdir()).glob("medveil-mpc-*")} <= before
    with pytest.raises(ConfigError, match="cannot be read"):
        mv.mpc.connect(folder / "cluster.toml")


def test_local_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "import medveil as mv, pathlib, sys, time; servers = mv.mpc.local(pathlib.Path(sys.argv[1]));"
        "print('up', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    cluster = load_cluster(tmp_path / "cluster.toml")
    assert answering(cluster) == 3
    process.kill()
    process.wait()
    process.stdout.close()
    wait_for(lambda: answering(cluster) == 0, patience(10))
    with pytest.raises(ProtocolError, match="start it, then retry"):
        mv.mpc.connect(tmp_path / "cluster.toml")
