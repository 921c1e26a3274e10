"""OpenSSH's sshd with keys and a configuration of its own: a real SFTP server."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.integration.servers.process import Server, free_ports, need_programs, running

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class OpenSSH:
    """A running server, our key (with and without a passphrase), and a folder that it serves."""

    port: int
    user: str
    host_key: str
    key_file: Path
    locked_key_file: Path
    passphrase: str
    stranger_key_file: Path
    root: Path


@contextlib.contextmanager
def run_openssh(folder: Path) -> Iterator[OpenSSH]:
    """Run sshd in `folder`; skips the test where it is not installed."""
    sshd = need_programs("openssh-server", "sshd")["sshd"]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's fixed folder to shed privileges in
    folder.chmod(0o755)
    host, ours, stranger = (Ed25519PrivateKey.generate() for _ in range(3))
    passphrase = secrets.token_urlsafe(12)
    _write_key(folder / "host_key", host)
    _write_key(folder / "key", ours)
    _write_key(folder / "locked_key", ours, passphrase)
    _write_key(folder / "stranger_key", stranger)
    (folder / "authorized_keys").write_text(_public(ours) + "\n")
    root = folder / "served"
    root.mkdir()
    (port,) = free_ports(1)
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(port=port, folder=folder, user=getpass.getuser()))
    with running(Server([sshd, "-D", "-f", str(config), "-E", str(folder / "sshd.log")], port, folder / "output.log")):
        yield OpenSSH(
            port,
            getpass.getuser(),
            _public(host),
            folder / "key",
            folder / "locked_key",
            passphrase,
            folder / "stranger_key",
            root,
        )


def _write_key(path: Path, key: Ed25519PrivateKey, passphrase: str | None = None) -> None:
    how = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, how))


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.fixture(scope="session")
def openssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSSH]:
    """An SFTP server."""
    with run_openssh(tmp_path_factory.mktemp("openssh")) as started:
        yield started
