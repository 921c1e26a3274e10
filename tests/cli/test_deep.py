"""`medveil deep`, and protecting with the keys that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def some(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty real X-rays in a folder of their own."""
    folder = tmp_path_factory.mktemp("some")
    files = sorted((shared_data / "chest_xray_nih" / "train").rglob("*.png"))
    for path in files[:: len(files) // 40][:40]:
        (folder / path.name).symlink_to(path)
    return folder


def test_an_interrupted_training_goes_on(
    medveil: Medveil, some: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medveil.schemes.deep import training

    out = tmp_path / "bp.key"
    base = ("deep", "train", "--method", "backprop", "--images", some, "--key", key, "--out", out, "--size", 16)
    base = (*base, "--codes", 16, "--epochs", 4)
    whole = training._epoch

    def interrupted(*arguments: Any) -> Any:
        if interrupted.count == 2:
            raise KeyboardInterrupt
        interrupted.count += 1
        return whole(*arguments)

    interrupted.count = 0
    with monkeypatch.context() as patched:
        patched.setattr(training, "_epoch", interrupted)
        assert medveil(*base).code == 130
    unfinished = tmp_path / "bp.key.training"
    assert unfinished.exists()
    assert not out.exists()
    code = medveil("deep", "info", unfinished).out
    assert "checkpoint of method backprop" in code
    again = medveil(*base)
    assert (again.code, "--resume" in again.err) == (2, True)
    # a learning rate that no network survives: stopped, nothing written, the good state still there
    before = unfinished.read_bytes()
    broken = medveil(*base, "--rate", "1e30", "--resume")
    assert (broken.code, "is not finite" in broken.err) == (4, True)
    assert not out.exists()
    assert unfinished.read_bytes() == before
    done = medveil(*base, "--resume", "--json")
    assert done.code == 0, done.out
    assert not done.json["lossless"]
    assert done.json["trained"]["epochs"] == 4
    assert "PSNR" in done.json["claim"]
    assert not unfinished.exists()


def test_a_lossy_key_shows_what_it_costs(medveil: Medveil, some: Path, key: Path, tmp_path: Path) -> None:
    from medveil.imaging import raster
    from medveil.schemes.deep import pictures

    out = tmp_path / "bp.key"
    done = medveil(
        "deep", "train", "--method", "backprop", "--images", some, "--key", key, "--out", out, "--size", 64,
        "--epochs", 2, "--picture", tmp_path / "shown.png",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "LOSSY" in done.out
    source = tmp_path / "chest.png"
    source.write_bytes(raster.encode_png(pictures.load([some], 64)[0][0]))
    protect = ("protect", source, "--scheme", "deep-backprop", "--option", f"trained_key={out}", "--key", key)
    done = medveil(*protect, "--out", tmp_path / "parts")
    assert done.code == 0, done.err
    assert "LOSSY, NOT SECURE, lossy: on" in done.err
    assert "lossy by design: PSNR" in done.out
    back = medveil("restore", tmp_path / "parts" / source.name, "--key", key, "--out", tmp_path / "back.png")
    assert back.code == 10
    assert "NOT exact: this scheme is lossy" in back.out
    assert read(tmp_path / "back.png").pixels.shape == (1, 64, 64)
    large = medveil("protect", next(some.iterdir()), *protect[2:], "--out", tmp_path / "large")
    assert (large.code, "256 x 256" in large.err) == (5, True)
    other = medveil(
        "deep",
        "segment",
        tmp_path / "parts" / source.name,
        "--trained-key",
        out,
        "--key",
        key,
        "--out",
        tmp_path / "m.png",
    )
    assert (other.code, "only deep-cyclegan" in other.err) == (2, True)


@pytest.mark.parametrize("method", ["backprop", "cyclegan", "scramble_aae", "invertible"])
def test_each_method_protects_and_says_what_it_claims(
    method: str, medveil: Medveil, some: Path, key: Path, tmp_path: Path
) -> None:
    """With a key of the owner's own: here the numbers of the public sample, sealed to the owner as training does."""
    from medveil.cli.keys import open_owner
    from medveil.imaging import raster
    from medveil.schemes.deep import keyfile, pictures, samples

    trained = tmp_path / "trained"
    keyfile.save(trained, samples.load(method), open_owner(key))
    name, source, parts = f"deep-{method.replace('_', '-')}", tmp_path / "chest.png", tmp_path / "parts"
    source.write_bytes(raster.encode_png(pictures.load([some], 64)[0][0]))
    done = medveil(
        "protect", source, "--scheme", name, "--option", f"trained_key={trained}", "--key", key, "--out", parts
    )
    assert done.code == 0, done.err
    claim = "NOT SECURE, lossless" if method == "invertible" else "LOSSY, NOT SECURE, lossy: on"
    assert claim in done.err
    assert ("lossy by design: PSNR" in done.out) is (method != "invertible")
    back = medveil("restore", parts / source.name, "--key", key, "--out", tmp_path / "back.png")
    assert back.code == (0 if method == "invertible" else 10), back.err
    assert (read(tmp_path / "back.png").pixels == read(source).pixels).all() == (method == "invertible")
    mask = ("deep", "segment", parts / source.name, "--trained-key", trained, "--key", key, "--out", tmp_path / "m.png")
    assert medveil(*mask).code == (0 if method == "cyclegan" else 2)
