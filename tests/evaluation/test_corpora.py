"""Corpora: labelled folders, BraTS volumes, the package's own; fair samples, patients kept apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medveil.errors import InputError
from medveil.evaluation import three_servers
from medveil.evaluation.corpora import load
from medveil.evaluation.plan import CorpusPlan
from medveil.imaging import samples


def test_the_packages_own_pictures() -> None:
    found = load(CorpusPlan(name="own", size=32, images=100), None, 1)
    assert found.images.shape == (100, 32, 32)
    assert found.images.dtype == np.uint8
    assert found.large.shape == (1024, 1024)
    assert 40 <= (found.labels == 0).sum() <= 60  # classes take turns, so that any first so many are a fair sample
    again, other = (load(CorpusPlan(name="own", size=32, images=100), None, seed) for seed in (1, 2))
    assert again.digest() == found.digest() != other.digest()


def test_a_folder_of_ours_keeps_patients_apart(shared_data: Path) -> None:
    plan = CorpusPlan.model_validate(
        {"name": "chest", "path": "chest_xray_nih", "size": 32}, context={"data": shared_data}
    )
    found = load(plan, shared_data, 3)
    assert len(found) > 500
    assert found.classes == ("normal", "pneumonia")
    first, rest = found.apart(30, 100)
    assert len(first) == 30
    assert len(rest) == 100
    assert {found.groups[i] for i in first}.isdisjoint(found.groups[i] for i in rest)


def test_brats_volumes(tmp_path: Path) -> None:
    volume = samples.load("mr-brain.nii")
    for grade, patient in (("HGG", "A"), ("HGG", "B"), ("LGG", "C"), ("LGG", "D")):
        folder = tmp_path / "brats" / grade / patient
        folder.mkdir(parents=True)
        (folder / f"{patient}_flair.nii").write_bytes(volume)
    plan = CorpusPlan.model_validate({"name": "brats", "path": "brats"}, context={"data": tmp_path})
    found = load(plan, tmp_path, 1)
    assert set(found.groups) == {"A", "B", "C", "D"}
    assert found.classes == ("HGG", "LGG")
    assert found.images.shape[1:] == (64, 64)
    assert found.images.max() > 200
    (tmp_path / "brats/HGG/A/A_flair.nii").unlink()
    (tmp_path / "brats/HGG/B/B_flair.nii").unlink()
    (tmp_path / "brats/LGG/C/C_flair.nii").unlink()
    with pytest.raises(InputError, match="at least 8"):
        load(plan, tmp_path, 1)


@pytest.mark.integration
def test_three_servers_learn_what_their_plain_twin_learns() -> None:
    """Three real processes over loopback; the probabilities agree to the fixed point's accuracy."""
    found = load(CorpusPlan(name="own", size=32, images=40), None, 1)
    out = three_servers.train(found.images, found.labels, tuple(map(str, range(40))), found.classes, epochs=1, seed=4)
    assert out["learnt_from"] == 28
    assert np.abs(out["private"] - out["plain"]).max() < 0.02
    assert out["client_bytes"] > 28 * 32 * 32 * 8
