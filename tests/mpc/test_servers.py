"""Three server processes and clients: a whole training and prediction, ownership, bad input, hostile messages."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.mpc.servers import Cluster, failures_within, patience

from medveil import errors
from medveil.errors import ConfigError, InputError, LimitError, PolicyError, ProtocolError, UnsupportedError
from medveil.mpc import certificates, wire
from medveil.mpc.client import Run, Servers
from medveil.mpc.cluster import load_cluster, load_party
from medveil.mpc.nn.trace import from_module

torch = pytest.importorskip("torch")
nn = torch.nn


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


@pytest.fixture
def servers(cluster: Cluster) -> Iterator[Servers]:
    with cluster.client() as connected:
        yield connected


def start_job(servers: Servers, kind: str, spec, options: dict, inputs: dict[str, str]) -> Run:
    """Submit a job over uploads that a test made itself, without the client's checks."""
    message = servers._message(kind, spec, options, inputs)
    return Run(servers, message, spec, servers.submit(message))


def small_model() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(288, 2))


def test_train_measure_predict_and_open(servers: Servers, cluster: Cluster, chest) -> None:
    model = small_model()
    images, labels = chest
    run = servers.train(
        model, images, labels, epochs=3, lr=0.05, momentum=0.9, batch_size=16, seed=5, test=(images[:20], labels[:20])
    )
    assert any("training loss" in r for r in run.reveals)
    assert all("only to the owner" in r for r in run.reveals)
    run.wait(timeout=patience(60))
    measured = [run.reveal_metrics(epoch) for epoch in range(3)]
    assert measured[2]["train_loss"] < measured[0]["train_loss"]
    opened = run.reveal_state_dict()
    plain = small_model()
    plain.load_state_dict({k.lstrip("_"): torch.tensor(v, dtype=torch.float32) for k, v in opened.items()})
    want = torch.softmax(plain(torch.tensor(images[:9], dtype=torch.float32)), 1).detach().numpy()
    assert np.abs(run.predict(images[:9]) - want).max() < 2e-3
    assert measured[2]["test_accuracy"] == pytest.approx(
        (plain(torch.tensor(images[:20], dtype=torch.float32)).argmax(1).numpy() == labels[:20]).mean()
    )
    with cluster.client("client-other") as stranger, pytest.raises(PolicyError, match="no such job"):
        stranger.download(run.job, "result")
    with pytest.raises(PolicyError, match="result and metrics only"):
        servers.download(run.job, "epoch1")


def test_private_training_follows_plain_training(servers: Servers, chest) -> None:
    """Same seed, schedule and start: the weights after two epochs are torch's, up to rounding.

    The last batch has a quarter of the others' size: momentum must carry mean gradients, not sums.
    """
    from medveil.mpc.jobs import shuffle

    images, labels = chest[0][:52], chest[1][:52]
    run = servers.train(small_model(), images, labels, epochs=2, lr=0.05, momentum=0.9, batch_size=16, seed=9)
    run.wait(timeout=patience(60))
    plain = small_model()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    for epoch in range(2):
        order = shuffle(9, epoch, len(images))
        for start in range(0, len(images), 16):
            chosen = order[start : start + 16]
            optimiser.zero_grad()
            nn.functional.cross_entropy(plain(x[chosen]), y[chosen]).backward()
            optimiser.step()
    for name, value in run.reveal_state_dict().items():
        assert np.abs(value - plain.state_dict()[name.lstrip("_")].numpy()).max() < 3e-3, name


def test_a_shared_model_predicts(servers: Servers, chest) -> None:
    model = small_model()
    shared = servers.share_model(model, (1, 28, 28))
    want = model(torch.tensor(chest[0][:40], dtype=torch.float32)).detach().numpy()
    assert np.abs(shared.outputs(chest[0][:40]) - want).max() < 1e-3


def test_two_clients_at_once(cluster: Cluster, chest) -> None:
    model = small_model()
    images = chest[0][:8]
    want = model(torch.tensor(images, dtype=torch.float32)).detach().numpy()

    def work(name: str) -> list[np.ndarray]:
        with cluster.client(name) as mine:
            shared = mine.share_model(model, (1, 28, 28))
            return [shared.outputs(images) for _ in range(3)]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for answers in pool.map(work, ["client-local", "client-other"]):
            assert all(np.abs(answer - want).max() < 1e-3 for answer in answers)


def test_a_forgotten_run_leaves_nothing(cluster: Cluster, chest) -> None:
    with cluster.client() as servers:
        before = [{p.name for p in (cluster.folder / f"state{i}").iterdir()} for i in range(3)]
        run = servers.train(small_model(), *chest, epochs=1, lr=0.05, batch_size=16)
        with cluster.client("client-other") as stranger, pytest.raises(PolicyError, match="no such job"):
            stranger.forget(run.job)
        run.wait(timeout=patience(60))
        again = servers.run(run.job)
        assert again.reveals == run.reveals
        assert again.reveal_metrics(0) == run.reveal_metrics(0)
        assert np.abs(again.predict(chest[0][:3]) - run.predict(chest[0][:3])).max() < 1e-3
        servers.forget(run.job)
        after = [{p.name for p in (cluster.folder / f"state{i}").iterdir()} for i in range(3)]
        assert after == before
        with pytest.raises(PolicyError, match="not uploaded"):
            run.predict(chest[0][:1])


def test_a_vanished_client_finds_its_job_done(cluster: Cluster, chest) -> None:
    gone = cluster.client()
    run = gone.train(small_model(), *chest, epochs=1, lr=0.05)
    gone.close()
    with cluster.client() as back:
        back.wait(run.job, timeout=patience(60))
        assert back.states()[0][run.job] == "done"
        assert "result" not in back.states()[1]


def test_bad_input_is_refused_before_anything_is_sent(servers: Servers, chest) -> None:
    images, labels = chest
    model = small_model()
    before = servers.bytes_sent
    with pytest.raises(InputError, match="-16384 to 16384"):
        servers.train(model, images * 1e6, labels, epochs=1, lr=0.1)
    with pytest.raises(InputError, match="not numbers"):
        servers.train(model, images * np.nan, labels, epochs=1, lr=0.1)
    with pytest.raises(InputError, match="64 images and 3 labels"):
        servers.train(model, images, labels[:3], epochs=1, lr=0.1)
    with pytest.raises(InputError, match="from 0 to 1"):
        servers.train(model, images, labels + 1, epochs=1, lr=0.1)
    with pytest.raises(InputError, match=r"\(N, C, H, W\)"):
        servers.train(model, images[:, 0], labels, epochs=1, lr=0.1)
    with pytest.raises(UnsupportedError, match="GELU"):
        servers.train(nn.Sequential(nn.GELU()), images, labels, epochs=1, lr=0.1)
    assert servers.bytes_sent == before
    with pytest.raises(InputError, match="epochs"):
        servers.train(model, images, labels, epochs=0, lr=0.1)
    with pytest.raises(InputError, match="adam"):
        servers.train(model, images, labels, epochs=1, lr=0.1, optimizer="lion")


def test_weights_that_do_not_fit_fail_at_every_party(servers: Servers, chest) -> None:
    spec, state = from_module(small_model(), (1, 28, 28))
    encode = servers.fixed.encode
    state["_0.bias"] = state["_0.bias"][:3]
    servers.upload("short", {k: encode(v) for k, v in state.items()})
    before = servers.states()
    with pytest.raises(InputError, match="do not fit"):
        servers.predict(spec, "short", chest[0][:2])
    assert servers.states() == before  # a failed prediction leaves nothing
    servers.upload("one", {"images": encode(chest[0][:2])})
    run = start_job(servers, "predict", spec, {}, {"weights": "short", "images": "one"})
    assert [f["type"] for f in failures_within(servers, run, [0, 1, 2])] == ["InputError"] * 3


def test_images_that_do_not_fit_fail_at_every_party(servers: Servers, chest) -> None:
    spec, state = from_module(small_model(), (1, 28, 28))
    servers.upload("fit", {k: servers.fixed.encode(v) for k, v in state.items()})
    words = servers.fixed.encode(chest[0][:2])
    for name, images, said in (
        ("wide", words[:, :, :, :20].copy(), "the network takes"),
        ("narrow", words.astype(np.uint32), "take Z_2"),
    ):
        servers.upload(name, {"images": images})
        run = start_job(servers, "predict", spec, {}, {"weights": "fit", "images": name})
        assert [f["type"] for f in failures_within(servers, run, [0, 1, 2])] == ["InputError"] * 3
        with pytest.raises(InputError, match=said):
            run.wait(timeout=patience(20))


def test_parties_that_were_told_different_things_give_up(servers: Servers, chest) -> None:
    model = small_model()
    run = servers.train(model, *chest, epochs=1, lr=0.05, batch_size=16)
    run.wait(timeout=patience(60))
    message = dict(run._message, job="d" * 32)
    other = {**message, "options": {**message["options"], "lr": 0.5}}
    for party in range(3):
        servers._ask(party, {"op": "submit", **(other if party == 1 else message)})
    run.job = message["job"]
    assert {f["type"] for f in failures_within(servers, run, [0, 1, 2])} == {"ProtocolError"}
    with pytest.raises(ProtocolError, match="another request"):
        run.wait(timeout=patience(20))


def test_a_client_that_vanishes_in_an_upload_leaves_nothing(cluster: Cluster) -> None:
    entries = [{"name": "x", "dtype": "uint64", "shape": [1 << 20]}]
    gone = cluster.client()
    gone._ask(0, {"op": "put", "name": "half", "entries": entries, "bytes": 1 << 24})
    gone._link(0).sendall(bytes(1 << 20))
    gone.close()
    cluster.client().close()  # the server goes on
    assert not list((cluster.folder / "state0").glob("*half*"))


def test_a_renewed_certificate_keeps_its_owner(cluster: Cluster, chest) -> None:
    with cluster.client("client-other") as before:
        shared = before.share_model(small_model(), (1, 28, 28))
    for suffix in (".pem", ".key"):
        (cluster.folder / "certs" / f"client-other{suffix}").unlink()
    certificates.make_certificates(cluster.folder / "certs", ["client-other", "client-a.b"])
    with cluster.client("client-other") as after:
        assert np.all(np.isfinite(after.predict(shared.spec, shared.weights, chest[0][:1])))
    with pytest.raises(PolicyError, match="client-NAME"):
        cluster.client("client-a.b")


def test_a_server_with_old_state_is_noticed(servers: Servers, cluster: Cluster, chest) -> None:
    spec, state = from_module(small_model(), (1, 28, 28))
    words = {k: servers.fixed.encode(v) for k, v in state.items()}
    servers.upload("again", words)
    old = next((cluster.folder / "state1").glob("*.again.shares"))
    kept = old.read_bytes()
    servers.upload("again", words)
    assert np.all(np.isfinite(servers.predict(spec, "again", chest[0][:1])))
    old.write_bytes(kept)
    with pytest.raises(ProtocolError, match="old state"):
        servers.predict(spec, "again", chest[0][:1])


def test_strangers_are_refused(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = load_cluster(cluster.folder / "cluster.toml")
    certificates.make_certificates(tmp_path, ["client-evil"])
    evil = {"certificate": tmp_path / "client-evil.pem", "key": tmp_path / "client-evil.key"}
    with pytest.raises(ProtocolError, match="certificate"):
        Servers(good.model_copy(update={"tls": good.tls.model_copy(update=evil)}))
    with pytest.raises(ProtocolError, match="certificate"):
        Servers(good.model_copy(update={"tls": good.tls.model_copy(update={"ca": tmp_path / "ca.pem"})}))
    certs = cluster.folder / "certs"
    party = {"certificate": certs / "party-1.pem", "key": certs / "party-1.key"}
    as_party = good.model_copy(update={"tls": good.tls.model_copy(update=party)})
    with pytest.raises(PolicyError, match="may not act as a client"):
        Servers(as_party)
    with pytest.raises(PolicyError, match="not that of the party"):
        wire.dial(good, 1, {"role": "party", "party": 0, "job": "x", "attempt": "y"})
    with pytest.raises(ConfigError, match="another cluster"):
        Servers(good.model_copy(update={"name": "elsewhere"}))
    monkeypatch.setattr(wire, "VERSION", 99)
    with pytest.raises(ConfigError, match="version"):
        Servers(good)


def raw_connection(cluster: Cluster, party: int) -> ssl.SSLSocket:
    config = load_cluster(cluster.folder / "cluster.toml")
    plain = socket.create_connection(config.address(party), timeout=10)
    return config.tls.context(server=False).wrap_socket(plain, server_hostname=f"party-{party}")


@pytest.mark.parametrize(
    "message",
    [b"GET / HTTP/1.1\r\n\r\n", b"MVC1\xff\xff\xff\xff", b"MVC1\x00\x00\x00\x03[1]", b"MVC1\x00\x00\x00\x02{", b""],
)
def test_malformed_messages_end_the_connection_only(cluster: Cluster, message: bytes) -> None:
    with raw_connection(cluster, 2) as connection:
        connection.sendall(message)
        connection.settimeout(10)
        try:
            answer = connection.recv(4096)
        except OSError:
            answer = b""
        assert answer == b"" or b"error" in answer
    cluster.client().close()


def test_plain_tcp_and_old_tls_are_refused(cluster: Cluster) -> None:
    config = load_cluster(cluster.folder / "cluster.toml")
    with socket.create_connection(config.address(1), timeout=10) as plain:
        plain.sendall(b"\x00" * 64)
        with contextlib.suppress(ConnectionError):
            assert plain.recv(4096)[:1] in (b"", b"\x15")  # closed, or a TLS alert
    old = config.tls.context(server=False)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(config.address(1), timeout=10) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="party-1")


def test_uploads_are_bounded_before_allocation(servers: Servers) -> None:
    huge = [{"name": "x", "dtype": "uint64", "shape": [1 << 40]}]
    with pytest.raises(LimitError):
        servers._ask(0, {"op": "put", "name": "huge", "entries": huge, "bytes": 1 << 44})
    odd = [{"name": "x", "dtype": "float64", "shape": [1]}]
    with pytest.raises(errors.FormatError):
        servers._ask(0, {"op": "put", "name": "odd", "entries": odd, "bytes": 16})
    good = [{"name": "x", "dtype": "uint64", "shape": [1]}]
    with pytest.raises(errors.FormatError):
        servers._ask(0, {"op": "put", "name": "../../etc", "entries": good, "bytes": 16})
    with pytest.raises(LimitError, match="announced"):
        servers._ask(0, {"op": "put", "name": "liar", "entries": good, "bytes": 17})
    spec, _ = from_module(small_model(), (1, 28, 28))
    with pytest.raises(PolicyError, match="not uploaded"):
        start_job(servers, "predict", spec, {}, {"weights": "nothing", "images": "nothing"})
    with pytest.raises(ProtocolError, match="does not know"):
        servers._ask(1, {"op": "open everything"})


def test_the_operator_can_keep_weights_closed(tmp_path: Path) -> None:
    from medveil.mpc.cluster import write_cluster

    write_cluster(tmp_path, "closed", (10001, 10002, 10003))
    path = tmp_path / "party0.toml"
    path.write_text("allow_reveal_weights = false\n" + path.read_text())
    assert load_party(path).allow_reveal_weights is False
    path.write_text("surprise = 1\n" + path.read_text())
    with pytest.raises(ConfigError, match="surprise"):
        load_party(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_party(tmp_path / "nothing.toml")
    path.write_text("party = = 1")
    with pytest.raises(ConfigError, match="not TOML"):
        load_party(path)


def test_logs_hold_no_words_of_shares(cluster: Cluster) -> None:
    for party in range(3):
        text = (cluster.folder / f"party{party}.log").read_text("utf-8")
        assert "array(" not in text
        assert "Share(" not in text
