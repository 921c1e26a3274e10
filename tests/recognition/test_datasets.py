"""Every layout is read with its labels, groups and splits; what is wrong with a folder is said in words."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from medveil.errors import InputError, LimitError, UnsupportedError
from medveil.imaging import raster, samples
from medveil.imaging.reader import read
from medveil.recognition.datasets import Dataset, load, one_per_block
from medveil.recognition.layouts import magnification, recognise
from medveil.recognition.reading import equalise

GLIOMA = samples.FOLDER / "mr-brain-glioma.jpg"
MENINGIOMA = samples.FOLDER / "mr-brain-meningioma.jpg"
BENIGN = samples.FOLDER / "us-breast-benign.png"
MALIGNANT = samples.FOLDER / "us-breast-malignant.png"


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two real pictures."""
    for i, source in enumerate((GLIOMA, MENINGIOMA)):
        _put(source, tmp_path / "set" / "tumour" / f"{i}.jpg")
    for i, source in enumerate((BENIGN, MALIGNANT)):
        _put(source, tmp_path / "set" / "breast" / f"{i}.png")
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [
        ("chest_xray_nih", 580, 2),
        ("breast_ultrasound_busi", 475, 3),
        ("chest_xray_pneumoniamnist", 5517, 2),
    ],
)
def test_our_sets(shared_data: Path, name: str, count: int, classes: int) -> None:
    data = load(shared_data / name, 32)
    assert (len(data), len(data.classes)) == (count, classes)
    assert data.images.shape == (count, 32, 32, 1)
    assert set(data.splits) == {"train", "test"}


def test_the_brain_sets_listing_keeps_clusters(shared_data: Path) -> None:
    entries = recognise(shared_data / "brain_tumor_mri").entries
    assert len(entries) == 2480
    assert {e.label for e in entries} == {"glioma", "meningioma", "notumor", "pituitary"}
    assert len({e.group for e in entries}) == 2079


def test_class_folders_in_grey_and_colour(folder: Path) -> None:
    grey = load(folder, 48)
    assert grey.images.shape == (4, 48, 48, 1)
    assert grey.classes == ("breast", "tumour")
    assert len(set(grey.groups)) == 4
    rgb = load(folder, 48, mode="rgb")
    assert rgb.images.shape == (4, 48, 48, 3)


def test_kaggle_trees_name_their_splits(tmp_path: Path) -> None:
    for part, source in (("Training", GLIOMA), ("Testing", MENINGIOMA)):
        for label in ("yes", "no"):
            _put(source, tmp_path / part / label / "1.jpg")
    data = load(tmp_path, 32)
    assert sorted(data.splits) == ["test", "test", "train", "train"]
    assert len(load(tmp_path, 32, split="train")) == 2
    assert len(data.part("test")) == 2
    with pytest.raises(InputError, match="no split 'validation': it has test, train"):
        data.part("validation")


def test_figshare_mat_files(tmp_path: Path) -> None:
    picture = read(GLIOMA).pixels[0]
    grey = picture if picture.ndim == 2 else picture[..., 0]
    for i, label in enumerate((1, 2, 3), start=1):
        with h5py.File(tmp_path / f"{i}.mat", "w") as file:
            record = file.create_group("cjdata")
            record["image"] = grey.astype(np.int16).T * 17
            record["label"] = np.array([[float(label)]])
            record["PID"] = np.array([[ord(c)] for c in f"10000{i % 2}"], np.uint16)
    data = load(tmp_path, None)
    assert data.classes == ("glioma", "meningioma", "pituitary")
    assert set(data.groups) == {"patient100000", "patient100001"}
    np.testing.assert_array_equal(
        data.images[0, ..., 0], equalise(np.rint((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8))
    )
    (tmp_path / "4.mat").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match="not a file of the figshare"):
        load(tmp_path, None)


def test_breakhis_names_class_type_patient_and_magnification(tmp_path: Path) -> None:
    names = ("SOB_B_A-14-22549AB-40-001", "SOB_M_DC-14-2523-40-010", "SOB_M_LC-14-2523-200-003")
    for name in names:
        _put(BENIGN, tmp_path / "breast" / f"{name}.png")
    data = load(tmp_path, 32)
    assert data.classes == ("benign", "malignant")
    assert sorted(set(data.groups)) == ["14-22549AB", "14-2523"]
    assert load(tmp_path, 32, label="type").classes == ("A", "DC", "LC")
    assert len(load(tmp_path, 32, resolution="40")) == 2
    assert magnification("x/SOB_M_LC-14-2523-200-003.png") == "200"
    with pytest.raises(InputError, match="no images of split 'all' at 100x"):
        load(tmp_path, 32, resolution="100")


def test_nih_csv_takes_findings_and_patients(tmp_path: Path) -> None:
    rows = [
        ("1_0.png", "No Finding", "1"),
        ("1_1.png", "Pneumonia", "1"),
        ("2_0.png", "Pneumonia|Mass", "2"),
        ("3_0.png", "Mass", "3"),
    ]
    with (tmp_path / "Data_Entry_2017.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("Image Index", "Finding Labels", "Patient ID"), *rows])
    for name, _, _ in rows:
        _put(BENIGN, tmp_path / "images_001" / "images" / name)
    (tmp_path / "test_list.txt").write_text("1_1.png\n")
    data = load(tmp_path, 32)
    assert data.names == ("1_0.png", "1_1.png")
    assert data.groups == ("patient1", "patient1")
    assert data.splits == ("train", "test")
    assert load(tmp_path, 32, findings=("Mass", "Pneumonia")).classes == ("Mass", "Pneumonia")
    with pytest.raises(InputError, match="has no images of Hernia"):
        load(tmp_path, 32, findings=("Hernia",))


def test_an_encrypted_dataset_keeps_labels_groups_and_sources(tmp_path: Path) -> None:
    images = []
    for i, source in enumerate((BENIGN, MALIGNANT)):
        _put(source, tmp_path / "ab"[i] / "x.png")
        images.append(
            {
                "name": f"{'ab'[i]}/x.png",
                "label": "ab"[i],
                "group": f"p{i}",
                "split": "train",
                "sha256": "",
                "source": f"d{i}",
            }
        )
    record = {
        "format": "medveil-encrypted-dataset",
        "version": 1,
        "scheme": "learnable-smoothed",
        "options": {"block": 4},
        "images": images,
    }
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    data = load(tmp_path, 32)
    assert data.sources == ("d0", "d1")
    assert data.groups == ("p0", "p1")
    assert data.facts == {"scheme": "learnable-smoothed", "options": {"block": 4}}
    assert any("averages what a network learns from" in note for note in data.notes)
    thin = load(tmp_path, None, per_block=4)
    wide = load(tmp_path, 3 * thin.images.shape[1], per_block=4)
    np.testing.assert_array_equal(wide.images, thin.images.repeat(3, axis=1).repeat(3, axis=2))
    assert wide.notes == thin.notes
    with pytest.raises(InputError, match="pass --per-block 4"):
        load(tmp_path, 32, per_block=6)
    (tmp_path / "manifest.json").write_text(json.dumps(record | {"scheme": "learnable-etc"}))
    with pytest.raises(InputError, match="pass --per-block 1"):
        load(tmp_path, 32, per_block=4)
    record["images"][0]["label"] = ""
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="gives no label for"):
        load(tmp_path, 32)
    record["images"][0] |= {"label": "a", "name": "../../x.png"}
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="leads out of"):
        load(tmp_path, 32)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="not a manifest of an encrypted dataset"):
        load(tmp_path, 32)


def test_mixed_sizes_and_modes_are_resized_only_when_asked(folder: Path) -> None:
    with pytest.raises(InputError, match="ask for one size"):
        load(folder, None)
    colour = np.zeros((40, 40, 3), np.uint8)
    colour[..., 0] = 200
    (folder / "breast" / "2.png").write_bytes(raster.encode_png(colour))
    with pytest.raises(InputError, match="grey and colour: ask for one mode"):
        load(folder, 32, mode=None)
    assert "1 pictures with real colour were made grey" in load(folder, 32).notes


def test_grey_stored_as_colour_counts_as_grey(folder: Path) -> None:
    grey = read(BENIGN).pixels[0]
    (folder / "breast" / "0.png").write_bytes(raster.encode_png(np.repeat(grey[..., None], 3, axis=2)))
    assert load(folder, 32, mode=None).images.shape[3] == 1


def test_deep_pixels_need_a_window(folder: Path) -> None:
    deep = read(BENIGN).pixels[0].astype(np.uint16) * 257
    (folder / "breast" / "0.png").write_bytes(raster.encode_png(deep))
    with pytest.raises(UnsupportedError, match="16 bits a sample and networks here take 8"):
        load(folder, 32)
    assert len(load(folder, 32, window=True)) == 4
    with pytest.raises(InputError, match="window deeper pixels"):
        Dataset(deep[None, ..., None], np.array([0]), ("a",), ("g",), ("n",))  # type: ignore[arg-type]


def test_broken_files_are_refused_or_skipped_and_told(folder: Path) -> None:
    (folder / "breast" / "9.png").write_bytes(BENIGN.read_bytes()[:400])
    with pytest.raises(InputError, match=r"9\.png cannot be read .*take it out, or skip"):
        load(folder, 32)
    data = load(folder, 32, broken="skip")
    assert len(data) == 4
    assert data.notes == ("1 broken files skipped: breast/9.png",)
    with pytest.raises(InputError, match="refuse or skip"):
        load(folder, 32, broken="ignore")  # type: ignore[arg-type]


def test_missing_labels_are_refused(folder: Path, tmp_path: Path) -> None:
    _put(BENIGN, folder / "loose.png")
    with pytest.raises(InputError, match="have no label: put each into the folder of its class"):
        load(folder, 32)
    with pytest.raises(InputError, match="there is no dataset"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no labels"):
        load(tmp_path / "empty")


def test_shares_are_to_be_restored_first(tmp_path: Path) -> None:
    for part in (1, 2):
        _put(BENIGN, tmp_path / "benign" / "0.png" / f"part-{part}.png")
    with pytest.raises(InputError, match="medveil visual restore"):
        load(tmp_path, 32)


def test_too_much_is_refused_before_it_is_read(shared_data: Path) -> None:
    with pytest.raises(LimitError, match="GiB"):
        load(shared_data / "chest_xray_pneumoniamnist", 4096)


def test_one_pixel_of_each_block(folder: Path) -> None:
    images = load(folder, 30).images
    thin = one_per_block(images, 4)
    assert thin.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(thin[:, 1, 2], images[:, 4, 8])
    assert load(folder, 32, per_block=4).facts == {"per_block": 4}
    with pytest.raises(InputError, match="blocks of 31 pixels are larger"):
        one_per_block(images, 31)


def test_a_subset_keeps_classes_and_order(xrays: Dataset) -> None:
    few = xrays.subset(7, seed=1)
    assert np.bincount(few.labels).tolist() == [7, 7]
    assert [xrays.names.index(n) for n in few.names] == sorted(xrays.names.index(n) for n in few.names)
    assert few.digest() == xrays.subset(7, seed=1).digest() != xrays.subset(7, seed=2).digest()
