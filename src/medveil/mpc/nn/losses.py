"""Losses on logits: their gradient starts the backward pass, their value is only ever opened to the owner."""

from __future__ import annotations

from medveil.mpc import functions
from medveil.mpc.protocols.engine import Engine, Tensor

_FLOOR = 2.0**-12


def softmax_cross_entropy(engine: Engine, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the narrow, summed gradient softmax(z) - y and the probabilities; targets are one-hot and wide."""
    probabilities = functions.softmax(engine, logits)
    return engine.narrow(engine.sub(probabilities, targets)), probabilities


def sigmoid_cross_entropy(engine: Engine, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the narrow gradient sigmoid(z) - y and the probabilities, for independent 0/1 targets, wide."""
    probabilities = functions.sigmoid(engine, logits)
    return engine.sub(probabilities, engine.narrow(targets)), engine.extend(probabilities)


def loss_and_hits(engine: Engine, probabilities: Tensor, targets: Tensor, *, several: bool) -> Tensor:
    """Return a wide (2,) tensor: the summed loss -ln p of the targets and the number of right answers.

    Probabilities below 2^-12 count as 2^-12. With `several` classes the right answer is the greatest probability,
    else the one on its side of 1/2.
    """
    if several:
        hit = engine.total(engine.mul(probabilities, targets), 1)
        best = functions.maximum_of(engine, engine.slim(probabilities))
        margin = engine.sub(engine.narrow(hit), engine.cut(best, slice(None), 0))
        right = engine.number(engine.flip(engine.negative(engine.shift_by(margin, 2.0**-14))))
    else:
        # p if the target is 1, else 1 - p: 1 - y - p + 2 p y
        both = engine.mul(probabilities, targets)
        hit = engine.sub(engine.times(both, 2), engine.add(probabilities, targets))
        hit = engine.reshape(engine.shift_by(hit, 1.0), -1)
        right = engine.number(engine.flip(engine.negative(engine.shift_by(engine.narrow(hit), -0.5))))
    floored, _ = engine.relu(engine.shift_by(engine.narrow(hit), -_FLOOR))
    logs = functions.log(engine, engine.shift_by(engine.extend(floored), _FLOOR), low=-12, high=0)
    loss = engine.reshape(engine.total(engine.times(logs, -1)), 1)
    count = engine.reshape(engine.total(engine.times(engine.extend(right), engine.fixed.one)), 1)
    return engine.join([loss, count])
