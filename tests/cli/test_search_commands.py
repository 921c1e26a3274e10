"""`medveil vault search` and `vault index` on the package's DICOM samples."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from medveil.imaging import samples


@pytest.fixture
def config(medveil, key: Path, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    path = tmp_path / "vault.toml"
    assert medveil("vault", "example", path).code == 0
    text = path.read_text()
    path.write_text(text + '\n[search]\ntype = "sqlite"\npath = "index.sqlite"\n')
    shutil.copy(key, tmp_path / "owner.key")
    assert medveil("vault", "init", path).code == 0
    assert medveil("vault", "put", path, samples.path("ct-thorax.dcm"), samples.path("mr-10-frames.dcm")).code == 0
    return path


def test_search_and_index(medveil, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    found = medveil("vault", "search", config, "ModalitiesInStudy=CT", "--json")
    assert found.code == 0
    (hit,) = found.json["hits"]
    assert hit["ModalitiesInStudy"] == ["CT"]
    uid = hit["StudyInstanceUID"]
    shown = medveil("vault", "search", config, f"StudyInstanceUID={uid}")
    assert (shown.code, uid in shown.out, "1 of 1" in shown.out) == (0, True, True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"StudyInstanceUID={uid}\n"))
    assert medveil("vault", "search", config, "-", "--json").json["total"] == 1
    assert medveil("vault", "search", config, "Nonsense=1").code == 2
    compacted = medveil("vault", "index", config, "--compact", "--json")
    assert (compacted.json["indexed"], compacted.json["epoch"]) == (0, 2)
    assert medveil("vault", "index", config, "--remove", uid).code == 0
    assert medveil("vault", "search", config, f"StudyInstanceUID={uid}", "--json").json["total"] == 0
    assert medveil("vault", "index", config, "--remove", uid).code == 6
    (config.parent / "index.sqlite").unlink()
    lost = medveil("vault", "search", config, "", "--json")
    assert (lost.code, lost.json["error"]) == (3, "RollbackError")
    assert medveil("vault", "index", config, "--rebuild", "--json").json["indexed"] == 2
    assert medveil("vault", "search", config, f"StudyInstanceUID={uid}", "--json").json["total"] == 1
    assert medveil("vault", "search", config, "", "--json").json["total"] == 2
    assert medveil("vault", "index", config, "--rebuild", "--compact").code == 2
