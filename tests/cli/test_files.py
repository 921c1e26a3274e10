"""`medveil keygen`, `protect`, `restore` and `verify`, as a script would call them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medveil.imaging import samples
from medveil.imaging.reader import read

CT = samples.path("ct-thorax.dcm")
JPEG = samples.path("mr-brain-glioma.jpg")
Medveil = Callable[..., object]


@pytest.fixture
def protected(medveil, key: Path, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    done = medveil("protect", CT, "--scheme", "sealed", "--threshold", "2/4", "--key", key, "--out", tmp_path / "out")
    assert done.code == 0
    return tmp_path / "out" / CT.name


def _damage(path: Path, share: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0x10
    path.write_bytes(data)


def test_keygen_makes_a_private_file_once(medveil, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    target, public = tmp_path / "owner.key", tmp_path / "owner.pub"
    done = medveil("keygen", "--out", target, "--public", public, "--json")
    assert done.code == 0
    assert len(done.json["fingerprint"].split()) == 8
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_bytes()
    again = medveil("keygen", "--out", target)
    assert again.code == 2
    assert "exists" in again.err
    assert target.read_bytes() == before
    assert b"long enough" not in before + public.read_bytes()


def test_no_passphrase_is_a_usage_error(medveil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(tmp_path / "absent"))
    assert medveil("keygen", "--out", tmp_path / "k").code == 2
    assert not (tmp_path / "k").exists()


def test_wrong_passphrase_is_refused(medveil, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    other = tmp_path / "other"
    other.write_text("another sentence\n")
    monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(other))
    done = medveil("protect", CT, "--key", key, "--out", tmp_path / "out")
    assert done.code == 3
    assert "another sentence" not in done.err
    assert not (tmp_path / "out").exists()


def test_folder_form(protected: Path) -> None:
    assert sorted(p.name for p in protected.iterdir()) == ["manifest", "part-1", "part-2", "part-3", "part-4"]
    original = CT.read_bytes()
    for path in protected.iterdir():
        assert original[1000:1032] not in path.read_bytes()


def test_clean_round_trip(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert medveil("verify", protected).code == 0
    assert medveil("verify", protected, "--key", key, "--json").json["findings"] == []
    done = medveil("restore", protected, "--key", key, "--out", tmp_path / "back.dcm", "--json")
    assert (done.code, done.json["exact"]) == (0, True)
    assert (tmp_path / "back.dcm").read_bytes() == CT.read_bytes()


def test_any_two_parts_without_the_manifest_file(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("manifest", "part-1", "part-3"):
        (protected / name).unlink()
    done = medveil("restore", protected, "--key", key, "--out", tmp_path / "back.dcm")
    assert done.code == 10
    assert (tmp_path / "back.dcm").read_bytes() == CT.read_bytes()


def test_loss_and_tampering_are_named(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (protected / "part-1").unlink()
    _damage(protected / "part-3")
    checked = medveil("verify", protected, "--json")
    assert checked.code == 10
    assert {(f["kind"], f["part"]) for f in checked.json["findings"]} == {("missing", 1), ("tamper", 3)}
    done = medveil("restore", protected, "--key", key, "--out", tmp_path / "back.dcm", "--json")
    assert (done.code, done.json["exact"]) == (10, True)
    assert (tmp_path / "back.dcm").read_bytes() == CT.read_bytes()


def test_the_map_shows_the_touched_rows(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _damage(protected / "part-2", 0.9)
    picture = tmp_path / "map.png"
    done = medveil("verify", protected, "--key", key, "--map", picture, "--json")
    assert done.code == 10
    pixels = read(picture).pixels[0].astype(int)
    red = pixels[:, :, 0] > pixels[:, :, 1] + 40
    assert 0 < red.sum() < red.size / 2
    assert done.json["touched_pixels"] == red.sum() or abs(done.json["touched_pixels"] - red.sum()) < red.size * 0.2
    assert np.flatnonzero(red.any(axis=1)).min() >= 64


def test_too_little_is_left(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("part-1", "part-2", "part-4"):
        (protected / name).unlink()
    done = medveil("restore", protected, "--key", key, "--out", tmp_path / "back.dcm", "--json")
    assert (done.code, done.json["error"]) == (4, "UnrecoverableError")
    assert not (tmp_path / "back.dcm").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_another_owner_is_refused(medveil, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert medveil("keygen", "--out", tmp_path / "other.key").code == 0
    done = medveil("restore", protected, "--key", tmp_path / "other.key", "--out", tmp_path / "back.dcm")
    assert done.code == 3
    assert not (tmp_path / "back.dcm").exists()


def test_nothing_is_overwritten(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path / "precious"
    target.write_bytes(b"do not touch")
    done = medveil("restore", protected, "--key", key, "--out", target)
    assert done.code == 2
    assert "--force" in done.err
    assert target.read_bytes() == b"do not touch"
    again = medveil("protect", CT, "--key", key, "--out", protected.parent)
    assert again.code == 2
    assert "exists already" in again.err
    skipped = medveil("protect", CT, JPEG, "--key", key, "--out", protected.parent, "--resume", "--json")
    assert [entry["skipped"] for entry in skipped.json["files"]] == [True, False]
    assert medveil("restore", protected, "--key", key, "--out", target, "--force").code == 0


def test_folders_keep_their_structure(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    study = tmp_path / "study"
    (study / "series").mkdir(parents=True)
    shutil.copy(CT, study / "a.dcm")
    shutil.copy(JPEG, study / "series" / "a.dcm")
    (study / "notes.txt").write_text("not an image\n")
    done = medveil("protect", study, "--key", key, "--out", tmp_path / "out", "--threshold", "1/2", "--json")
    assert done.code == 0
    names = {Path(entry["output"]).relative_to(tmp_path / "out") for entry in done.json["files"]}
    assert names == {Path("study/a.dcm"), Path("study/series/a.dcm"), Path("study/notes.txt")}
    back = tmp_path / "notes.txt"
    assert medveil("restore", tmp_path / "out/study/notes.txt", "--key", key, "--out", back).code == 0
    assert back.read_text() == "not an image\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["protect", "absent.dcm", "--out", "o"], 2, "there is no file"),
        (["protect", str(CT), "--out", "o", "--threshold", "3/2"], 2, "no threshold"),
        (["protect", str(CT), "--out", "o", "--threshold", "2"], 2, "no threshold"),
        (["protect", str(CT), "--out", "o", "--scheme", "rot13"], 2, "no scheme"),
        (["protect", str(CT), "--out", "o", "--option", "colour=red"], 2, "no option colour"),
        (["protect", str(CT), "--out", "o", "--option", "colour"], 2, "NAME=VALUE"),
        (["protect", str(CT), "--out", "o", "--roi", "1,2,3"], 2, "region"),
        (["protect", str(CT), "--out", "o", "--roi", "500,500,900,900"], 2, "region"),
        (["protect", str(CT), "--out", "o", "--option", "mode=keyless"], 2, "insecure_keyless"),
        (["restore", "absent", "--out", "x"], 2, "not a folder of parts"),
        (["verify", str(CT)], 2, "not a folder of parts"),
        (["verify", "absent", "--map", "m.png"], 2, "--key"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_bad_calls_say_what_to_do(  # type: ignore[no-untyped-def]
    medveil, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    extra = [] if arguments[0] in ("verify", "frobnicate") else ["--key", str(key)]
    done = medveil(*arguments, *extra)
    assert done.code == code
    assert words in done.err
    assert list(tmp_path.iterdir()) == []


def test_errors_as_json(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("restore", tmp_path / "absent", "--key", key, "--out", tmp_path / "x", "--json")
    assert done.json == {
        "ok": False,
        "error": "InputError",
        "exit": 2,
        "message": done.json["message"],
    }


def test_nothing_secret_on_the_way(medveil, key: Path, tmp_path: Path, passphrase: Path) -> None:  # type: ignore[no-untyped-def]
    header = b"ANONYMOUS-CANARY"
    source = tmp_path / "canary.dcm"
    source.write_bytes(CT.read_bytes() + header)
    done = medveil("protect", source, "--key", key, "--out", tmp_path / "out")
    assert done.code == 0
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert header not in data
            assert passphrase.read_bytes().strip() not in data


@pytest.fixture
def tree(medveil, key: Path, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    study = tmp_path / "study"
    (study / "series").mkdir(parents=True)
    shutil.copy(CT, study / "series" / "1.dcm")
    shutil.copy(JPEG, study / "2.jpg")
    shutil.copy(samples.path("us-breast-benign.png"), study / "3.png")
    assert medveil("protect", study, "--threshold", "2/3", "--key", key, "--out", tmp_path / "sealed").code == 0
    return tmp_path / "sealed"


def test_a_folder_comes_back_as_a_folder(medveil, key: Path, tree: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    back = tmp_path / "back"
    assert medveil("verify", tree, "--key", key).code == 0
    done = medveil("restore", tree, "--key", key, "--out", back, "--json")
    assert (done.code, len(done.json["files"])) == (0, 3)
    assert (back / "study/series/1.dcm").read_bytes() == CT.read_bytes()
    assert (back / "study/2.jpg").read_bytes() == JPEG.read_bytes()
    again = medveil("restore", tree, "--key", key, "--out", back)
    assert again.code == 2
    assert "--resume" in again.err
    (back / "study/2.jpg").unlink()
    resumed = medveil("restore", tree, "--key", key, "--out", back, "--resume", "--json")
    assert [f["skipped"] for f in resumed.json["files"]] == [False, True, True]
    assert (back / "study/2.jpg").read_bytes() == JPEG.read_bytes()


def test_one_that_fails_stops_no_other(medveil, key: Path, tree: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("part-1", "part-2"):
        (tree / "study/2.jpg" / name).unlink()
    (tree / "study/3.png/part-3").unlink()
    checked = medveil("verify", tree, "--json")
    assert {f["bundle"]: f["exit"] for f in checked.json["files"]}["study/3.png"] == 10
    done = medveil("restore", tree, "--key", key, "--out", tmp_path / "back", "--json")
    assert done.code == 4
    assert done.json["ok"] is False
    assert {f["bundle"]: f["exit"] for f in done.json["files"]} == {
        "study/2.jpg": 4,
        "study/3.png": 10,
        "study/series/1.dcm": 0,
    }
    assert sorted(p.name for p in (tmp_path / "back/study").iterdir()) == ["3.png", "series"]


def test_a_folder_without_protected_files_is_refused(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "empty").mkdir()
    for command in (("verify", tmp_path / "empty"), ("restore", tmp_path / "empty", "--key", key, "--out", tmp_path)):
        done = medveil(*command)
        assert done.code == 2
        assert "no protected files" in done.err


def test_the_map_as_a_dicom_segmentation(medveil, key: Path, protected: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    target = tmp_path / "map.dcm"
    clean = medveil("verify", protected, "--key", key, "--map", target)
    assert clean.code == 0
    assert "nothing was changed" in clean.err
    assert not target.exists()
    _damage(protected / "part-2")
    done = medveil("verify", protected, "--key", key, "--map", target, "--json")
    assert done.code == 10
    made, source = pydicom.dcmread(target), pydicom.dcmread(CT)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.4"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert int(made.pixel_array.sum()) == done.json["touched_pixels"] > 0
