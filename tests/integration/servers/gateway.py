"""The gateway as a process of its own, over TLS, with a vault in three clouds of which one is a PACS."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.conftest import ROOT
from tests.integration.servers.certificates import Authority, Identity
from tests.integration.servers.orthanc import Orthanc
from tests.integration.servers.process import free_ports, stop_process

from medveil.crypto.keyfile import OwnerKey, save_key_file
from medveil.gateway.access import hash_token, new_token
from medveil.vault import Vault, load_config

_VAULT = """
[vault]
dataset = "radiology"
threshold = "2/3"
codec = "none"
state = "state"
owner = "owner.key"

[search]
type = "sqlite"
path = "index.sqlite"
prefixes = true

[[store]]
type = "directory"
name = "north"
path = "clouds/north"

[[store]]
type = "directory"
name = "south"
path = "clouds/south"

[[store]]
type = "dicomweb"
name = "pacs"
url = "{url}"
insecure_http = true
user = "{user}"
password_file = "pacs-password"
archive = "gateway-story"
delete = "orthanc"
"""

_GATEWAY = """
[gateway]
vault = "vault.toml"
state = "queue"

[dicom]
port = 0
ae_title = "MEDVEIL"
certificate = "server.pem"
key = "server.key"
client_ca = "ca.pem"

[web]
port = 0
certificate = "server.pem"
key = "server.key"
client_ca = "ca.pem"

[admin]
port = 0

[queue]
min_free = 0
pace = false

[[client]]
name = "ct-1"
ae_title = "CT1"
certificate = "{modality}"
may = ["store"]

[[client]]
name = "station"
ae_title = "STATION"
certificate = "{station}"
all_studies = true
may = ["query", "retrieve"]

[[client]]
name = "dr-roe"
token_sha256 = "{roe}"
recipient = "dr-roe"
may = ["query", "retrieve"]

[[client]]
name = "dr-doe"
token_sha256 = "{doe}"
recipient = "dr-doe"
may = ["query", "retrieve"]

[[client]]
name = "dr-past"
token_sha256 = "{past}"
expires = 2020-01-01
recipient = "dr-roe"
may = ["query", "retrieve"]

[[destination]]
ae_title = "STATION"
host = "127.0.0.1"
port = {station_port}
ca = "ca.pem"
certificate = "server.pem"
key = "server.key"
"""


@dataclass(frozen=True)
class RunningGateway:
    """A running gateway: its ports, who may use it, and where everything lies."""

    folder: Path
    ports: dict[str, int]
    owner: OwnerKey = field(repr=False)
    ca: Path
    modality: Identity
    station: Identity
    stranger: Identity
    station_port: int
    tokens: dict[str, str] = field(repr=False)

    @property
    def dicomweb(self) -> str:
        return f"https://127.0.0.1:{self.ports['web']}/dicom-web"

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def open_vault(self) -> Vault:
        """Open the vault beside the gateway, as its owner does."""
        return Vault.open(self.folder / "vault.toml", self.owner)

    def wait_sealed(self) -> None:
        """Wait until the queue is empty."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            report = httpx.get(f"http://127.0.0.1:{self.ports['admin']}/ready", timeout=30).json()
            if report["queue"]["instances"] == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"the queue is not emptied:\n{self.log[-3000:]}")


@contextlib.contextmanager
def run_gateway(folder: Path, pacs: Orthanc) -> Iterator[RunningGateway]:
    """Make a vault and run a gateway over it in `folder`."""
    authority = Authority(folder)
    authority.issue("server")
    modality, station = authority.issue("modality"), authority.issue("station")
    tokens = {name: new_token() for name in ("roe", "doe", "past")}
    (station_port,) = free_ports(1)
    owner = OwnerKey.generate()
    passphrase = secrets.token_hex(16)
    (folder / "passphrase").write_text(passphrase)
    (folder / "pacs-password").touch(mode=0o600)
    (folder / "pacs-password").write_text(pacs.password)
    (folder / "vault.toml").write_text(_VAULT.format(url=pacs.dicomweb, user=pacs.user))
    fingerprints = {
        name: hashlib.sha256(one.der).hexdigest() for name, one in (("modality", modality), ("station", station))
    }
    hashes = {name: hash_token(token) for name, token in tokens.items()}
    (folder / "gateway.toml").write_text(_GATEWAY.format(station_port=station_port, **fingerprints, **hashes))
    save_key_file(folder / "owner.key", owner, passphrase.encode())
    Vault.init(load_config(folder / "vault.toml"), owner).close()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "MEDVEIL_PASSPHRASE_FILE": str(folder / "passphrase"),
    }
    log = folder / "gateway.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "medveil", "serve", "gateway", "--config", str(folder / "gateway.toml")],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        ports = _ports(process, log)
        yield RunningGateway(
            folder, ports, owner, authority.ca, modality, station, authority.issue("stranger"), station_port, tokens
        )
    finally:
        stop_process(process, 60)


def _ports(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        if any(event["event"] == "started" for event in events):
            return {event["via"]: event["port"] for event in events if event["event"] == "listening"}
        time.sleep(0.05)
    raise RuntimeError(f"the gateway did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory, orthanc: Orthanc) -> Iterator[RunningGateway]:
    """A gateway over TLS, whose clouds are two folders and a PACS."""
    with run_gateway(tmp_path_factory.mktemp("gateway"), orthanc) as started:
        yield started
