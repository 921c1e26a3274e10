"""`medveil attack` and `medveil leakage`, as an engineer would call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import find_shared_data


@pytest.fixture
def rays(tmp_path: Path) -> Path:
    """Twelve chest X-rays, two classes, some patients twice."""
    data = find_shared_data()
    if data is None:
        pytest.skip("needs the shared image data")
    for label in ("normal", "pneumonia"):
        (tmp_path / "rays" / label).mkdir(parents=True)
        for path in sorted((data / "chest_xray_nih" / "test" / label).iterdir())[:6]:
            shutil.copy(path, tmp_path / "rays" / label)
    return tmp_path / "rays"


def test_an_encrypted_dataset_is_linked_to_its_gallery(medveil, rays: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    encrypted, report = tmp_path / "enc", tmp_path / "report"
    done = medveil("learnable", "encrypt", rays, "--block", 6, "--out", encrypted, "--ledger", tmp_path / "ledger")
    assert done.code == 0
    done = medveil(
        "attack", "linkage", "leading-bit", "--encrypted", encrypted, "--gallery", rays, "--out", report, "--json",
        "--known", 0,
    )  # fmt: skip
    assert done.code == 0
    top1 = done.json["attacks"][0]["scores"]["top1"]
    assert (top1["value"], top1["chance"], top1["n"]) == (1.0, 1 / 12, 12)
    assert "who it is" in done.json["headline"]
    assert json.loads((report / "result.json").read_text())["scheme"] == "learnable-smoothed"
    page = (report / "index.html").read_text()
    assert "data:image/png;base64," in page
    assert page.count("http") == 0, "the page loads something from elsewhere"
    assert len(list((report / "pictures").glob("*.png"))) == 2
    (tmp_path / "enc.names.csv").unlink()
    blind = ("attack", "linkage", "--encrypted", encrypted, "--gallery", rays, "--out", tmp_path / "r2")
    refused = medveil(*blind)
    assert refused.code == 2
    assert "--truth" in refused.err


def test_images_are_encrypted_and_attacked_at_once(medveil, rays: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    common = ("--images", rays, "--size", 64, "--out", tmp_path / "report", "--json")
    done = medveil("attack", "tanaka-known-plaintext", "--scheme", "tanaka", *common)
    assert done.json["attacks"][0]["scores"]["exact"]["value"] > 0.95
    assert done.json["headline"].startswith("It would leak everything")
    assert medveil("attack", "linkage", "--scheme", "skk", *common).code == 2  # the report is there already
    assert medveil("attack", "jigsaw", "--scheme", "skk", *common, "--force").code == 5
    assert medveil("attack", "jigsaw", "--encrypted", rays, *common, "--force").code == 2
    assert medveil("attack", "hope", *common).code == 2
    assert medveil("attack", "linkage").code == 2
    assert "linkage" in medveil("attack").out
    lacking = medveil("attack", "multi-encryption", "--scheme", "skk", *common, "--force")
    assert lacking.code == 5
    assert "--again N" in lacking.json["message"]


def test_an_attack_is_tuned_by_name(medveil, rays: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    common = ("--images", rays, "--public", rays, "--size", 32, "--scheme", "skk", "--out", tmp_path / "report")
    small = ("--tune", "steps=2", "--tune", "width=8", "--tune", "depth=2", "--tune", "rate=0.001")
    done = medveil("attack", "learned-reconstruction", *common, *small, "--json")
    assert done.code == 0, done.err
    assert done.json["tuned"] == {"steps": 2, "width": 8, "depth": 2, "rate": 0.001}
    assert "after 2 steps" in done.json["attacks"][0]["note"]
    for wrong, said in (
        (("learned-reconstruction", "--tune", "size=3"), "has no option size"),
        (("learned-reconstruction", "--tune", "steps=many"), "give a whole number"),
        (("learned-reconstruction", "--tune", "rate=fast"), "give a number"),
        (("linkage", "leading-bit", "--tune", "steps=3"), "name one"),
    ):
        refused = medveil("attack", *wrong, *common, "--force")
        assert refused.code == 2
        assert said in refused.err


def test_leakage_says_first_what_leaks(medveil, rays: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "leakage"
    done = medveil("leakage", rays, "--scheme", "smoothed", "--block", 6, "--out", out, "--no-utility", "--sample", 8)
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("It would leak who it is: 100%")
    record = json.loads((out / "result.json").read_text())
    assert record["headline"] == done.out.splitlines()[0]
    assert {"attack": "learned-reconstruction", "why": "takes minutes: pass --learned"} in record["skipped"]
    assert medveil("leakage", rays, "--out", out).code == 2
    sealed = medveil(
        "leakage", rays, "--scheme", "sealed", "--out", tmp_path / "sealed", "--sample", 8, "--size", 64, "--json"
    )
    assert sealed.json["headline"].startswith("Nothing that was tried")
    assert medveil("leakage", tmp_path / "none", "--out", tmp_path / "x").code == 2


def test_mixed_pictures_are_refused_with_the_way_out(medveil, rays: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from medveil.imaging import samples

    shutil.copy(samples.path("us-breast-benign.png"), rays / "normal")
    shutil.copy(samples.path("mr-brain-glioma.jpg"), rays / "normal")
    refused = medveil("leakage", rays, "--out", tmp_path / "x")
    assert refused.code == 2
    assert "--size" in refused.err
    (rays / "normal" / "mr-brain-glioma.jpg").write_bytes(b"\xff\xd8\xff broken")
    (rays / "normal" / "us-breast-benign.png").unlink()
    done = medveil("leakage", rays, "--out", tmp_path / "x", "--no-utility", "--sample", 4, "--json")
    assert done.code == 0
    assert "left out" in done.json["notes"][0]
    common = ("--images", rays, "--scheme", "skk", "--out", tmp_path / "y")
    assert "left out normal/mr-brain-glioma.jpg" in medveil("attack", "leading-bit", *common).out
    assert "left out" in (tmp_path / "y" / "index.html").read_text()
    for command in (("leakage", rays, "--out", tmp_path / "z"), ("attack", "leading-bit", *common, "--force")):
        refused = medveil(*command, "--broken", "refuse")
        assert refused.code == 2
        assert "mr-brain-glioma.jpg cannot be read" in refused.err
    assert "choose skip or refuse" in medveil("leakage", rays, "--out", tmp_path / "z", "--broken", "mend").err
