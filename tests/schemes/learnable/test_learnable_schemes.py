"""What the schemes promise beyond the conformance suite: structure, keys, options, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medveil.errors import InputError, TamperedError, UnsupportedError, UsageError
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.reader import read
from medveil.imaging.samples import FOLDER
from medveil.schemes import registry
from medveil.schemes.base import Secret
from medveil.schemes.learnable import blocks, ele, etc, family, patchwise, skk, smoothed, tanaka
from medveil.schemes.learnable.base import LearnableScheme
from medveil.schemes.learnable.keystream import Stream

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
GREY = read(FOLDER / "us-breast-benign.png").pixels[:, :96, :112]
RGB = read(FOLDER / "mr-brain-glioma.jpg").pixels[:, :96, :112]
NAMES = [f"learnable-{m}" for m in family.MEMBERS]


def make(name: str, **options: Any) -> LearnableScheme:
    cls = registry.load(name)
    assert issubclass(cls, LearnableScheme)
    return cls(**options)


@pytest.mark.parametrize("name", NAMES)
def test_keys_decide_everything(name: str) -> None:
    one, same, other = (make(name, key=k).encrypt(RGB) for k in (KEY, KEY, OTHER))
    np.testing.assert_array_equal(one, same)
    assert (one != other).mean() > 0.3
    assert (one != RGB).mean() > 0.3
    assert make(name).options.keys() >= {"per", "grey"}
    assert "key" not in make(name, key=KEY).options


@pytest.mark.parametrize("name", NAMES)
def test_one_key_for_a_data_set_or_one_for_each_image(name: str) -> None:
    pair = np.concatenate([RGB, RGB[:, ::-1]])
    shared = make(name, key=KEY, per="dataset").encrypt(pair)
    alone = make(name, key=KEY, per="dataset").encrypt(pair[1:])
    np.testing.assert_array_equal(shared[1:], alone)
    own = make(name, key=KEY, per="image").encrypt(pair)
    assert (own != shared).mean() > 0.2


@pytest.mark.parametrize("name", NAMES)
def test_bits_are_kept(name: str) -> None:
    deep = read(FOLDER / "xray-chest-15-bit.dcm").pixels[:, :64, :64].astype(np.uint16) >> 3
    done = make(name, key=KEY).encrypt(deep, bits=12)
    assert done.dtype == np.uint16
    assert done.max() < 4096
    with pytest.raises(InputError, match="more than the 8 bits"):
        make(name).encrypt(deep, bits=8)
    with pytest.raises(UnsupportedError, match="bits"):
        make(name).encrypt(deep, bits=3)
    with pytest.raises(InputError, match="int32"):
        make(name).encrypt(deep.astype(np.int32))


def test_half_samples_need_even_depths() -> None:
    deep = read(FOLDER / "xray-chest-15-bit.dcm").pixels[:, :64, :64].astype(np.uint16)
    for name in ("learnable-tanaka", "learnable-ele"):
        with pytest.raises(UnsupportedError, match="15 bits"):
            make(name).encrypt(deep, bits=15)


@pytest.mark.parametrize("name", NAMES)
def test_refusals(name: str) -> None:
    scheme = make(name)
    with pytest.raises(UnsupportedError, match="sealed"):
        scheme.protect(OpaqueFile(b"x", "text"))
    with pytest.raises(UnsupportedError, match="3 frames"):
        scheme.protect(MedicalImage(np.repeat(GREY, 3, axis=0), 8))
    with pytest.raises(UnsupportedError, match="window"):
        scheme.protect(MedicalImage(GREY.astype(np.int16), 16))
    with pytest.raises(UnsupportedError, match="alpha"):
        scheme.protect(MedicalImage(np.concatenate([RGB, RGB[..., :1]], axis=3), 8))
    with pytest.raises(InputError, match="more than the 12"):
        scheme.protect(MedicalImage(GREY.astype(np.uint16) << 8, 12))
    with pytest.raises(InputError, match="shape"):
        scheme.encrypt(RGB[0, 0])
    for bad in ({"key": b"short"}, {"block": 0}, {"block": True}):
        if "block" in bad and name == "learnable-skk":
            continue
        with pytest.raises(InputError):
            make(name, **bad)
    for wrong in ({"per": "patient"}, {"grey": "two"}):
        with pytest.raises(UsageError):
            make(name, **wrong)
    if name != "learnable-skk":
        with pytest.raises(InputError, match="larger than the image"):
            make(name, block=97).encrypt(RGB)


def test_options_of_smoothing() -> None:
    for wrong in (
        {"filters": "mode"},
        {"filters": ()},
        {"choice": "x"},
        {"over": "x"},
        {"edge": "x"},
        {"rounding": "x"},
    ):
        with pytest.raises(UsageError):
            make("learnable-smoothed", **wrong)
    np.testing.assert_array_equal(smoothed.encrypt(RGB, KEY, block=1), skk.encrypt(RGB, KEY))
    over = smoothed.encrypt(RGB, KEY, over="block")
    assert (over[..., 0] == over[..., 2]).all()
    odd = RGB[:, :95, :111]
    partial, filled = (smoothed.encrypt(odd, KEY, block=8, edge=e) for e in ("partial", "replicate"))
    assert partial.shape == filled.shape == odd.shape
    np.testing.assert_array_equal(partial[:, :88, :104], filled[:, :88, :104])
    assert (partial[:, 88:] != filled[:, 88:]).any()


def test_grey_as_one_channel_or_three() -> None:
    assert skk.encrypt(GREY, KEY).shape == GREY.shape
    assert skk.encrypt(GREY[..., None], KEY).shape == (*GREY.shape, 1)
    three = skk.encrypt(GREY, KEY, grey="three")
    assert three.shape == (*GREY.shape, 3)
    np.testing.assert_array_equal(np.minimum(three, 255 - three).min(axis=3), np.minimum(GREY, 255 - GREY))


def folds(pixels: np.ndarray, block: int) -> np.ndarray:
    """The sorted values of min(v, 255 - v) of each block."""
    cut = blocks.split(pixels, block)
    flat = cut.reshape(cut.shape[0] * cut.shape[1], -1)
    return np.sort(np.minimum(flat, 255 - flat), axis=1)


def test_block_schemes_keep_what_their_pages_say() -> None:
    pixels, block = RGB[0], 16
    plain = folds(pixels, block)
    for encrypt in (etc.encrypt, patchwise.encrypt):
        cipher = folds(encrypt(pixels[None], KEY)[0], block)
        np.testing.assert_array_equal(cipher[np.lexsort(cipher.T)], plain[np.lexsort(plain.T)])
    fixed = folds(patchwise.encrypt(pixels[None], KEY, places=False)[0], block)
    np.testing.assert_array_equal(fixed, plain)
    flat = blocks.split(pixels, 4).reshape(24 * 28, -1)
    nibbles = blocks.to_halves(flat, 8)
    again = blocks.to_halves(blocks.split(tanaka.encrypt(pixels[None], KEY)[0], 4).reshape(24 * 28, -1), 8)
    np.testing.assert_array_equal(*(np.sort(np.minimum(x, 15 - x), axis=1) for x in (nibbles, again)))
    np.testing.assert_array_equal(blocks.from_halves(nibbles, 8), flat)
    np.testing.assert_array_equal(blocks.join(blocks.split(pixels, 16)), pixels)
    assert ele.encrypt(pixels[None, :95], KEY).shape == (1, 96, 112, 3)


def test_equal_blocks_stay_equal_in_tanaka_and_not_in_ele() -> None:
    flat = np.full((1, 32, 32, 3), 7, np.uint8)
    assert len(np.unique(blocks.split(tanaka.encrypt(flat, KEY)[0], 4).reshape(64, -1), axis=0)) == 1
    assert len(np.unique(blocks.split(ele.encrypt(flat, KEY)[0], 4).reshape(64, -1), axis=0)) == 64


def test_a_model_is_matched_to_the_key() -> None:
    """A random patch embedding gives on plain patches what the matched one gives on encrypted ones, place by place."""
    weights = np.random.default_rng(1).normal(size=(8, 3, 16, 16))
    matched = patchwise.match_embedding(weights, KEY)

    def embed(picture: np.ndarray, w: np.ndarray) -> np.ndarray:
        cut = blocks.split(picture, 16).astype(np.float64) * 2 / 255 - 1
        return np.einsum("nijc,dcij->nd", cut.reshape(-1, 16, 16, 3), w)

    encrypted = patchwise.encrypt(RGB, KEY)[0]
    places = patchwise.places_of(KEY, 42)
    np.testing.assert_allclose(embed(encrypted, matched), embed(RGB[0], weights)[places], atol=1e-9)
    with pytest.raises(InputError):
        patchwise.match_embedding(weights[0], KEY)


def test_verify_recognises_the_part() -> None:
    scheme = make("learnable-skk")
    one, other = (scheme.protect(MedicalImage(GREY, 8)) for _ in range(2))
    assert scheme.verify(one.parts, one.secret) == ()
    assert scheme.verify(one.parts) == ()
    with pytest.raises(TamperedError):
        scheme.verify(other.parts, one.secret)
    with pytest.raises(UsageError):
        scheme.verify(one.parts * 2, one.secret)
    with pytest.raises(UsageError):
        scheme.verify(one.parts, Secret("learnable-tanaka", one.secret.data))


def test_streams_are_fair_and_repeatable() -> None:
    drawn = Stream(KEY, "a").below(6, 60_000)
    counts = np.bincount(drawn, minlength=6)
    assert counts.max() - counts.min() < 500
    np.testing.assert_array_equal(drawn, Stream(KEY, "a").below(6, 60_000))
    assert (drawn != Stream(KEY, "b").below(6, 60_000)).mean() > 0.8
    order = Stream(KEY, "a").permutation(96, 50)
    assert all(sorted(row) == list(range(96)) for row in order.tolist())
    assert Stream(KEY, "c").below(256, 5).dtype == np.uint8
    for bound in (1, 4, 256):  # nothing is drawn again, and the stream goes on where it would have
        raw, stream = Stream(KEY, "d").bytes(2000), Stream(KEY, "d")
        np.testing.assert_array_equal(stream.below(bound, 500), raw[:500] % np.uint16(bound))
        np.testing.assert_array_equal(stream.bytes(100), raw[578:678])
    assert Stream(KEY, "d").below(3, 0).shape == (0,)
    long = Stream(KEY, "e").bytes(2_500_001)
    parts = Stream(KEY, "e")
    np.testing.assert_array_equal(long, np.concatenate([parts.bytes(n) for n in (1, 1 << 20, 2_500_000 - (1 << 20))]))
    with pytest.raises(InputError):
        Stream(KEY, "a").below(257, 1)
