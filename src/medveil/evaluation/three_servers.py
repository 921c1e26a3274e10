"""Three-server learning as a row: its shares behind the interface of a scheme, and training among real servers.

What is stored is measured like any scheme's parts. What makes it worth its price is `train`: three processes compute
on the shares, and nobody but the owner can open a model or a prediction (docs/mpc.md).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, TamperedError, UnrecoverableError, UnsupportedError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.metrics import classification
from medveil.mpc.shares import PARTIES, Share, join, split
from medveil.schemes.base import Claim, Finding, FindingKind, Part, Protected, Restored, Scheme, Secret

_SIDE: Final = 32
_BATCH: Final = 16
_HEAD: Final = 8  # bytes: frames, rows, columns, bits


class ThreeServerShares(Scheme):
    """Replicated shares of a grey image's samples in Z_2^64, two components to each of three servers (paper 002).

    Any two servers open, one learns nothing. Parts are components as the servers hold them; the secret is empty.
    """

    name: ClassVar[str] = "three-server-learning"
    version: ClassVar[int] = 1
    claim: Claim = Claim(
        lossless=True,
        authenticated=False,
        learnable=True,
        threshold=(2, 3),
        private_below_threshold=True,
        bit_depths=tuple(range(1, 17)),
        multiframe=True,
        notes="semi-honest: one lying server makes results wrong without being noticed; two together read everything",
    )

    def protect(self, image: MedicalImage | OpaqueFile, *, roi: ROI = ()) -> Protected:  # noqa: ARG002
        """Split the samples. Raises UnsupportedError for what is no unsigned grey image of up to 16 bits."""
        if isinstance(image, OpaqueFile) or image.samples > 1 or image.pixels.dtype not in (np.uint8, np.uint16):
            raise UnsupportedError("three servers compute on grey images of up to 16 bits, unsigned")
        shares = split(image.pixels.astype(np.uint64))
        head = np.array([*image.pixels.shape, image.bits_stored], "<u2").tobytes()
        parts = tuple(
            Part(i, head + share.first.tobytes() + share.second.tobytes()) for i, share in enumerate(shares, start=1)
        )
        return Protected(parts, Secret(self.name, b""))

    def restore(self, parts: Sequence[Part | bytes], secret: Secret) -> Restored:  # noqa: ARG002
        """Open the shares of all three servers, compared with one another, or of two as they are.

        Raises TamperedError where replicas differ, UnrecoverableError for fewer than two servers.
        """
        held = {p.index: p.data for p in parts if isinstance(p, Part)}
        if len(held) < 2 or not set(held) <= set(range(1, PARTIES + 1)):
            raise UnrecoverableError(f"{len(held)} of the 2 servers that are needed: bring more")
        shares, shape, bits = _read(held)
        missing = [i for i in range(1, PARTIES + 1) if i not in shares]
        for i in missing:  # its components are those of its neighbours
            before, after = shares[(i - 2) % PARTIES + 1], shares[i % PARTIES + 1]
            shares[i] = Share(before.second, after.first)
        try:
            words = join((shares[1], shares[2], shares[3]))
        except InputError as error:
            raise TamperedError(str(error)) from None
        pixels = words.astype(np.uint8 if bits <= 8 else np.uint16).reshape(shape)
        findings = tuple(Finding(FindingKind.MISSING, f"server {i} did not answer", i) for i in missing)
        return Restored(MedicalImage(pixels, bits), findings)

    def verify(self, parts: Sequence[Part | bytes], secret: Secret | None = None) -> tuple[Finding, ...]:
        """Open and compare."""
        return self.restore(parts, secret or Secret(self.name, b"")).findings

    def lie(self, parts: Sequence[Part]) -> list[Part]:
        """Return parts after one server passed on a wrong value where it re-shares a product.

        Its neighbour holds the same wrong value, so the replicas agree: the reason for `authenticated=False`.
        """
        first, third = bytearray(parts[0].data), bytearray(parts[2].data)
        half = (len(first) - _HEAD) // 2
        first[_HEAD] ^= 1
        third[_HEAD + half] ^= 1
        return [Part(1, bytes(first)), parts[1], Part(3, bytes(third))]


def _read(held: dict[int, bytes]) -> tuple[dict[int, Share], tuple[int, ...], int]:
    heads = {data[:_HEAD] for data in held.values()}
    if len(heads) != 1 or len({len(data) for data in held.values()}) != 1:
        raise TamperedError("the servers' shares are of different images: one of them was changed")
    head = np.frombuffer(heads.pop(), "<u2")
    shape, bits = tuple(int(v) for v in head[:3]), int(head[3])
    if not 1 <= bits <= 16 or any(len(d) != _HEAD + 16 * int(np.prod(shape)) for d in held.values()):
        raise TamperedError("the servers' shares are not of the size that they say: they were changed")
    shares = {}
    for index, data in held.items():
        words = np.frombuffer(data[_HEAD:], np.uint64).reshape(2, *shape)
        shares[index] = Share(words[0].copy(), words[1].copy())
    return shares, shape, bits


def _network(classes: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(0)  # the start is public; only what is learnt is secret
    inner = _SIDE // 4
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * inner * inner, classes),
    )  # fmt: skip


def train(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    groups: Sequence[str],
    classes: tuple[str, ...],
    *,
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """Train a small network among three servers on this machine, and in plain beside it; 7 of 10 patients learn.

    images: uint8 (N, rows, columns). Returns labels and probabilities of the others, of both trainings, seconds of
    the private one, and bytes that the client sent. Raises ProtocolError where a server fails.
    """
    from medveil.imaging.resampling import resize
    from medveil.mpc import local
    from medveil.mpc.datasets import LabelledImages
    from medveil.mpc.plain import PlainTraining

    small = np.stack([resize(i, _SIDE, _SIDE) for i in images])[:, None] / 255.0
    known = np.random.default_rng(seed).permutation(sorted(set(groups)))
    first = set(known[: round(0.7 * len(known))].tolist())
    inside = np.array([g in first for g in groups])
    data = LabelledImages(small, labels, classes)
    learn, test = data.take(np.flatnonzero(inside)), data.take(np.flatnonzero(~inside))
    model, lr, momentum = _network(len(classes)), 0.02, 0.9
    plain = PlainTraining(model, learn, test, lr=lr, momentum=momentum, seed=seed, batch_size=_BATCH)
    for _ in range(epochs):
        plain.epoch()
    with local() as servers:
        started = time.perf_counter()
        run = servers.train(
            model, learn.images, learn.labels, epochs=epochs, lr=lr, momentum=momentum, seed=seed, batch_size=_BATCH
        )
        run.wait()
        seconds = time.perf_counter() - started
        outputs = run.predict(test.images)
        sent = servers.bytes_sent
    return {
        "labels": test.labels,
        "private": _probabilities(outputs),
        "plain": _probabilities(np.asarray(plain.predict(test.images))),
        "seconds": seconds,
        "images_per_second": epochs * len(learn) / seconds,
        "client_bytes": sent,
        "learnt_from": len(learn),
    }


def _probabilities(outputs: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return rows that sum to 1: as they are where they do already, else the softmax of logits."""
    rows = np.asarray(outputs, np.float64)
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=0.01):
        return np.asarray(rows / rows.sum(axis=1, keepdims=True))
    e = np.exp(rows - rows.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def f1(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]) -> float:
    """Return the macro F1."""
    return classification.scores(labels, probabilities)["f1_macro"]
