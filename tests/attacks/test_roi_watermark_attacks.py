"""The attacks break profile paper and gain nothing on profile hardened."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.attacks import roi_watermark as attacks
from medveil.errors import InputError
from medveil.imaging import reader
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import Rectangle
from medveil.imaging.samples import FOLDER
from medveil.schemes.base import Protected
from medveil.schemes.roi_watermark import RoiWatermark

REGION = (Rectangle(32, 32, 96, 112),)


def pictures() -> list[MedicalImage]:
    """Seven real 160x160 pictures that agree in the region."""
    chest = reader.read(FOLDER / "xray-chest-1024.png").pixels
    benign, malignant = (reader.read(FOLDER / f"us-breast-{n}.png").pixels for n in ("benign", "malignant"))
    brain = np.ascontiguousarray(reader.read(FOLDER / "mr-brain-meningioma.jpg").pixels[..., 0])  # grey in all three
    cuts = [
        benign[:, :160, :160],
        malignant[:, 90:250, 60:220],
        chest[:, 100:260, 300:460],
        brain[:, 30:190, 40:200],
        chest[:, 500:660, 200:360],
        benign[:, 80:240, 90:250],
        malignant[:, :160, :160],
    ]
    out = []
    for pixels in cuts:
        same = pixels.copy()
        same[:, 32:96, 32:112] = cuts[0][:, 32:96, 32:112]
        out.append(MedicalImage(same, 8))
    return out


IMAGES = pictures()


def protect(profile: str) -> list[Protected]:
    return [RoiWatermark(profile=profile, carrier="bytes").protect(image, roi=REGION) for image in IMAGES]


def test_keystream_reuse_reads_profile_paper() -> None:
    made = protect("paper")
    found = attacks.keystream_reuse(list(zip(IMAGES[1:], made[1:], strict=True)), IMAGES[0], made[0], REGION)
    assert found.fraction > 0.85
    assert found.chance < 0.5


def test_keystream_reuse_gains_nothing_on_hardened() -> None:
    made = protect("hardened")
    found = attacks.keystream_reuse(list(zip(IMAGES[1:], made[1:], strict=True)), IMAGES[0], made[0], REGION)
    assert found.fraction <= found.chance + 0.02


def test_a_guessed_region_is_the_key_of_profile_paper_only() -> None:
    paper, hardened = (
        RoiWatermark(profile=p, carrier="bytes").protect(IMAGES[0], roi=REGION) for p in ("paper", "hardened")
    )
    assert attacks.guessed_region(IMAGES[0], IMAGES[3], paper, REGION).fraction == 1.0
    blind = attacks.guessed_region(IMAGES[0], IMAGES[3], hardened, REGION)
    assert blind.fraction < 0.08
    other = IMAGES[3].pixels.copy()
    other[0, 40, 40] ^= 1
    assert attacks.guessed_region(IMAGES[0], MedicalImage(other, 8), paper, REGION).fraction < 0.08


def test_changes_outside_the_region_are_unseen_in_profile_paper_only() -> None:
    rng = np.random.default_rng(4)
    scheme = RoiWatermark(profile="paper", carrier="bytes")
    found = attacks.tamper_outside(scheme, IMAGES[0], scheme.protect(IMAGES[0], roi=REGION), REGION, 30, rng)
    assert found.unseen >= 10
    scheme = RoiWatermark(carrier="bytes")
    found = attacks.tamper_outside(scheme, IMAGES[0], scheme.protect(IMAGES[0], roi=REGION), REGION, 60, rng)
    assert (found.unseen, found.refused, found.false_blocks, found.most_blocks) == (0, 0, 0, 1)


def test_only_grey_8_bit_bytes() -> None:
    ct = reader.read(FOLDER / "ct-thorax.dcm")
    protected = RoiWatermark(carrier="bytes").protect(ct, roi=REGION)
    with pytest.raises(InputError):
        attacks.guessed_region(ct, ct, protected, REGION)
    png = RoiWatermark().protect(IMAGES[0], roi=REGION)
    with pytest.raises(InputError):
        attacks.tamper_outside(RoiWatermark(), IMAGES[0], png, REGION, 1, np.random.default_rng(0))
