"""What attacks share: material, scores with chance, views of parts, and the registry."""

from __future__ import annotations

import numpy as np
import pytest

from medveil.attacks import base, registry, views
from medveil.attacks.material import gather
from medveil.errors import InputError, UnsupportedError, UsageError
from medveil.imaging import raster, samples
from medveil.imaging.reader import read
from medveil.schemes.base import Part


def pictures() -> list[np.ndarray]:
    names = ("mr-brain-glioma.jpg", "mr-brain-meningioma.jpg")
    return [views.grey(read(samples.path(name)).pixels[0])[:128, :128] for name in names]


class Copy(base.Attack):
    """Hands back what it sees."""

    name, title, needs = "copy", "Copy", frozenset({"protected"})

    def perform(self, material: base.Material, rng: np.random.Generator, progress: base.Progress) -> base.Outcome:
        return base.Outcome(base.likeness(material.originals, material.protected))


def test_a_copy_scores_one_and_chance_is_another_image() -> None:
    found = pictures()
    result = Copy().run(base.Material("none", originals=found, protected=found), seed=1)
    assert result.scores["ssim"].value == pytest.approx(1)
    assert result.scores["psnr"].value == base.PSNR_CAP
    assert 0 < result.scores["ssim"].chance < 0.9
    assert result.scores["ssim"].above_chance
    assert result.as_dict()["scores"]["ssim"]["n"] == 2


def test_lacking_material_is_named() -> None:
    with pytest.raises(UnsupportedError, match="needs protected"):
        Copy().run(base.Material("none"), seed=1)
    with pytest.raises(InputError, match="no nonsense"):
        base.Material("none").lacks(frozenset({"nonsense"}))


def test_ranks_count_against_chance() -> None:
    scores = base.ranked([0, 0, 3, 9], 10)
    assert (scores["top1"].value, scores["top1"].chance) == (0.5, 0.1)
    assert (scores["top5"].value, scores["top5"].chance) == (0.75, 0.5)
    with pytest.raises(InputError):
        base.ranked([0], 0)


def test_views() -> None:
    picture = pictures()[0]
    png = Part(1, raster.encode_png(picture), "image/png", ".png")
    np.testing.assert_array_equal(views.view(png, picture.shape), picture)
    deep = Part(1, raster.encode_png(picture.astype(np.uint16) << 4), "image/png", ".png")
    np.testing.assert_array_equal(views.view(deep, picture.shape, bits=12), picture)
    raw = views.view(b"\x01\x02\x03", (4, 5))
    assert (raw.shape, raw[0, 3]) == ((4, 5), 1)
    with pytest.raises(InputError):
        views.view(b"", (4, 5))
    with pytest.raises(InputError, match="do not fit"):
        views.alike(picture, picture[:64])
    both = views.alike(views.colour(picture), np.pad(picture, (0, 3)))
    np.testing.assert_array_equal(both[0], both[1])
    assert views.side_by_side([picture, views.colour(picture)], [picture]).shape == (264, 264, 3)


def test_material_is_gathered_through_the_public_interface() -> None:
    found = pictures()
    material = gather("sealed", found, again=1, known=found[:1], public=found)
    assert [p.shape for p in material.protected] == [p.shape for p in found]
    assert not np.array_equal(material.protected[0], material.again[0][0])
    assert material.encrypt_public is not None
    assert material.encrypt_public(found[0]).shape == found[0].shape
    scores = base.likeness(found, material.protected)
    assert scores["ncc"].value < 0.1
    with pytest.raises(InputError):
        gather("sealed", found, groups=["one"])


def test_registry_knows_its_folder_and_refuses_others() -> None:
    for name in registry.names():
        assert registry.load(name).name == name
    with pytest.raises(UsageError, match="there is no attack"):
        registry.load("hope")
