"""`medveil serve` and `medveil config check` for gateways."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.gateway.gateway_room import GATEWAY, VAULT
from typer.testing import CliRunner

from medveil.cli.main import app
from medveil.errors import ConfigError, InputError, OutputExistsError

runner = CliRunner()


def test_a_token_is_written_for_its_owner_alone_and_never_printed(tmp_path: Path) -> None:
    out = tmp_path / "roe.token"
    done = runner.invoke(app, ["serve", "token", "--out", str(out), "--json"])
    secret = out.read_text().strip()
    assert out.stat().st_mode & 0o777 == 0o600
    assert json.loads(done.stdout)["token_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in done.output
    again = runner.invoke(app, ["serve", "token", "--out", str(out)])
    assert isinstance(again.exception, OutputExistsError)
    assert out.read_text().strip() == secret


def test_a_fingerprint_is_of_the_certificate(tmp_path: Path) -> None:
    from tests.integration.servers.certificates import Authority

    identity = Authority(tmp_path).issue("client")
    done = runner.invoke(app, ["serve", "fingerprint", str(identity.certificate)])
    assert done.stdout.strip() == f'certificate = "{hashlib.sha256(identity.der).hexdigest()}"'
    refused = runner.invoke(app, ["serve", "fingerprint", str(identity.key)])
    assert isinstance(refused.exception, InputError)


def test_config_check_explains_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "vault.toml").write_text(VAULT)
    (tmp_path / "gateway.toml").write_text(GATEWAY)
    said = runner.invoke(app, ["config", "check", str(tmp_path / "gateway.toml")]).stdout
    assert "DICOM as MEDVEIL on 127.0.0.1:0 (without TLS)" in said
    assert "client ct may store; known by AE title CT1 and a token; sees nothing" in said
    assert "client station may query, retrieve; known by AE title STATION and a token; sees everything" in said
    assert "store north: directory" in said
    found = json.loads(runner.invoke(app, ["config", "check", str(tmp_path / "gateway.toml"), "--json"]).stdout)
    assert found["clients"] == ["ct", "station"]
    (tmp_path / "vault.toml").write_text(VAULT[: VAULT.index("[search]")] + VAULT[VAULT.index("[[store]]") :])
    assert "WILL NOT START" in runner.invoke(app, ["config", "check", str(tmp_path / "gateway.toml")]).stdout


@pytest.mark.parametrize("text", ["[dicom]\nport = 1\n", "[web]\nbind = 'x'\n", "[gateway]\nvolt = 3\n"])
def test_config_check_refuses_a_wrong_gateway(tmp_path: Path, text: str) -> None:
    (tmp_path / "gateway.toml").write_text(text)
    done = runner.invoke(app, ["config", "check", str(tmp_path / "gateway.toml")])
    assert isinstance(done.exception, ConfigError)
    done = runner.invoke(app, ["serve", "gateway", "--config", str(tmp_path / "gateway.toml")])
    assert isinstance(done.exception, ConfigError)
