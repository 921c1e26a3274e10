"""What is measured: each program runs at a party and returns {job: Figure}. Inputs are shares of real images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medveil.mpc import functions, ring
from medveil.mpc.datasets import SAMPLE, load_arrays
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import Sgd
from medveil.mpc.nn.trace import from_module
from medveil.mpc.protocols.rep3 import arithmetic, comparison, truncation
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.session import Session
from medveil.mpc.shares import Share
from medveil.networks.classifiers import paper_cnn


@dataclass(frozen=True)
class Figure:
    """Seconds of every repeat and, beside each, this party's CPU seconds and the whole machine's; bytes, rounds."""

    runs: tuple[float, ...]
    cpu: tuple[float, ...]
    machine: tuple[float, ...]
    bytes_sent: int
    rounds: int


def measure(session: Session, call: Callable[[], Any], repeats: int) -> Figure:
    """Time a call: all parties start together, after one call that is not counted."""
    call()
    runs, own, whole = [], [], []
    for _ in range(repeats):
        arithmetic.reveal_to_all(session, arithmetic.share_public(session, np.zeros(1, np.uint64)))
        session.transport.reset()
        cpu, machine, start = time.process_time(), busy_seconds(), time.perf_counter()
        call()
        runs.append(time.perf_counter() - start)
        own.append(time.process_time() - cpu)
        whole.append(busy_seconds() - machine)
    traffic = session.transport.traffic
    return Figure(tuple(runs), tuple(own), tuple(whole), traffic.bytes_sent, traffic.rounds)


def busy_seconds() -> float:
    """Return the CPU seconds that this machine has worked for anybody, those that its host took included."""
    user, nice, system, _, _, interrupt, soft, steal = (int(x) for x in Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def input_share(session: Session, values: np.ndarray, dtype: Any = np.uint64) -> Share:
    """Return shares of values that every party of the benchmark knows, masked by a zero sharing."""
    words = np.rint(values * session.fixed.one).astype(np.int64).view(np.uint64).astype(dtype)
    mine = arithmetic.zero_words(session, words.shape, words.dtype.type)
    return arithmetic.reshare(session, mine + words if session.party == 0 else mine)


def network(session: Session, channels: int, batch: int) -> tuple[Any, dict[str, Share], Share, Share]:
    import torch

    torch.manual_seed(0)
    spec, state = from_module(paper_cnn(channels, 50), (channels, 50, 50), train=True)
    data = load_arrays(SAMPLE, 50)
    images = np.repeat(data.images[:batch], channels, axis=1)
    weights = {k: input_share(session, v) for k, v in state.items()}
    return Network(spec), weights, input_share(session, images), input_share(session, np.eye(2)[data.labels[:batch]])


def training_step(session: Session, net: Any, weights: dict[str, Share], x: Share, y: Share) -> Callable[[], None]:
    engine = Rep3(session)
    optimiser = Sgd(engine, weights, 0.02, 0.9)

    def step() -> None:
        out, tape = net.forward(engine, weights, x, train=True)
        gradient, _ = losses.softmax_cross_entropy(engine, out, y)
        optimiser.step(weights, net.backward(engine, weights, tape, gradient), x.shape[0])

    return step


@dataclass(frozen=True)
class PaperNetwork:
    """Prediction of 1 and `batch` images and a training step of `batch`, 3 x 50 x 50."""

    batch: int = 32
    repeats: int = 5
    train: bool = True

    def __call__(self, session: Session) -> dict[str, Figure]:
        net, weights, x, y = network(session, 3, self.batch)
        engine = Rep3(session)
        one = engine.cut(x, slice(1))
        found = {
            "predict 1": measure(session, lambda: net.forward(engine, weights, one), self.repeats),
            f"predict {self.batch}": measure(session, lambda: net.forward(engine, weights, x), self.repeats),
        }
        if self.train:
            step = training_step(session, net, weights, x, y)
            found[f"training step {self.batch}"] = measure(session, step, self.repeats)
        return found


@dataclass(frozen=True)
class Operations:
    """Single operations on `size` elements, one 1024^3 product, the GEMM rate, the share of it that is reached."""

    size: int = 10**6
    repeats: int = 3

    def __call__(self, session: Session) -> dict[str, Figure]:
        rng = np.random.default_rng(5)
        values = rng.uniform(-100, 100, self.size)
        wide, narrow = input_share(session, values), input_share(session, values, np.uint32)
        engine = Rep3(session)
        square = input_share(session, rng.uniform(-1, 1, (1024, 1024)))
        few = engine.cut(wide, slice(self.size // 100))
        divisor = input_share(session, rng.uniform(0.5, 100, self.size // 100))
        plan = ring.plan_matmul(1024, 1024, 1024)
        calls: dict[str, Callable[[], Any]] = {
            "10^6 comparisons with choice": lambda: comparison.relu_a(session, narrow),
            "10^6 products": lambda: arithmetic.mul_aa(session, wide, wide),
            "10^6 products, truncated": lambda: engine.mul(wide, wide),
            "10^6 truncations": lambda: truncation.trunc_a(session, wide),
            "matmul 1024^3, truncated": lambda: arithmetic.linear_narrow(session, plan, square, square),
            "matmul 1024^3, exact": lambda: arithmetic.matmul_aa(session, square, square),
            "10^4 divisions": lambda: functions.divide(engine, few, divisor),
        }
        return {name: measure(session, call, self.repeats) for name, call in calls.items()}


@dataclass(frozen=True)
class Truncations:
    """`count` truncations of known values by both forms; counts large errors."""

    count: int
    block: int = 4_000_000

    def __call__(self, session: Session) -> dict[str, int]:
        rng = np.random.default_rng(11)
        large = {"trunc_a": 0, "extend_a": 0, "linear_narrow": 0}
        done = 0
        ones = input_share(session, np.ones((1, 1)))
        while done < self.count:
            words = rng.integers(-(2**46), 2**46, self.block)
            values = words / session.fixed.one
            shared = input_share(session, values)
            opened = arithmetic.reveal_to_all(session, truncation.trunc_a(session, shared)).view(np.int64)
            large["trunc_a"] += int((np.abs(opened - (words >> 16)) > 2).sum())
            small = words >> 17
            narrow = truncation.narrow_a(session, input_share(session, small / session.fixed.one))
            opened = arithmetic.reveal_to_all(session, truncation.extend_a(session, narrow)).view(np.int64)
            large["extend_a"] += int((opened != small).sum())
            plan = ring.plan_matmul(1, 1, self.block)
            row = shared.reshape(1, self.block)
            out = arithmetic.linear_narrow(session, plan, ones, row)
            shifted = arithmetic.reveal_to_all(session, out).view(np.int32).reshape(-1).astype(np.int64)
            low = (words + 2**31) % 2**32 - 2**31  # the product's value modulo 2^32
            large["linear_narrow"] += int((np.abs((shifted - low + 2**31) % 2**32 - 2**31) > 2).sum())
            done += self.block
        return large
