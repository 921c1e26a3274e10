"""Networks from torch on shares: outputs, gradients and optimisers against torch; refusals name the alternative."""

from __future__ import annotations

import numpy as np
import pytest
from tests.mpc.three_parties import run, share64

from medveil.errors import InputError, LimitError, UnsupportedError
from medveil.mpc.nn import losses
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.optimisers import make_optimiser
from medveil.mpc.nn.spec import NetworkSpec
from medveil.mpc.nn.trace import from_module
from medveil.mpc.protocols.cleartext import Cleartext
from medveil.mpc.protocols.rep3.engine import Rep3
from medveil.mpc.shares import join
from medveil.networks.classifiers import paper_cnn

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture(scope="module")
def chest_images(shared_data):
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        return data["images"][:16].astype(np.float64) / 255, data["labels"][:16].reshape(-1).astype(int)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 6, 3, padding=1, groups=3, bias=False)
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.mean = nn.AvgPool2d(2)
        self.out = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.0)
        self.dense = nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.grouped(x)
        x = self.pool(x)
        x = torch.cat([x, self.second(x)], dim=1)
        x = self.out(self.mean(x))
        return self.dense(self.drop(torch.flatten(x, 1)))


def gradients(module, x, y):
    module.zero_grad()
    out = module(torch.tensor(x, dtype=torch.float32))
    torch.nn.functional.cross_entropy(out, torch.tensor(y), reduction="sum").backward()
    return out.detach().numpy(), [p.grad.numpy().copy() for p in module.parameters()]


def private_step(spec, names, optimiser, engine, x, y, *weights):
    parameters = dict(zip(names, weights, strict=True))
    network = Network(spec)
    network.check({k: engine.shape(v) for k, v in parameters.items()})
    out, tape = network.forward(engine, parameters, x, train=True)
    gradient, probabilities = losses.softmax_cross_entropy(engine, out, y)
    found = network.backward(engine, parameters, tape, gradient)
    make_optimiser(engine, parameters, optimiser).step(parameters, found, engine.shape(x)[0])
    metrics = losses.loss_and_hits(engine, probabilities, y, several=True)
    return out, [found[n] for n in names if n in found], parameters, metrics


def on_shares(function, *inputs):
    words = [np.rint(np.asarray(v) * 65536).astype(np.int64) for v in inputs]
    return run(lambda s, *x: function(Rep3(s), *x), *[share64(w) for w in words])


@pytest.mark.parametrize("make", [Residual, lambda: paper_cnn(1, 40, 3)], ids=["residual", "paper"])
def test_a_training_step_is_torchs(make, chest_images) -> None:
    torch.manual_seed(1)
    module = make().train()
    x = chest_images[0][:4, None]
    if isinstance(module, Residual) is False:
        x = np.pad(x, ((0, 0), (0, 0), (6, 6), (6, 6)))
    y = np.array([0, 2, 1, 1])
    spec, state = from_module(module, (1, *x.shape[2:]), train=True)
    spec = NetworkSpec.from_json(spec.to_json())
    names = list(state)
    out, want = gradients(module, x, y)

    def step(engine, *t):
        return private_step(spec, names, {"lr": 0.05, "momentum": 0.9}, engine, *t)

    got = on_shares(step, x, np.eye(3)[y], *state.values())
    decode = Cleartext().fixed.decode
    assert np.abs(decode(join(tuple(r[0] for r in got.results))) - out).max() < 2e-3
    mine = [decode(join(tuple(r[1][i] for r in got.results))) for i in range(len(want))]
    order = [n for n in names if not n.endswith(("running_mean", "running_var"))]
    reference = dict(zip(order, want, strict=True))
    for name, gradient in zip(order, mine, strict=True):
        assert np.abs(gradient - reference[name]).max() < 0.02 * max(1, np.abs(reference[name]).max()), name
    loss, hits = decode(join(tuple(r[3] for r in got.results)))
    assert loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(torch.tensor(out), torch.tensor(y), reduction="sum")), abs=5e-3
    )
    assert hits == (out.argmax(1) == y).sum()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05 / 4)
    optimiser.step()
    for name, parameter in zip(order, module.parameters(), strict=True):
        moved = decode(join(tuple(r[2][name] for r in got.results)))
        assert np.abs(moved - parameter.detach().numpy()).max() < 5e-4, name
    if isinstance(module, Residual):
        mean = decode(join(tuple(r[2]["norm.running_mean"] for r in got.results)))
        assert np.abs(mean - module.norm.running_mean.numpy()).max() < 1e-3


def test_prediction_folds_normalisation_and_matches_torch(chest_images) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4),
        nn.Dropout(0.4), nn.Flatten(), nn.Linear(4 * 13 * 13, 3), nn.Softmax(dim=1),
    )  # fmt: skip
    for m in module:
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.2, 0.2)
            m.running_var.uniform_(0.5, 2)
    module.eval()
    x = chest_images[0][:5, None]
    spec, state = from_module(module, (1, 28, 28))
    assert [s.kind for s in spec.layers].count("affine") == 1
    assert "batchnorm2d" not in [s.kind for s in spec.layers]
    assert [s.kind for s in spec.layers][:3] == ["conv2d", "maxpool2d", "relu"]

    def predict(engine, images, *weights):
        return Network(spec).forward(engine, dict(zip(state, weights, strict=True)), images)[0]

    want = module(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    decode = Cleartext().fixed.decode
    got = decode(on_shares(predict, x, *state.values()).opened)
    assert np.abs(got - want).max() < 2e-3
    clear = predict(Cleartext(), Cleartext().fixed.encode(x), *[Cleartext().fixed.encode(w) for w in state.values()])
    assert np.abs(decode(clear) - want).max() < 2e-3


def test_a_trained_normalisation_predicts_with_its_moving_statistics(chest_images) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 3))
    module[0].running_mean.fill_(0.3)
    module[0].running_var.fill_(0.07)
    module.eval()
    x = chest_images[0][:5, None]
    spec, state = from_module(module, (1, 28, 28), train=True)
    assert spec.layers[0].kind == "batchnorm2d"

    def predict(engine, images, *weights):
        return Network(spec).forward(engine, dict(zip(state, weights, strict=True)), images)[0]

    want = module(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    got = Cleartext().fixed.decode(on_shares(predict, x, *state.values()).opened)
    assert np.abs(got - want).max() < 5e-3 * np.abs(want).max()


def test_adam_follows_torch(chest_images) -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    x, y = chest_images[0][:8, None], chest_images[1][:8]
    spec, state = from_module(module, (1, 28, 28), train=True)
    names = list(state)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.01)

    def steps(engine, images, targets, *weights):
        parameters = dict(zip(names, weights, strict=True))
        network, mine = Network(spec), None
        for _ in range(3):
            out, tape = network.forward(engine, parameters, images, train=True)
            gradient, _ = losses.softmax_cross_entropy(engine, out, targets)
            mine = mine or make_optimiser(engine, parameters, {"optimizer": "adam", "lr": 0.01})
            mine.step(parameters, network.backward(engine, parameters, tape, gradient), 8)
        return parameters[names[0]]

    for _ in range(3):
        optimiser.zero_grad()
        out = module(torch.tensor(x, dtype=torch.float32))
        torch.nn.functional.cross_entropy(out, torch.tensor(y)).backward()
        optimiser.step()
    got = Cleartext().fixed.decode(on_shares(steps, x, np.eye(3)[y], *state.values()).opened)
    difference = np.abs(got - module[1].weight.detach().numpy())
    # Where a pixel is black the gradient is 0 or below the format: the step differs there, but stays below lr.
    assert np.median(difference) < 1e-3
    assert difference.max() < 0.031


def test_binary_targets_train_through_a_sigmoid(chest_images) -> None:
    x = np.array([[1.5], [-2.0], [0.1], [-0.3]])
    y = np.array([[1.0], [0.0], [0.0], [1.0]])

    def loss(engine, z, t):
        gradient, p = losses.sigmoid_cross_entropy(engine, z, t)
        return gradient, losses.loss_and_hits(engine, p, t, several=False)

    got = on_shares(loss, x, y)
    decode = Cleartext().fixed.decode
    p = 1 / (1 + np.exp(-x))
    assert np.abs(decode(join(tuple(r[0] for r in got.results))) - (p - y)).max() < 5e-4
    total, hits = decode(join(tuple(r[1] for r in got.results)))
    assert total == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(), abs=5e-3)
    assert hits == 2


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU()), ["GELU", "use ReLU"]),
        (nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2)), ["dilation"]),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), ["1 channels", "an input that fits"]),
        (nn.Sequential(nn.MaxPool2d(40)), ["window of 40"]),
        (nn.Sequential(nn.MaxPool2d(2, ceil_mode=True)), ["ceil_mode"]),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), ["784", "Flatten"]),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(784)), ["LayerNorm", "BatchNorm2d"]),
        (nn.Sequential(nn.BatchNorm2d(1, affine=False)), ["without weights"]),
        (nn.Sequential(nn.AdaptiveAvgPool2d(5)), ["output of 5"]),
    ],
)
def test_what_cannot_run_is_refused_by_name(module, words) -> None:
    with pytest.raises(UnsupportedError) as error:
        from_module(module, (1, 28, 28))
    for word in ["layer", *words]:
        assert word in str(error.value)


def test_training_from_probabilities_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="logits"):
        from_module(nn.Sequential(nn.Flatten(), nn.Linear(784, 2), nn.Softmax(1)), (1, 28, 28), train=True)


def test_training_a_layer_used_twice_is_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.conv(self.conv(x))

    assert len(from_module(Twice(), (1, 9, 9))[0].layers) == 2
    with pytest.raises(UnsupportedError, match="used twice"):
        from_module(Twice(), (1, 9, 9), train=True)


def test_specs_from_strangers_are_checked() -> None:
    spec, _ = from_module(nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), (1, 28, 28))
    text = spec.to_json()
    for bad in ("", "[]", "{}", text.replace("linear", "execute"), text.replace('"input"', '"nobody"')):
        with pytest.raises(InputError):
            NetworkSpec.from_json(bad)
    with pytest.raises(LimitError):
        NetworkSpec.from_json(text.replace("784]", "784000000000]"))
    with pytest.raises(InputError, match="do not fit"):
        Network(spec).check({})
