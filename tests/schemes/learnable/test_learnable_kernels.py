"""The compiled kernels agree with plain NumPy, on real images of 8, 12 and 16 bits and on odd sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medveil.crypto.hashing import tagged
from medveil.imaging.reader import read
from medveil.imaging.samples import FOLDER
from medveil.schemes.learnable import kernels, scrambling
from medveil.schemes.learnable.keystream import Stream
from medveil.schemes.learnable.smoothed import Smoothed

KEY = bytes(range(32))


def slow_scramble(pixels: np.ndarray, key: bytes, bits: int) -> np.ndarray:
    """Algorithm 1, lines 1-21, from the same random words."""
    largest = (1 << bits) - 1
    rows, columns, channels = pixels.shape
    stream = Stream(key, "negation and shuffling")
    if channels == 1:
        coins = stream.bytes(rows * columns).reshape(rows, columns, 1).astype(np.int64) & 1
        return np.where(coins == 1, largest - pixels.astype(np.int64), pixels)
    words = stream.bytes(4 * rows * columns).view("<u4").astype(np.uint64).reshape(rows, columns)
    coins = np.stack([words >> c & 1 for c in range(3)], axis=2)
    negated = np.where(coins == 1, largest - pixels.astype(np.int64), pixels)
    order = np.array(scrambling.ORDERS)[((words >> 3) * 6 >> 29).astype(int)]
    return np.take_along_axis(negated, order, axis=2)


def slow_smooth(
    picture: np.ndarray, block: int, kinds: np.ndarray, *, together: bool = False, nearest: bool = False
) -> np.ndarray:
    out = picture.astype(np.int64)
    for by in range(kinds.shape[0]):
        for bx in range(kinds.shape[1]):
            here = (slice(by * block, (by + 1) * block), slice(bx * block, (bx + 1) * block))
            channels = [slice(None)] if together else [slice(c, c + 1) for c in range(picture.shape[2])]
            for c in channels:
                values = picture[(*here, c)].astype(np.float64)
                kind = kinds[by, bx, c.start or 0]
                value = [np.mean, np.median, np.max, np.min][kind](values)
                out[(*here, c)] = np.floor(value + 0.5) if nearest else np.floor(value + 1e-9)
    return out


def real(bits: int, channels: int) -> np.ndarray:
    if channels == 3:
        return read(FOLDER / "mr-brain-glioma.jpg").pixels[0][60:131, 50:133]
    if bits == 8:
        return read(FOLDER / "us-breast-benign.png").pixels[0][:71, :83, None]
    deep = read(FOLDER / "xray-chest-15-bit.dcm").pixels[0][:71, :83, None].astype(np.uint16)
    return deep >> (15 - bits) if bits < 15 else deep


@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (12, 1), (15, 1)])
def test_scrambling_is_the_algorithm(bits: int, channels: int) -> None:
    pixels = np.ascontiguousarray(real(bits, channels))
    np.testing.assert_array_equal(scrambling.scramble_pixels(pixels, KEY, bits), slow_scramble(pixels, KEY, bits))


def test_scrambling_choices_are_fair() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8) + np.array([1, 2, 4], np.uint8)
    done = scrambling.scramble_pixels(pixels, KEY, 8).reshape(-1, 3)
    folded = np.minimum(done, 255 - done)
    _, counts = np.unique(np.concatenate([folded, done > 127], axis=1), axis=0, return_counts=True)
    assert len(counts) == 48
    expected = len(done) / 48
    assert ((counts - expected) ** 2 / expected).sum() < 47 + 5 * np.sqrt(2 * 47)


@pytest.mark.parametrize("block", [2, 3, 4, 5, 7, 16])
@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (12, 1), (15, 1)])
@pytest.mark.parametrize(("together", "nearest"), [(False, False), (False, True), (True, True)])
def test_smoothing_is_the_algorithm(block: int, bits: int, channels: int, together: bool, nearest: bool) -> None:
    pixels = np.ascontiguousarray(real(bits, channels))
    down, across = (-(-n // block) for n in pixels.shape[:2])
    kinds = np.random.default_rng(block).integers(0, 4, (down, across, channels)).astype(np.uint8)
    fast = pixels.copy()
    kernels.smooth(fast.reshape(len(fast), -1), channels, block, kinds, together, bits, int(nearest))
    np.testing.assert_array_equal(fast, slow_smooth(pixels, block, kinds, together=together, nearest=nearest))


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.uint16, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(1))),
    st.integers(0, 3),
    st.integers(1, 9),
)
def test_smoothing_of_any_samples(pixels: np.ndarray, kind: int, block: int) -> None:
    block = min(block, *pixels.shape[:2])
    kinds = np.full((-(-pixels.shape[0] // block), -(-pixels.shape[1] // block), 1), kind, np.uint8)
    fast = pixels.copy()
    kernels.smooth(fast.reshape(len(fast), -1), 1, block, kinds, False, 16, 0)
    np.testing.assert_array_equal(fast, slow_smooth(pixels, block, kinds))


@pytest.mark.parametrize(("side", "block"), [((64, 64), 4), ((17, 50), 3), ((40, 33), 16), ((9, 20), 9)])
@pytest.mark.parametrize(("bits", "channels"), [(8, 1), (8, 3), (12, 1)])
def test_smoothing_of_many_pictures_at_once(side: tuple[int, int], block: int, bits: int, channels: int) -> None:
    """Strips of several pictures share a batch; one filter for all channels, or each its own."""
    one = real(bits, channels)[: side[0], : side[1]]
    stack = np.ascontiguousarray(np.stack([np.roll(one, 3 * i, axis=0)[:, ::-1] for i in range(40)]))
    down, across = (-(-n // block) for n in side)
    for drawn in {1, channels}:
        kinds = np.random.default_rng(block).integers(0, 4, (40, down, across, drawn)).astype(np.uint8)
        fast = stack.copy()
        kernels.smooth_stack(fast.reshape(40, side[0], -1), channels, block, kinds, False, bits, 0)
        for i in range(40):
            own = np.broadcast_to(kinds[i], (down, across, channels))
            np.testing.assert_array_equal(fast[i], slow_smooth(stack[i], block, own))


def test_every_filter_is_drawn_alike_and_one_serves_all_channels() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (256, 256, 3), np.uint8)
    done = Smoothed(block=4, key=KEY, filters=("maximum", "minimum")).encrypt(pixels[None])[0]
    high = done[::4, ::4] > 127
    assert (high.all(axis=2) | ~high.any(axis=2)).mean() > 0.999  # one choice for a block
    assert 0.45 < high[..., 0].mean() < 0.55
    own = Smoothed(block=4, key=KEY, filters="maximum,minimum", choice="channel").encrypt(pixels[None])[0][::4, ::4]
    mixed = (own > 127).any(axis=2) & ~(own > 127).all(axis=2)
    assert 0.7 < mixed.mean() < 0.8  # three fair coins differ in 3 of 4 cases


def test_vectors() -> None:
    """Fixed results: a data set encrypted by one version is known again by the next."""
    path: Path = FOLDER / "us-breast-benign.png"
    pixels = read(path).pixels[:, :64, :64]
    done = Smoothed(block=4, key=KEY, grey="three").encrypt(pixels)
    assert done.shape == (1, 64, 64, 3)
    assert tagged("test vector", done.tobytes()).hex()[:16] == VECTOR


VECTOR = "ae0b479d758abb43"


@pytest.mark.parametrize(
    ("bits", "channels", "options", "vector"),
    [
        (8, 1, {"block": 4}, "a981d5428cb01fc8"),
        (8, 3, {"block": 3, "filters": "mean,median,minimum"}, "7ee4f2fa5efa2a8f"),
        (8, 3, {"block": 6, "choice": "channel", "rounding": "nearest"}, "f26d6fed70e4c6de"),
        (8, 3, {"block": 5, "over": "block", "edge": "replicate"}, "334ef5a3bf0b42f2"),
        (12, 1, {"block": 7, "per": "dataset"}, "69649cb152a8260a"),
        (15, 1, {"block": 17}, "de455a1b9da63e2b"),
        (8, 3, {"block": 1}, "5f9a08aa8695fd14"),
    ],
)
def test_vectors_of_options(bits: int, channels: int, options: dict[str, Any], vector: str) -> None:
    one = real(bits, channels)
    stack = np.stack([one, one[::-1], one[:, ::-1]])
    done = Smoothed(key=KEY, **options).encrypt(stack, bits=bits)
    assert tagged("test vector", done.tobytes()).hex()[:16] == vector
    for i in range(3):
        np.testing.assert_array_equal(Smoothed(key=KEY, **options).encrypt(stack[i : i + 1], bits=bits)[0], done[i])


@pytest.mark.parametrize("up", [0, 1])
def test_the_mean_of_a_block_whose_sum_has_more_than_32_bits(up: int) -> None:
    side = 400
    picture = np.full((side, side), 65535, np.uint16)
    picture[0, : side // 2] = 0  # the mean is 65535 (1 - 1 / 800), no whole number
    expected = (2 * int(picture.sum(dtype=np.int64)) + side * side * up) // (2 * side * side)
    kernels.smooth(picture, 1, side, np.full((1, 1, 1), kernels.MEAN, np.uint8), False, 16, up)
    assert (picture == expected).all()
