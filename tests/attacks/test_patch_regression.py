"""Regression over windows: undoes what is computed from a neighbourhood, and reaches the owners of the deep schemes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medveil.attacks import patch_regression
from medveil.attacks.base import Material
from medveil.attacks.known_plaintext import KnownPlaintext
from medveil.attacks.material import gather, image_of
from medveil.metrics.image_quality import psnr
from medveil.schemes import registry
from medveil.schemes.deep import pictures


@pytest.fixture(scope="module")
def xrays(shared_data: Path) -> np.ndarray:
    """64 pictures of patients to know, and 8 of others."""
    found = []
    for part, count in (("train", 64), ("test", 8)):
        files = sorted((shared_data / "chest_xray_nih" / part).rglob("*.png"))
        found.append(pictures.load(files[:: len(files) // count][:count], 64)[0])
    return np.concatenate(found)


@pytest.fixture(autouse=True)
def _fewer_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second where all of them take two."""
    monkeypatch.setattr(patch_regression, "_FEATURES", 384)


def quality(true: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([psnr(a, np.rint(b * 255).astype(np.uint8)) for a, b in zip(true, found, strict=True)]))


def blurred(picture: np.ndarray) -> np.ndarray:
    """A fixed 3 x 3 convolution and a curve: no block of 8 x 8 holds all that its pixels became."""
    kernel = np.random.default_rng(4).normal(size=(3, 3))
    wide = np.pad(picture / 255 - 0.5, 1, mode="edge")
    total = sum(kernel[i, j] * wide[i : i + 64, j : j + 64] for i in range(3) for j in range(3))
    return np.rint(255 / (1 + np.exp(-2 * total))).astype(np.uint8)


def test_a_convolution_with_a_curve_is_undone(xrays: np.ndarray) -> None:
    known, apart = xrays[:16], xrays[64:]
    seen = np.stack([blurred(p) for p in apart])
    given = np.stack([blurred(p) for p in known])
    found = patch_regression.decode(given, known, seen, np.random.default_rng(1), both=True)
    assert quality(apart, found.seen) > 30
    assert found.known is not None
    assert quality(known, found.known) > 30  # though each was decoded without its own pair
    linear = KnownPlaintext(pairs=16, learners="linear")
    pairs = [(p, blurred(p)) for p in known]
    blocks = linear.run(Material("blur", originals=list(apart), protected=list(seen), known=pairs), seed=1)
    assert quality(apart, found.seen) > blocks.scores["psnr linear 16"].value + 2


def test_a_normalisation_of_the_whole_picture_needs_the_second_round(
    xrays: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def normalised(picture: np.ndarray) -> np.ndarray:
        away = (picture - picture.mean()) / (picture.std() + 1)
        return np.rint(255 / (1 + np.exp(-away))).astype(np.uint8)

    known, apart = xrays[:24], xrays[64:]
    given = np.stack([normalised(p) for p in known]), known, np.stack([normalised(p) for p in apart])
    both = patch_regression.decode(*given, np.random.default_rng(1))
    monkeypatch.setattr(patch_regression, "_GAIN", 0.0)
    first = patch_regression.decode(*given, np.random.default_rng(1))
    assert quality(apart, both.seen) > quality(apart, first.seen) + 1


def test_noise_ends_at_the_guess_after_one_round(xrays: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (24, 64, 64)).astype(np.uint8)
    monkeypatch.setattr(patch_regression, "_second", lambda *_: pytest.fail("a second round over noise"))
    found = patch_regression.decode(noise[:16], xrays[:16], noise[16:], rng)
    assert quality(xrays[64:], found.seen) < quality(xrays[64:], np.repeat(xrays[None, :16].mean(1) / 255, 8, 0)) + 1


@pytest.mark.parametrize(("scheme", "within"), [("deep-scramble-aae", 0.5), ("deep-cyclegan", 1.0)])
def test_64_pairs_decode_about_as_the_owner_does(scheme: str, within: float, xrays: np.ndarray) -> None:
    apart = list(xrays[64:])
    made = registry.load(scheme).for_evaluation()
    material = gather(scheme, apart, known=list(xrays[:64]))
    owners = []
    for picture, protected in ((p, made.protect(image_of(p))) for p in apart):
        owners.append(psnr(picture, made.restore(protected.parts, protected.secret).image.pixels[0]))  # type: ignore[union-attr]
    found = KnownPlaintext(pairs=64, learners="patches").run(material, seed=1)
    assert found.broken
    assert found.scores["psnr patches 64"].value > np.mean(owners) - within


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_pairs_and_odd_sides(count: int, xrays: np.ndarray) -> None:
    cut = xrays[:, :50, :37]
    found = patch_regression.decode(255 - cut[:count], cut[:count], 255 - cut[64:], np.random.default_rng(1), both=True)
    assert found.seen.shape == (8, 50, 37)
    assert found.known is not None
    assert found.known.shape == (count, 50, 37)
    assert quality(cut[64:], found.seen) > 15
