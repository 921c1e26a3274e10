"""Known plaintext: breaks what is a smooth function of the picture, and gains nothing on noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medveil.attacks import patch_regression, registry
from medveil.attacks.base import Material
from medveil.attacks.known_plaintext import KnownPlaintext
from medveil.attacks.material import gather
from medveil.errors import InputError, UnsupportedError
from medveil.schemes.deep import pictures


@pytest.fixture(scope="module")
def xrays(shared_data: Path) -> np.ndarray:
    files = sorted((shared_data / "chest_xray_nih/train").rglob("*.png"))[::11]
    return pictures.load(files, 64)[0][:40]


def _material(xrays: np.ndarray, encrypt: object) -> Material:
    made = [(p, encrypt(p)) for p in xrays]  # type: ignore[operator]
    apart = made[:8]
    return Material("made up", originals=[p for p, _ in apart], protected=[c for _, c in apart], known=made[8:])


def test_it_is_registered() -> None:
    assert registry.load("known-plaintext") is KnownPlaintext


def test_regression_breaks_a_fixed_map_of_blocks(xrays: np.ndarray) -> None:
    """A key that mirrors, inverts and permutes within blocks is read off 16 pairs."""
    order = np.random.default_rng(5).permutation(64)

    def encrypt(picture: np.ndarray) -> np.ndarray:
        blocks = picture.reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)[:, order]
        return (255 - blocks).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(64, 64)

    result = KnownPlaintext(pairs=(16, 32), learners="linear").run(_material(xrays, encrypt), seed=1)
    assert result.broken
    assert result.scores["psnr linear 32"].value > 30
    assert next(iter(result.scores)) == "psnr linear 32"
    assert result.pictures["decoded"].dtype == np.uint8


def test_a_network_learns_too(xrays: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_regression, "_FEATURES", 64)

    def encrypt(picture: np.ndarray) -> np.ndarray:
        return (255 - 16 * np.sqrt(picture)).clip(0, 255).astype(np.uint8)

    material = _material(xrays, encrypt)
    found = KnownPlaintext(pairs=32, learners="unet", steps=60, channels=6).run(material, seed=1)
    assert found.broken
    assert found.scores["psnr unet 32"].value > found.scores["psnr unet 32"].chance + 3
    quick = KnownPlaintext(pairs=32, learners="unet", steps=2, channels=4)
    assert quick.run(material, seed=3).scores == quick.run(material, seed=3).scores


@pytest.mark.parametrize("scheme", ["deep-invertible", "sealed"])
def test_noise_gives_no_more_than_a_guess(xrays: np.ndarray, scheme: str) -> None:
    material = gather(scheme, list(xrays[:6]), known=list(xrays[8:24]))
    result = KnownPlaintext(pairs=(16,), learners="linear").run(material, seed=1)
    assert not result.broken
    score = result.scores["psnr linear 16"]
    assert score.value < score.chance + 1


def test_what_it_refuses(xrays: np.ndarray) -> None:
    with pytest.raises(InputError):
        KnownPlaintext(pairs=())
    with pytest.raises(InputError):
        KnownPlaintext(learners="magic")
    with pytest.raises(InputError):
        KnownPlaintext(steps=0)
    with pytest.raises(UnsupportedError, match="known"):
        KnownPlaintext().run(Material("x", originals=[xrays[0]], protected=[xrays[0]]), seed=1)
    mixed = Material("x", originals=[xrays[0]], protected=[xrays[0]], known=[(xrays[0][:32], xrays[0][:32])])
    with pytest.raises(InputError, match="differ in size"):
        KnownPlaintext(learners="linear").run(mixed, seed=1)
