"""Fixed places and masks are read off a few pairs, exactly; noise is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medveil.attacks import place_matching
from medveil.attacks.known_plaintext import KnownPlaintext
from medveil.attacks.material import gather
from medveil.schemes.deep import pictures

ORDER = np.random.default_rng(1).permutation(64 * 64)
STREAM = np.random.default_rng(2).integers(0, 256, 64 * 64).astype(np.uint8)
HALVES = np.random.default_rng(3).permutation(2 * 64 * 64)
CIPHERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a keystream used twice": lambda p: p ^ STREAM,
    "a shuffle": lambda p: p[ORDER],
    "a shuffle, then XOR": lambda p: p[ORDER] ^ STREAM,
    "a shuffle, then addition": lambda p: p[ORDER] + STREAM,
    "a shuffle of what is taken from a keystream": lambda p: (STREAM - p)[ORDER],
    "halves of samples shuffled": lambda p: _halves(p),
}


def _halves(samples: np.ndarray) -> np.ndarray:
    pieces = np.stack([samples >> 4, samples & 15], axis=1).reshape(-1)[HALVES].reshape(-1, 2)
    return pieces[:, 0] << 4 | pieces[:, 1]


@pytest.fixture(scope="module")
def xrays(shared_data: Path) -> np.ndarray:
    files = sorted((shared_data / "chest_xray_nih/train").rglob("*.png"))[::5]
    return pictures.load(files, 64)[0][:52]


def encrypted(cipher: Callable[[np.ndarray], np.ndarray], shown: np.ndarray) -> np.ndarray:
    return np.stack([cipher(p.reshape(-1)).reshape(64, 64) for p in shown])


@pytest.mark.parametrize("name", CIPHERS)
def test_the_rest_is_decoded_exactly(name: str, xrays: np.ndarray) -> None:
    known, apart = xrays[:44], xrays[44:]
    guess = np.zeros((64, 64), np.uint8)
    cipher = CIPHERS[name]
    found = place_matching.decode(encrypted(cipher, known), known, encrypted(cipher, apart), guess)
    assert (found == apart).mean() > 0.99


def test_noise_and_too_few_pairs_leave_the_guess(xrays: np.ndarray) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (24, 64, 64)).astype(np.uint8)
    guess = xrays[:16].mean(axis=0).astype(np.uint8)
    found = place_matching.decode(noise[:16], xrays[:16], noise[16:], guess)
    assert (found == guess).all()
    few = encrypted(CIPHERS["a shuffle"], xrays[:3])
    assert (place_matching.decode(few, xrays[:3], few, guess) == guess).all()


@pytest.mark.parametrize("scheme", ["learnable-etc", "learnable-ele", "learnable-tanaka", "learnable-patchwise"])
def test_learnable_schemes_with_one_key_for_the_data_set_are_read_off(scheme: str, xrays: np.ndarray) -> None:
    material = gather(scheme, list(xrays[44:]), known=list(xrays[:44]))
    found = KnownPlaintext(pairs=44, learners="places").run(material, seed=1)
    assert found.broken
    assert found.scores["psnr places 44"].value > 40
