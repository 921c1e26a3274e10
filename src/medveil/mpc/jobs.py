"""What the servers run for a client: a training or a prediction, as a program that every party runs alike.

Nothing is opened to a server. `reveals` lists, before a job runs, every value that somebody can open and who.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medveil.errors import InputError, ObjectMissingError, ProtocolError
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import Optimiser, make_optimiser
from medveil.mpc.nn.spec import NetworkSpec
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.session import Session
from medveil.mpc.shares import Share
from medveil.mpc.shelf import Bundle, Shelf

Progress = Callable[[dict[str, Any]], None]
LOSSES = ("cross_entropy", "binary_cross_entropy")
_KINDS = ("train", "predict")


@dataclass(frozen=True)
class JobRequest:
    """A job as the client describes it to each party; everything here is public."""

    job: str
    kind: str
    spec: NetworkSpec
    options: dict[str, Any]
    inputs: dict[str, str]
    owner: str

    @classmethod
    def from_message(cls, message: dict[str, Any], owner: str) -> JobRequest:
        """Return the request of a control message, checked.

        Raises:
            InputError: an option is missing or impossible; the message names it.
        """
        try:
            request = cls(
                str(message["job"]), str(message["kind"]), NetworkSpec.from_json(str(message["spec"])),
                dict(message["options"]), {str(k): str(v) for k, v in dict(message["inputs"]).items()}, owner,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as e:
            raise InputError("a job needs an identity, a kind, a network, options and inputs") from e
        if request.kind not in _KINDS or len(request.job) != 32 or not request.job.isalnum():
            raise InputError("a job is a training or a prediction with an identity of 32 letters and digits")
        batch = request.options.get("batch_size", 32)
        if not isinstance(batch, int) or not 1 <= batch <= 4096:
            raise InputError("the batch size is a whole number from 1 to 4096")
        if request.kind == "train":
            request._check_training()
        return request

    def _check_training(self) -> None:
        epochs, lr = self.options.get("epochs"), self.options.get("lr")
        if not isinstance(epochs, int) or not 1 <= epochs <= 10000:
            raise InputError("the number of epochs is a whole number from 1 to 10000")
        if not isinstance(lr, (int, float)) or not 0 < lr <= 10:
            raise InputError("the learning rate lies above 0 and at most at 10")
        if self.options.get("loss") not in LOSSES or self.options.get("optimizer") not in ("sgd", "adam"):
            raise InputError("the loss is cross_entropy or binary_cross_entropy, the optimizer sgd or adam")
        sizes = self.options.get("sizes")
        if not isinstance(sizes, list) or len(sizes) != 2 or not all(isinstance(n, int) and n >= 0 for n in sizes):
            raise InputError("a training names its numbers of images, for training and for testing")
        if not isinstance(self.options.get("seed"), int):
            raise InputError("a training needs the seed of its public shuffles")

    def to_message(self) -> dict[str, Any]:
        """Return the request as a control message's fields."""
        return {
            "job": self.job, "kind": self.kind, "spec": self.spec.to_json(), "options": self.options,
            "inputs": self.inputs,
        }  # fmt: skip

    def digest(self) -> str:
        """Return a hash of everything that all parties must agree on."""
        return hashlib.sha256(repr(sorted(self.to_message().items())).encode() + self.owner.encode()).hexdigest()


def reveals(request: JobRequest, *, weights: bool) -> list[str]:
    """Return every value of a job that can be opened, and to whom."""
    who = f"only to the owner ({request.owner})"
    if request.kind == "predict":
        return [f"the network's outputs for the sent images, {who}"]
    found = [f"training loss and accuracy of each epoch, {who}"]
    if "test_images" in request.inputs:
        found.append(f"test loss and accuracy of each epoch, {who}")
    if weights:
        found.append(f"the trained weights, {who}")
    return found


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
    metrics: list[str] = field(default_factory=list)


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
    agree(session, request.digest(), "request")
    session.measure_link()
    if request.kind == "predict":
        _predict(context)
    else:
        _Training(context).run()


def _load(context: JobContext, key: str) -> Bundle:
    bundle = context.shelf.get(f"{context.request.owner}.{context.request.inputs[key]}")[0]
    check_replicas(context.session, bundle)
    return bundle


def _weights(context: JobContext) -> Bundle:
    bundle = _load(context, "weights")
    Network(context.request.spec).check({k: s.shape for k, s in bundle.items()})
    return bundle


def forward_all(engine: Rep3, network: Network, weights: Bundle, images: Share, batch: int) -> Share:
    """Return the outputs of all images, computed in batches."""
    outputs = []
    for start in range(0, images.shape[0], batch):
        part = engine.cut(images, slice(start, start + batch))
        outputs.append(engine.slim(network.forward(engine, dict(weights), part)[0]))
    joined: Share = engine.join(outputs)
    return joined


def _check_images(images: Share, spec: NetworkSpec) -> None:
    if images.shape[1:] != spec.input_shape or not images.shape[0] or images.dtype != np.uint64:
        raise InputError(f"the images have shape {images.shape[1:]}, the network takes {spec.input_shape}")


def _predict(context: JobContext) -> None:
    engine = Rep3(context.session)
    weights, images = _weights(context), _load(context, "images")["images"]
    _check_images(images, context.request.spec)
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
        data = _load(context, "dataset")
        self.images, self.targets = data["images"], data["targets"]
        _check_images(self.images, self.request.spec)
        if self.images.shape[0] != self.targets.shape[0]:
            raise InputError("there must be one target an image")
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
        data = _load(self.context, "test_images")
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
