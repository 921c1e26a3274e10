"""What the servers run for a client: a training or a prediction, as a program that every party runs alike.

Nothing is opened to a server; what its owner can open, `requests.reveals` lists before it runs.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import InputError, ObjectMissingError, ProtocolError
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import Optimiser, make_optimiser
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.requests import JobRequest
from medveil.mpc.session import Session
from medveil.mpc.shares import Share
from medveil.mpc.shelf import Bundle, Shelf

Progress = Callable[[dict[str, Any]], None]


def shuffle(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the public order of an epoch's samples; a plain training with the same seed uses the same."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(size)


@dataclass
class JobContext:
    """What a running job may use: its session, the party's shelf, and where to report progress."""

    session: Session
    shelf: Shelf
    request: JobRequest
    report: Progress
    resume: bool = False


def agree(session: Session, text: str, what: str) -> None:
    """Check that all parties hold the same public text.

    Raises:
        ProtocolError: they do not.
    """
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype=np.uint8)
    for other in (session.following, session.preceding):
        session.send(other, digest)
    for other in (session.preceding, session.following):
        if not np.array_equal(session.receive(other, 32, np.uint8), digest):
            raise ProtocolError(
                f"party {other} holds another {what}: the client sent different requests to the parties"
            )


def check_replicas(session: Session, bundle: Bundle) -> None:
    """Check that the next party holds this party's second components; only hashes travel.

    Raises:
        ProtocolError: it does not: one server has old or foreign state.
    """
    first, second, digest = hashlib.sha256(), hashlib.sha256(), np.uint8
    for name in sorted(bundle):
        for state, words in ((first, bundle[name].first), (second, bundle[name].second)):
            state.update(f"{name} {words.dtype.name} {words.shape}\0".encode())
            state.update(np.ascontiguousarray(words).reshape(-1).view(np.uint8).data)
    # The hash of uniform shares says nothing, and goes to a party that holds the very same words.
    session.send(session.following, np.frombuffer(second.digest(), digest))
    theirs = session.receive(session.preceding, 32, digest).tobytes()
    if not secrets.compare_digest(theirs, first.digest()):
        raise ProtocolError(
            f"party {session.preceding} holds other shares of this job: one server was restarted with old state; "
            "send the inputs again or restore its state folder"
        )


def run_job(context: JobContext) -> None:
    """Run a request to its end; results and checkpoints go to the party's shelf.

    Raises:
        ProtocolError: another party failed or disagrees.
        StoreFullError: a checkpoint found no space; the previous one stands.
    """
    request, session = context.request, context.session
    agree(session, f"{request.digest()} {context.resume}", "request")
    session.measure_link()
    if request.kind == "predict":
        _predict(context)
    else:
        _Training(context).run()


def _load(context: JobContext, key: str) -> Bundle:
    bundle = context.shelf.get(f"{context.request.owner}.{context.request.inputs[key]}")[0]
    check_replicas(context.session, bundle)
    if any(share.dtype != np.uint64 for share in bundle.values()):
        raise InputError(f"the {key} are shares in Z_2^32, the servers take Z_2^64: encode them as uint64")
    return bundle


def _weights(context: JobContext) -> Bundle:
    bundle = _load(context, "weights")
    Network(context.request.spec).check({k: s.shape for k, s in bundle.items()})
    return bundle


def _images(context: JobContext, key: str) -> Bundle:
    """Return a bundle of images and, for a training or a test, their targets."""
    bundle, spec = _load(context, key), context.request.spec
    names = {"images"} if key == "images" else {"images", "targets"}
    if bundle.keys() != names:
        raise InputError(f"the upload read as {key} holds {' and '.join(sorted(names))}, nothing else")
    images = bundle["images"]
    if images.shape[1:] != spec.input_shape or not images.shape[0]:
        raise InputError(f"the images have shape {images.shape[1:]}, the network takes {spec.input_shape}")
    if "targets" in bundle and bundle["targets"].shape != (images.shape[0], *spec.output_shape):
        raise InputError(
            f"the targets have shape {bundle['targets'].shape}, {images.shape[0]} images of this network need "
            f"{(images.shape[0], *spec.output_shape)}"
        )
    return bundle


def forward_all(engine: Rep3, network: Network, weights: Bundle, images: Share, batch: int) -> Share:
    """Return the outputs of all images, computed in batches."""
    outputs = []
    for start in range(0, images.shape[0], batch):
        part = engine.cut(images, slice(start, start + batch))
        outputs.append(engine.slim(network.forward(engine, dict(weights), part)[0]))
    joined: Share = engine.join(outputs)
    return joined


def _predict(context: JobContext) -> None:
    engine = Rep3(context.session)
    weights, images = _weights(context), _images(context, "images")["images"]
    batch = int(context.request.options.get("batch_size", 32))
    out = forward_all(engine, Network(context.request.spec), weights, images, batch)
    context.shelf.put(f"{context.request.job}.result", {"outputs": out})
    context.report({"images": images.shape[0]})


class _Training:
    """One training run at one party."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.request = context.request
        self.engine = Rep3(context.session)
        self.network = Network(self.request.spec)
        self.parameters = _weights(context)
        data = _images(context, "dataset")
        self.images, self.targets = data["images"], data["targets"]
        self.optimiser: Optimiser = make_optimiser(self.engine, self.parameters, self.request.options)
        self.several = self.request.options["loss"] == "cross_entropy"
        self.batch = int(self.request.options.get("batch_size", 32))

    def run(self) -> None:
        """Train from the newest common checkpoint, or from the start."""
        start = self._restore() if self.context.resume else 0
        self.optimiser.write(self.parameters)
        for epoch in range(start, int(self.request.options["epochs"])):
            totals = self._epoch(epoch)
            bundle: Bundle = {"train": totals}
            if "test_images" in self.request.inputs:
                bundle["test"] = self._test()
            # Measures first: a crash between the two repeats the epoch, and loses neither.
            self.context.shelf.put(f"{self.request.job}.metrics{epoch}", bundle)
            self._checkpoint(epoch + 1)
            self.context.report({"epoch": epoch + 1})
        self.context.shelf.put(f"{self.request.job}.result", dict(self.parameters))
        # Under the owner's name too, as the weights of later predictions.
        self.context.shelf.put(f"{self.request.owner}.{self.request.job}", dict(self.parameters))

    def _epoch(self, epoch: int) -> Share:
        size = self.images.shape[0]
        order = shuffle(int(self.request.options["seed"]), epoch, size)
        answers = []
        for start in range(0, size, self.batch):
            chosen = order[start : start + self.batch]
            answers.append(self._step(self.engine.cut(self.images, chosen), self.engine.cut(self.targets, chosen)))
            self.context.report({"epoch": epoch, "sample": min(size, start + self.batch), "samples": size})
        # Loss and accuracy once an epoch: their rounds would otherwise weigh on every step.
        targets = self.engine.cut(self.targets, order)
        return self._measure(self.engine.join(answers), targets)

    def _measure(self, probabilities: Share, targets: Share) -> Share:
        totals: Share = losses.loss_and_hits(self.engine, probabilities, targets, several=self.several)
        return totals

    def _step(self, x: Share, y: Share) -> Share:
        engine = self.engine
        out, tape = self.network.forward(engine, self.parameters, x, train=True)
        loss = losses.softmax_cross_entropy if self.several else losses.sigmoid_cross_entropy
        gradient, probabilities = loss(engine, out, y)
        gradients = self.network.backward(engine, self.parameters, tape, gradient)
        self.optimiser.step(self.parameters, gradients, x.shape[0])
        answer: Share = probabilities
        return answer

    def _test(self) -> Share:
        data = _images(self.context, "test_images")
        out = forward_all(self.engine, self.network, self.parameters, data["images"], self.batch)
        loss = losses.softmax_cross_entropy if self.several else losses.sigmoid_cross_entropy
        probabilities = loss(self.engine, out, data["targets"])[1]
        return self._measure(probabilities, data["targets"])

    def _checkpoint(self, epochs: int) -> None:
        bundle = {f"parameter {k}": v for k, v in self.parameters.items()}
        bundle |= {f"optimiser {k}": v for k, v in self.optimiser.state.items()}
        job, shelf = self.request.job, self.context.shelf
        shelf.put(f"{job}.epoch{epochs}", bundle, {"epochs": epochs, "steps": self.optimiser.steps})
        shelf.remove(f"{job}.epoch{epochs - 2}")  # a crash leaves the parties at most one epoch apart

    def _restore(self) -> int:
        job, session = self.request.job, self.context.session
        prefix = f"{job}.epoch"
        mine = [int(n.removeprefix(prefix)) for n in self.context.shelf.names() if n.startswith(prefix)]
        newest = np.array([max(mine, default=0)], np.int64)
        for other in (session.following, session.preceding):
            session.send(other, newest)
        epochs = min(
            int(newest[0]), *(int(session.receive(o, 1, np.int64)[0]) for o in (session.preceding, session.following))
        )
        if epochs == 0:
            return 0
        try:
            bundle, extra = self.context.shelf.get(f"{prefix}{epochs}")
        except ObjectMissingError as e:
            raise ObjectMissingError(
                f"epoch {epochs} is the newest checkpoint of one server and this one has only later ones: that server "
                "was restored with old state: restore its newer state folder, or train anew"
            ) from e
        check_replicas(session, bundle)
        for key, share in bundle.items():
            kind, _, name = key.partition(" ")
            (self.parameters if kind == "parameter" else self.optimiser.state)[name] = share
        self.optimiser.steps = int(extra["steps"])
        return epochs
