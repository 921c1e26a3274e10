"""NIST's worked examples (SP 800-22 rev. 1a, sections 2.x and appendix B), where they are wrong, and slow oracles.

Errors in the document that the tests below show: the spectral examples' counts N1 (2.6.4, 2.6.8), the counts and the
p-value of the small overlapping template example (2.8.4), the small universal example's deviation (2.9.4), the first
probability of linear complexity (3.10 against 2.10.8), the fifth digit of the longest run's p-value (2.4.8), and the
probabilities of 32 x 32 matrices used for 3 x 3 (2.5.4).
"""

from __future__ import annotations

from math import erfc, sqrt

import numpy as np
import pytest
from tests.metrics.sp800_22 import expansions

from medveil.errors import InputError
from medveil.metrics.significance import igamc
from medveil.metrics.sp800_22 import battery, frequency, structure, templates, walks
from medveil.metrics.sp800_22.bits import Outcome, chi_square, from_bytes, from_text

MILLION = 1_000_000
PI_100 = from_text(
    "11001001000011111101101010100010001000010110100011000010001101001100010011000110011000101000101110 00"
)
LONGEST = from_text(
    "11001100000101010110110001001100111000000000001001001101010100010001001111010110100000001101011111001100111001101101"
    "100010110010"
)

SMALL = [  # sections 2.1 to 2.15: test, p-values as printed
    (frequency.monobit(from_text("1011010101")), [0.527089]),
    (frequency.monobit(PI_100), [0.109599]),
    (frequency.block_frequency(from_text("0110011010"), 3), [0.801252]),
    (frequency.block_frequency(PI_100, 10), [0.706438]),
    (frequency.runs(from_text("1001101011")), [0.147232]),
    (frequency.runs(PI_100), [0.500798]),
    (templates.non_overlapping(from_text("10100100101110010110"), ["001"], blocks=2), [0.344154]),
    (templates.serial(from_text("0011011101"), 3), [0.808792, 0.670320]),
    (templates.approximate_entropy(from_text("0100110101"), 3), [0.261961]),
    (templates.approximate_entropy(PI_100, 2), [0.235301]),
    (walks.cumulative_sums(PI_100), [0.219194, 0.114866]),
]

# Appendix B: a million bits of each number.
APPENDIX = {
    "pi": [
        0.578211, 0.380615, 0.628308, 0.663369, 0.419268, 0.024390, 0.083553, 0.010186,
        0.165757, 0.296897, 0.669012, 0.361595, 0.844143, 0.760966, 0.255475, 0.143005,
    ],
    "e": [
        0.953749, 0.211072, 0.669886, 0.724265, 0.561917, 0.718945, 0.306156, 0.847187,
        0.078790, 0.110434, 0.282568, 0.700073, 0.786868, 0.826009, 0.826335, 0.766182,
    ],
    "sqrt 2": [
        0.811881, 0.833222, 0.879009, 0.957206, 0.313427, 0.012117, 0.823810, 0.581909,
        0.569461, 0.791982, 0.130805, 0.884740, 0.216235, 0.566118, 0.317127, 0.861925,
    ],
}  # fmt: skip
PLACES = [
    ("frequency", "p"), ("block frequency", "p"), ("cumulative sums", "forward"), ("cumulative sums", "backward"),
    ("runs", "p"), ("longest run", "p"), ("matrix rank", "p"), ("spectral", "p"),
    ("non-overlapping template", "000000001"), ("overlapping template", "p"), ("universal", "p"),
    ("approximate entropy", "p"), ("random excursions", "+1"), ("random excursions variant", "-1"),
    ("linear complexity", "p"), ("serial", "p1"),
]  # fmt: skip


def digits(number: str) -> np.ndarray:
    makers = {"pi": expansions.pi, "e": expansions.e, "sqrt 2": lambda n: expansions.square_root(2, n)}
    return makers[number](MILLION)


@pytest.mark.parametrize(("found", "printed"), SMALL, ids=lambda v: v.test if isinstance(v, Outcome) else "")
def test_small_examples(found: Outcome, printed: list[float]) -> None:
    assert list(found.p.values()) == pytest.approx(printed, abs=1e-6)


@pytest.mark.parametrize("number", APPENDIX)
def test_a_million_bits_of_appendix_b(number: str) -> None:
    """All fifteen tests to the last printed digit, a unit of it for rounding."""
    found = battery.run(digits(number), "published")
    assert set(found) == set(battery.TESTS) == {test for test, _ in PLACES}
    got = [found[test].p[label] for test, label in PLACES]
    assert got == pytest.approx(APPENDIX[number], abs=1e-6)
    assert all(outcome.enough for outcome in found.values())


def test_examples_over_the_digits_of_e() -> None:
    e = expansions.e(MILLION)
    assert structure.matrix_rank(e[:100_000]).p["p"] == pytest.approx(0.532069, abs=1e-6)
    complexity = structure.linear_complexity(e, 1000, "published")
    assert complexity.p["p"] == pytest.approx(0.845406, abs=1e-6)
    assert complexity.statistic == pytest.approx(2.700348, abs=1e-6)
    assert list(templates.serial(e, 2).p.values()) == pytest.approx([0.843764, 0.561915], abs=1e-6)
    excursions = [0.573306, 0.197996, 0.164011, 0.007779, 0.786868, 0.440912, 0.797854, 0.778186]
    assert list(walks.random_excursions(e).p.values()) == pytest.approx(excursions, abs=1e-6)
    variant = [
        0.858946, 0.794755, 0.576249, 0.493417, 0.633873, 0.917283, 0.934708, 0.816012, 0.826009,
        0.137861, 0.200642, 0.441254, 0.939291, 0.505683, 0.445935, 0.512207, 0.538635, 0.593930,
    ]  # fmt: skip
    assert list(walks.random_excursions_variant(e).p.values()) == pytest.approx(variant, abs=1e-6)


def test_short_walks() -> None:
    """Examples of 2.13.4 to 2.15.4; cumulative sums over ten bits is printed with seven digits."""
    assert walks.cumulative_sums(from_text("1011010111")).p["forward"] == pytest.approx(0.4116588, abs=1e-6)
    walk = from_text("0110110101")
    assert walks.random_excursions(walk).p["+1"] == pytest.approx(0.502529, abs=1e-4)  # printed with rounded terms
    assert walks.random_excursions_variant(walk).p["+1"] == pytest.approx(0.683091, abs=1e-6)
    assert not walks.random_excursions(walk).enough


@pytest.mark.parametrize(
    ("bits", "printed_below", "printed_p", "p"),
    [(from_text("1001010011"), 4, 0.029523, 0.468160), (PI_100, 46, 0.168669, 0.646355)],
)
def test_the_spectral_examples_miscount(bits: np.ndarray, printed_below: int, printed_p: float, p: float) -> None:
    """The printed p follows from the printed count; the count does not follow from the bits, by the definition."""
    n = len(bits)
    at = np.arange(n)
    slow = [abs(sum((2.0 * bits - 1) * np.exp(2j * np.pi * k * at / n))) for k in range(n // 2)]
    threshold = sqrt(np.log(1 / 0.05) * n)
    below = sum(v < threshold for v in slow)
    assert below != printed_below
    d = (printed_below - 0.95 * n / 2) / sqrt(n * 0.95 * 0.05 / 4)
    assert erfc(abs(d) / sqrt(2)) == pytest.approx(printed_p, abs=1e-6)
    assert structure.spectral(bits).p["p"] == pytest.approx(p, abs=1e-6)


def test_the_small_overlapping_example_is_wrong_twice() -> None:
    """Its counts are not those of its bits, and its p-value is not that of its statistic."""
    expected = templates.approximate_matches(1.125)
    assert expected == pytest.approx([0.324652, 0.182617, 0.142670, 0.106645, 0.077147, 0.166269], abs=1e-6)
    statistic, p = chi_square([0, 1, 1, 1, 1, 1], expected, 5)
    assert statistic == pytest.approx(3.167729, abs=2e-5)
    assert p == pytest.approx(igamc(2.5, 3.167729 / 2), abs=1e-5)
    assert p != pytest.approx(0.274932, abs=0.1)
    bits = from_text("10111011110010110100011100101110111110000101101001")
    counts = [sum(block[i : i + 2].all() for i in range(9)) for block in bits.reshape(5, 10)]
    assert sorted(counts) != [1, 2, 3, 4, 5]
    real = chi_square(np.bincount(np.minimum(counts, 5), minlength=6), expected, 5)
    assert templates.overlapping(bits, 2, 10, "published").statistic == pytest.approx(real[0])


def test_the_small_universal_example_leaves_the_deviation_out() -> None:
    found = structure.universal(from_text("01011010011101010111"), 2, 4)
    assert found.statistic == pytest.approx(1.1949875, abs=1e-7)
    without = erfc(abs(found.statistic - 1.5374383) / (sqrt(2) * sqrt(1.338)))
    assert without == pytest.approx(0.767189, abs=1e-6)


def test_the_longest_run_example_to_its_statistic() -> None:
    found = frequency.longest_run(LONGEST, "published")
    assert found.statistic == pytest.approx(4.882605, abs=1e-6)
    assert found.p["p"] == pytest.approx(igamc(1.5, 4.882605 / 2), abs=1e-6)
    assert found.p["p"] == pytest.approx(0.180609, abs=2e-5)


def test_the_small_rank_example_uses_the_probabilities_of_large_matrices() -> None:
    bits = from_text("01011001001010101101")
    ranks = [structure.matrix_rank(bits[i : i + 9], 3).statistic for i in (0, 9)]
    assert len(set(ranks)) == 2  # one of rank 2, one of rank 3, as printed
    statistic, _ = chi_square([1, 1, 0], (0.2888, 0.5776, 0.1336), 2)
    assert np.exp(-statistic / 2) == pytest.approx(0.741948, abs=1e-6)
    true = [structure.rank_probability(r, 3, 3) for r in (3, 2)]
    own, _ = chi_square([1, 1, 0], (*true, 1 - sum(true)), 2)
    assert structure.matrix_rank(bits, 3).p["p"] == pytest.approx(np.exp(-own / 2))


def test_complexity_example() -> None:
    assert structure.complexity_of(from_text("1101011110001")) == 4
    assert structure.complexity_of(from_text("0" * 12 + "1")) == 13


def test_exact_probabilities_against_every_block() -> None:
    """The recursions against all 2^12 blocks, and Hamano and Kaneko's values that section 3.8 quotes."""
    blocks = ((np.arange(1 << 12)[:, None] >> np.arange(12)) & 1).astype(np.uint8)
    hits = np.array([sum(block[i : i + 3].all() for i in range(10)) for block in blocks])
    shares = np.bincount(np.minimum(hits, 5), minlength=6) / len(blocks)
    assert templates.exact_matches(3, 12) == pytest.approx(shares)
    longest = np.array([max(len(r) for r in "".join(map(str, block)).split("0")) for block in blocks])
    classes = np.bincount(np.clip(longest - 1, 0, 3), minlength=4) / len(blocks)
    assert frequency.longest_run_probabilities(12, 1, 4) == pytest.approx(classes)
    quoted = [0.364091, 0.185659, 0.139381, 0.100571, 0.070432, 0.139865]
    assert templates.exact_matches(9, 1032) == pytest.approx(quoted, abs=1e-6)
    assert sum(structure.rank_probability(r, 4, 4) for r in range(5)) == pytest.approx(1)


def test_templates() -> None:
    assert len(templates.aperiodic_templates(9)) == 148
    assert [f"{t:03b}" for t in templates.aperiodic_templates(3)] == ["001", "011", "100", "110"]
    random = np.random.default_rng(3).integers(0, 2, 4000, dtype=np.uint8)
    text = "".join(map(str, random))
    found = templates.non_overlapping(random, ["0011"], blocks=4)
    counts = [text[i : i + 1000].count("0011") for i in range(0, 4000, 1000)]  # str.count does not overlap
    mean, variance = 997 / 16, 1000 * (1 / 16 - 7 / 256)
    assert found.statistic == pytest.approx(sum((c - mean) ** 2 / variance for c in counts))


def test_random_bytes_pass_and_a_counter_does_not() -> None:
    random = from_bytes(np.random.default_rng(7).bytes(125_000))
    found = battery.run(random)
    assert sum(outcome.lowest < 1e-4 for outcome in found.values()) == 0
    counter = from_bytes(np.arange(31_250, dtype=">u4").tobytes())
    assert sum(outcome.lowest < 1e-4 for outcome in battery.run(counter).values()) >= 10


def test_assessment_of_many_sequences() -> None:
    rng = np.random.default_rng(11)
    assert battery.assess(rng.random(1000).tolist()).random
    assert not battery.assess((rng.random(1000) ** 2).tolist()).random
    assert not battery.assess((0.9 + 0.1 * rng.random(1000)).tolist()).random  # too good
    few = battery.assess([0.5] * 100)
    assert few.bounds == pytest.approx((0.96015, 1.0), abs=1e-5)


def test_refusals_and_short_sequences() -> None:
    short = battery.run(PI_100)
    assert short["universal"].p == {}
    assert not short["universal"].enough
    assert np.isnan(short["universal"].lowest)
    for call in (
        lambda: battery.run(np.array([0, 1, 2], np.uint8)),
        lambda: battery.run(np.array([], np.uint8)),
        lambda: battery.run(np.array([0.0, 1.0])),  # type: ignore[arg-type]
        lambda: from_text("0121"),
        lambda: templates.non_overlapping(PI_100, ["01", "011"]),
        lambda: templates.serial(PI_100, 30),
        lambda: structure.universal(PI_100),
        lambda: battery.assess([]),
    ):
        with pytest.raises(InputError):
            call()
