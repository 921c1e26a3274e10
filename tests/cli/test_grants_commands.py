"""The whole story of a grant on the command line: owner, recipient, revocation; and the backup of the owner's key."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from medveil.imaging import samples

CT = samples.path("ct-thorax.dcm")


@pytest.fixture
def config(medveil, key: Path, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    path = tmp_path / "vault.toml"
    medveil("vault", "example", path)
    shutil.copy(key, tmp_path / "owner.key")
    medveil("vault", "init", path)
    return path


def test_grant_fetch_revoke(medveil, config: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    object_id = medveil("vault", "put", config, CT, "--json").json["files"][0]["object"]
    alice = tmp_path / "alice.key"
    made = medveil("keygen", "--recipient", "--out", alice, "--public", tmp_path / "alice.pub", "--json").json
    add = ("vault", "recipient", "add", config, "alice", tmp_path / "alice.pub", "--fingerprint")
    refused = medveil(*add, "aaaa " * 8)
    assert (refused.code, "fingerprint" in refused.err) == (3, True)
    assert medveil(*add, made["fingerprint"]).code == 0
    assert medveil("vault", "recipient", "list", config, "--json").json["recipients"][0]["name"] == "alice"
    invite = tmp_path / "alice.invite"
    owner = medveil("vault", "recipient", "invite", config, "alice", "--out", invite, "--json").json["fingerprint"]
    granted = medveil("vault", "grant", config, "alice", object_id, "--expires", "30d", "--json")
    assert (granted.code, len(granted.json["studies"])) == (0, 1)
    assert len(medveil("vault", "grants", config, "alice", "--json").json["grants"]) == 1

    theirs = tmp_path / "alice.toml"
    theirs.write_text(config.read_text().replace('state = "state"', 'state = "alice-state"'))
    wrong = medveil("vault", "join", theirs, invite, "--key", alice, "--fingerprint", "bbbb " * 8)
    assert wrong.code == 3
    assert medveil("vault", "join", theirs, invite, "--key", alice, "--fingerprint", owner).code == 0
    shared = medveil("vault", "shared", theirs, "--key", alice, "ModalitiesInStudy=CT", "--json").json
    assert [one["object"] for one in shared["hits"][0]["objects"]] == [object_id]
    back = tmp_path / "back.dcm"
    assert medveil("vault", "fetch", theirs, object_id, "--key", alice, "--out", back).code in (0, 10)
    assert back.read_bytes() == CT.read_bytes()

    revoked = medveil("vault", "revoke", config, "alice", "--level", "rotate")
    assert (revoked.code, "cannot be recalled" in revoked.out) == (0, True)
    gone = medveil("vault", "fetch", theirs, object_id, "--key", alice, "--out", tmp_path / "again.dcm", "--json")
    assert (gone.code, gone.json["error"]) == (3, "PolicyError")
    assert not (tmp_path / "again.dcm").exists()
    assert medveil("vault", "rotate", config, "--json").json["epoch"] == 3
    assert medveil("vault", "revoke", config, "alice", "--level", "stop").code == 3
    for bad in (("--level", "burn"), ()):
        assert medveil("vault", "revoke", config, "nobody", *bad).code in (2, 3)
    assert medveil("vault", "grant", config, "alice", object_id, "--expires", "yesterday").code == 2
    actions = [one["action"] for one in medveil("vault", "audit", "show", config, "--json").json["entries"]]
    assert {"recipient", "grant", "revoke", "rotate", "put"} <= set(actions)


def test_backup_and_recover(medveil, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    made = medveil("vault", "backup", key, "--sheets", "2/3", "--out", tmp_path / "sheets", "--json")
    assert made.code == 0
    files = [Path(one) for one in made.json["sheets"]]
    assert all(path.stat().st_mode & 0o077 == 0 and len(path.read_text().split()) == 33 for path in files)
    assert not any(word in made.out for word in files[0].read_text().split() if len(word) > 7)
    assert medveil("vault", "backup", key, "--sheets", "2/3", "--out", tmp_path / "sheets").code == 2
    back = medveil("vault", "recover", "--out", tmp_path / "back.key", files[0], files[2], "--json")
    assert (back.code, back.json["fingerprint"]) == (0, made.json["fingerprint"])
    assert medveil("vault", "recover", "--out", tmp_path / "few.key", files[1]).code == 4
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(path.read_text().strip() for path in files[1:])))
    typed = medveil("vault", "recover", "--out", tmp_path / "typed.key", "--json")
    assert typed.json["fingerprint"] == made.json["fingerprint"]
    assert not (tmp_path / "few.key").exists()
    assert medveil("vault", "backup", key, "--json").code == 2
    shown = medveil("vault", "backup", key, "--sheets", "2/2")
    assert "sheet 2 of 2" in shown.out
