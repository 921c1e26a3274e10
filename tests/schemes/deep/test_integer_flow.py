"""The integer network: exact whatever the batch, the precision and the threads; equal to a slow oracle."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tests.schemes.deep.deep_images import xrays

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import FormatError, InputError, UnrecoverableError, UsageError
from medveil.metrics import cipher_statistics as measures
from medveil.schemes.deep import samples, statistics
from medveil.schemes.deep.integer_flow import IntegerFlow, draw_key
from medveil.schemes.deep.invertible import from_planes, to_planes
from medveil.schemes.deep.key import DeepKey


def oracle(key: DeepKey, plane: np.ndarray) -> np.ndarray:
    """The network of the docstring, one output at a time in Python's own integers."""
    rows, columns = plane.shape[0] // 4, plane.shape[1] // 4
    channels = [
        [[int(plane[4 * r + dr, 4 * c + dc]) for c in range(columns)] for r in range(rows)]
        for dr in range(4)
        for dc in range(4)
    ]
    a, b = channels[:8], channels[8:]
    for layer in range(key.shape["layers"]):
        values = [[[v - 128 for v in row] for row in plane_] for plane_ in a]
        for place, (shift, reach) in enumerate(((9, 1), (10, 2 ** (layer % 6)), (6, 2 ** ((layer + 3) % 6)))):
            w, bias = (key.tensors[f"flow.{layer}.{place}.{n}"].tolist() for n in ("weight", "bias"))
            sums = [[[bias[o]] * columns for _ in range(rows)] for o in range(len(w))]
            for o, per_input in enumerate(w):
                for i, kernel in enumerate(per_input):
                    for dr in range(3):
                        for dc in range(3):
                            for r in range(rows):
                                for c in range(columns):
                                    y, x = r + (dr - 1) * reach, c + (dc - 1) * reach
                                    if 0 <= y < rows and 0 <= x < columns:
                                        sums[o][r][c] += kernel[dr][dc] * values[i][y][x]
            values = [[[v >> shift for v in row] for row in plane_] for plane_ in sums]
            if place < 2:
                values = [[[min(255, max(0, v)) for v in row] for row in plane_] for plane_ in values]
        added = [
            [[(p + q) % 256 for p, q in zip(x, y, strict=True)] for x, y in zip(m, n, strict=True)]
            for m, n in zip(b, values, strict=True)
        ]
        a, b = added, a
    out = np.zeros_like(plane)
    for index, channel in enumerate(a + b):
        out[index // 4 :: 4, index % 4 :: 4] = channel
    return out


@pytest.fixture(scope="module")
def key() -> DeepKey:
    return samples.load("invertible")


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> np.ndarray:
    return xrays(shared_data)[:32]


def test_equals_the_oracle(shared_data: Path, key: DeepKey) -> None:
    plane = xrays(shared_data)[0][24:36, 20:36]
    assert np.array_equal(IntegerFlow(key).encrypt(plane[None])[0], oracle(key, plane))


def test_the_bytes_of_a_ciphertext_are_fixed(key: DeepKey) -> None:
    plane = np.arange(64 * 64, dtype=np.uint64) ** 2 % 251
    cipher = IntegerFlow(key).encrypt(plane.astype(np.uint8).reshape(1, 64, 64))
    digest = hashlib.sha256(cipher.tobytes()).hexdigest()
    assert digest == "17dba2201169dc1d019fc23dd147f5ab2d30cadaa61a8bffaa1a06bb44da7411"


@pytest.mark.parametrize("precision", ["int32", "float32", "float64", "torch"])
def test_every_precision_and_batch_gives_the_same_bytes(precision: str, pictures: np.ndarray, key: DeepKey) -> None:
    expected = IntegerFlow(key).encrypt(pictures)
    flow = IntegerFlow(key, precision=precision)  # type: ignore[arg-type]
    few = 4 if precision in ("int32", "torch") else 32
    for batch in (1, 2, 3, 7, 16, 32):
        found = np.concatenate([flow.encrypt(pictures[at : at + batch]) for at in range(0, few, batch)])
        assert np.array_equal(found, expected[: len(found)])
        back = np.concatenate([flow.decrypt(expected[at : at + batch]) for at in range(0, few, batch)])
        assert np.array_equal(back, pictures[: len(back)])
        if precision in ("int32", "torch"):
            break


@settings(max_examples=20, deadline=None)
@given(
    arrays(
        np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4).map(lambda s: (s[0], 4 * s[1], 4 * s[2]))
    )
)
def test_any_planes_come_back(planes: np.ndarray) -> None:
    flow = IntegerFlow(samples.load("invertible"))
    assert np.array_equal(flow.decrypt(flow.encrypt(planes)), planes)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, np.dtype(">u2")]),
        array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9),
    )
)
def test_pixels_of_every_kind_come_back_from_byte_planes(pixels: np.ndarray) -> None:
    planes = to_planes(pixels)
    assert planes.shape[1] % 4 == planes.shape[2] % 4 == 0
    back = from_planes(planes, pixels.dtype.newbyteorder("=").str, pixels.shape)
    assert back.tobytes() == pixels.astype(pixels.dtype.newbyteorder("=")).tobytes()


def test_ciphertexts_look_like_noise_and_depend_on_every_bit(shared_data: Path) -> None:
    """NPCR and UACI of a 512 x 512 picture whose corner pixel changed by one, against their critical values."""
    picture = xrays(shared_data, size=512, most=1)
    flow = IntegerFlow(samples.load("invertible"))
    touched = picture.copy()
    touched[0, 0, 0] ^= 1
    one, other = flow.encrypt(np.concatenate([picture, touched]))
    bounds = measures.critical_values(one.size, 0.001)
    assert measures.npcr(one, other) >= bounds.npcr
    assert bounds.uaci[0] <= measures.uaci(one, other) <= bounds.uaci[1]
    assert measures.entropy(one) > 7.999
    assert abs(measures.adjacent_correlation(one, "horizontal")) < 0.01


def test_another_key_gives_noise(pictures: np.ndarray) -> None:
    with allow_insecure_randomness("test"):
        other = IntegerFlow(draw_key(insecure_seeded(7, "another key")))
    cipher = IntegerFlow(samples.load("invertible")).encrypt(pictures[:2])
    assert measures.npcr(other.decrypt(cipher)[0], pictures[0]) > 0.98


def test_a_key_beyond_the_bounds_of_exactness_is_refused(key: DeepKey) -> None:
    low = key.tensors["flow.3.1.weight"].copy()
    low[0, 0, 0, 0] = -128
    far = key.tensors["flow.3.1.bias"].copy()
    far[0] = 1 << 20
    for name, tensor in (("flow.3.1.weight", low), ("flow.3.1.bias", far), ("flow.3.1.weight", low[:1])):
        with pytest.raises(FormatError):
            IntegerFlow(replace(key, tensors={**key.tensors, name: tensor}))
    with pytest.raises(FormatError):
        IntegerFlow(replace(key, tensors={n: t for n, t in key.tensors.items() if n != "flow.0.0.bias"}))


def test_bad_calls(key: DeepKey, pictures: np.ndarray) -> None:
    flow = IntegerFlow(key)
    for wrong in (pictures[:, :63], pictures[0], pictures.astype(np.uint16)):
        with pytest.raises(InputError):
            flow.encrypt(wrong)
    with pytest.raises(UsageError, match="float16"):
        IntegerFlow(key, precision="float16")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="device"):
        IntegerFlow(key, precision="torch", device="tpu")


def test_figures_of_a_key_and_pictures_that_no_key_passes_on(pictures: np.ndarray) -> None:
    with allow_insecure_randomness("test"):
        key = statistics.draw_good_key(pictures[:8], insecure_seeded(3, "figures"))
    assert key.measured["exact"] == 1
    assert key.measured["npcr"] > 0.99
    with pytest.raises(UnrecoverableError, match="16 drawn keys"):
        statistics.draw_good_key(np.zeros((1, 4, 4), np.uint8))
