"""`medveil protect`, `verify` and `restore` with a scheme that never gives anything back."""

from __future__ import annotations

from pathlib import Path

from medveil.imaging import samples
from medveil.imaging.reader import read

JPEG = samples.path("mr-brain-glioma.jpg")


def test_protect_says_that_it_is_one_way(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("protect", JPEG, "--scheme", "learnable-skk", "--key", key, "--out", tmp_path / "out")
    assert done.code == 0
    assert "one-way" in done.err
    folder = tmp_path / "out" / JPEG.name
    part = read(folder / "part-1.png")
    assert part.pixels.shape == read(JPEG).pixels.shape
    assert medveil("verify", folder, "--json").code == 0
    assert medveil("verify", folder, "--key", key).code == 0
    back = medveil("restore", folder, "--key", key, "--out", tmp_path / "back.png")
    assert back.code == 5
    assert "nothing is ever decrypted" in back.err
    assert not (tmp_path / "back.png").exists()


def test_a_changed_part_is_found(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    medveil("protect", JPEG, "--scheme", "learnable-smoothed", "--option", "block=6", "--key", key, "--out", tmp_path)
    part = tmp_path / JPEG.name / "part-1.png"
    data = bytearray(part.read_bytes())
    data[-20] ^= 1
    part.write_bytes(data)
    assert medveil("verify", part.parent, "--key", key).code == 10


def test_keys_never_stand_on_the_command_line(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("protect", JPEG, "--scheme", "learnable-skk", "--option", "key=abc", "--key", key, "--out", tmp_path)
    assert done.code == 2
    assert "abc" not in done.err
