"""The client: splits images into shares, sends each server its own, and opens what belongs to it.

with connect(Path("cluster.toml")) as servers:
    run = servers.train(model, images, labels, epochs=15, lr=0.05, momentum=0.9)
    probabilities = run.predict(new_images)
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import secrets
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.errors import InputError, MedveilError, ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import Cluster, load_cluster
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.nn.simplify import State
from medveil.mpc.nn.spec import NetworkSpec
from medveil.mpc.nn.trace import from_module
from medveil.mpc.shares import join, split
from medveil.mpc.shelf import Bundle, allocate, buffers, byte_count, check_entries, describe

Reals = NDArray[np.float64]
_ANSWER_TIMEOUT = 30.0
_MAX_RESULT = 8 << 30
_SETTLE = 2.0  # how long to wait for the other parties' reports after the first failure


class Servers:
    """The three servers of a cluster, as one client sees them. Use as a context manager."""

    def __init__(self, cluster: Cluster, fixed: FixedPoint | None = None) -> None:
        self.cluster = cluster
        self.fixed = fixed or FixedPoint()
        self.bytes_sent = 0
        self._links: list[ssl.SSLSocket | None] = [None, None, None]
        self._pool = concurrent.futures.ThreadPoolExecutor(3, thread_name_prefix="mpc-client")
        self._closing: list[Callable[[], None]] = []
        try:
            self.each(self._link)
        except MedveilError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"Servers({self.cluster.name})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def on_close(self, action: Callable[[], None]) -> None:
        """Run an action when the servers are closed."""
        self._closing.append(action)

    def close(self) -> None:
        """Close the connections; jobs go on."""
        for link in self._links:
            if link is not None:
                with contextlib.suppress(OSError):
                    link.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for action in self._closing:
            action()

    def each(self, call: Callable[[int], Any]) -> list[Any]:
        """Call something for the three parties at once; raises the first failure after all have ended."""
        futures = [self._pool.submit(call, party) for party in range(3)]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]

    def _link(self, party: int) -> ssl.SSLSocket:
        link = self._links[party]
        if link is None:
            link = wire.dial(self.cluster, party, {"role": "client"})
            link.settimeout(_ANSWER_TIMEOUT)
            self._links[party] = link
        return link

    def _drop(self, party: int) -> None:
        link, self._links[party] = self._links[party], None
        if link is not None:
            with contextlib.suppress(OSError):
                link.close()

    def _ask(self, party: int, message: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer; a broken connection is opened anew once."""
        for last in (False, True):
            try:
                link = self._link(party)
                wire.send_json(link, message)
                answer = wire.receive_json(link)
            except (OSError, ProtocolError) as e:
                self._drop(party)
                if last or isinstance(e, TimeoutError):
                    raise ProtocolError(f"party {party} does not answer ({type(e).__name__}): see its log") from e
                continue
            if "error" in answer:
                self._drop(party)
                wire.raise_error(answer)
            return answer
        raise ProtocolError(f"party {party} does not answer")

    def upload(self, name: str, tensors: dict[str, NDArray[np.uint64]]) -> None:
        """Share ring elements and send each party its shares; the originals stay here.

        Raises:
            LimitError: larger than a server accepts.
            ProtocolError: a server is gone.
        """
        shared = {key: split(words) for key, words in tensors.items()}

        def send(party: int) -> None:
            bundle: Bundle = {key: three[party] for key, three in shared.items()}
            entries = describe(bundle)
            total = byte_count(check_entries(entries, _MAX_RESULT))
            self._ask(party, {"op": "put", "name": name, "entries": entries, "bytes": total})
            link = self._link(party)
            try:
                for view in buffers(bundle):
                    link.sendall(view)
                wire.raise_error(wire.receive_json(link))
            except OSError as e:
                self._drop(party)
                raise ProtocolError(f"party {party} closed the connection during an upload: see its log") from e
            self.bytes_sent += total

        self.each(send)

    def download(self, job: str, name: str) -> dict[str, NDArray[Any]]:
        """Return the opened words of one of the caller's results; all three servers' shares must agree."""

        def fetch(party: int) -> Bundle:
            answer = self._ask(party, {"op": "get", "job": job, "name": name})
            entries = check_entries(answer.get("entries"), _MAX_RESULT)
            bundle = allocate(entries)
            for view in buffers(bundle):
                wire.receive_exactly(self._link(party), view)
            return bundle

        bundles = self.each(fetch)
        if not (bundles[0].keys() == bundles[1].keys() == bundles[2].keys()):
            raise ProtocolError("the servers answered with different results: one of them is wrong")
        return {key: join((bundles[0][key], bundles[1][key], bundles[2][key])) for key in bundles[0]}

    def submit(self, message: dict[str, Any]) -> list[str]:
        """Submit a job to all three; returns what can be opened and by whom."""
        answers = self.each(lambda party: self._ask(party, {"op": "submit", **message}))
        return [str(x) for x in answers[0]["reveals"]]

    def status(self, job: str) -> list[dict[str, Any]]:
        """Return a job's state at each party: state, failure, progress."""
        return self.each(lambda party: self._ask(party, {"op": "status", "job": job}))

    def forget(self, job: str) -> None:
        """Remove a finished job from the servers: results, checkpoints and what was uploaded for it."""
        self.each(lambda party: self._ask(party, {"op": "forget", "job": job}))

    def states(self) -> list[dict[str, str]]:
        """Return the caller's jobs at each party."""
        return [answer["jobs"] for answer in self.each(lambda party: self._ask(party, {"op": "status"}))]

    def wait(
        self, job: str, timeout: float | None = None, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """Return when a job is done.

        Raises:
            ProtocolError: a party failed or is gone; `Run.resume` goes on from the last checkpoint.
            MedveilError: whatever the first failing party reported.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pause, patience = 0.005, 0.0
        while True:
            answers = self.status(job)
            if on_progress is not None:
                on_progress(answers[0]["progress"])
            failed = [a for a in answers if a["state"] in ("failed", "interrupted")]
            patience = patience if patience or not failed else time.monotonic() + _SETTLE
            if failed and len(failed) < len(answers) and time.monotonic() < patience:
                time.sleep(0.05)
                continue
            # A party's own fault says more than its neighbours' broken connections.
            failed.sort(key=lambda a: a["failure"].get("type") == "ProtocolError")
            if failed:
                reason = failed[0]["failure"] or {"message": "a server was restarted: resume the job"}
                wire.raise_error({"error": reason})
            if all(a["state"] == "done" for a in answers):
                return
            if deadline is not None and time.monotonic() > deadline:
                raise ProtocolError(f"the job was not done within {timeout:g} s: ask for its status later")
            time.sleep(pause)
            pause = min(0.25, pause * 1.5)

    def _encode_images(self, images: ArrayLike, shape: tuple[int, int, int] | None = None) -> NDArray[np.uint64]:
        array = np.asarray(images)
        if array.ndim != 4 or not array.shape[0]:
            raise InputError(f"images are an (N, C, H, W) array, not {array.shape}")
        if shape is not None and array.shape[1:] != shape:
            raise InputError(f"the images have shape {array.shape[1:]}, the network takes {shape}")
        return self.fixed.encode(array)

    def _targets(self, labels: ArrayLike, loss: str, classes: int) -> NDArray[np.uint64]:
        array = np.asarray(labels)
        if loss == "binary_cross_entropy":
            return self.fixed.encode(array.reshape(len(array), -1).astype(np.float64))
        if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= classes:
            raise InputError(f"labels are one whole number from 0 to {classes - 1} an image")
        return self.fixed.encode(np.eye(classes)[array])

    def train(
        self,
        model: Any,
        images: ArrayLike,
        labels: ArrayLike,
        *,
        epochs: int,
        lr: float,
        momentum: float = 0.0,
        optimizer: str = "sgd",
        loss: str = "cross_entropy",
        batch_size: int = 32,
        seed: int | None = None,
        test: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Run:
        """Share the data and the model's present weights, and start training; returns at once.

        Args:
            model: a torch.nn.Module that returns logits.
            images: (N, C, H, W) reals, |v| < 2^14, best scaled to 0..1.
            labels: (N,) classes, or (N, K) 0/1 targets for binary_cross_entropy.
            epochs: passes over the data.
            lr: learning rate.
            momentum: of SGD.
            optimizer: "sgd" or "adam".
            loss: "cross_entropy" or "binary_cross_entropy".
            batch_size: samples a step.
            seed: of the public shuffles; fresh by default.
            test: images and labels to measure after each epoch.

        Raises:
            UnsupportedError: a layer that the servers cannot compute; nothing was sent.
            InputError: shapes, labels or values out of the fixed-point range; nothing was sent.
        """
        spec, state = from_module(model, _shape_of(images), train=True)
        outputs = state[f"{spec.layers[-1].name}.bias"].size if f"{spec.layers[-1].name}.bias" in state else 0
        classes = outputs or next(reversed(spec.layers)).parameters.get("weight", (2,))[0]
        data = {"images": self._encode_images(images), "targets": self._targets(labels, loss, classes)}
        if len(data["images"]) != len(data["targets"]):
            raise InputError(f"there are {len(data['images'])} images and {len(data['targets'])} labels")
        held_out = None
        if test is not None:
            held_out = {
                "images": self._encode_images(test[0], spec.input_shape),
                "targets": self._targets(test[1], loss, classes),
            }
        weights = {key: self.fixed.encode(value) for key, value in state.items()}
        inputs = {"dataset": secrets.token_hex(16), "weights": secrets.token_hex(16)}
        self.upload(inputs["dataset"], data)
        self.upload(inputs["weights"], weights)
        if held_out is not None:
            inputs["test_images"] = secrets.token_hex(16)
            self.upload(inputs["test_images"], held_out)
        options = {
            "epochs": epochs, "lr": lr, "momentum": momentum, "optimizer": optimizer, "loss": loss,
            "batch_size": batch_size, "seed": secrets.randbits(63) if seed is None else seed,
            "sizes": [len(data["images"]), len(held_out["images"]) if held_out else 0],
        }  # fmt: skip
        return self._start("train", spec, options, inputs)

    def _start(self, kind: str, spec: NetworkSpec, options: dict[str, Any], inputs: dict[str, str]) -> Run:
        job = secrets.token_hex(16)
        message = {"job": job, "kind": kind, "spec": spec.to_json(), "options": options, "inputs": inputs}
        return Run(self, message, spec, self.submit(message))

    def run(self, job: str) -> Run:
        """Return one of the caller's trainings by name, from any machine that has the caller's certificate.

        Raises:
            PolicyError: the servers know no such job of this client.
            ProtocolError: the servers disagree about it.
        """
        answers = self.each(lambda party: self._ask(party, {"op": "describe", "job": job}))
        message = answers[0]["request"]
        if any(answer["request"] != message for answer in answers):
            raise ProtocolError("the servers describe this job differently: one of them has old state")
        if message["kind"] != "train":
            raise InputError(f"{job} is not a training")
        return Run(self, message, NetworkSpec.from_json(message["spec"]), [str(x) for x in answers[0]["reveals"]])

    def share_model(self, model: Any, input_shape: tuple[int, int, int]) -> SharedModel:
        """Share a trained torch module for prediction; batch normalisation is folded into convolutions here."""
        spec, state = from_module(model, input_shape)
        name = secrets.token_hex(16)
        self.upload(name, {key: self.fixed.encode(value) for key, value in state.items()})
        return SharedModel(self, spec, name)

    def predict(self, spec: NetworkSpec, weights: str, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return the opened outputs for images, with weights that were uploaded under a name."""
        words = self._encode_images(images, spec.input_shape)
        name = secrets.token_hex(16)
        self.upload(name, {"images": words})
        run = self._start("predict", spec, {"batch_size": batch_size}, {"weights": weights, "images": name})
        self.wait(run.job)
        outputs = self.fixed.decode(self.download(run.job, "result")["outputs"])
        self.forget(run.job)
        return outputs


class SharedModel:
    """A model whose weights lie on the servers as shares."""

    def __init__(self, servers: Servers, spec: NetworkSpec, weights: str) -> None:
        self.servers, self.spec, self.weights = servers, spec, weights

    def __repr__(self) -> str:
        return f"SharedModel({len(self.spec.layers)} layers)"

    def outputs(self, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return the network's outputs for (N, C, H, W) images, opened to the caller only."""
        return self.servers.predict(self.spec, self.weights, images, batch_size)


class Run:
    """A training on the servers. `reveals` lists what can be opened, as the servers said before it ran."""

    def __init__(self, servers: Servers, message: dict[str, Any], spec: NetworkSpec, reveals: list[str]) -> None:
        self.servers, self.spec, self.reveals = servers, spec, reveals
        self.job = str(message["job"])
        self._message = message

    def __repr__(self) -> str:
        return f"Run({self.job})"

    @property
    def epochs(self) -> int:
        """Return the number of passes over the data."""
        return int(self._message["options"]["epochs"])

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the number of images that train and that test."""
        train, test = self._message["options"]["sizes"]
        return int(train), int(test)

    def wait(self, timeout: float | None = None, on_progress: Callable[[dict[str, Any]], None] | None = None) -> None:
        """Return when the training is done; see `Servers.wait`."""
        self.servers.wait(self.job, timeout, on_progress)

    def resume(self) -> None:
        """Go on from the newest checkpoint that all three servers have."""
        self.servers.submit({**self._message, "resume": True})

    def reveal_metrics(self, epoch: int) -> dict[str, float]:
        """Open one epoch's mean loss and accuracy: train_loss, train_accuracy and, with test data, test_*."""
        opened = self.servers.download(self.job, f"metrics{epoch}")
        found = {}
        for part, size in zip(("train", "test"), self.sizes, strict=True):
            if part in opened:
                loss, hits = self.servers.fixed.decode(opened[part])
                found[f"{part}_loss"], found[f"{part}_accuracy"] = float(loss) / size, float(hits) / size
        return found

    def reveal_state_dict(self) -> State:
        """Open the trained weights, by "layer.parameter", where the servers' operators allow it."""
        words = self.servers.download(self.job, "result")
        return {key: self.servers.fixed.decode(value) for key, value in words.items()}

    def predict(self, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return class probabilities for (N, C, H, W) images, opened to the caller only.

        The servers compute logits; the softmax or sigmoid is the caller's.
        """
        z = self.servers.predict(self.spec, f"{self.job}", images, batch_size)
        if self._message["options"]["loss"] == "binary_cross_entropy":
            return np.asarray(1 / (1 + np.exp(-z)))
        powers = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _shape_of(images: ArrayLike) -> tuple[int, int, int]:
    shape = np.asarray(images).shape
    if len(shape) != 4:
        raise InputError(f"images are an (N, C, H, W) array, not {shape}")
    return int(shape[1]), int(shape[2]), int(shape[3])


def connect(path: Path | str) -> Servers:
    """Return the servers that a cluster.toml names.

    Raises:
        ConfigError: the file is not valid, or the servers are of another cluster or version.
        ProtocolError: a server cannot be reached.
    """
    return Servers(load_cluster(Path(path)))
