"""Every registered attack keeps the interface; and one that does not, does not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from tests.attacks.attack_material import material
from tests.conformance.attack_suite import CHECKS

from medveil.attacks import registry
from medveil.attacks.base import Attack, Material, Outcome, Progress, likeness, measured
from medveil.attacks.known_plaintext import KnownPlaintext
from medveil.attacks.leading_bit import LeadingBit
from medveil.attacks.learned_reconstruction import LearnedReconstruction

# Which scheme an attack is tried on; SKK for all others.
TARGETS = {
    "tanaka-known-plaintext": "learnable-tanaka",
    "patchwise-known-plaintext": "learnable-patchwise",
    "jigsaw": "learnable-etc",
    "learned-reconstruction": "learnable-smoothed",
    "multi-encryption": "learnable-smoothed",
    "shared-region": "roi-watermark",
}
SMALL: dict[str, Callable[[], Attack]] = {
    "learned-reconstruction": lambda: LearnedReconstruction(steps=3, batch=1, width=8, depth=2),
    "known-plaintext": lambda: KnownPlaintext(pairs=1, steps=2, batch=1, channels=4),
}


@cache
def prepared(name: str) -> tuple[Material, Material]:
    count = 3 if name == "jigsaw" else 6
    found = material(TARGETS.get(name, "learnable-skk"), count, 2, 112)
    rng = np.random.default_rng(9)

    def noisy(p: np.ndarray) -> np.ndarray:
        return rng.integers(0, 256, p.shape).astype(np.uint8)

    noise = replace(
        found,
        protected=[noisy(p) for p in found.protected],
        again=[[noisy(p) for p in more] for more in found.again],
        known=[(plain, noisy(cipher)) for plain, cipher in found.known],
        encrypt_public=noisy,
        oracle=lambda picture: np.random.default_rng(list(picture.tobytes())).integers(0, 256, picture.shape, np.uint8),
    )
    return found, noise


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", registry.names())
def test_attack(name: str, check: str) -> None:
    CHECKS[check](SMALL.get(name, registry.load(name)), *prepared(name))


class Boaster(LeadingBit):
    """Says that it broke everything."""

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        return replace(super().perform(material, rng, progress), broken=True)


class Needy(LeadingBit):
    """Uses what it does not say that it needs."""

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        material.gallery[0]
        return super().perform(material, rng, progress)


class Fickle(Attack):
    """Another result each time, no chance level, no picture."""

    name, title, needs = "fickle", "Fickle", frozenset({"protected"})

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        return Outcome({"ssim": measured(np.random.default_rng().random(5), None)})


class Vandal(LeadingBit):
    """Writes into the material."""

    def perform(self, material: Material, rng: np.random.Generator, progress: Progress) -> Outcome:
        for picture in material.protected:
            picture[:] = 0
        return Outcome(likeness(material.originals, material.protected))


@pytest.mark.parametrize(
    ("liar", "check"), [(Boaster, "noise"), (Needy, "needs"), (Fickle, "result"), (Vandal, "result")]
)
def test_a_false_attack_fails(liar: type[Attack], check: str) -> None:
    found, noise = prepared("leading-bit")
    copy = replace(found, protected=[p.copy() for p in found.protected])
    with pytest.raises((AssertionError, IndexError)):
        CHECKS[check](liar, copy, noise)
