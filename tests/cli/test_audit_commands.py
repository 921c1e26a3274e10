"""`medveil vault audit`: show, publish, prove, verify offline, and a witness."""

from __future__ import annotations

import shutil
from pathlib import Path

from medveil.imaging import samples


def test_story(medveil, key: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    config = tmp_path / "vault.toml"
    medveil("vault", "example", config)
    shutil.copy(key, tmp_path / "owner.key")
    medveil("vault", "init", config)
    assert medveil("vault", "put", config, samples.path("ct-thorax.dcm")).code == 0
    shown = medveil("vault", "audit", "show", config, "--json").json
    assert [one["action"] for one in shown["entries"]] == ["put"]
    log_key = shown["key"]
    mine = medveil("vault", "audit", "show", config, "--object", "ct-thorax.dcm", "--json").json["entries"]
    assert len(mine) == 1
    folder = Path(medveil("vault", "audit", "publish", config, "--json").json["folder"])
    shutil.copytree(folder, tmp_path / "published")
    checked = medveil("vault", "audit", "verify", tmp_path / "published", "--key", log_key, "--json")
    assert (checked.code, checked.json["size"]) == (0, 1)
    proof = tmp_path / "entry.proof"
    assert medveil("vault", "audit", "prove", config, 0, "--out", proof).code == 0
    assert medveil("vault", "audit", "verify", proof, "--key", log_key).code == 0
    (tmp_path / "entry.proof.json").write_bytes(b"{}")
    assert medveil("vault", "audit", "verify", proof, "--key", log_key).code == 3

    witness = ("--state", tmp_path / "witness", "--name", "example.org/witness")
    signed = medveil("vault", "audit", "cosign", folder, "--key", log_key, *witness, "--json").json
    added = medveil("vault", "audit", "add-cosignature", config, signed["line"], "--witness", signed["key"])
    assert added.code == 0
    assert medveil("vault", "audit", "verify", folder, "--key", log_key, "--witness", signed["key"]).code == 0
    assert medveil("vault", "audit", "verify", config, "--json").json["size"] == 1

    tile = next((tmp_path / "published/tile/entries").rglob("1"))
    tile.write_bytes(tile.read_bytes().replace(b"put", b"get"))
    refused = medveil("vault", "audit", "verify", tmp_path / "published", "--key", log_key, "--json")
    assert (refused.code, refused.json["error"]) == (3, "TamperedError")
    assert medveil("vault", "audit", "verify", tmp_path / "published").code == 2
