"""The contraction kernels against Python's integers and against torch."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.errors import InputError
from medveil.mpc import ring, ring_ifma

RNG = np.random.default_rng(1)
FORMS = [False, pytest.param(True, marks=pytest.mark.skipif(not ring_ifma.available(), reason="no AVX-512 IFMA"))]


def words(*shape: int) -> np.ndarray:
    return RNG.integers(0, 2**64, shape, dtype=np.uint64)


@pytest.mark.parametrize("fast", FORMS)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 7, 9), (8, 24, 24), (17, 1000, 49), (2, 2000, 3)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_matmul_is_exact_in_52_bits(fast: bool, m: int, k: int, n: int, transposed: tuple[bool, bool]) -> None:
    a, b, c, d = words(m, k), words(k, n), words(m, k), words(k, n)
    flip_a, flip_b = transposed
    left = tuple(np.ascontiguousarray(x.T if flip_a else x) for x in (a, c))
    right = tuple(np.ascontiguousarray(x.T if flip_b else x) for x in (b, d))
    plan = ring.plan_matmul(m, k, n, flip_a, flip_b)
    got = ring.contract_pair(plan, left, right, fast=fast)
    want = a.astype(object) @ b.astype(object) + c.astype(object) @ d.astype(object)
    assert np.array_equal(got % np.uint64(2**52), np.asarray(want % 2**52, dtype=np.uint64))
    narrow = ring.contract_pair(plan, left, right, shift=16, dtype=np.uint32, fast=fast)
    assert np.array_equal(narrow, np.asarray((want >> 16) % 2**32, dtype=np.uint32))


def test_exact_matmul_is_exact() -> None:
    a, b = words(13, 21), words(21, 5)
    want = np.asarray((a.astype(object) @ b.astype(object)) % 2**64, dtype=np.uint64)
    assert np.array_equal(ring.matmul(a, b), want)


@pytest.mark.parametrize("fast", FORMS)
@pytest.mark.parametrize(
    ("x", "w", "stride"),
    [((2, 3, 9, 8), (4, 3, 3, 3), 1), ((1, 1, 5, 5), (1, 1, 5, 5), 1), ((3, 2, 11, 7), (9, 2, 3, 2), 2)],
)
def test_convolution_and_its_gradients_are_torchs(fast: bool, x: tuple, w: tuple, stride: int) -> None:
    torch = pytest.importorskip("torch")
    image = torch.tensor(RNG.integers(-1000, 1000, x), dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(RNG.integers(-1000, 1000, w), dtype=torch.float64, requires_grad=True)
    out = torch.nn.functional.conv2d(image, weight, stride=stride)
    gradient = torch.tensor(RNG.integers(-1000, 1000, tuple(out.shape)), dtype=torch.float64)
    out.backward(gradient)

    def ringed(t: object) -> np.ndarray:
        return np.ascontiguousarray(t.detach().numpy().astype(np.int64)).view(np.uint64)

    def product(plan: ring.Contraction, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        got = ring.contract_pair(plan, (a, np.zeros_like(a)), (b, b), fast=fast)
        return (got << np.uint64(12)).view(np.int64) >> 12

    assert np.array_equal(product(ring.plan_conv(x, w, stride), ringed(weight), ringed(image)), out.detach().numpy())
    plan = ring.plan_conv_weight(x, w, stride)
    assert np.array_equal(product(plan, ringed(gradient), ringed(image)), weight.grad.numpy())
    n, o, oh, ow = out.shape
    wide = np.zeros((n, o, x[2] + w[2] - 1, x[3] + w[3] - 1), np.uint64)
    high, across = w[2] - 1, w[3] - 1
    wide[:, :, high : high + oh * stride : stride, across : across + ow * stride : stride] = ringed(gradient)
    back = product(ring.plan_conv_input(wide.shape, w), ringed(weight), wide)
    assert np.array_equal(back, image.grad.numpy())


def test_shapes_that_do_not_meet_are_refused() -> None:
    with pytest.raises(InputError, match="no output"):
        ring.plan_conv((1, 3, 4, 4), (2, 4, 3, 3), 1)
    with pytest.raises(InputError, match="no output"):
        ring.plan_conv((1, 3, 2, 2), (2, 3, 3, 3), 1)
