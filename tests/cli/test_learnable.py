"""`medveil learnable encrypt`, as a script would call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
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


def test_an_interruption_is_said_and_gone_on_from(medveil, folder: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from medveil.recognition import encryption

    real, calls = encryption.encode, []

    def encode(pixels: np.ndarray) -> bytes:
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(pixels)

    monkeypatch.setattr(encryption, "encode", encode)
    command = ("learnable", "encrypt", folder, "--scheme", "skk", "--out", tmp_path / "out", "--ledger", tmp_path / "l")
    stopped = medveil(*command)
    assert stopped.code == 130
    assert "interrupted" in stopped.err
    assert not (tmp_path / "out").exists()
    assert "1 pictures encrypted, 1 kept from before" in medveil(*command).out


def test_the_ledger_lies_in_the_state_folder(medveil, folder: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert medveil("learnable", "encrypt", folder, "--scheme", "skk", "--out", tmp_path / "out").code == 0
    assert (tmp_path / "state" / "medveil" / "learnable" / "key").is_file()
