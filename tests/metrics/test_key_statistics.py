"""Weak keys are found, structure above random is flagged, cycles are found as planted; AES in counter mode passes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from medveil.errors import InputError
from medveil.imaging import reader, samples
from medveil.metrics import key_statistics as keys
from medveil.metrics.cipher_statistics import Against, entropy, judge_pair

PICTURE = reader.read(samples.load("us-breast-benign.png")).pixels[0]
INSIDE = np.zeros(PICTURE.shape, np.bool_)
INSIDE[64:128, 64:128] = True


def counter_mode(key: bytes, picture: np.ndarray = PICTURE) -> np.ndarray:
    stream = Cipher(algorithms.AES(hashlib.sha256(key).digest()), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(picture.tobytes()), np.uint8).reshape(picture.shape)


def key(i: int) -> bytes:
    return i.to_bytes(16, "big")


def test_pairs_are_judged_from_both_sides() -> None:
    first = counter_mode(key(1))
    assert judge_pair(first, counter_mode(key(2)), 1e-4).random
    same = judge_pair(first, first)
    assert (same.npcr_says, same.uaci_says) == (Against.BELOW, Against.BELOW)
    shifted = judge_pair(first, first + np.uint8(85))  # every pixel differs: better than random, so no cipher
    assert shifted.npcr_says is Against.ABOVE
    assert not shifted.random
    assert judge_pair(first, 255 - first).uaci_says is Against.ABOVE
    assert judge_pair(first, first ^ 1).as_dict()["npcr_says"] == "suspiciously above random"


def test_the_bounds_above_hold_for_noise() -> None:
    rng = np.random.default_rng(8)
    a, b = rng.integers(0, 256, (2, 400, 64, 64), np.uint8)
    verdicts = [judge_pair(x, y, 0.05) for x, y in zip(a, b, strict=True)]
    above = np.mean([v.npcr_says is Against.ABOVE for v in verdicts])
    assert 0.02 < above < 0.09


def test_the_worst_of_a_thousand_keys() -> None:
    def weak(k: bytes) -> np.ndarray:
        return PICTURE.copy() if k == key(777) else counter_mode(k)  # one key that does nothing

    every = [key(i) for i in range(1000)]
    found = keys.over_keys(lambda k: entropy(weak(k)[:64, :64]), every)
    assert found.worst_at == 777
    assert found.keys == 1000
    assert found.worst < 7.5 < found.low <= found.median <= found.high
    most = keys.over_keys(lambda k: float(k[-1]), [key(3), key(9), key(4)], worst=np.argmax)
    assert (most.worst, most.worst_at) == (9, 1)


def test_p_values_over_many_keys_are_uniform() -> None:
    p = keys.chi_square_p_values([counter_mode(key(i)) for i in range(200)])
    assert 0.4 < p.mean() < 0.6
    assert keys.chi_square_p_values([PICTURE]).max() < 1e-12


def test_key_sensitivity() -> None:
    good = keys.key_sensitivity(counter_mode, key(5), bits=range(0, 128, 4))
    assert good.trials == 32
    assert good.share_random > 0.7
    blind = keys.key_sensitivity(lambda k: counter_mode(k[:8]), key(5), bits=[127])  # ignores half of the key
    assert blind.share_random == 0
    assert blind.below == 1
    assert blind.as_dict()["worst"]["npcr"] == 0


def test_plaintext_sensitivity_tells_inside_from_outside() -> None:
    def keyed_by_region(picture: np.ndarray) -> np.ndarray:
        return counter_mode(picture[INSIDE].tobytes(), picture)

    found = keys.plaintext_sensitivity(keyed_by_region, PICTURE, INSIDE, 20, np.random.default_rng(1))
    assert found.inside is not None
    assert found.outside is not None
    assert found.inside.npcr > 0.99
    assert found.inside.share_random > 0.6
    assert found.outside.npcr < 0.001
    everywhere = keys.plaintext_sensitivity(keyed_by_region, PICTURE, np.ones_like(INSIDE), 2, np.random.default_rng(1))
    assert everywhere.outside is None


def test_cycles_of_states() -> None:
    assert keys.cycle_of_states(lambda x: (x * x + 1) % 8051, 2, 10_000) is not None
    found = keys.cycle_of_states(lambda x: x + 1 if x < 30 else 20, 0, 1000)
    assert found == keys.Cycle(20, 11)
    assert keys.cycle_of_states(lambda x: x + 1, 0, 1000) is None
    logistic = keys.cycle_of_states(lambda x: float(np.float32(3.99) * np.float32(x) * np.float32(1 - x)), 0.37, 10**5)
    assert logistic is None or logistic.length < 10**5


def test_cycles_of_output() -> None:
    tail, loop = np.random.default_rng(2).integers(0, 256, 40), np.random.default_rng(3).integers(0, 256, 17)
    found = keys.cycle_of_output(np.concatenate([tail, np.tile(loop, 5)]))
    assert found is not None
    assert found.length == 17
    assert found.tail <= 40
    assert keys.cycle_of_output(np.random.default_rng(4).permutation(500)) is None
    assert keys.cycle_of_output(np.full(20, 7)) == keys.Cycle(0, 1)


def test_refusals() -> None:
    for call in (
        lambda: keys.over_keys(lambda _k: float("nan"), [b"k"]),
        lambda: keys.over_keys(lambda _k: 1.0, []),
        lambda: keys.summarise([]),
        lambda: keys.key_sensitivity(counter_mode, b""),
        lambda: keys.key_sensitivity(counter_mode, key(1), bits=[128]),
        lambda: keys.plaintext_sensitivity(lambda p: p, PICTURE, INSIDE[1:], 1, np.random.default_rng(0)),
        lambda: keys.cycle_of_states(lambda x: x, 0, 0),
        lambda: keys.cycle_of_output(np.array([])),
    ):
        with pytest.raises(InputError):
            call()
