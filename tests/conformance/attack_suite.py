"""One suite for every attack: what it needs it says, what it returns can be reported, and chance is no success.

A check takes an attack's class, material that has everything, and the same material with protected pictures that are
pure noise; it raises AssertionError. A new attack adds nothing here: `CHECKS` runs for every name in the registry.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from medveil.attacks.base import Attack, Material
from medveil.errors import MedveilError, UnsupportedError

AttackClass = type[Attack]
Make = Callable[[], Attack]


def check_honesty(make: Make, material: Material, noise: Material) -> None:
    """Names are those of the registry's form, needs are fields of the material, and the class explains itself."""
    attack = make()
    assert attack.name == attack.name.lower().replace("_", "-")
    assert attack.title
    assert attack.needs <= {f.name for f in fields(Material)}
    assert type(attack).__doc__


def check_needs(make: Make, material: Material, noise: Material) -> None:
    """Without any of its needs an attack refuses; with all of them, and nothing else, it runs."""
    attack = make()
    empty = Material(material.scheme, material.options)
    for need in attack.needs:
        lacking = replace(material, **{need: getattr(empty, need)})
        with pytest.raises(UnsupportedError, match=need):
            attack.run(lacking, seed=1)
    kept = {need: getattr(material, need) for need in attack.needs}
    attack.run(replace(empty, **kept), seed=1)


def check_result(make: Make, material: Material, noise: Material) -> None:
    """Scores lie in their intervals, are repeated by the same seed, and print as JSON; pictures are pictures."""
    attack = make()
    ticks: list[tuple[int, int]] = []
    before = [p.copy() for p in material.protected]
    first = attack.run(material, seed=7, progress=lambda done, total: ticks.append((done, total)))
    again = attack.run(material, seed=7)
    assert first.scores, "an attack without a score"
    assert (first.attack, first.scheme) == (attack.name, material.scheme)
    # an attack that encrypts by itself draws keys from the operating system, which no seed repeats
    encrypts = "encrypt_public" in attack.needs or "protected" not in attack.needs
    tolerance = {"abs": 0.2, "rel": 0.2} if encrypts else {"abs": 1e-6}
    for name, score in first.scores.items():
        assert score.low <= score.value <= score.high, name
        assert score.n >= 1
        assert again.scores[name].value == pytest.approx(score.value, **tolerance), f"{name}: not repeated by its seed"
    headline = next(iter(first.scores.values()))
    assert headline.chance is not None, "the headline stands without its chance level"
    json.dumps(first.as_dict(), allow_nan=False)
    assert first.pictures or "protected" not in attack.needs, "an attack on pictures shows none"
    for picture in first.pictures.values():
        assert picture.dtype == np.uint8
        assert picture.ndim in (2, 3)
    assert ticks
    assert ticks[-1][0] == ticks[-1][1], "progress does not end"
    for old, new in zip(before, material.protected, strict=True):
        np.testing.assert_array_equal(old, new)


def check_noise(make: Make, material: Material, noise: Material) -> None:
    """Against pure noise an attack says that it got nothing."""
    try:
        result = make().run(noise, seed=3)
    except MedveilError:
        return
    assert not result.broken, f"claims to break pure noise: {result.as_dict()}"


CHECKS: dict[str, Callable[[Make, Material, Material], None]] = {
    "honesty": check_honesty,
    "needs": check_needs,
    "result": check_result,
    "noise": check_noise,
}
