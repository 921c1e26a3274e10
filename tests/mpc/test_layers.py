"""Each layer alone, in training: output and gradients against torch.autograd, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.mpc.three_parties import run, share64

from medveil.errors import UnsupportedError
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import LAYERS
from medveil.mpc.nn.spec import INPUT, LayerSpec
from medveil.mpc.nn.trace import from_module
from medveil.mpc.protocols.cleartext import Cleartext
from medveil.mpc.protocols.engine import Engine
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.shares import join

torch = pytest.importorskip("torch")
nn = torch.nn
FIXED = FixedPoint()
UNIT = 1 / FIXED.one
RNG = np.random.default_rng(5)


def sizes(*shape: int, top: float = 4.0) -> np.ndarray:
    return np.rint(RNG.uniform(-top, top, shape) * FIXED.one) / FIXED.one


def moved(module: nn.Module) -> nn.Module:
    """Give a normalisation weights and statistics that are not those of a fresh one."""
    with torch.no_grad():
        for name, value in {**dict(module.named_parameters()), **dict(module.named_buffers())}.items():
            if value.dtype.is_floating_point:
                low, high = (0.5, 2.0) if name in ("weight", "running_var") else (-0.5, 0.5)
                value.uniform_(low, high)
    return module


# A module, the shape of its input, and the bound of its errors in units in the last place.
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "conv": (lambda: nn.Conv2d(3, 5, 3), (2, 3, 7, 6), 1.5),
    "conv, stride 2, padding 1": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 7), 1.5),
    "conv, stride 3 with a rest, padding 2": (lambda: nn.Conv2d(2, 4, 3, stride=3, padding=2), (2, 2, 9, 8), 1.5),
    "conv, 3 groups, no bias": (lambda: nn.Conv2d(6, 9, 3, groups=3, bias=False), (2, 6, 5, 5), 1.5),
    "conv, depthwise, stride 2": (lambda: nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4), (1, 4, 7, 7), 1.5),
    "conv, 3 x 5 kernel": (lambda: nn.Conv2d(2, 3, (3, 5), padding=2), (2, 2, 6, 6), 1.5),
    "conv, 1 x 1": (lambda: nn.Conv2d(4, 6, 1), (3, 4, 3, 3), 1.5),
    "linear": (lambda: nn.Linear(17, 5), (6, 17), 1.5),
    "linear, no bias": (lambda: nn.Linear(3, 1, bias=False), (1, 3), 1.5),
    "batch norm": (lambda: moved(nn.BatchNorm2d(4)), (5, 4, 6, 5), 16),
    "relu": (nn.ReLU, (3, 4, 5, 5), 0),
    "max pool": (lambda: nn.MaxPool2d(2), (2, 3, 6, 8), 0),
    "max pool, odd, overlapping": (lambda: nn.MaxPool2d(3, 2), (2, 3, 8, 7), 0),
    "max pool, padding": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 7, 7), 0),
    "max pool, a rest": (lambda: nn.MaxPool2d(2), (2, 3, 7, 5), 0),
    "average pool": (lambda: nn.AvgPool2d(2), (2, 3, 6, 6), 1.5),
    "average pool, 3 x 3": (lambda: nn.AvgPool2d(3), (2, 3, 9, 9), 1.5),
    "average pool, 5 x 5, stride 2, padding 1": (lambda: nn.AvgPool2d(5, 2, 1), (2, 3, 9, 8), 1.75),
    "average pool, 7 x 7": (lambda: nn.AvgPool2d(7, 3), (2, 2, 10, 13), 1.75),
    "adaptive, 1": (lambda: nn.AdaptiveAvgPool2d(1), (2, 3, 7, 5), 1.5),
    "adaptive, 3": (lambda: nn.AdaptiveAvgPool2d(3), (2, 3, 9, 9), 1.5),
    "flatten": (nn.Flatten, (2, 3, 4, 5), 0),
    "dropout, 0": (lambda: nn.Dropout(0.0), (4, 30), 0),
}  # fmt: skip


class Run:
    """One layer on one engine: its output, and what its backward pass gives for a gradient."""

    def __init__(self, engine: Engine, layer: LayerSpec, x: list[Any], g: Any, weights: dict[str, Any]) -> None:
        own = LAYERS[layer.kind](layer)
        out, saved = own.forward(engine, x, weights, train=True)
        self.output = engine.slim(out)
        into, self.found = own.backward(engine, engine.slim(g), saved, weights, to_input=True)
        self.into = [engine.slim(t) for t in into]
        self.weights = weights


def on_both(
    layer: LayerSpec, xs: list[np.ndarray], g: np.ndarray, state: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    words = [FIXED.encode(v) for v in (*xs, g, *state.values())]
    count = len(xs)

    def program(engine: Engine, *tensors: Any) -> Run:
        weights = dict(zip(state, tensors[count + 1 :], strict=True))
        return Run(engine, layer, list(tensors[:count]), tensors[count], weights)

    def opened(runs: tuple[Run, ...], put: Callable[[tuple[Any, ...]], np.ndarray]) -> dict[str, Any]:
        def each(pick: Callable[[Run], Any]) -> np.ndarray:
            return FIXED.decode(put(tuple(pick(r) for r in runs)))

        return {
            "output": each(lambda r: r.output),
            "into": [each(lambda r, i=i: r.into[i]) for i in range(len(runs[0].into))],
            "found": {name: each(lambda r, n=name: r.found[n]) for name in runs[0].found},
            "weights": {name: each(lambda r, n=name: r.weights[n]) for name in state},
        }

    shared = run(lambda s, *t: program(Rep3(s), *t), *[share64(w) for w in words]).results
    clear = program(Cleartext(), *words)
    return [opened(shared, join), opened((clear,), lambda one: one[0])]


def windows(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Return how many windows of an average pool an element lies in at most; each adds its error to the gradient."""
    if not isinstance(module, nn.AvgPool2d):
        return 1
    ones = torch.ones(shape, requires_grad=True)
    (module(ones) * module.kernel_size**2).sum().backward()
    return int(ones.grad.max().round())


@pytest.mark.parametrize("name", CASES)
def test_a_layer_and_its_gradients_are_torchs(name: str) -> None:
    make, shape, units = CASES[name]
    torch.manual_seed(8)
    module = make().double().train()
    with torch.no_grad():
        for p in (*module.parameters(), *module.buffers()):
            if p.dtype.is_floating_point:
                p.copy_(torch.round(p * FIXED.one) / FIXED.one)
    alone = tuple(shape[1:]) if len(shape) == 4 else (shape[1], 1, 1)
    spec, state = from_module(module if len(shape) == 4 else nn.Sequential(nn.Flatten(), module), alone, train=True)
    layer = spec.layers[-1]
    own = {key: state[f"{layer.name}.{key}"] for key in layer.parameters}
    x = sizes(*shape)
    tensor = torch.tensor(x, requires_grad=True)
    out = module(tensor)
    assert tuple(out.shape[1:]) == spec.output_shape
    g = sizes(*out.shape, top=1.0)
    out.backward(torch.tensor(g))
    # A normalisation's gradients carry the inverse root's error, which is 2^-10 of the value (`functions.rsqrt`).
    relative = 2.0**-10 if layer.kind == "batchnorm2d" else 0.0

    def close(found: np.ndarray, want: np.ndarray, times: int = 1) -> bool:
        return bool(np.all(np.abs(found - want) <= times * units * UNIT + relative * np.abs(want)))

    for got in on_both(layer, [x], g, own):
        assert close(got["output"], out.detach().numpy())
        assert close(got["into"][0], tensor.grad.numpy(), windows(module, shape))
        assert set(got["found"]) == {n for n, p in module.named_parameters() if p.requires_grad}
        for parameter, value in module.named_parameters():
            assert close(got["found"][parameter], value.grad.numpy()), parameter
        for statistic in ("running_mean", "running_var"):
            if statistic in own:
                want = dict(module.named_buffers())[statistic].numpy()
                assert np.abs(got["weights"][statistic] - want).max() <= 30 * UNIT


def test_branches_get_the_gradient_of_their_part() -> None:
    a, b, g = sizes(2, 3, 4, 4), sizes(2, 3, 4, 4), sizes(2, 3, 4, 4)
    for got in on_both(LayerSpec("s", "add", (INPUT, INPUT), {}, {}), [a, b], g, {}):
        assert np.array_equal(got["output"], a + b)
        assert all(np.array_equal(into, g) for into in got["into"])
    b, g = sizes(2, 5, 4, 4), sizes(2, 8, 4, 4)
    for got in on_both(LayerSpec("c", "concat", (INPUT, INPUT), {}, {}), [a, b], g, {}):
        assert np.array_equal(got["output"], np.concatenate([a, b], axis=1))
        assert np.array_equal(got["into"][0], g[:, :3])
        assert np.array_equal(got["into"][1], g[:, 3:])


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_dropout_keeps_its_share_and_masks_the_gradient_alike(p: float) -> None:
    x, g = sizes(40, 100, top=3) + 4.0, sizes(40, 100, top=1) + 2.0
    for got in on_both(LayerSpec("d", "dropout", (INPUT,), {"p": p}, {}), [x], g, {}):
        kept = got["output"] > 0.5  # what is dropped may come out as a unit in the last place
        assert abs(kept.mean() - (1 - p)) < 0.05
        assert np.abs(got["output"] - np.where(kept, x / (1 - p), 0)).max() <= 3 * UNIT + 7 * 2**-17
        assert np.abs(got["into"][0] - np.where(kept, g / (1 - p), 0)).max() <= 3 * UNIT + 7 * 2**-17
    with pytest.raises(UnsupportedError, match="below 1"):
        from_module(nn.Sequential(nn.Dropout(1.0)), (1, 4, 4))


def test_the_padding_of_a_maximum_never_wins() -> None:
    """Also where all activations stand at the lower end of the range."""
    x = np.full((1, 1, 4, 4), -16383.5)
    g = np.ones((1, 1, 2, 2))
    layer = LayerSpec("m", "maxpool2d", (INPUT,), {"kernel": 3, "stride": 2, "padding": 1}, {})
    for got in on_both(layer, [x], g, {}):
        assert np.array_equal(got["output"], np.full((1, 1, 2, 2), -16383.5))
        assert got["into"][0].sum() == 4


def losses_between(p: np.ndarray, error: float) -> tuple[float, float]:
    """Return the least and the greatest sum of -ln p where each p may be off by `error` and each logarithm by 2^-10.

    A probability counts as 2^-12 at least, so what is far below it leaves no doubt, and what is near it the most.
    """
    least, greatest = (-np.log(np.maximum(p + e, 2.0**-12)).sum() for e in (error, -error))
    return least - p.size * 2.0**-10, greatest + p.size * 2.0**-10


@pytest.mark.parametrize("several", [True, False])
def test_losses_are_torchs(several: bool) -> None:
    """Loss, hits and gradient, for sure, wrong and undecided rows; the loss also against the opened probabilities."""
    z = np.concatenate([sizes(20, 3, top=5), [[9, -9, 0], [0, 0, 0], [-30, 30, 0], [8, 8, -8]]])
    labels = np.concatenate([RNG.integers(0, 3, 20), [1, 0, 1, 0]])
    y = np.eye(3)[labels] if several else RNG.integers(0, 2, z.shape).astype(float)
    t = torch.tensor(z, requires_grad=True)
    if several:
        each = nn.functional.cross_entropy(t, torch.tensor(labels), reduction="none")
        bound, products = 2.0**-11, 3 * UNIT  # of softmax, and of its row's products with the targets
        p = nn.functional.softmax(t, dim=1).detach().numpy()
        ahead = (p * y).sum(axis=1) - (p - 2 * y).max(axis=1)  # of the target before the best of the others
        right, undecided = ahead > 0, np.abs(ahead) <= 2 * bound + products + 2.0**-14
    else:
        each = nn.functional.binary_cross_entropy_with_logits(t, torch.tensor(y), reduction="none")
        bound, products = 2.0**-12, 2 * UNIT  # of sigmoid, and of twice its product with the target
        p = torch.sigmoid(t).detach().numpy()
        right, undecided = (p > 0.5) == (y > 0.5), np.abs(p - 0.5) <= bound + products
    sure = int((right & ~undecided).sum())
    each.sum().backward()

    def program(engine: Engine, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
        function = losses.softmax_cross_entropy if several else losses.sigmoid_cross_entropy
        gradient, p = function(engine, logits, targets)
        return gradient, p, losses.loss_and_hits(engine, p, targets, several=several)

    words = [FIXED.encode(z), FIXED.encode(y)]
    shared = run(lambda s, *x: program(Rep3(s), *x), *[share64(w) for w in words]).results
    clear = program(Cleartext(), *words)
    for results in (tuple(join(tuple(r[i] for r in shared)) for i in range(3)), clear):
        gradient, found, (loss, hits) = (FIXED.decode(x) for x in results)
        assert np.abs(gradient - t.grad.numpy()).max() <= bound
        opened = (found * y).sum(axis=1) if several else 1 - y - found + 2 * found * y
        for wanted, error in ((np.exp(-each.detach().numpy()), bound + products), (opened, products)):
            least, greatest = losses_between(wanted, error)
            assert least <= loss <= greatest
        assert sure <= hits <= sure + int(undecided.sum())
