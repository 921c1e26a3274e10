"""One changed bit followed through: shows in all layers of `deep-invertible`, in nothing that encrypts well."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats

from medveil.attacks import chosen_difference
from medveil.attacks.base import Material
from medveil.attacks.chosen_difference import ChosenDifference
from medveil.attacks.material import gather
from medveil.errors import InputError, UnsupportedError

BLANK = np.zeros((64, 64), np.uint8)


def aes(picture: np.ndarray, header: bytes = b"") -> np.ndarray:
    """AES without a nonce, chained forth and back: equal pictures come out equal, and one bit changes everything."""
    data = picture.tobytes()
    for _ in range(2):
        cbc = Cipher(algorithms.AES(bytes(range(16))), modes.CBC(bytes(16))).encryptor()
        data = (cbc.update(data) + cbc.finalize())[::-1]
    return np.frombuffer(header.ljust(picture.shape[1]) + data if header else data, np.uint8).reshape(
        -1, picture.shape[1]
    )


def attack(oracle: Callable[[np.ndarray], np.ndarray], **options: int) -> object:
    return ChosenDifference(**options).run(Material("made up", oracle=oracle), seed=1)


def test_a_bit_passes_through_all_layers_of_the_invertible_network() -> None:
    found = ChosenDifference(enough=1).run(gather("deep-invertible", [BLANK]), seed=1)
    assert found.broken
    assert "4 x 4 pictures" in found.note
    assert found.scores["closest"].value >= 7 / 16  # the half that one layer only moves, at the least
    assert found.scores["closest"].chance <= 3 / 16  # type: ignore[operator]
    (picture,) = found.pictures.values()
    assert picture.shape[0] > 128


@pytest.mark.parametrize("header", [b"", b"MVDP version 1.."])
def test_a_block_cipher_gives_nothing(header: bytes) -> None:
    found = attack(lambda picture: aes(picture, header), trials=1500)
    assert not found.broken  # type: ignore[attr-defined]
    assert found.scores["passed"].value == 0  # type: ignore[attr-defined]
    assert found.scores["passed"].n == 1500  # type: ignore[attr-defined]


def test_what_draws_fresh_randomness_is_left_alone() -> None:
    found = ChosenDifference().run(gather("sealed", [BLANK]), seed=1)
    assert not found.broken
    assert "something new each time" in found.note


def test_a_change_that_does_not_reach_what_stands_before_it_is_seen() -> None:
    """AES-CBC with a fixed nonce: one block, as a picture of 4 x 4, is a good cipher; a picture of many is none."""

    def chained(picture: np.ndarray) -> np.ndarray:
        cbc = Cipher(algorithms.AES(bytes(16)), modes.CBC(bytes(16))).encryptor()
        return np.frombuffer(cbc.update(picture.tobytes()) + cbc.finalize(), np.uint8).reshape(picture.shape)

    found = attack(chained)
    assert found.broken  # type: ignore[attr-defined]
    assert "32 x 32" in found.note  # type: ignore[attr-defined]


def test_a_keystream_used_twice_is_seen_at_once() -> None:
    stream = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    found = attack(lambda picture: picture ^ stream[: picture.shape[0], : picture.shape[1]])
    assert found.broken  # type: ignore[attr-defined]
    assert found.scores["passed"].value == 1  # type: ignore[attr-defined]


def test_larger_pictures_where_small_ones_are_refused() -> None:
    def picky(picture: np.ndarray) -> np.ndarray:
        if picture.shape[0] < 16:
            raise UnsupportedError("too small")
        return aes(picture)

    assert "of 64 pairs of 16 x 16" in attack(picky, trials=64).note  # type: ignore[attr-defined]

    def closed(picture: np.ndarray) -> np.ndarray:
        raise UnsupportedError("nothing")

    with pytest.raises(UnsupportedError, match="no picture"):
        attack(closed)
    with pytest.raises(InputError):
        ChosenDifference(trials=0)


def test_the_bound_is_that_of_the_binomial_distribution() -> None:
    trials, size = 10**6, 16
    bound = chosen_difference._bound(np.full(size, 1 / 256), trials)
    tail = stats.binom.sf(np.arange(-1, size), size, 1 / 256 + 1 / trials)
    assert tail[bound] <= 1e-9 < tail[bound - 1]
    assert chosen_difference._bound(np.ones(size), 100) == size + 1  # framing that is always the same says nothing
