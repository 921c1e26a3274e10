"""OpenStack Swift with its S3 interface and its own accounts: a real S3 server, from Debian's packages."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store
from tests.integration.servers.process import Server, free_ports, need_programs, running

PACKAGES = "swift-proxy swift-account swift-container swift-object"
BACKENDS = ("account", "container", "object")

_BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
disable_fallocate = true

[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""

_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}

[pipeline:main]
pipeline = catch_errors cache s3api tempauth slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{no_cache}

[filter:s3api]
use = egg:swift#s3api
s3_acl = false
check_bucket_owner = false
min_segment_size = 1048576

[filter:slo]
use = egg:swift#slo
rate_limit_after_segment = 100000

[filter:tempauth]
use = egg:swift#tempauth
{users}
"""


@dataclass(frozen=True)
class Account:
    """One cloud: an account with a bucket of its own."""

    access_key: str
    secret_key: str = field(repr=False)
    bucket: str


@dataclass(frozen=True)
class Swift:
    """A running server; accounts: two that cannot see each other; devices: where it keeps their bytes."""

    endpoint: str
    devices: Path
    accounts: tuple[Account, Account]


@contextlib.contextmanager
def run_swift(folder: Path) -> Iterator[Swift]:
    """Run the four servers of Swift in `folder`; skips the test where it is not installed."""
    programs = need_programs(
        PACKAGES, "swift-ring-builder", "swift-proxy-server", *(f"swift-{k}-server" for k in BACKENDS)
    )
    if not _keeps_attributes(folder):
        pytest.skip(f"Swift needs a file system with extended attributes: set TMPDIR to one, {folder} has none")
    accounts = (_account(1), _account(2))
    ports = dict(zip((*BACKENDS, "proxy", "no_cache"), free_ports(5), strict=True))
    (folder / "devices" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        f"[swift-hash]\nswift_hash_path_prefix = {secrets.token_hex(8)}\n"
        f"swift_hash_path_suffix = {secrets.token_hex(8)}\n"
        "[storage-policy:0]\nname = only\ndefault = yes\n"
    )
    common = {"folder": folder, "user": getpass.getuser()}
    users = "".join(f"user_{a.access_key.replace(':', '_')} = {a.secret_key} .admin\n" for a in accounts)
    proxy = _PROXY.format(port=ports["proxy"], no_cache=ports["no_cache"], users=users, **common)
    _write_private(folder / "proxy.conf", proxy)
    servers = [Server([programs["swift-proxy-server"], f"{folder}/proxy.conf"], ports["proxy"], folder / "proxy.log")]
    for kind in BACKENDS:
        _build_ring(programs["swift-ring-builder"], folder, kind, ports[kind])
        _write_private(folder / f"{kind}.conf", _BACKEND.format(port=ports[kind], kind=kind, **common))
        command = [programs[f"swift-{kind}-server"], f"{folder}/{kind}.conf"]
        servers.append(Server(command, ports[kind], folder / f"{kind}.log"))
    with running(*servers):
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        for account in accounts:
            _make_bucket(endpoint, account)
        yield Swift(endpoint, folder / "devices", accounts)


def _make_bucket(endpoint: str, account: Account) -> None:
    """Make a bucket, which obstore does not offer, with a request that it signs."""
    bucket = S3Store(
        account.bucket,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=account.access_key,
        secret_access_key=account.secret_key,
        client_options={"allow_http": True},
    )
    httpx.put(obstore.sign(bucket, "PUT", "", timedelta(minutes=1))).raise_for_status()


def _account(number: int) -> Account:
    return Account(f"cloud{number}:medveil", secrets.token_urlsafe(24), f"vault-{number}")


def _keeps_attributes(folder: Path) -> bool:
    probe = folder / "attributes"
    probe.touch()
    try:
        os.setxattr(probe, "user.medveil", b"x" * 256)
    except (OSError, AttributeError):
        return False
    finally:
        probe.unlink()
    return True


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _build_ring(builder: str, folder: Path, kind: str, port: int) -> None:
    ring = f"{folder}/{kind}.builder"
    for arguments in (
        ("create", "4", "1", "1"),
        ("add", f"r1z1-127.0.0.1:{port}/disk", "1"),
        ("rebalance",),
    ):
        subprocess.run([builder, ring, *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    """An S3 server with two accounts, each with a bucket: two clouds."""
    with run_swift(tmp_path_factory.mktemp("swift")) as started:
        yield started
