"""`medveil demo`: every byte back, and a page that shows it and loads nothing."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import numpy as np
import pytest

from medveil.cli import demo_page
from medveil.imaging.reader import read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


def test_demo_gets_every_byte_back(medveil, folder: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("demo", "--out", folder, "--json")
    assert done.code == 0
    assert all(study["identical"] for study in done.json["studies"])
    assert len(done.json["studies"]) >= 3
    page = Path(done.json["page"]).read_text(encoding="utf-8")
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) >= 7 * 3
    for picture in pictures:
        assert read(base64.b64decode(picture)).pixels.size > 0
    assert all(story["identical"] for story in done.json["shared"])
    assert "refused before recovery" in page
    assert "NOT REFUSED" not in page
    for words in ("share 1", "stacked", "XOR", "a forged share 2"):
        assert words in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "tamper" in page
    assert "missing" in page


def test_demo_overwrites_nothing(medveil, folder: Path) -> None:  # type: ignore[no-untyped-def]
    before = (folder / "index.html").stat().st_mtime_ns
    assert medveil("demo", "--out", folder).code == 2
    assert (folder / "index.html").stat().st_mtime_ns == before


def test_default_folders_are_numbered(medveil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert medveil("demo").code == 0
    assert medveil("demo").code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"medveil-demo", "medveil-demo-2"}


def test_overlay_marks_the_mask_and_nothing_else() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:48] = True
    marked = demo_page.overlay(grey, mask)
    changed = (marked != 100).any(axis=2)
    assert np.array_equal(changed, mask)


def test_words_are_escaped() -> None:
    page = demo_page.Page(title="<b>", lead="a & b", steps=[("x", "<script>")])
    assert "<script>" not in demo_page.render(page)
