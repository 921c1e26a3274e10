"""medveil mpc from certificates to a prediction, with three servers that the command itself starts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from tests.mpc.servers import patience

from medveil.mpc.datasets import SAMPLE
from medveil.mpc.local_servers import free_ports

pytest.importorskip("torch", reason="needs the extra mpc")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen of the carried X-rays."""
    with np.load(SAMPLE) as data:
        chosen = np.concatenate([np.flatnonzero(data["labels"] == c)[:7] for c in (0, 1)])
        path = tmp_path_factory.mktemp("few") / "few.npz"
        np.savez(path, images=data["images"][chosen], labels=data["labels"][chosen])
    return path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three servers, as an administrator starts them; returns the client's configuration."""
    folder = tmp_path_factory.mktemp("cluster") / "made"
    medveil = [sys.executable, "-m", "medveil", "mpc"]
    port = free_ports(1)[0]
    subprocess.run([*medveil, "certs", str(folder), "--cluster-on", f"127.0.0.1:{port}"], check=True)
    parties = []
    with (folder / "log").open("wb") as log:
        for number in range(3):
            command = [*medveil, "party", "--config", str(folder / f"party{number}.toml"), "--json"]
            with (folder / f"ready{number}").open("wb") as ready:
                parties.append(subprocess.Popen(command, stdout=ready, stderr=log))
    deadline = time.monotonic() + patience(60)
    status = [*medveil, "status", "--cluster", str(folder / "cluster.toml")]
    while subprocess.run(status, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.2)
    for number in range(3):
        said = json.loads((folder / f"ready{number}").read_text())
        assert said == {"ok": True, "party": number, "listening": f"127.0.0.1:{port + number}"}
    yield folder / "cluster.toml"
    for party in parties:
        party.send_signal(signal.SIGINT)
    for party in parties:
        assert party.wait(20) == 0
    assert (folder / "log").read_text().count("unfinished jobs can be resumed") == 3


def test_train_come_back_predict_and_forget(medveil, cluster: Path, few: Path, tmp_path: Path) -> None:
    curve, weights = tmp_path / "curve.svg", tmp_path / "weights.safetensors"
    trained = medveil(
        "mpc", "train", few, "--cluster", cluster, "--epochs", 2, "--batch-size", 5, "--curve", curve, "--out", weights,
        "--optimizer", "adam", "--lr", 0.001, "--seed", 4, "--json",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert "only to the owner (client-local)" in trained.err
    assert len(trained.json["curve"]) == 2
    assert curve.read_text().startswith("<svg")
    from safetensors.numpy import load_file

    assert len(load_file(weights)) == 10
    run = trained.json["run"]
    back = medveil("mpc", "resume", run, "--cluster", cluster, "--json")
    assert back.json["curve"] == trained.json["curve"]
    with np.load(few) as data:
        picture = tmp_path / "x.png"
        picture.write_bytes(imagecodecs.png_encode(data["images"][0]))
    said = medveil("mpc", "predict", run, picture, "--cluster", cluster, "--json")
    assert sum(said.json["probabilities"][str(picture)]) == pytest.approx(1)
    assert "0: 0." in medveil("mpc", "predict", run, picture, "--cluster", cluster).out
    listed = medveil("mpc", "status", "--cluster", cluster)
    assert run in listed.out
    assert "1 jobs, 0 uploads" in listed.out  # the prediction left nothing
    from medveil.mpc.client import connect

    with connect(cluster) as servers:
        servers.upload("left-behind", {"x": np.arange(5, dtype=np.uint64)})
    assert medveil("mpc", "status", "--cluster", cluster, "--json").json["unused"] == ["left-behind"]
    assert medveil("mpc", "forget", "--unused", "--cluster", cluster, "--json").json["forgotten"] == ["left-behind"]
    assert medveil("mpc", "status", "--cluster", cluster, "--json").json["unused"] == []
    for arguments in ((), (run, "--unused")):
        assert medveil("mpc", "forget", *arguments, "--cluster", cluster).code == 2
    assert medveil("mpc", "forget", run, "--cluster", cluster).code == 0
    refused = medveil("mpc", "predict", run, picture, "--cluster", cluster)
    assert refused.code == 3
    assert "no such job" in refused.err
    again = medveil("mpc", "train", few, "--cluster", cluster, "--curve", curve)
    assert again.code == 2
    assert "exists already" in again.err


def test_demo_shows_that_only_the_owner_opens(medveil, few: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.svg"
    shown = medveil("mpc", "demo", "--epochs", 2, "--dataset", few, "--out", picture, "--json")
    assert shown.code == 0, shown.err
    result = shown.json
    assert len(result["private"]) == len(result["plain"]) == 2
    for private, plain in zip(result["private"], result["plain"], strict=True):
        assert private["train_loss"] == pytest.approx(plain["train_loss"], abs=2e-3)
    assert result["agree"] >= result["predicted"] - 1
    assert "no such job" in result["stranger"]
    assert "train loss by epoch" in shown.err
    assert picture.read_text().count("<polyline") == 8


def test_servers_that_are_not_there_are_named(medveil, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    medveil("mpc", "certs", tmp_path / "c", "--cluster-on", f"127.0.0.1:{port}")
    gone = medveil("mpc", "status", "--cluster", tmp_path / "c/cluster.toml")
    assert gone.code == 8
    assert "start it, then retry" in gone.err
    assert medveil("mpc", "certs", tmp_path / "c/certs", "party-0").code == 2
    assert (tmp_path / "c/certs/ca.key").stat().st_mode & 0o077 == 0
