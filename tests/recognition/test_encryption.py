"""Encrypting a dataset: layouts, refusals, interruption and resumption, a full disk, and the ledger."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import find_shared_data

from medveil.errors import (
    FormatError,
    InputError,
    OutputExistsError,
    PolicyError,
    StoreFullError,
    UnsupportedError,
    UsageError,
)
from medveil.imaging import raster
from medveil.imaging.reader import read
from medveil.imaging.samples import FOLDER
from medveil.recognition import datasets, encryption
from medveil.recognition.encryption import EncryptionPlan, encrypt_dataset
from medveil.recognition.encryption_sources import Form
from medveil.schemes.learnable import smoothed
from medveil.schemes.learnable.ledger import Ledger

SMOOTHED = EncryptionPlan("smoothed", {"block": 4}, Form(mode="grey"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Kaggle-like tree of real brain slices: two splits, two classes, three pictures each."""
    data = find_shared_data()
    if data is None:
        pytest.skip("needs the shared image data")
    for split in ("Training", "Testing"):
        for label in ("glioma", "notumor"):
            folder = tmp_path / "set" / split / label
            folder.mkdir(parents=True)
            place = data / "brain_tumor_mri" / ("train" if split == "Training" else "test") / label
            for path in sorted(place.iterdir())[:3]:
                shutil.copy(path, folder)
    return tmp_path / "set"


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Ledger.open(tmp_path / "state") as opened:
        yield opened


def manifest(out: Path) -> dict[str, Any]:
    return json.loads((out / "manifest.json").read_text())


def test_a_labelled_tree_becomes_a_dataset_to_train_on(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    ticks: list[tuple[int, int]] = []
    out = tmp_path / "out"
    report = encrypt_dataset(source, out, SMOOTHED, ledger, progress=lambda d, t: ticks.append((d, t)))
    assert (report.written, report.kept, ticks[-1]) == (12, 0, (12, 12))
    record = manifest(out)
    assert (record["format"], record["version"], record["scheme"]) == (
        "medveil-encrypted-dataset", 1, "learnable-smoothed",
    )  # fmt: skip
    assert record["options"]["block"] == 4
    for row in record["images"]:
        assert sha256((out / row["name"]).read_bytes()).hexdigest() == row["sha256"]
        assert row["label"] in ("glioma", "notumor")
        assert row["split"] in ("train", "test")
        assert "Tr-" not in row["name"]
    whole = b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())
    assert ledger.data_set_key("smoothed") not in whole
    assert b"gl_0" not in whole
    loaded = datasets.load(out, size=None, mode=None)
    assert loaded.images.shape == (12, 224, 224, 1)
    assert loaded.classes == ("glioma", "notumor")
    who = (tmp_path / "out.names.csv").read_text().splitlines()
    assert len(who) == 13
    assert (tmp_path / "out.names.csv").stat().st_mode & 0o777 == 0o600
    # what stands there is the scheme under the image's own key
    first = record["images"][0]
    plain = next(p for line in who[1:] if line.endswith(first["name"]) for p in [source / line.split(",")[0]])
    pixels = datasets.to_grey(read(plain).pixels[0])
    expected = smoothed.encrypt(pixels[None], ledger.data_set_key("smoothed"), block=4)[0]
    np.testing.assert_array_equal(read(out / first["name"]).pixels[0], expected)


def test_the_same_command_gives_the_same_pictures_and_another_is_refused(
    source: Path, tmp_path: Path, ledger: Ledger
) -> None:
    encrypt_dataset(source, tmp_path / "one", SMOOTHED, ledger)
    encrypt_dataset(source, tmp_path / "two", SMOOTHED, ledger)
    assert manifest(tmp_path / "one") == manifest(tmp_path / "two")
    with pytest.raises(OutputExistsError):
        encrypt_dataset(source, tmp_path / "one", SMOOTHED, ledger)
    other = EncryptionPlan("smoothed", {"block": 6}, Form(mode="grey"))
    with pytest.raises(PolicyError, match=r"\.jpg: an image was encrypted before"):
        encrypt_dataset(source, tmp_path / "three", other, ledger)
    assert not (tmp_path / "three").exists()
    allowed = EncryptionPlan("smoothed", {"block": 6}, Form(mode="grey"), insecure_again=True)
    assert encrypt_dataset(source, tmp_path / "three", allowed, ledger, restart=True).written == 12
    encrypt_dataset(source, tmp_path / "one", SMOOTHED, ledger, force=True)


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int, failure: Callable[[], BaseException]) -> None:
    calls = 0
    real = encryption.encode

    def encode(pixels: np.ndarray) -> bytes:
        nonlocal calls
        calls += 1
        if calls > after:
            raise failure()
        return real(pixels)

    monkeypatch.setattr(encryption, "encode", encode)


def test_an_interrupted_run_goes_on(
    source: Path, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypt_dataset(source, tmp_path / "whole", SMOOTHED, ledger)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt(patch, 7, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            encrypt_dataset(source, out, SMOOTHED, ledger)
    assert not out.exists()
    journal = out.parent / "out.partial" / "journal.jsonl"
    journal.write_text(journal.read_text()[:-9])  # the machine stopped in mid-line
    with pytest.raises(InputError, match="another encryption"):
        encrypt_dataset(source, out, EncryptionPlan("skk"), ledger)
    report = encrypt_dataset(source, out, SMOOTHED, ledger)
    assert (report.written, report.kept) == (6, 6)
    assert manifest(out) == manifest(tmp_path / "whole")
    assert not (out.parent / "out.partial").exists()


def test_who_is_who_is_not_written_over(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    who = (tmp_path / "out.names.csv").read_text()
    shutil.move(tmp_path / "out", tmp_path / "sent")
    shutil.rmtree(source / "Testing")
    with pytest.raises(OutputExistsError, match=r"out\.names\.csv"):
        encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    assert (tmp_path / "out.names.csv").read_text() == who
    assert encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger, force=True).written == 6
    assert (tmp_path / "out.names.csv").stat().st_mode & 0o77 == 0


def test_a_changed_file_is_written_again(
    source: Path, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt(patch, 3, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            encrypt_dataset(source, out, SMOOTHED, ledger)
    victim = next((tmp_path / "out.partial").rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:-5])
    assert encrypt_dataset(source, out, SMOOTHED, ledger).kept == 2
    for row in manifest(out)["images"]:
        assert sha256((out / row["name"]).read_bytes()).hexdigest() == row["sha256"]


def test_a_full_disk_is_said_and_can_be_gone_on_from(
    source: Path, tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 4, lambda: OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(StoreFullError, match="4 of 12"):
            encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    assert encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger).kept == 4


def test_broken_files_are_refused_or_left_out(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    (source / "Training" / "glioma" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError, match=r"broken\.png"):
        encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    skip = EncryptionPlan("smoothed", {"block": 4}, Form(mode="grey"), broken="skip")
    report = encrypt_dataset(source, tmp_path / "out", skip, ledger)
    assert report.written + report.kept == 12
    assert any("broken.png" in note for note in report.notes)


def test_pictures_that_are_not_alike_are_refused_with_the_way_out(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    place = source / "Training" / "glioma"
    (place / "small.png").write_bytes(raster.encode_png(read(FOLDER / "us-breast-benign.png").pixels[0][:100, :90]))
    with pytest.raises(InputError, match="--size"):
        encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    sized = EncryptionPlan("skk", {}, Form("grey", 64))  # the same command with what was advised
    assert encrypt_dataset(source, tmp_path / "out", sized, ledger).written == 13
    shape = read(next((tmp_path / "out").rglob("*.png"))).pixels.shape
    assert shape == (1, 64, 64)
    (place / "small.png").write_bytes(raster.encode_png(np.full((224, 224), 9, np.uint8)))
    with pytest.raises(InputError, match="--mode"):
        encrypt_dataset(source, tmp_path / "mixed", EncryptionPlan("tanaka"), ledger)
    (place / "small.png").write_bytes(raster.encode_png(np.full((224, 224), 999, np.uint16)))
    with pytest.raises(InputError, match="--window"):
        encrypt_dataset(source, tmp_path / "deep", EncryptionPlan("tanaka", {}, Form("grey")), ledger)


def test_grey_stored_as_colour_is_said(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    report = encrypt_dataset(source, tmp_path / "out", EncryptionPlan("skk", {}, Form("rgb")), ledger)
    assert any("--mode grey" in note for note in report.notes)


def test_one_picture_under_two_labels_is_refused_and_twice_under_one_is_said(
    source: Path, tmp_path: Path, ledger: Ledger
) -> None:
    first = sorted((source / "Training" / "glioma").iterdir())[0]
    shutil.copy(first, source / "Testing" / "glioma" / "copy.jpg")
    report = encrypt_dataset(source, tmp_path / "out", SMOOTHED, ledger)
    assert any("more than once" in note for note in report.notes)
    shutil.copy(first, source / "Testing" / "notumor" / "copy.jpg")
    with pytest.raises(InputError, match="settle"):
        encrypt_dataset(source, tmp_path / "other", SMOOTHED, ledger)


def test_a_dicom_series_has_no_labels(tmp_path: Path, ledger: Ledger) -> None:
    series = FOLDER / "mr-10-frames.dcm"
    report = encrypt_dataset(series, tmp_path / "out", EncryptionPlan("smoothed", {"block": 6}), ledger)
    assert report.written == 10
    record = manifest(tmp_path / "out")
    assert {row["label"] for row in record["images"]} == {None}
    assert record["bits"] == read(series).bits_stored
    assert any("no labels" in note for note in report.notes)
    with pytest.raises(InputError, match="label"):
        datasets.load(tmp_path / "out")
    folder = tmp_path / "series"
    folder.mkdir()
    shutil.copy(FOLDER / "ct-thorax.dcm", folder)
    with pytest.raises(UnsupportedError, match="--window"):
        encrypt_dataset(folder, tmp_path / "ct", EncryptionPlan("skk"), ledger)
    windowed = EncryptionPlan("skk", {}, Form(window=True))
    assert encrypt_dataset(folder, tmp_path / "ct", windowed, ledger).written == 1


def test_names_can_be_kept(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    keep = EncryptionPlan("etc", {}, Form("grey"), names="keep")
    encrypt_dataset(source, tmp_path / "out", keep, ledger)
    assert any("gl_" in row["name"] or "glTr" in row["name"] for row in manifest(tmp_path / "out")["images"])
    assert not (tmp_path / "out.names.csv").exists()


def test_what_makes_no_sense_is_refused(source: Path, tmp_path: Path, ledger: Ledger) -> None:
    out = tmp_path / "out"
    for plan in (
        EncryptionPlan("sealed"),
        EncryptionPlan("smoothed", {"blok": 4}),
        EncryptionPlan("skk", broken="mend"),
        EncryptionPlan("skk", names="all"),
        EncryptionPlan("skk", form=Form("hsv")),
    ):
        with pytest.raises(UsageError):
            encrypt_dataset(source, out, plan, ledger)
    with pytest.raises(InputError, match="larger than the image"):
        encrypt_dataset(source, out, EncryptionPlan("smoothed", {"block": 300}, Form("grey")), ledger)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        encrypt_dataset(tmp_path / "empty", out, SMOOTHED, ledger)
    assert not out.exists()
    encrypt_dataset(source, out, EncryptionPlan("skk", {}, Form("grey"), insecure_again=True), ledger, restart=True)
    with pytest.raises(InputError, match="encrypted already"):
        encrypt_dataset(out, tmp_path / "again", SMOOTHED, ledger)


def test_the_ledger_keeps_no_secret_in_clear_and_knows_its_owner(tmp_path: Path) -> None:
    from medveil.crypto.keyfile import OwnerKey

    pixels = read(FOLDER / "us-breast-benign.png").pixels[0]
    owner = OwnerKey.generate()
    with Ledger.open(tmp_path, owner) as one, Ledger.open(tmp_path, owner) as two, Ledger.open(tmp_path) as other:
        assert one.digest(pixels) == two.digest(pixels) != other.digest(pixels)
        assert not one.check(one.digest(pixels), "learnable-skk", {})
        one.record([one.digest(pixels)], "learnable-skk", {})
        assert two.check(two.digest(pixels), "learnable-skk", {})
        with pytest.raises(PolicyError):
            two.check(two.digest(pixels), "learnable-etc", {})
        two.record([two.digest(pixels)], "learnable-etc", {})
        assert two.check(two.digest(pixels), "learnable-skk", {}), "the first record stays"
        assert not other.check(other.digest(pixels), "learnable-etc", {})
        assert one.data_set_key("skk") != one.data_set_key("etc")
        assert one.data_set_key("skk") not in one.path.read_bytes()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(FormatError):
        Ledger.open(tmp_path)
