"""A PostgreSQL server of its own: made by initdb, run by an ordinary user on a socket and on loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.servers.process import Server, free_ports, running

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
USER = "medveil"


@dataclass(frozen=True)
class Postgres:
    """A running server with one superuser and its password."""

    port: int
    socket: Path
    password: str

    def arguments(self, *, tcp: bool = False) -> dict[str, Any]:
        """Return what libpq takes."""
        host = "127.0.0.1" if tcp else str(self.socket)
        return {"host": host, "port": self.port, "dbname": "postgres", "user": USER, "password": self.password}


def have_postgres() -> bool:
    return bool(BINARIES)


@contextlib.contextmanager
def run_postgres(folder: Path) -> Iterator[Postgres]:
    """Run a server whose data lie in `folder`; skips the test where it is not installed."""
    if not BINARIES:
        pytest.skip("needs initdb and postgres: apt-get install --no-install-recommends postgresql")
    initdb, postgres = (str(BINARIES[0] / name) for name in ("initdb", "postgres"))
    folder.chmod(0o755)
    home = folder / "postgres"
    home.mkdir()
    password = secrets.token_urlsafe(16)
    (home / "password").write_text(password)
    prefix = _unprivileged(home)
    data = home / "data"
    making = [
        *prefix, initdb, "-D", str(data), "-U", USER, "-A", "scram-sha-256", f"--pwfile={home / 'password'}",
        "--no-sync", "-E", "UTF8", "--locale=C",
    ]  # fmt: skip
    made = subprocess.run(making, capture_output=True, text=True, check=False, cwd=home)
    if made.returncode:
        raise RuntimeError(made.stderr[-2000:])
    (port,) = free_ports(1)
    command = [
        *prefix, postgres, "-D", str(data), "-p", str(port), "-c", f"unix_socket_directories={home}",
        "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=50",
    ]  # fmt: skip
    with running(Server(command, port, home / "server.log")):
        started = Postgres(port, home, password)
        _wait_for_sessions(started)
        yield started


def _wait_for_sessions(server: Postgres, patience: float = 60.0) -> None:
    """Wait until the server takes sessions: it listens while it is still starting, and refuses them until it is up."""
    psycopg = pytest.importorskip("psycopg")
    end = time.monotonic() + patience
    while True:
        try:
            psycopg.connect(**server.arguments(), connect_timeout=10).close()
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _unprivileged(home: Path) -> list[str]:
    """Return how to start a program that refuses to run as root; the folder is given to whom it runs as."""
    (home / "server.log").touch()
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    who = "postgres" if "postgres" in names else "nobody"
    for path in (home, *home.iterdir()):
        shutil.chown(path, who)
    entry = pwd.getpwnam(who)
    return ["/usr/bin/setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--"]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    for parent in (base := tmp_path_factory.mktemp("pg")).parents:
        if parent.stat().st_uid == os.geteuid() and parent != parent.parent and os.geteuid() == 0:
            with contextlib.suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o011)
    with run_postgres(base) as started:
        yield started
