"""What servers answer clients that ask for too much, for nonsense, or twice; servers and clients in one process."""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.mpc.servers import failures_within, patience, wait_for

from medveil.errors import FormatError, InputError, LimitError, PolicyError, StoreFullError
from medveil.mpc import ledger, party
from medveil.mpc.certificates import make_certificates
from medveil.mpc.client import Servers
from medveil.mpc.cluster import load_cluster, load_party, write_cluster
from medveil.mpc.ledger import Ledger
from medveil.mpc.local_servers import free_ports
from medveil.mpc.nn.trace import from_module
from medveil.mpc.party import Party
from medveil.mpc.requests import JobRequest

torch = pytest.importorskip("torch")
nn = torch.nn
Start = Callable[..., Servers]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start three parties in threads, each with changes to its configuration by number, and return a client."""
    a, b, c = free_ports()
    write_cluster(tmp_path, "desk", (a, b, c))
    make_certificates(tmp_path / "certs", ["client-other"])
    with contextlib.ExitStack() as stack:

        def begin(changes: dict[int, dict[str, Any]] | None = None, **common: Any) -> Servers:
            for number in range(3):
                config = load_party(tmp_path / f"party{number}.toml")
                server = Party(config.model_copy(update={**common, **(changes or {}).get(number, {})}))
                threading.Thread(target=server.serve, daemon=True).start()
                stack.callback(server.close)
            return stack.enter_context(Servers(load_cluster(tmp_path / "cluster.toml")))

        yield begin


@pytest.fixture(scope="module")
def chest(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        return data["images"][:12, None] / 255.0, data["labels"][:12].reshape(-1).astype(int)


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2))


def other(servers: Servers) -> Servers:
    tls = servers.cluster.tls
    own = {"certificate": tls.certificate.with_name("client-other.pem"), "key": tls.key.with_name("client-other.key")}
    return Servers(servers.cluster.model_copy(update={"tls": tls.model_copy(update=own)}))


def stored(tmp_path: Path) -> list[set[str]]:
    return [{p.name for p in (tmp_path / f"state{i}").iterdir()} for i in range(3)]


def test_whatever_a_job_breaks_on_ends_that_job_only(start: Start, chest, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = start()

    def broken(context: Any) -> None:
        raise KeyError("pixel 17 is 0.25")

    with monkeypatch.context() as patched:
        patched.setattr(party, "run_job", broken)
        run = servers.train(model(), *chest, epochs=1, lr=0.1)
        failures = failures_within(servers, run, [0, 1, 2])
    assert {f["type"] for f in failures} == {"ProtocolError"}
    assert "KeyError" in failures[0]["message"]
    assert "0.25" not in str(failures)
    run.resume()
    run.wait(timeout=patience(30))


def hostile(good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = json.loads(good["spec"])

    def layered(at: int, **changes: Any) -> str:
        changed = copy.deepcopy(spec)
        changed["layers"][at].update(changes)
        return json.dumps(changed)

    yield "no inputs", {"inputs": {}}
    yield "other inputs", {"inputs": {**good["inputs"], "more": "x"}}
    yield "no weights", {"inputs": {"dataset": good["inputs"]["dataset"]}}
    yield "no list", {"inputs": [1]}
    yield "a kind", {"kind": "open"}
    yield "a name", {"job": "../../../etc/passwd"}
    yield "no layers", {"spec": json.dumps({**spec, "layers": []})}
    yield (
        "a stride of 0",
        {
            "spec": layered(0, kind="maxpool2d", options={"kernel": 2, "stride": 0, "padding": 0}),
        },
    )
    yield "a stride", {"spec": layered(0, kind="maxpool2d", options={"kernel": 2, "stride": 0.5, "padding": 0})}
    yield "a kernel", {"spec": layered(0, kind="maxpool2d", options={"kernel": 99, "stride": 1, "padding": 0})}
    yield (
        "a huge padding",
        {
            "spec": layered(
                0,
                kind="conv2d",
                options={"stride": 1, "padding": 1 << 19, "groups": 1},
                parameters={"weight": [1, 1, 1, 1]},
            )
        },
    )
    yield "not a number", {"spec": layered(0, kind="dropout", options={"p": float("nan")})}
    yield "all dropped", {"spec": layered(0, kind="dropout", options={"p": 1})}
    yield "parameters", {"spec": layered(1, parameters={"weight": [2, 783]})}
    yield "negative", {"spec": layered(1, parameters={"weight": [-2, -784]})}
    yield "no inputs of a layer", {"spec": layered(1, inputs=[])}
    yield "a graph", {"spec": layered(1, kind="add", parameters={})}
    for name, value in (
        ("epochs", True), ("epochs", 1e9), ("lr", "fast"), ("lr", float("inf")), ("lr", 0), ("momentum", [1]),
        ("momentum", 1), ("batch_size", 0), ("batch_size", None), ("seed", -1), ("seed", 1 << 70), ("loss", "l2"),
        ("optimizer", ["sgd"]), ("sizes", [1]), ("sizes", ["a", "b"]),
    ):  # fmt: skip
        yield f"{name} {value}", {"options": {**good["options"], name: value}}


def test_hostile_jobs_are_refused_and_the_servers_go_on(start: Start, chest) -> None:
    servers = start()
    run = servers.train(model(), *chest, epochs=1, lr=0.1)
    run.wait(timeout=patience(30))
    good = run._message
    for what, changes in hostile(good):
        message = {**good, "job": "e" * 32, **changes}
        for number in range(3):
            with pytest.raises((InputError, LimitError)) as refusal:
                servers._ask(number, {"op": "submit", **message})
            assert len(str(refusal.value)) < 200, what
        with pytest.raises((InputError, LimitError)):
            JobRequest.from_message(message, "client-local")
    assert [list(states) for states in servers.states()] == [[run.job]] * 3
    assert run.predict(chest[0]).shape == (12, 2)


def test_what_cannot_run_is_refused_before_a_byte_is_sent(start: Start, chest) -> None:
    servers = start()
    for changes in ({"epochs": 0}, {"lr": 11}, {"momentum": 1.0}, {"optimizer": "lion"}, {"batch_size": 0}):
        with pytest.raises(InputError):
            servers.train(model(), *chest, **{"epochs": 1, "lr": 0.1, **changes})
    images, labels = chest
    binary = {"epochs": 1, "lr": 0.1, "loss": "binary_cross_entropy"}
    for targets in (labels, np.stack([labels, labels + 1], 1), np.full((12, 2), "a"), np.eye(2)[labels] / 2):
        with pytest.raises(InputError, match="0 or 1"):
            servers.train(model(), images, targets, **binary)
    with pytest.raises(InputError, match="flatten"):
        servers.train(nn.Sequential(nn.Conv2d(1, 2, 3)), images, labels, epochs=1, lr=0.1)
    loud = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, bias=False))
    with torch.no_grad():
        loud[1].weight.fill_(100)
    before = {k: v.clone() for k, v in loud.state_dict().items()}
    with pytest.raises(InputError, match=r"layer 1 reaches \d+ on these images.*16384"):
        servers.train(loud, images, labels, epochs=1, lr=0.1)
    with pytest.raises(InputError, match="layer 1 reaches"):
        servers.share_model(loud, (1, 28, 28), sample=images)
    assert all(torch.equal(v, before[k]) for k, v in loud.state_dict().items())
    with pytest.raises(InputError, match="the network takes"):
        servers.share_model(model(), (1, 28, 28), sample=images[:, :, 1:])
    assert servers.bytes_sent == 0
    assert servers.unused() == []
    servers.share_model(model(), (1, 28, 28), sample=images)
    assert servers.bytes_sent > 0


def test_a_refused_job_leaves_no_shares_behind(start: Start, chest, tmp_path: Path, monkeypatch) -> None:
    servers = start({2: {"max_jobs": 1}})
    go = threading.Event()
    monkeypatch.setattr(party, "run_job", lambda context: go.wait(30))
    first = servers.train(model(), *chest, epochs=1, lr=0.1)
    before = stored(tmp_path)
    with pytest.raises(LimitError, match="queue is full"):
        servers.share_model(model(), (1, 28, 28)).outputs(chest[0])
    go.set()
    first.wait(timeout=patience(30))
    waiting = [name for name in servers.states()[0] if name != first.job]
    for name in waiting:  # party 0 took it, and gave it up when party 2 did not come
        wait_for(lambda name=name: servers.states()[0].get(name) == "failed")
        servers.forget(name)
    for name in servers.unused():
        servers.drop(name)
    assert [{n for n in now if not n.endswith(".job")} for now in stored(tmp_path)] == [
        {n for n in then if not n.endswith(".job")} for then in before
    ]


def test_uploads_can_be_listed_and_removed(start: Start, chest, tmp_path: Path) -> None:
    servers = start()
    before = stored(tmp_path)
    shared = servers.share_model(model(), (1, 28, 28))
    assert servers.unused() == [shared.weights]
    shared.outputs(chest[0][:2])
    run = servers.train(model(), *chest, epochs=1, lr=0.1)
    assert servers.unused() == [shared.weights]
    with pytest.raises(PolicyError, match="forget the job first"):
        servers.drop(run._message["inputs"]["dataset"])
    with other(servers) as stranger:
        stranger.drop(shared.weights)  # another client's name of the same spelling: nothing of ours
        assert stranger.unused() == []
    run.wait(timeout=patience(30))
    shared.forget()
    assert servers.unused() == []
    servers.forget(run.job)
    assert stored(tmp_path) == before
    with pytest.raises(PolicyError, match="no such job"):
        servers.forget(run.job)


def test_a_client_has_a_quota(start: Start, chest) -> None:
    servers = start(max_client_bytes=100_000)
    shared = servers.share_model(model(), (1, 28, 28))  # 25 kB
    with pytest.raises(LimitError, match="forget finished runs"):
        servers.train(model(), np.repeat(chest[0], 3, axis=0), np.repeat(chest[1], 3), epochs=1, lr=0.1)
    assert servers.unused() == [shared.weights]
    with other(servers) as stranger:
        stranger.share_model(model(), (1, 28, 28))
    for _ in range(3):
        shared.forget()
        shared = servers.share_model(model(), (1, 28, 28))


def test_one_operator_can_keep_weights_closed(start: Start, chest) -> None:
    servers = start({1: {"allow_reveal_weights": False}})
    run = servers.train(model(), *chest, epochs=1, lr=0.1, test=chest)
    assert [r.split(",")[0] for r in run.reveals] == [
        "training loss and accuracy of each epoch", "test loss and accuracy of each epoch",
    ]  # fmt: skip
    assert servers.run(run.job).reveals == run.reveals
    run.wait(timeout=patience(30))
    with pytest.raises(PolicyError, match="operator does not let"):
        run.reveal_state_dict()
    assert run.predict(chest[0]).sum(1) == pytest.approx(np.ones(12), abs=1e-3)
    assert run.reveal_metrics(0)["test_accuracy"] >= 0


def test_a_waiting_job_can_be_submitted_again(start: Start, chest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restart of party 0, which alone forgets its queue: the others have the job waiting still."""
    servers = start()
    go, count = threading.Event(), []

    def held(context: Any) -> None:
        go.wait(30)
        count.append(context.request.job)

    monkeypatch.setattr(party, "run_job", held)
    first, second = (servers.train(model(), *chest, epochs=1, lr=0.1) for _ in range(2))
    second.resume()
    with pytest.raises(PolicyError, match="running already"):
        servers.submit({**first._message, "resume": True})
    go.set()
    second.wait(timeout=patience(30))
    assert sorted(count) == sorted([first.job, second.job] * 3)


def test_two_clients_train_and_predict_at_once(start: Start, chest) -> None:
    servers = start()
    images, labels = chest
    found: dict[str, Any] = {}

    def work(name: str, mine: Servers, targets: np.ndarray) -> None:
        run = mine.train(model(), images, targets, epochs=8, lr=0.05, batch_size=4, seed=1)
        shared = mine.share_model(model(), (1, 28, 28)).outputs(images)
        run.wait(timeout=patience(60))
        found[name] = run, shared, run.predict(images).argmax(1), list(mine.states()[0])

    with other(servers) as stranger:
        threads = [
            threading.Thread(target=work, args=("local", servers, labels)),
            threading.Thread(target=work, args=("other", stranger, 1 - labels)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found["local"][3] == [found["local"][0].job]
        assert found["other"][3] == [found["other"][0].job]
        with pytest.raises(PolicyError, match="no such job"):
            stranger.run(found["local"][0].job)
    assert np.abs(found["local"][1] - found["other"][1]).max() < 1e-3  # the same model of both
    # Opposite labels: each got its own training, not the other's.
    assert (found["local"][2] == labels).mean() > (found["other"][2] == labels).mean()


def test_a_full_disk_at_a_submission_is_named_and_queues_nothing(start: Start, chest, monkeypatch) -> None:
    servers = start()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ledger.os, "fsync", full)
        with pytest.raises(StoreFullError, match="no space"):
            servers.train(model(), *chest, epochs=1, lr=0.1)
    assert servers.states() == [{}] * 3
    servers.train(model(), *chest, epochs=1, lr=0.1).wait(timeout=patience(30))


def test_a_damaged_description_of_a_job_is_named(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"request": {}, "owner": "client-a", "state": "done"}'):
        (tmp_path / f"{'a' * 32}.job").write_text(text)
        with pytest.raises(FormatError, match="remove it to give the job up"):
            Ledger(tmp_path, 4)


def test_a_job_survives_a_restart_as_interrupted(tmp_path: Path) -> None:
    spec, _ = from_module(model(), (1, 28, 28))
    message = Servers._message("predict", spec, {}, {"weights": "w", "images": "i"})
    book = Ledger(tmp_path, 1)
    request = JobRequest.from_message(message, "client-a")
    assert book.accept(request, resume=False)
    assert not book.accept(request, resume=True)
    again = Ledger(tmp_path, 1)
    assert again.own("client-a", request.job).state == "interrupted"
    with pytest.raises(PolicyError):
        again.own("client-b", request.job)
    assert again.begin(request.job, 0.0, lambda: False) is None
    assert again.accept(request, resume=True)
    assert again.begin(request.job, 0.0, lambda: True) is None
    job = again.begin(request.job, 0.0, lambda: False)
    assert job is not None
    again.end(job, None)
    assert Ledger(tmp_path, 1).of("client-a")[request.job].state == "done"
    assert again.remove("client-a", request.job) == request
    assert not list(tmp_path.iterdir())
