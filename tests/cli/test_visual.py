"""`medveil visual` as a script sees it, on real images and a simulated platform."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medveil.cli import visual
from medveil.imaging import reader, samples

pytest.importorskip("dcap_qvl", reason="needs the extra attest")


@pytest.fixture
def simulated(medveil: Any, tmp_path: Path) -> Path:
    assert medveil("attest", "simulate", tmp_path / "sim").code == 0
    return tmp_path / "sim"


def protect(medveil: Any, key: Path, source: Path, out: Path, *options: str) -> None:
    done = medveil("protect", source, "--key", key, "--out", out, "--scheme", "visual", *options)
    assert done.code in (0, 10), done.err


def test_under_a_policy_with_the_key_and_insecurely(medveil: Any, key: Path, simulated: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    options = ("--threshold", "2/3", "--option", f"platform={simulated / 'platform.json'}")
    protect(medveil, key, source, tmp_path / "out", *options)
    folder = tmp_path / "out" / source.name
    parts = [folder / "part-1.png", folder / "part-3.png"]
    trust = ("--policy", simulated / "policy.toml", "--collateral", simulated / "collateral.json")
    done = medveil("visual", "restore", *parts, "--out", tmp_path / "a.png", *trust, "--json")
    assert done.code == 10
    assert "simulator" in done.json["findings"][0]["message"]
    done = medveil("visual", "restore", folder, "--out", tmp_path / "b.png", "--key", key)
    assert done.code == 0
    shown, original = reader.read(tmp_path / "b.png"), reader.read(source)
    assert shown.pixels.shape == original.pixels.shape
    assert reader.read(tmp_path / "a.png").rows > original.rows, "marked"
    done = medveil("visual", "restore", *parts, "--out", tmp_path / "c.png", "--insecure-unverified")
    assert done.code == 10
    assert medveil("restore", folder, "--key", key, "--out", tmp_path / "back.png").code == 0
    assert (tmp_path / "back.png").read_bytes() == source.read_bytes()
    assert medveil("verify", folder).code == 0


def test_a_forged_share_gives_no_picture(medveil: Any, key: Path, simulated: Path, tmp_path: Path) -> None:
    import imagecodecs

    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out", "--option", f"platform={simulated / 'platform.json'}")
    folder = tmp_path / "out" / source.name
    pixels = imagecodecs.png_decode((folder / "part-1.png").read_bytes())
    pixels[100:140, 100:140] ^= 254
    (folder / "part-1.png").write_bytes(imagecodecs.png_encode(pixels))
    trust = ("--policy", simulated / "policy.toml", "--collateral", simulated / "collateral.json")
    for options in (trust, ("--key", key)):
        done = medveil("visual", "restore", folder, "--out", tmp_path / "x.png", *options)
        assert done.code in (3, 4)
        assert not (tmp_path / "x.png").exists()


def test_a_labelled_tree_keeps_its_shape(medveil: Any, key: Path, tmp_path: Path) -> None:
    for label, name in (("benign", "us-breast-benign.png"), ("malignant", "us-breast-malignant.png")):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(samples.path(name), tmp_path / "data" / label / "1.png")
    protect(medveil, key, tmp_path / "data", tmp_path / "shares")
    tree = tmp_path / "shares" / "data"
    done = medveil("visual", "restore", tree, "--out", tmp_path / "seen", "--key", key, "--json")
    assert done.code == 0, done.err
    assert len(done.json["outputs"]) == 2
    for label in ("benign", "malignant"):
        (written,) = (tmp_path / "seen" / label).iterdir()
        original = reader.read(tmp_path / "data" / label / "1.png").pixels.astype(float)
        assert np.corrcoef(reader.read(written).pixels.ravel(), original.ravel())[0, 1] > 0.9


def test_print_and_scan(medveil: Any, key: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra print")
    pytest.importorskip("reportlab", reason="needs the extra print")
    import imagecodecs

    from medveil.schemes.visual import sheet

    source = samples.path("us-breast-benign.png")
    protect(medveil, key, source, tmp_path / "out")
    parts = [tmp_path / "out" / source.name / f"part-{i}.png" for i in (1, 2)]
    session = tmp_path / "session"
    done = medveil("visual", "print", *parts, "--out", tmp_path / "s.pdf", "--session-out", session)
    assert done.code == 0, done.err
    page = tmp_path / "page.png"
    page.write_bytes(imagecodecs.png_encode(sheet.page_image(visual.read_share(parts[1]))))
    done = medveil("visual", "scan", page, "--out", tmp_path / "share.png", "--session", session, "--json")
    assert done.code == 0, done.err
    assert done.json["index"] == 2
    assert medveil("visual", "scan", page, "--out", tmp_path / "y.png").code == 3, "without its session"


def test_usage(medveil: Any, key: Path, tmp_path: Path) -> None:
    source = samples.path("us-breast-benign.png")
    assert medveil("visual", "restore", source, "--out", tmp_path / "x.png").code == 2
    assert medveil("visual", "restore", source, "--out", tmp_path / "x.png", "--policy", source).code == 2
    assert medveil("visual", "restore", source, "--out", tmp_path / "x.png", "--insecure-unverified").code == 3
    assert medveil("visual", "restore", tmp_path, "--out", tmp_path / "x.png", "--key", key).code == 2
