"""Contrast has its exact value, k - 1 shares are independent of the secret, XOR is exact; all for every (k, n)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from tests.schemes.visual.visual_material import shown

from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import InputError, UnrecoverableError, UnsupportedError
from medveil.metrics.image_quality import psnr, ssim
from medveil.schemes.visual import recovery, sharing
from medveil.schemes.visual.columns import columns, thresholds
from medveil.schemes.visual.halftone import halftone

PAGE = {(2, 3): 0.333, (2, 4): 0.286, (3, 4): 0.143, (3, 5): 0.105, (4, 5): 0.0625, (2, 6): 0.250}
CHEN_TSAO = {(2, 3): 0.143, (2, 4): 0.069, (3, 4): 0.057, (3, 5): 0.0225, (4, 5): 0.024, (2, 6): 0.027}


def within(count: int, total: int, p: Fraction, sigmas: float = 4.0) -> bool:
    spread = float(total * p * (1 - p)) ** 0.5
    return abs(count - float(total * p)) <= sigmas * spread


@pytest.mark.parametrize("kn", sorted(PAGE))
def test_the_table_is_optimal_and_beats_chen_tsao(kn: tuple[int, int]) -> None:
    contrast = float(columns(*kn).contrast())
    assert abs(contrast - PAGE[kn]) < 0.0005
    assert contrast > CHEN_TSAO[kn]


def test_n_of_n_is_two_to_the_minus_n_minus_one() -> None:
    for n in range(2, 9):
        assert columns(n, n).contrast() == Fraction(1, 1 << (n - 1))


@pytest.mark.parametrize("kn", thresholds())
def test_fewer_than_k_rows_are_independent_of_the_secret_exactly(kn: tuple[int, int]) -> None:
    """Counted over the table's own columns: no statistics, no tolerance."""
    k, n = kn
    table = columns(k, n).expanded()
    for chosen in combinations(range(n), k - 1):
        patterns = [sum((table[colour] >> i & 1).astype(int) << j for j, i in enumerate(chosen)) for colour in (0, 1)]
        counts = [np.bincount(pattern, minlength=1 << (k - 1)) for pattern in patterns]
        assert np.array_equal(*counts)
    together = [
        np.bincount(sum((table[c] >> i & 1).astype(int) << i for i in range(k)), minlength=1 << k) for c in (0, 1)
    ]
    assert not np.array_equal(*together), "k shares show nothing"


@pytest.mark.parametrize("kn", thresholds())
def test_light_of_what_is_really_dealt_is_within_four_sigma(kn: tuple[int, int]) -> None:
    k, n = kn
    bits = halftone(shown("xray-chest-1024.png")[:512, :512])
    scheme = columns(k, n)
    with allow_insecure_randomness("test"):  # fixed, so that a good scheme never fails by chance
        shares = sharing.share(bits, k, n, insecure_seeded(17, f"contrast {k} {n}"))
    unpacked = [sharing.unpack(share, bits.shape) for share in shares]
    white, black = int(bits.sum()), int(bits.size - bits.sum())
    for count in range(1, n + 1):
        stacked = recovery.stack(unpacked[:count])
        assert within(int(stacked[bits == 1].sum()), white, scheme.light(count, white=True))
        assert within(int(stacked[bits == 0].sum()), black, scheme.light(count, white=False))
    for count in range(1, k):
        assert scheme.light(count, white=True) == scheme.light(count, white=False)


@pytest.mark.parametrize("kn", thresholds())
def test_every_k_minus_1_subset_of_dealt_shares_passes_an_independence_test(kn: tuple[int, int]) -> None:
    """Pearson's chi-squared of what k - 1 shares show against the secret; 6 sigma, since 1,286 subsets are tried."""
    k, n = kn
    bits = halftone(shown("xray-chest-1024.png")[:384, :384])
    with allow_insecure_randomness("test"):
        shares = sharing.share(bits, k, n, insecure_seeded(5, f"independence {k} {n}"))
    unpacked = [sharing.unpack(share, bits.shape).reshape(-1) for share in shares]
    for chosen in combinations(unpacked, k - 1):
        assert excess(chosen, bits.reshape(-1)) < 6, f"shares of {kn} depend on the secret"
    revealing = excess(unpacked[:k], bits.reshape(-1))
    assert revealing > 6, "the test would not notice: k shares pass it too"


def excess(shares: Sequence[np.ndarray], secret: np.ndarray) -> float:
    """How many sigma Pearson's statistic of the shares' patterns against the secret lies above its mean."""
    patterns = sum(share.astype(np.int64) << place for place, share in enumerate(shares))
    table = np.bincount(patterns * 2 + secret, minlength=2 << len(shares)).reshape(-1, 2).astype(float)
    table = table[table.sum(axis=1) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    freedom = len(table) - 1
    chi = float(((table - expected) ** 2 / expected).sum())
    return (chi - freedom) / (2 * max(freedom, 1)) ** 0.5


@pytest.mark.parametrize("n", range(2, 9))
def test_xor_is_bit_exact(n: int) -> None:
    bits = halftone(shown("mr-brain-glioma.jpg"))[:101, :77]
    shares = [sharing.unpack(share, bits.shape) for share in sharing.share(bits, n, n)]
    assert np.array_equal(recovery.xor(shares), bits)
    if n > 2:
        assert not np.array_equal(recovery.xor(shares[:-1]), bits)
    else:  # the paper's text: equal shares for white, inverse ones for black
        assert np.array_equal(shares[0] == shares[1], bits == 1)


@pytest.mark.parametrize("kn", thresholds())
def test_counting_all_shares_gives_the_halftone_exactly_and_fewer_without_bias(kn: tuple[int, int]) -> None:
    k, n = kn
    scheme = columns(k, n)
    for given in range(k, n + 1):
        estimate = scheme.estimate(given)
        for white in (True, False):
            chances = scheme.counts(given, white=white)
            assert sum(chances) == 1
            assert sum(p * e for p, e in zip(chances, estimate, strict=True)) == white, "without bias"
        # and quieter than a stack stretched from [Tb, Tw]
        light, dark = scheme.light(given, white=True), scheme.light(given, white=False)
        noise = (
            sum(
                p * e * e
                for white in (True, False)
                for p, e in zip(scheme.counts(given, white=white), estimate, strict=True)
            )
            - 1
        )
        assert noise < (light * (1 - light) + dark * (1 - dark)) / (light - dark) ** 2
    bits = halftone(shown("mr-brain-glioma.jpg"))[:101, :77]
    shares = [sharing.unpack(share, bits.shape) for share in sharing.share(bits, k, n)]
    assert np.array_equal(recovery.count(shares, k, n), bits)
    assert np.array_equal(recovery.recover(shares, k, n, "count"), bits * np.uint8(255))
    with pytest.raises(UnrecoverableError):
        recovery.count(shares[: k - 1], k, n)


def test_counting_beats_stacking_on_a_real_image() -> None:
    picture = shown("xray-chest-1024.png")[:512, :512]
    bits = halftone(picture)
    for k, n in ((2, 3), (3, 4), (3, 5)):
        shares = [sharing.unpack(share, bits.shape) for share in sharing.share(bits, k, n)][:k]
        scheme = columns(k, n)
        dark, light = (float(scheme.light(k, white=white)) for white in (False, True))
        by_stack = recovery.descreen(recovery.stack(shares), dark, light)
        assert psnr(picture, recovery.recover(shares, k, n)) > psnr(picture, by_stack) + 3


def test_algorithm_1_is_worse_as_documented() -> None:
    bits = np.tile(np.array([0, 1], np.uint8), (512, 256))
    shares = [sharing.unpack(share, bits.shape) for share in sharing.algorithm_1(bits, 2)]
    stacked = recovery.stack(shares)
    half = bits.size // 2
    assert within(int(stacked[bits == 1].sum()), half, Fraction(1, 2))
    assert within(int(stacked[bits == 0].sum()), half, Fraction(1, 4))  # so (1/2 - 1/4) / (1 + 1/4) = 1/5
    right = int(np.sum((shares[0] == shares[1]) == (bits == 1)))
    assert within(right - half, half, Fraction(1, 2))  # white always right, black half of the time: 75 %


def test_no_grid_is_used_twice() -> None:
    bits = halftone(shown())
    one, two = sharing.share(bits, 2, 2), sharing.share(bits, 2, 2)
    same = np.unpackbits(one[0] ^ two[0]).mean()
    assert 0.49 < same < 0.51


def test_descreening_shows_the_picture() -> None:
    """On an ultrasound image with large flat regions; figures of many images are in docs/schemes/visual.md."""
    picture = shown()
    bits = halftone(picture)
    shares = [sharing.unpack(share, bits.shape) for share in sharing.share(bits, 2, 2)]
    by_xor, by_stack = recovery.recover(shares, 2, 2), recovery.descreen(recovery.stack(shares), 0.0, 0.5)
    assert psnr(picture, by_xor) > psnr(picture, by_stack) > psnr(picture, recovery.recover(shares, 2, 2, "stack"))
    assert psnr(picture, by_xor) > 24
    assert ssim(picture, by_xor) > 0.6


def test_padding_bits_are_zero() -> None:
    for kn in ((2, 2), (2, 3), (3, 3)):
        shares = sharing.share(np.ones((3, 3), np.uint8), *kn)
        assert not (shares[:, 1] & 0x7F).any()


def test_refusals() -> None:
    bits = halftone(shown())
    for k, n in ((1, 2), (3, 2), (2, 9), (0, 0)):
        with pytest.raises(UnsupportedError, match="no visual scheme"):
            sharing.share(bits, k, n)
    with pytest.raises(InputError, match="halftone"):
        sharing.share(shown(), 2, 2)
    shares = [sharing.unpack(share, bits.shape) for share in sharing.share(bits, 2, 3)]
    with pytest.raises(InputError, match="all shares"):
        recovery.recover(shares, 2, 3, "xor")
    for sigma in (0.0, -1.0, 33.0, float("nan")):
        with pytest.raises(InputError, match="low-pass"):
            recovery.recover(shares, 2, 3, sigma=sigma)
    with pytest.raises(InputError, match="no recovery"):
        recovery.recover(shares, 2, 3, "magic")
    for too_few in (shares[:1], []):
        with pytest.raises(UnrecoverableError):
            recovery.recover(too_few, 2, 3)
    with pytest.raises(UnrecoverableError):
        recovery.stack([])
