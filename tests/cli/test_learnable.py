"""`medveil learnable encrypt`, as a script would call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medveil.imaging import samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in (("glioma", "mr-brain-glioma.jpg"), ("meningioma", "mr-brain-meningioma.jpg")):
        (tmp_path / "set" / label).mkdir(parents=True)
        shutil.copy(samples.path(name), tmp_path / "set" / label)
    return tmp_path / "set"


def test_encrypt(medveil, folder: Path, tmp_path: Path, key: Path) -> None:  # type: ignore[no-untyped-def]
    out, ledger = tmp_path / "out", tmp_path / "ledger"
    common = ("learnable", "encrypt", folder, "--scheme", "smoothed", "--mode", "grey", "--ledger", ledger)
    done = medveil(*common, "--block", 4, "--out", out, "--json")
    assert done.code == 0
    assert (done.json["written"], done.json["options"]["block"]) == (2, 4)
    assert json.loads((out / "manifest.json").read_text())["scheme"] == "learnable-smoothed"
    assert medveil(*common, "--block", 4, "--out", out).code == 2
    refused = medveil(*common, "--block", 6, "--out", tmp_path / "six")
    assert refused.code == 3
    assert "--insecure-again" in refused.err
    assert not (tmp_path / "six").exists()
    owned = medveil(*common, "--block", 6, "--out", tmp_path / "six", "--key", key)
    assert owned.code == 0
    assert "identity" in owned.err
    assert medveil(*common, "--option", "choice=x", "--out", tmp_path / "x").code == 2
    assert medveil("learnable", "encrypt", tmp_path / "none", "--out", tmp_path / "y").code == 2


def test_the_ledger_lies_in_the_state_folder(medveil, folder: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert medveil("learnable", "encrypt", folder, "--scheme", "skk", "--out", tmp_path / "out").code == 0
    assert (tmp_path / "state" / "medveil" / "learnable" / "key").is_file()
