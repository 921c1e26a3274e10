"""Tables of vault.toml: what opens, what is refused, and that no secret is shown."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from medveil.errors import ConfigError, UsageError
from medveil.stores import registry
from medveil.stores.config import open_store, parse_store
from medveil.stores.directory import DirectoryStore
from medveil.stores.memory import MemoryConfig, MemoryStore
from medveil.stores.retry import Patience, RetryStore
from medveil.stores.settings import RetryConfig, read_secret

S3 = {"type": "s3", "name": "cloud", "bucket": "vault"}
SFTP = {"type": "sftp", "name": "cloud", "host": "h", "user": "u", "path": "/p"}
WEBDAV = {"type": "webdav", "name": "cloud", "url": "https://h/p"}
KEYS = {"access_key_env": "KEY", "secret_key_env": "SECRET"}
HIDDEN = "s3cr3t-value-that-must-not-show"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEY", "an-access-key")
    monkeypatch.setenv("SECRET", HIDDEN)
    monkeypatch.setenv("EMPTY", "")


def test_opens_what_a_toml_file_says(tmp_path: Path) -> None:
    text = f"""
        [[stores]]
        type = "directory"
        name = "office"
        provider = "ourselves"
        path = "{tmp_path}/store"
        retry = {{ attempts = 2, deadline = 5.5 }}
        [[stores]]
        type = "memory"
        name = "scratch"
        limit = 10
    """
    office, scratch = (open_store(table) for table in tomllib.loads(text)["stores"])
    assert isinstance(office, RetryStore)
    assert isinstance(office.inner, DirectoryStore)
    assert (office.name, office.provider) == ("office", "ourselves")
    assert office._patience == Patience(attempts=2, deadline=5.5)
    office.put("object", b"x")
    assert (tmp_path / "store" / "object").read_bytes() == b"x"
    assert isinstance(scratch, MemoryStore)
    assert scratch.provider == "scratch"


def test_patience_and_its_table_agree() -> None:
    assert Patience(**RetryConfig().model_dump()) == Patience()


@pytest.mark.parametrize("table", [S3 | KEYS, WEBDAV, WEBDAV | {"user": "u", "password_env": "SECRET"}])
def test_opens_remote_stores_without_connecting(table: dict[str, object]) -> None:
    with open_store(table) as store:
        assert store.name == "cloud"
        assert HIDDEN not in f"{store!r} {vars(store)}"


BAD = {
    "no type": ({"name": "x"}, "has no type"),
    "type is no text": ({"type": 3, "name": "x"}, "has no type"),
    "unknown type": ({"type": "floppy", "name": "x"}, "dicomweb, directory, memory, s3, sftp, webdav"),
    "a module that is no store": ({"type": "base", "name": "x"}, "no store of type"),
    "a path for a type": ({"type": "../x", "name": "x"}, "no store of type"),
    "unknown key": ({"type": "directory", "name": "x", "path": "p", "pth": "q"}, "pth: extra inputs"),
    "missing key": ({"type": "directory", "name": "x"}, "path: field required"),
    "no name": ({"type": "memory"}, "name: field required"),
    "bad name": ({"type": "memory", "name": "a/b"}, "name:"),
    "empty name": ({"type": "memory", "name": ""}, "name:"),
    "wrong value": ({"type": "memory", "name": "x", "limit": "many"}, "limit:"),
    "negative": ({"type": "memory", "name": "x", "limit": -1}, "limit:"),
    "unknown retry key": ({"type": "memory", "name": "x", "retry": {"tries": 3}}, "retry.tries"),
    "no attempts": ({"type": "memory", "name": "x", "retry": {"attempts": 0}}, "retry.attempts"),
    "http": (S3 | KEYS | {"endpoint": "http://h"}, "without TLS"),
    "endpoint with credentials": (S3 | KEYS | {"endpoint": f"https://u:{HIDDEN}@h"}, "endpoint:"),
    "endpoint with a path": (S3 | KEYS | {"endpoint": "https://h/p"}, "endpoint:"),
    "bucket with a slash": (S3 | KEYS | {"bucket": "a/b"}, "bucket:"),
    "prefix that climbs": (S3 | KEYS | {"prefix": "../x"}, "prefix:"),
    "no credentials": (S3, "no credentials"),
    "half of the credentials": (S3 | {"access_key_env": "KEY"}, "no credentials"),
    "variable not set": (S3 | KEYS | {"secret_key_env": "NOT_SET"}, "NOT_SET, which is not set"),
    "variable empty": (S3 | KEYS | {"secret_key_env": "EMPTY"}, "not set"),
    "secret named twice": (S3 | KEYS | {"secret_key_file": "f"}, "named twice"),
    "no such file": (S3 | {"access_key_env": "KEY", "secret_key_file": "nobody-made-it"}, "cannot be read"),
    "no such ca_file": (S3 | KEYS | {"ca_file": "nobody-made-it"}, "ca_file"),
    "secret in the table": (S3 | {"secret_key": HIDDEN}, "secret_key_env"),
    "AWS's name of it": (S3 | {"secret_access_key": HIDDEN}, "secret_key_env"),
    "password in the table": (SFTP | {"password": HIDDEN}, "password_env"),
    "token in the table": (WEBDAV | {"token": HIDDEN}, "token_env"),
    "relative folder": (SFTP | {"path": "p", "password_env": "SECRET"}, "path:"),
    "no way in": (SFTP, "either key_file or a password"),
    "two ways in": (SFTP | {"key_file": "k", "password_env": "SECRET"}, "either key_file or a password"),
    "host that is an option": (SFTP | {"host": "a b", "password_env": "SECRET"}, "host:"),
    "no host key anywhere": (SFTP | {"password_env": "SECRET", "known_hosts": "nobody-made-it"}, "pin the server"),
    "plain WebDAV": (WEBDAV | {"url": "http://h/p"}, "without TLS"),
    "URL with credentials": (WEBDAV | {"url": f"https://u:{HIDDEN}@h/p"}, "url:"),
    "URL of another kind": (WEBDAV | {"url": "ftp://h/p"}, "url:"),
    "user without password": (WEBDAV | {"user": "u"}, "user with a password"),
    "password without user": (WEBDAV | {"password_env": "SECRET"}, "user with a password"),
    "no such authority": (WEBDAV | {"ca_file": "nobody-made-it"}, "ca_file"),
}  # fmt: skip


@pytest.mark.parametrize(("table", "message"), BAD.values(), ids=BAD.keys())
def test_refuses_tables(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(table)
    assert message in str(caught.value)
    assert HIDDEN not in str(caught.value)
    assert HIDDEN not in repr(caught.value.__cause__)


def test_a_parsed_table_opens(tmp_path: Path) -> None:
    config = parse_store({"type": "memory", "name": "x"})
    assert config == MemoryConfig(type="memory", name="x")
    assert open_store(config).name == "x"


def test_secrets_come_from_private_files_only(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(HIDDEN + "\n")
    path.chmod(0o600)
    found = read_secret("key", env=None, file=path)
    assert found is not None
    assert found.get_secret_value() == HIDDEN
    assert HIDDEN not in f"{found!r} {found}"
    assert read_secret("key", env=None, file=None) is None
    for mode in (0o640, 0o604, 0o660):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod 600"):
            read_secret("key", env=None, file=path)
    path.chmod(0o600)
    for content in (b"", b"\n", b"\xff\xfe", b"x" * 70_000):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"empty|not text|too long"):
            read_secret("key", env=None, file=path)


class ThirdParty(MemoryStore):
    """What another package may offer."""


def test_another_package_adds_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        "tape": EntryPoint("tape", f"{__name__}:ThirdParty", registry.ENTRY_POINT_GROUP),
        "wrong": EntryPoint("wrong", "medveil.errors:MedveilError", registry.ENTRY_POINT_GROUP),
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: tuple(points.values()))
    monkeypatch.setattr(EntryPoint, "load", lambda self: ThirdParty if self.name == "tape" else UsageError)
    assert registry.names() == ("dicomweb", "directory", "memory", "s3", "sftp", "webdav", "tape", "wrong")
    assert registry.load("tape") is ThirdParty
    with pytest.raises(ConfigError, match="not a subclass"):
        registry.load("wrong")
