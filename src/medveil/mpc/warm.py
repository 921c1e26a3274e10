"""Compiles what a server computes with before it says that it is ready.

numba compiles a kernel at its first call and keeps the result on disk. On a first start that takes some ten seconds
during which a process can neither compute nor send a heartbeat: in the middle of a job the others would give it up.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import Sgd
from medveil.mpc.nn.spec import INPUT, LayerSpec, NetworkSpec
from medveil.mpc.protocols.rep3 import arithmetic
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.session import Session
from medveil.mpc.shares import Share
from medveil.mpc.transport.frames import Transport
from medveil.mpc.transport.memory import connect_memory

_SLIDE = {"stride": 1.0, "padding": 0.0, "groups": 1.0}
_WINDOW = {"kernel": 2.0, "stride": 2.0, "padding": 0.0}
_SPEC = NetworkSpec(
    (1, 8, 8),
    (
        LayerSpec("c", "conv2d", (INPUT,), _SLIDE, {"weight": (4, 1, 3, 3), "bias": (4,)}),
        LayerSpec("p", "maxpool2d", ("c",), _WINDOW, {}),
        LayerSpec("r", "relu", ("p",), {}, {}),
        LayerSpec("f", "flatten", ("r",), {}, {}),
        LayerSpec("l", "linear", ("f",), {}, {"weight": (2, 36), "bias": (2,)}),
    ),
)


def compile_kernels() -> None:
    """Train a tiny network on zeros among three threads, with both forms of comparison."""
    transports = connect_memory()
    threads = [threading.Thread(target=_party, args=(transports[p],)) for p in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _party(transport: Transport) -> None:
    session = Session.open(transport)
    network = Network(_SPEC)

    def shared(values: NDArray[np.float64]) -> Share:
        words = session.fixed.encode(values)
        mine = arithmetic.zero_words(session, words.shape, np.uint64)
        return arithmetic.reshare(session, mine + words if session.party == 0 else mine)

    engine = Rep3(session)
    weights = {name: shared(np.zeros(shape)) for name, shape in _SPEC.parameters.items()}
    images, targets = shared(np.zeros((2, *_SPEC.input_shape))), shared(np.eye(2))
    optimiser = Sgd(engine, weights, lr=0.1, momentum=0.9, batch=2)
    for form in ("low_byte", "low_round"):
        session.comparison = form
        out, tape = network.forward(engine, weights, images, train=True)
        gradient, answer = losses.softmax_cross_entropy(engine, out, targets)
        optimiser.step(weights, network.backward(engine, weights, tape, gradient), 2)
        losses.loss_and_hits(engine, answer, targets, several=True)
