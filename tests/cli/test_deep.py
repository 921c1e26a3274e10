"""`medveil deep`, and protecting with the keys that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Medveil

from medveil.imaging.reader import read


@pytest.fixture(scope="module")
def images(shared_data: Path) -> Path:
    return shared_data / "chest_xray_nih" / "fullsize_1024"


@pytest.fixture
def drawn(medveil: Medveil, images: Path, key: Path, tmp_path: Path) -> Path:
    out = tmp_path / "invertible.key"
    done = medveil(
        "deep", "train", "--method", "invertible", "--images", images, "--key", key, "--out", out,
        "--picture", tmp_path / "shown.png", "--json",
    )  # fmt: skip
    assert done.code == 0, done.out
    assert done.json["lossless"]
    assert not done.json["secure"]
    assert done.json["measured"]["exact"] == 1
    assert read(tmp_path / "shown.png").rows == 2 * 3 * 66
    return out


def test_train_protect_restore_exactly(medveil: Medveil, drawn: Path, images: Path, key: Path, tmp_path: Path) -> None:
    source = next((images / "normal").glob("*.png"))
    out = tmp_path / "parts"
    done = medveil(
        "protect", source, "--scheme", "deep-invertible", "--option", f"trained_key={drawn}", "--key", key, "--out", out
    )
    assert done.code == 0, done.err
    assert "NOT SECURE" in done.err
    back = tmp_path / "back.png"
    assert medveil("restore", out / source.name, "--key", key, "--out", back).code == 0
    assert (read(back).pixels == read(source).pixels).all()
    assert medveil("verify", out / source.name, "--key", key).code == 0
    assert medveil("verify", out / source.name).code == 0


def test_info_with_and_without_the_owner(medveil: Medveil, drawn: Path, key: Path) -> None:
    plain = medveil("deep", "info", drawn, "--json").json
    assert not plain["verified"]
    assert plain["method"] == "invertible"
    assert "UNVERIFIED" in medveil("deep", "info", drawn).out
    checked = medveil("deep", "info", drawn, "--key", key)
    assert checked.code == 0
    assert "evaluated and not recommended" in checked.out


def test_refusals(medveil: Medveil, drawn: Path, images: Path, key: Path, tmp_path: Path) -> None:
    source = next((images / "normal").glob("*.png"))

    def protect(*options: str) -> tuple[int, str]:
        done = medveil(
            "protect", source, "--scheme", "deep-invertible", *options, "--key", key, "--out", tmp_path / "o"
        )
        assert not (tmp_path / "o").exists()
        return done.code, done.err

    code, said = protect()
    assert (code, "medveil deep train" in said) == (2, True)
    code, said = protect("--option", "trained_key=insecure-sample")
    assert (code, "public" in said) == (2, True)
    code, said = protect("--option", f"trained_key={tmp_path / 'none'}")
    assert (code, "no key file" in said) == (2, True)
    code, said = protect("--option", f"trained_key={key}")
    assert (code, "not a trained key" in said) == (3, True)

    def train(*options: object) -> tuple[int, str]:
        done = medveil("deep", "train", "--images", images, "--key", key, *options)
        return done.code, done.err

    assert train("--method", "invertible", "--out", drawn)[0] == 2
    code, said = train("--method", "rot13", "--out", tmp_path / "new")
    assert (code, "rot13" in said) == (2, True)
    code, said = train("--method", "backprop", "--size", "60", "--out", tmp_path / "new")
    assert (code, "multiple of 8" in said) == (2, True)
    code, said = train("--method", "cyclegan", "--codes", "8", "--out", tmp_path / "new")
    assert (code, "no codes" in said) == (2, True)
    code, said = train("--method", "backprop", "--config", "tpu", "--out", tmp_path / "new")
    assert (code, "cpu or gpu" in said) == (2, True)
    code, said = train("--method", "backprop", "--resume", "--out", tmp_path / "new")
    assert (code, "no unfinished training" in said) == (2, True)
    assert not (tmp_path / "new").exists()
