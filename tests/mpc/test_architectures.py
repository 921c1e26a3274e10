"""ResNet-18 and DenseNet-121, as recognition builds them in torch, predict on shares what they predict in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.mpc.three_parties import run, share64

from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.nn.network import Network
from medveil.mpc.nn.trace import from_module
from medveil.mpc.protocols.rep3.engine import Rep3

torch = pytest.importorskip("torch")
pytest.importorskip("monai", reason="needs the extra learn")
SIZE = 32


@pytest.fixture(scope="module")
def scans(shared_data: Path) -> np.ndarray:
    """Four X-rays as (4, 1, 32, 32) in 0..1."""
    with np.load(shared_data / "chest_xray_pneumoniamnist" / "train.npz") as data:
        return np.pad(data["images"][:4, None] / 255.0, ((0, 0), (0, 0), (2, 2), (2, 2)))


def settled(module, images):
    """Let batch normalisation see the images, so that its statistics are not those of a fresh network."""
    module.train()
    with torch.no_grad():
        for _ in range(20):
            module(torch.tensor(images, dtype=torch.float32))
    return module.eval()


@pytest.mark.parametrize(("name", "convolutions"), [("resnet18", 20), ("densenet121", 120)])
def test_large_architectures_predict_on_shares(name: str, convolutions: int, scans: np.ndarray) -> None:
    from medveil.networks import monai_networks

    torch.manual_seed(6)
    module = settled(getattr(monai_networks, name)(2, 1), scans)
    spec, state = from_module(module, (1, SIZE, SIZE))
    kinds = [layer.kind for layer in spec.layers]
    assert kinds.count("conv2d") == convolutions
    assert "batchnorm2d" not in kinds
    fixed = FixedPoint()
    weights = [share64(fixed.encode(value).view(np.int64)) for value in state.values()]

    def predict(session, images, *own):
        out, _ = Network(spec).forward(Rep3(session), dict(zip(state, own, strict=True)), images)
        return Rep3(session).slim(out)

    got = fixed.decode(run(predict, share64(fixed.encode(scans[:2]).view(np.int64)), *weights).opened)
    want = module(torch.tensor(scans[:2], dtype=torch.float32)).detach().numpy()
    assert np.abs(got - want).max() < 0.02 * max(1.0, np.abs(want).max())
