"""The client: splits images into shares, sends each server its own, and opens what belongs to it.

with connect(Path("cluster.toml")) as servers:
    run = servers.train(model, images, labels, epochs=15, lr=0.05, momentum=0.9)
    probabilities = run.predict(new_images)
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medveil.errors import InputError, MedveilError, PolicyError, ProtocolError
from medveil.mpc import wire
from medveil.mpc.cluster import load_cluster
from medveil.mpc.connections import Connections
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.nn.ranges import check_range
from medveil.mpc.nn.spec import NetworkSpec
from medveil.mpc.nn.trace import from_module
from medveil.mpc.requests import JobRequest
from medveil.mpc.runs import Reals, Run, SharedModel

_SETTLE = 2.0  # how long to wait for the other parties' reports after the first failure
Tensors = dict[str, NDArray[np.uint64]]


class Servers(Connections):
    """The three servers of a cluster, as one client sees them. Use as a context manager."""

    fixed = FixedPoint()  # the format that the servers compute in

    def submit(self, message: dict[str, Any]) -> list[str]:
        """Submit a job to all three; returns what can be opened and by whom: what no server rules out."""
        return _common_reveals(self.each(lambda party: self._ask(party, {"op": "submit", **message})))

    def status(self, job: str) -> list[dict[str, Any]]:
        """Return a job's state at each party: state, failure, progress."""
        return self.each(lambda party: self._ask(party, {"op": "status", "job": job}))

    def forget(self, job: str) -> None:
        """Remove a finished job from the servers: results, checkpoints and what was uploaded for it.

        Raises:
            PolicyError: it is running, or no server knows it.
        """

        def remove(party: int) -> PolicyError | None:
            try:
                self._ask(party, {"op": "forget", "job": job})
            except PolicyError as e:  # a job that never reached this server is no reason to keep it at the others
                return e
            return None

        refusals = self.each(remove)
        if all(refusals) or any("running" in str(e) for e in refusals):
            raise next(e for e in refusals if e is not None)

    def unused(self) -> list[str]:
        """Return the names of the caller's uploads that no job reads: what a broken connection left, shared models."""
        answers = self.each(lambda party: self._ask(party, {"op": "status"}))
        return sorted({str(name) for answer in answers for name in answer["unused"]})

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

    def _labelled(self, images: ArrayLike, labels: ArrayLike, loss: str, spec: NetworkSpec) -> Tensors:
        """Return encoded images and targets, one row of the network's outputs an image."""
        if len(spec.output_shape) != 1:
            raise InputError(f"the network gives {spec.output_shape} an image, not a row of logits: flatten it first")
        classes, words, given = spec.output_shape[0], self._encode_images(images, spec.input_shape), np.asarray(labels)
        if len(words) != (len(given) if given.ndim else 0):
            raise InputError(f"there are {len(words)} images and {len(given) if given.ndim else 0} labels")
        if loss == "binary_cross_entropy":
            rows = given.reshape(len(given), -1)
            if rows.shape[1] != classes or rows.dtype.kind not in "biuf" or not bool(np.isin(rows, (0, 1)).all()):
                raise InputError(f"targets are {classes} numbers 0 or 1 an image")
            return {"images": words, "targets": self.fixed.encode(rows.astype(np.float64))}
        if given.ndim != 1 or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= classes:
            raise InputError(f"labels are one whole number from 0 to {classes - 1} an image")
        return {"images": words, "targets": self.fixed.encode(np.eye(classes)[given])}

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
            InputError: shapes, labels, or values out of the fixed-point range, those of the layers for the first images
                among them; nothing was sent.
        """
        spec, state = from_module(model, _shape_of(images), train=True)
        uploads = {
            "dataset": self._labelled(images, labels, loss, spec),
            "weights": {key: self.fixed.encode(value) for key, value in state.items()},
        }
        if test is not None:
            uploads["test_images"] = self._labelled(*test, loss, spec)
        check_range(model, images, self.fixed, train=True)
        options = {
            "epochs": epochs, "lr": lr, "momentum": momentum, "optimizer": optimizer, "loss": loss,
            "batch_size": batch_size, "seed": secrets.randbits(63) if seed is None else seed,
            "sizes": [len(uploads[key]["images"]) if key in uploads else 0 for key in ("dataset", "test_images")],
        }  # fmt: skip
        return self._send("train", spec, options, uploads)

    def _send(
        self, kind: str, spec: NetworkSpec, options: dict[str, Any], uploads: dict[str, Tensors],
        kept: dict[str, str] | None = None,
    ) -> Run:  # fmt: skip
        """Check a job as the servers will, upload what it reads and submit it; take the uploads back if that fails."""
        inputs = {key: secrets.token_hex(16) for key in uploads}
        message = self._message(kind, spec, options, {**inputs, **(kept or {})})
        JobRequest.from_message(message, "")
        try:
            for key, tensors in uploads.items():
                self.upload(inputs[key], tensors)
            return Run(self, message, spec, self.submit(message))
        except BaseException:
            for name in inputs.values():
                with contextlib.suppress(MedveilError):
                    self.drop(name)
            raise

    @staticmethod
    def _message(kind: str, spec: NetworkSpec, options: dict[str, Any], inputs: dict[str, str]) -> dict[str, Any]:
        return {
            "job": secrets.token_hex(16), "kind": kind, "spec": spec.to_json(), "options": options, "inputs": inputs,
        }  # fmt: skip

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
        return Run(self, message, NetworkSpec.from_json(message["spec"]), _common_reveals(answers))

    def share_model(
        self, model: Any, input_shape: tuple[int, int, int], *, sample: ArrayLike | None = None
    ) -> SharedModel:
        """Share a trained torch module for prediction; batch normalisation is folded into convolutions here.

        Args:
            model: a torch.nn.Module.
            input_shape: (C, H, W) of one image.
            sample: images to try it on in plain, here, to see that no layer leaves the fixed-point range.

        Raises:
            UnsupportedError: a layer that the servers cannot compute; nothing was sent.
            InputError: a weight, or a layer's output for the sample, out of the fixed-point range; nothing was sent.
        """
        spec, state = from_module(model, input_shape)
        if sample is not None:
            self._encode_images(sample, spec.input_shape)
            check_range(model, sample, self.fixed, train=False)
        name = secrets.token_hex(16)
        self.upload(name, {key: self.fixed.encode(value) for key, value in state.items()})
        return SharedModel(self, spec, name)

    def predict(self, spec: NetworkSpec, weights: str, images: ArrayLike, batch_size: int = 32) -> Reals:
        """Return the opened outputs for images, with weights that were uploaded under a name; leaves nothing behind."""
        words = {"images": self._encode_images(images, spec.input_shape)}
        run = self._send("predict", spec, {"batch_size": batch_size}, {"images": words}, {"weights": weights})
        try:
            self.wait(run.job)
            return self.fixed.decode(self.download(run.job, "result")["outputs"])
        finally:
            with contextlib.suppress(MedveilError):
                self.forget(run.job)


def _shape_of(images: ArrayLike) -> tuple[int, int, int]:
    shape = np.asarray(images).shape
    if len(shape) != 4:
        raise InputError(f"images are an (N, C, H, W) array, not {shape}")
    return int(shape[1]), int(shape[2]), int(shape[3])


def _common_reveals(answers: list[dict[str, Any]]) -> list[str]:
    return [str(x) for x in answers[0]["reveals"] if all(x in answer["reveals"] for answer in answers)]


def connect(path: Path | str) -> Servers:
    """Return the servers that a cluster.toml names.

    Raises:
        ConfigError: the file is not valid, or the servers are of another cluster or version.
        ProtocolError: a server cannot be reached.
    """
    return Servers(load_cluster(Path(path)))


__all__ = ["Reals", "Run", "Servers", "SharedModel", "connect"]
