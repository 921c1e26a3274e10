"""The carried images: named, licensed, unchanged, small, and real pictures."""

from __future__ import annotations

import pytest

from medveil.errors import InputError, TamperedError
from medveil.imaging import samples
from medveil.imaging.reader import read


@pytest.mark.parametrize("sample", samples.SAMPLES, ids=lambda s: s.name)
def test_each_sample_is_what_its_record_says(sample: samples.Sample) -> None:
    image = read(samples.load(sample.name))
    assert image.pixels.std() > 10
    assert (samples.FOLDER / "LICENSES" / f"{sample.licence}.txt").stat().st_size > 300
    line = next(x for x in (samples.FOLDER / "README.md").read_text().splitlines() if x.startswith(f"| {sample.name} "))
    for value in (sample.source, sample.licence, sample.credit, sample.sha256, sample.shows):
        assert value in line


def test_nothing_else_is_carried_and_all_is_small() -> None:
    files = {p.name for p in samples.FOLDER.iterdir() if p.is_file()}
    assert files == {*samples.names(), "README.md", "__init__.py"}
    assert sum(p.stat().st_size for p in samples.FOLDER.rglob("*") if p.is_file()) < 4_000_000


def test_names_and_damage(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with pytest.raises(InputError, match="no sample"):
        samples.path("../image.py")
    monkeypatch.setattr(samples, "path", lambda name: samples.FOLDER / "README.md")
    with pytest.raises(TamperedError, match="install the package again"):
        samples.load("ct-thorax.dcm")
