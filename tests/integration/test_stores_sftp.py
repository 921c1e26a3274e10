"""The SFTP store on a real server: OpenSSH."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.conformance.store_suite import Conformance
from tests.integration.servers.openssh import OpenSSH

from medveil.errors import ConfigError, StoreError, StoreUnavailableError
from medveil.stores.base import Store
from medveil.stores.config import open_store

pytestmark = pytest.mark.integration


def open_folder(server: OpenSSH, **changes: object) -> Store:
    """Open the served folder as a user would, by a table."""
    table: dict[str, object] = {
        "type": "sftp",
        "name": "hospital",
        "host": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "path": str(server.root),
        "key_file": server.key_file,
        "host_key": server.host_key,
        "retry": {"attempts": 2, "first_pause": 0.05},
    }
    return open_store({key: value for key, value in (table | changes).items() if value is not None})


@pytest.fixture(scope="module")
def served(openssh: OpenSSH) -> Iterator[Store]:
    """One store for all tests: its connections are kept."""
    with open_folder(openssh) as store:
        yield store


class TestOpenSSH(Conformance):
    @pytest.fixture
    def store(self, served: Store) -> Store:
        return served

    def test_lists_no_unfinished_or_foreign_file(self, store: Store, openssh: OpenSSH, place: str) -> None:
        folder = openssh.root / place
        folder.mkdir()
        (folder / "UPPER").write_bytes(b"x")
        (folder / ".hidden").write_bytes(b"x")
        (folder / "link").symlink_to("/etc/passwd")
        (folder / "real").write_bytes(b"x")
        assert list(store.list(place)) == [f"{place}/real"]
        with pytest.raises(StoreError, match="not a regular file"):
            store.get(f"{place}/link")

    def test_leaves_nothing_unfinished(self, store: Store, openssh: OpenSSH, place: str) -> None:
        store.put(f"{place}/object", b"x")
        store.check()
        assert list((openssh.root / ".medveil").iterdir()) == []

    def test_refuses_a_name_in_a_file(self, store: Store, place: str) -> None:
        store.put(f"{place}/object", b"x")
        with pytest.raises(StoreError):
            store.put(f"{place}/object/inside", b"x")
        assert list(store.list(place)) == [f"{place}/object"]


def test_a_locked_key_opens_with_its_passphrase(openssh: OpenSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTP_PASSPHRASE", openssh.passphrase)
    with open_folder(openssh, key_file=openssh.locked_key_file, passphrase_env="SFTP_PASSPHRASE") as store:  # noqa: S106 - the name of a variable
        store.check()


def test_a_known_hosts_file_names_the_server(openssh: OpenSSH, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{openssh.port} {openssh.host_key}\n")
    with open_folder(openssh, host_key=None, known_hosts=known) as store:
        store.check()


def other_key() -> str:
    key = Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


REFUSED = {
    "another host key": ({"host_key": other_key()}, "host key"),
    "an unknown host": ({"host_key": None, "known_hosts": "empty"}, "not known"),
    "a stranger's key": ({"key_file": "stranger"}, "credentials"),
    "a locked key without its passphrase": ({"key_file": "locked"}, "credentials"),
    "a password where none is taken": ({"key_file": None, "password_env": "SFTP_PASSWORD"}, "credentials"),
    "a missing folder": ({"path": "/nobody/made/this"}, "make the folder"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_at_once(
    openssh: OpenSSH, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    secret = "a-password-that-is-not-shown"  # noqa: S105 - not a password of anything
    monkeypatch.setenv("SFTP_PASSWORD", secret)
    (tmp_path / "empty").touch()
    files = {"empty": tmp_path / "empty", "stranger": openssh.stranger_key_file, "locked": openssh.locked_key_file}
    store = open_folder(openssh, **{key: files.get(str(value), value) for key, value in changes.items()})
    with pytest.raises(StoreUnavailableError, match=message) as caught:
        store.check()
    assert not caught.value.transient
    assert secret not in f"{caught.value!r} {store!r} {store.inner!r}"  # type: ignore[attr-defined]


def test_a_server_that_is_down_may_come_back(openssh: OpenSSH) -> None:
    with pytest.raises(StoreUnavailableError, match="did not answer") as caught:
        open_folder(replace(openssh, port=9)).get("object")
    assert caught.value.transient


@pytest.mark.parametrize("changes", [{"host_key": "ssh-ed25519 rubbish"}, {"host_key": ""}, {"key_file": None}])
def test_refuses_tables(openssh: OpenSSH, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        open_folder(openssh, **changes)
