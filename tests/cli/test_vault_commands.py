"""`medveil vault` and `medveil config`, as an administrator's script would call them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medveil.imaging import samples

CT, MR = samples.path("ct-thorax.dcm"), samples.path("mr-10-frames.dcm")


@pytest.fixture
def config(medveil, key: Path, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    path = tmp_path / "vault.toml"
    assert medveil("vault", "example", path).code == 0
    shutil.copy(key, tmp_path / "owner.key")
    assert medveil("vault", "init", path).code == 0
    return path


def _shares(config: Path, store: str) -> list[Path]:
    folder = config.parent / "stores" / store
    return [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > 12_000]


def test_the_example_is_explained(medveil, config: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("config", "check", config, "--reach", "--json")
    assert done.code == 0
    assert done.json["threshold"] == [2, 4]
    assert {s["provider"] for s in done.json["stores"]} == {"north", "east", "south", "west"}


def test_a_second_init_keeps_the_state(medveil, config: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("vault", "init", config)
    assert done.code == 2
    assert medveil("vault", "list", config).code == 0


def test_story(medveil, config: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("vault", "put", config, CT, MR, "--json")
    assert done.code == 0
    first = done.json["files"][0]
    assert len(set(first["places"].values())) == 4
    again = medveil("vault", "put", config, CT, MR, "--json")
    assert [f["skipped"] for f in again.json["files"]] == [True, True]
    listed = medveil("vault", "list", config, "--json").json["objects"]
    assert {entry["name"] for entry in listed} == {CT.name, MR.name}
    assert medveil("vault", "verify", config).code == 0

    for share in _shares(config, "east"):
        share.unlink()
    for share in _shares(config, "south"):
        share.chmod(0o600)
        data = bytearray(share.read_bytes())
        data[len(data) // 2] ^= 1
        share.write_bytes(data)
    checked = medveil("vault", "verify", config, "--json")
    assert checked.code == 10
    blamed = {(f["kind"], f["place"]) for f in checked.json["findings"]}
    assert {("missing", "east"), ("tamper", "south")} <= blamed

    back = tmp_path / "back.dcm"
    got = medveil("vault", "get", config, CT.name, "--out", back, "--json")
    assert (got.code, got.json["exact"]) == (10, True)
    assert back.read_bytes() == CT.read_bytes()
    refused = medveil("vault", "get", config, CT.name, "--out", back)
    assert refused.code == 2

    keyless = medveil("vault", "verify", config, "--keyless", "--json")
    assert keyless.json["level"] == "parts"
    assert medveil("vault", "scrub", config).code == 10
    repaired = medveil("vault", "repair", config, "--json")
    assert repaired.json["repaired"] >= 4
    assert medveil("vault", "verify", config).code == 0
    assert medveil("vault", "scrub", config, "--restart").code == 0


def test_versions(medveil, config: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    object_id = medveil("vault", "put", config, CT, "--json").json["files"][0]["object"]
    assert medveil("vault", "put", config, MR, "--update", object_id, "--json").json["files"][0]["version"] == 2
    listed = medveil("vault", "versions", config, object_id, "--json").json["versions"]
    assert [entry["version"] for entry in listed] == [2, 1]
    old = tmp_path / "old.dcm"
    assert medveil("vault", "get", config, object_id, "--version", "1", "--out", old).code == 0
    assert old.read_bytes() == CT.read_bytes()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[vault]\nthreshold = '2/4'\n", "provider"),
        ("[vault]\ncolour = 'red'\n", "colour"),
        ("[vault]\nthreshold = '5/4'\n", "threshold"),
        ("not toml at all [", "TOML"),
    ],
)
def test_bad_configurations_are_explained(medveil, tmp_path: Path, text: str, words: str) -> None:  # type: ignore[no-untyped-def]
    config = tmp_path / "vault.toml"
    config.write_text(text)
    for command in (("config", "check"), ("vault", "list")):
        done = medveil(*command, config)
        assert done.code == 2
        assert words in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["vault.toml"]


def test_unknown_objects(medveil, config: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = medveil("vault", "get", config, "nothing-of-that-name", "--out", tmp_path / "x")
    assert done.code == 6
    assert not (tmp_path / "x").exists()
