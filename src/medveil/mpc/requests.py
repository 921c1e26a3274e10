"""What a client asks the servers for: a job's public description, checked at the client before anything is sent and
again at each server before it is queued."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from medveil.errors import InputError
from medveil.mpc.nn.spec import NetworkSpec

LOSSES = ("cross_entropy", "binary_cross_entropy")
OPTIMISERS = ("sgd", "adam")
_INPUTS = {"train": {"dataset", "weights"}, "predict": {"weights", "images"}}
_OPTIONAL = {"train": {"test_images"}, "predict": set[str]()}


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
        if request.kind not in _INPUTS or len(request.job) != 32 or not request.job.isalnum():
            raise InputError("a job is a training or a prediction with an identity of 32 letters and digits")
        needed = _INPUTS[request.kind]
        if not needed <= set(request.inputs) <= needed | _OPTIONAL[request.kind]:
            raise InputError(f"a {request.kind} job reads uploads as {' and '.join(sorted(needed))} and no others")
        if not _whole(request.options.get("batch_size", 32), 1, 4096):
            raise InputError("the batch size is a whole number from 1 to 4096")
        if request.kind == "train":
            request._check_training()
        return request

    def _check_training(self) -> None:
        if not _whole(self.options.get("epochs"), 1, 10000):
            raise InputError("the number of epochs is a whole number from 1 to 10000")
        if not _real(self.options.get("lr"), 0, 10) or not self.options["lr"]:
            raise InputError("the learning rate lies above 0 and at most at 10")
        momentum = self.options.get("momentum", 0.0)
        if not _real(momentum, 0, 1) or momentum == 1:
            raise InputError("momentum lies at 0 or above and below 1")
        if self.options.get("loss") not in LOSSES or self.options.get("optimizer") not in OPTIMISERS:
            raise InputError("the loss is cross_entropy or binary_cross_entropy, the optimizer sgd or adam")
        sizes = self.options.get("sizes")
        if not isinstance(sizes, list) or len(sizes) != 2 or not all(_whole(n, 0, 1 << 40) for n in sizes):
            raise InputError("a training names its numbers of images, for training and for testing")
        if not _whole(self.options.get("seed"), 0, (1 << 63) - 1):
            raise InputError("the seed of the public shuffles is a whole number of at most 63 bits")
        if len(self.spec.output_shape) != 1:
            raise InputError("a network that is trained ends in one row of logits an image: flatten before its end")

    def to_message(self) -> dict[str, Any]:
        """Return the request as a control message's fields."""
        return {
            "job": self.job, "kind": self.kind, "spec": self.spec.to_json(), "options": self.options,
            "inputs": self.inputs,
        }  # fmt: skip

    def digest(self) -> str:
        """Return a hash of everything that all parties must agree on."""
        return hashlib.sha256(repr(sorted(self.to_message().items())).encode() + self.owner.encode()).hexdigest()


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _real(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


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
