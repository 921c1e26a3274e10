"""Measures that a row's cells and a deep-learning scheme's figures rest on, each on real pictures."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.evaluation import corpora, subjects
from medveil.evaluation.measures import keys, statistics
from medveil.evaluation.measures.bench import Bench
from medveil.evaluation.plan import CorpusPlan, Effort


@pytest.fixture(scope="module")
def corpus() -> corpora.Corpus:
    return corpora.load(CorpusPlan(name="own", size=64, images=12), None, 1)


def bench(scheme: str, corpus: corpora.Corpus, **options: object) -> Bench:
    subject = subjects.Subject(scheme, scheme, options)
    return Bench(subject, corpus, Effort(images=8, keys=4, bits=20_000), seed=5)


@pytest.mark.parametrize("method", ["backprop", "cyclegan", "scramble-aae", "invertible"])
def test_every_deep_scheme_says_what_other_keys_and_batches_make_of_it(method: str, corpus: corpora.Corpus) -> None:
    found = keys.take(bench(f"deep-{method}", corpus))
    v = found.values
    own, near, another = (v[f"psnr_{n}"]["value"] for n in ("own_key", "weights_off_by_10_percent", "another_key"))
    assert another < own - 3
    assert v["changed_by_batch_size"] == 0
    assert 0 <= v["changed_by_batch_size_float32"] < 0.01
    assert v["same_on_a_gpu"] in (True, "no GPU here")
    assert v["foreign_restore"] == "refused"
    assert v["key_bytes"] >= v["decoding_key_bytes"] > 1000
    assert v["codes_bytes"] == (2048 if method == "backprop" else 4096)
    assert v["codes_bits_per_pixel"] == v["codes_bytes"] * 8 / 4096
    if method == "invertible":
        assert own == 100
        assert near < v["psnr_mean_picture"]
    else:
        assert near > another + 3  # a nearly right key nearly decrypts
    (picture,) = found.pictures.values()
    assert picture.shape[0] > 5 * 64


def test_other_schemes_refuse_the_secret_of_another_picture(corpus: corpora.Corpus) -> None:
    assert keys.take(bench("sealed", corpus)).values["foreign_restore"] == "refused"
    assert keys.take(bench("learnable-skk", corpus)).values == {"foreign_restore": None}
    assert keys.take(bench("three-server-learning", corpus)).values["foreign_restore"] == "100.0 dB"  # it has no secret


def test_a_key_that_opens_too_much_is_seen(corpus: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from medveil.schemes.deep import comparisons

    monkeypatch.setattr(comparisons, "drawn_afresh", lambda key: key)
    found = keys.take(bench("deep-backprop", corpus)).values
    assert found["psnr_another_key"]["value"] == found["psnr_own_key"]["value"]


def test_a_batch_that_changes_pixels_is_seen(corpus: corpora.Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    from medveil.schemes.deep.codec import Codec

    whole = Codec.decode

    def careless(self: Codec, codes: np.ndarray, *, batch: int = 32) -> np.ndarray:
        out = whole(self, codes, batch=batch)
        return out ^ 1 if batch == 7 else out

    monkeypatch.setattr(Codec, "decode", careless)
    assert keys.take(bench("deep-backprop", corpus)).values["changed_by_batch_size"] == 1


def test_a_part_that_repeats_itself_shows_its_period() -> None:
    rng = np.random.default_rng(1)
    noise = [rng.integers(0, 256, (128, 128)).astype(np.uint8) for _ in range(6)]
    assert statistics._period(noise) is None
    loop = rng.integers(0, 256, 100)
    repeated = np.resize(loop, (128, 128)).astype(np.uint8)
    assert statistics._period([*noise, repeated]) == 100
    late = noise[0].copy()
    late[64:] = np.resize(loop[:24], (64, 128))
    assert statistics._period([late]) == 24


def test_the_statistics_of_a_row_hold_everything_that_the_page_asks_for(corpus: corpora.Corpus) -> None:
    found = statistics.take(bench("aes-256-gcm", corpus))
    for name in (
        "entropy", "entropy_of_worst_key", "chi_square_p_lowest", "chi_square_p_uniform", "npcr", "uaci",
        "pairs_suspiciously_above_random", "correlation_diagonal", "period", "npcr_one_pixel_roi",
        "npcr_one_pixel_outside_roi", "sp800_22_passed", "sp800_22_linear_complexity",
    ):  # fmt: skip
        assert name in found.values, name
    assert found.values["period"] is None
    assert "critical values" in found.note
    assert "histogram" in found.curves
