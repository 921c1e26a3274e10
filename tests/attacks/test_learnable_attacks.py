"""The attacks on learnable encryption reach what docs/attacks.md says, and their kernels agree with plain Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.attacks.attack_material import brains, material, pictures

from medveil.attacks import fingerprints, jigsaw, registry, tanaka_known_plaintext
from medveil.attacks.base import Material
from medveil.attacks.leading_bit import leading_bit
from medveil.attacks.learned_reconstruction import LearnedReconstruction
from medveil.attacks.linkage import ranks_of
from medveil.attacks.material import gather
from medveil.attacks.minimum_difference import minimum_difference
from medveil.attacks.same_patient import _chance
from medveil.attacks.tanaka_known_plaintext import TanakaKnownPlaintext
from medveil.errors import InputError, UnsupportedError
from medveil.imaging.resampling import resize
from medveil.schemes.learnable import etc, skk

KEY = bytes(range(32))


def slow_minimum_difference(picture: np.ndarray, bit: int) -> np.ndarray:
    """Algorithm 3 with all 48 options, the left neighbour as q."""
    rows, columns, _ = picture.shape
    out = picture.astype(np.int64)
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for y in range(rows):
        for x in range(columns):
            p = [int(v) for v in picture[y, x]]
            if x == 0:
                out[y, x] = [v if v >> 7 == bit else 255 - v for v in p]
                continue
            q = out[y, x - 1]
            options = [
                [255 - p[c] if mask >> k & 1 else p[c] for k, c in enumerate(order)]
                for order in orders
                for mask in range(8)
            ]
            out[y, x] = min(options, key=lambda o: sum(abs(int(a) - b) for a, b in zip(q, o, strict=True)))
    return out


def cost(found: np.ndarray) -> int:
    return int(np.abs(np.diff(found.astype(np.int64), axis=1)).sum())


@pytest.mark.parametrize("bit", [0, 1])
def test_the_minimum_difference_kernel_is_algorithm_3(bit: int) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (12, 40, 3), np.uint8)
    fast, slow = minimum_difference(picture, bit), slow_minimum_difference(picture, bit)
    np.testing.assert_array_equal(fast, slow)
    grey = brains(1)[0]
    found = minimum_difference(skk.encrypt(grey[None], KEY)[0], 0)
    assert set(np.unique(np.minimum(found, 255 - found)[grey < 255])) <= set(np.unique(np.minimum(grey, 255 - grey)))


def test_the_leading_bit_is_one_bit() -> None:
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (leading_bit(picture, 0) < 128).all()
    assert (leading_bit(picture, 1) >= 128).all()
    np.testing.assert_array_equal(leading_bit(picture, 0), leading_bit(255 - picture, 0))


def test_skk_falls_and_smoothing_hides_looks_but_not_identity() -> None:
    shown = registry.load("leading-bit")().run(material("learnable-skk"), seed=1)
    assert shown.broken
    assert shown.scores["ssim"].value > 0.8
    for name in ("leading-bit", "minimum-difference"):
        hidden = registry.load(name)().run(material("learnable-smoothed"), seed=1)
        assert hidden.scores["ssim"].value < 0.35
    found = registry.load("linkage")().run(material("learnable-smoothed"), seed=1)
    assert found.scores["top1"].value == 1
    assert found.scores["top1"].chance == pytest.approx(1 / 8)


@pytest.mark.parametrize("scheme", ["skk", "smoothed", "tanaka", "ele", "etc", "patchwise"])
def test_linkage_finds_pictures_of_every_scheme(scheme: str) -> None:
    found = registry.load("linkage")().run(material(f"learnable-{scheme}"), seed=1)
    assert found.scores["top1"].value >= 0.75
    assert found.broken


def test_linkage_finds_nothing_in_sealed_parts() -> None:
    brain = brains(8)
    sealed = gather("sealed", brain, gallery=brain * 5, gallery_index=list(range(8)))
    result = registry.load("linkage")().run(sealed, seed=1)
    assert result.scores["top1"].value <= 0.25
    assert not result.broken


def test_ties_count_against_the_attacker() -> None:
    np.testing.assert_array_equal(ranks_of(np.array([[1.0, 1.0, 0.0], [0.0, 0.5, 1.0]]), np.array([0, 2])), [1, 0])


def test_another_size_in_the_gallery_is_no_candidate() -> None:
    found = brains(4)
    print_ = fingerprints.fingerprint("learnable-skk", {})
    likeness = fingerprints.likeness_matrix(print_, found[:2], [found[0], found[1][:100]])
    assert likeness[0, 0] == pytest.approx(1)
    assert np.isneginf(likeness[:, 1]).all()


def test_many_encryptions_give_the_picture_back() -> None:
    result = registry.load("multi-encryption")().run(material("learnable-smoothed", 4, 15), seed=1)
    assert result.scores["ssim"].value > result.scores["ssim of 1"].value + 0.25
    assert list(result.scores) == ["ssim", "ssim of 1", "ssim of 2", "ssim of 4", "ssim of 8"]


@pytest.mark.parametrize(
    ("scheme", "options", "steps"),
    [("learnable-skk", {}, 150), ("learnable-smoothed", {"grey": "three"}, 300), ("sealed", {}, 60)],
)
def test_a_network_learns_to_undo_what_leaves_something(scheme: str, options: dict[str, str], steps: int) -> None:
    """SKK gives most of a picture back, smoothing some of it, and of a sealed part nothing is learnt."""
    small = [resize(p, 64, 64) for p in brains(80)]
    public = [p for i, p in enumerate(small) if i % 10]
    found = gather(scheme, small[::10], options=options, public=public)
    result = LearnedReconstruction(steps=steps, width=16, depth=2, batch=4).run(found, seed=1)
    ssim = result.scores["ssim"]
    assert ssim.chance is not None
    gain = ssim.value - ssim.chance
    assert {"learnable-skk": gain > 0.2, "learnable-smoothed": gain > 0.04, "sealed": abs(gain) < 0.02}[scheme], gain
    assert result.broken is (scheme == "learnable-skk")


@pytest.mark.parametrize("grey", ["one", "three"])
def test_64_known_blocks_decrypt_tanaka(grey: str) -> None:
    result = TanakaKnownPlaintext().run(material("learnable-tanaka", 4, grey=grey), seed=1)
    assert result.scores["exact"].value == 1
    few = TanakaKnownPlaintext(known_blocks=1).run(material("learnable-tanaka", 4, grey=grey), seed=1)
    assert few.scores["exact"].value < 1
    with pytest.raises(UnsupportedError):
        TanakaKnownPlaintext().run(material("learnable-ele", 4), seed=1)
    with pytest.raises(InputError):
        TanakaKnownPlaintext(known_blocks=0)


@pytest.mark.parametrize("grey", ["one", "three"])
def test_known_pictures_decrypt_patchwise(grey: str) -> None:
    found = brains(12, 128)
    secret = gather("learnable-patchwise", found[:6], options={"grey": grey}, known=found[6:])
    result = registry.load("patchwise-known-plaintext")().run(secret, seed=1)
    assert result.scores["exact"].value > 0.8
    assert result.broken


def test_recover_finds_a_random_key() -> None:
    rng = np.random.default_rng(2)
    plain = rng.integers(0, 16, (64, 96), np.uint8)
    order, negated = rng.permutation(96), rng.integers(0, 2, 96).astype(bool)
    cipher = np.where(negated, 15 - plain, plain).astype(np.uint8)[:, order]
    place, found = tanaka_known_plaintext.recover(plain, cipher)
    np.testing.assert_array_equal(order[place], np.arange(96))
    np.testing.assert_array_equal(found, negated)


def test_the_jigsaw_puts_an_x_ray_together() -> None:
    ray = pictures("chest_xray_nih/test/normal", 1)[0][64:192, 64:192]
    scrambled = etc.encrypt(ray[None], KEY)[0]
    assert jigsaw.neighbours(ray, scrambled, 16) < 0.05
    best = max(jigsaw.neighbours(ray, form, 16) for form in jigsaw.forms_of(jigsaw.solve(scrambled, 16), ray))
    assert best > 0.3
    assert jigsaw.neighbours(ray, ray, 16) == 1
    with pytest.raises(UnsupportedError):
        jigsaw.solve(ray, 4)


def test_the_same_patient_needs_another_picture() -> None:
    found = material("learnable-skk", 4)
    attack = registry.load("same-patient")()
    assert attack.run(found, seed=1).scores["top1"].n == 4
    lonely = Material(
        found.scheme, originals=found.originals, protected=found.protected, groups=list("abcd"),
        gallery=found.gallery, gallery_index=found.gallery_index, gallery_groups=list("abcd"),
    )  # fmt: skip
    with pytest.raises(InputError, match="no patient"):
        attack.run(lonely, seed=1)
    assert _chance(1, 9, 1) == pytest.approx(0.1)
    assert _chance(1, 9, 5) == pytest.approx(0.5)
    assert _chance(3, 1, 5) == 1


def test_colour_pictures_are_attacked_in_colour() -> None:
    from medveil.imaging.reader import read
    from medveil.imaging.samples import FOLDER

    picture = read(FOLDER / "us-doppler-8-frames.dcm").pixels[0][:128, :128]
    assert picture.ndim == 3
    found = gather("learnable-skk", [picture, picture[::-1].copy()])
    result = registry.load("minimum-difference")().run(found, seed=1)
    assert result.scores["ssim"].value > result.scores["ssim"].chance


def test_a_deep_encrypted_dataset_is_attacked_in_its_own_bits(tmp_path: Path) -> None:
    """Twelve-bit samples lie in a 16-bit PNG; the attacker reads the manifest and shows the upper eight of twelve."""
    from medveil.attacks.image_sets import encrypted_material, gather_pictures
    from medveil.imaging.samples import FOLDER
    from medveil.recognition.encryption import EncryptionPlan, encrypt_dataset
    from medveil.recognition.encryption_sources import Form
    from medveil.schemes.learnable.ledger import Ledger

    series, out = FOLDER / "mr-10-frames.dcm", tmp_path / "out"
    with Ledger.open(tmp_path / "ledger") as ledger:
        encrypt_dataset(series, out, EncryptionPlan("skk"), ledger)
    found = encrypted_material(out, gather_pictures(series, Form()), None)
    assert len(found.protected) == 10
    result = registry.load("leading-bit")().run(found, seed=1)
    assert result.scores["ncc"].value > 0.9
    assert registry.load("linkage")().run(found, seed=1).scores["top1"].value == 1
