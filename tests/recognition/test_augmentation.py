"""Shifts, flips and fresh scrambling of real pictures: what they keep and what they change."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medveil.errors import InputError
from medveil.recognition import loop
from medveil.recognition.augmentation import rescramble
from medveil.recognition.datasets import Dataset, load
from medveil.recognition.encryption import EncryptionPlan, encrypt_dataset
from medveil.recognition.encryption_sources import Form
from medveil.recognition.plan import TrainingPlan
from medveil.recognition.protections import encrypt_images
from medveil.schemes.learnable.ledger import Ledger

QUICK = TrainingPlan(model="small-cnn", epochs=2, step=2, validate=0, rescramble=True)
THREE = {"grey": "three"}


def folded(images: np.ndarray) -> np.ndarray:
    """Return |2 v - 255| with each pixel's channels in order: what SKK's steps leave as it is."""
    return np.sort(np.abs(images.astype(np.int64) * 2 - 255), axis=3)


def scrambled(dataset: Dataset, seed: int = 1) -> np.ndarray:
    rows, columns = map(torch.from_numpy, dataset.cells())
    drawn = torch.Generator().manual_seed(seed)
    made = rescramble(loop.as_tensor(dataset.images), rows, columns, drawn)
    return np.moveaxis(made.numpy(), 1, 3)


def test_rescrambling_repeats_skks_steps_and_nothing_else(xrays: Dataset) -> None:
    encrypted = encrypt_images(xrays, "learnable-skk", THREE)
    once, again = scrambled(encrypted), scrambled(encrypted, 2)
    assert np.array_equal(folded(once), folded(encrypted.images))
    assert np.array_equal(folded(once), np.repeat(folded(xrays.images), 3, axis=3))  # without a key, and exact
    for one, other in ((once, encrypted.images), (once, again)):
        assert 0.45 < (one != other).mean() < 0.55
    assert np.array_equal(once, scrambled(encrypted))


def test_rescrambling_shuffles_the_channels_of_a_colour(xrays: Dataset) -> None:
    different = np.stack([xrays.images[i::3, ..., 0][:40] for i in range(3)], axis=3)
    colour = xrays.take(range(len(different))).with_images(different, "three pictures as one")
    values, plain = (np.abs(x.astype(np.int64) * 2 - 255) for x in (scrambled(colour), different))
    for order in itertools.permutations(range(3)):
        assert 1 / 6 - 0.02 < (values == plain[..., list(order)]).all(axis=3).mean() < 1 / 6 + 0.05  # some are grey


@pytest.mark.parametrize(("thinned", "side"), [(True, None), (True, 40), (False, None)])
def test_what_a_scheme_fills_alike_is_rescrambled_alike(xrays: Dataset, thinned: bool, side: int | None) -> None:
    encrypted = encrypt_images(xrays, "learnable-smoothed", {"block": 3, **THREE}, per_block=thinned)
    dataset = encrypted if side is None else encrypted.repeated(side)
    rows, columns = dataset.cells()
    once = scrambled(dataset)
    first = [np.flatnonzero(np.r_[True, np.diff(x) > 0]) for x in (rows, columns)]
    cells = once[:, first[0][:, None], first[1]]
    assert np.array_equal(once, cells[:, rows[:, None], columns])
    assert cells.shape[1:3] == tuple(-(-n // 3) for n in xrays.images.shape[1:3])
    assert np.array_equal(folded(once), folded(dataset.images))


def test_a_dataset_that_was_enlarged_knows_its_cells(few: Path, tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted"
    plan = EncryptionPlan("smoothed", {"block": 2, **THREE}, Form(size=48, mode="grey"))
    with Ledger.open(tmp_path / "state") as ledger:
        encrypt_dataset(few / "breast", encrypted, plan, ledger)
    for thinned, side in ((1, 48), (2, 24)):
        dataset = load(encrypted, 60, "rgb", per_block=thinned)
        rows, columns = dataset.cells()
        wanted = [i * side // 60 // (2 // thinned) for i in range(60)]
        assert rows.tolist() == columns.tolist() == wanted
        assert np.array_equal(folded(scrambled(dataset)), folded(dataset.images))
    assert any("were made grey, which averages" in note for note in load(encrypted, 60).notes)


def test_only_what_skks_steps_encrypted_is_rescrambled(xrays: Dataset) -> None:
    with pytest.raises(InputError, match="learnable-skk and learnable-smoothed once more, and these images are plain"):
        loop.fit(xrays, QUICK)
    with pytest.raises(InputError, match="encrypted by learnable-etc: leave it out"):
        loop.fit(encrypt_images(xrays, "learnable-etc"), QUICK)


def test_every_epoch_sees_another_scrambling(xrays: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def look(batch: torch.Tensor, *cells: torch.Tensor) -> torch.Tensor:
        seen.append(rescramble(batch, *cells).numpy())
        return torch.from_numpy(seen[-1])

    monkeypatch.setattr(loop, "rescramble", look)
    loop.fit(encrypt_images(xrays.take(range(0, 120, 6)), "learnable-skk"), replace(QUICK, shift=0, flip=False))
    first, second = ({picture.tobytes() for picture in batch} for batch in seen)
    assert len(first) == len(second) == 20
    assert not first & second
