"""Runs the command line in this process, as the console script does."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medveil.cli import main, terminal
from medveil.crypto import keyfile


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Medveil = Callable[..., Outcome]


@pytest.fixture
def medveil(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Medveil:
    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["medveil", *map(str, arguments)])
        # rich binds the stream it first saw; these consoles must write where pytest listens
        monkeypatch.setattr(terminal.out, "_file", None)
        monkeypatch.setattr(terminal.err, "_file", None)
        with pytest.raises(SystemExit) as ended:
            main.run()
        captured = capsys.readouterr()
        code = ended.value.code
        return Outcome(0 if code is None else int(code), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def passphrase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("passphrase") / "passphrase"
    path.write_text("a long enough sentence for a test\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def _passphrase_in_the_environment(passphrase: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDVEIL_PASSPHRASE_FILE", str(passphrase))


@pytest.fixture(scope="session", autouse=True)
def _stretch_each_passphrase_once() -> Iterator[None]:
    """Argon2id is a function of what it is given: within one run its results may be kept."""
    real = keyfile._stretch
    keyfile._stretch = functools.cache(real)
    yield
    keyfile._stretch = real


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory, passphrase: Path) -> Path:
    from medveil.crypto.keyfile import OwnerKey, save_key_file

    path = tmp_path_factory.mktemp("key") / "owner.key"
    save_key_file(path, OwnerKey.generate(), passphrase.read_bytes().rstrip(b"\n"))
    return path
