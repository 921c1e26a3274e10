"""A gateway's life: killed, stopped, short of a store, and silent about patients, as a process of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.conftest import ROOT
from tests.gateway.gateway_room import GATEWAY, MULTIPART, OWNER, SENDER, TOKEN, VAULT, multipart, running, study, told
from tests.signals import tell_another_thread

from medveil.crypto.keyfile import save_key_file
from medveil.vault import Vault, load_config

PASSPHRASE = b"a passphrase of the tests"


@contextlib.contextmanager
def process(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, int]]]:
    """Run `medveil serve gateway` in `folder`; gives the process and its ports."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "MEDVEIL_PASSPHRASE_FILE": str(folder / "passphrase"),
        "TMPDIR": str(folder / "temporary"),
    }
    log = folder / "gateway.log"
    start = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        running_one = subprocess.Popen(
            [sys.executable, "-m", "medveil", "serve", "gateway", "--config", str(folder / "gateway.toml")],
            env=environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield running_one, _ports(running_one, log, start)
    finally:
        running_one.kill()
        running_one.wait(20)


def _ports(one: subprocess.Popen[bytes], log: Path, start: int) -> dict[str, int]:
    end = time.monotonic() + 60
    while time.monotonic() < end and one.poll() is None:
        lines = log.read_bytes()[start:].decode().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        if any(event["event"] == "started" for event in events):
            return {event["via"]: event["port"] for event in events if event["event"] == "listening"}
        time.sleep(0.05)
    raise RuntimeError(f"the gateway did not start:\n{log.read_text()[-3000:]}")


def prepare(folder: Path, vault: str = VAULT, gateway: str = GATEWAY) -> None:
    (folder / "vault.toml").write_text(vault)
    (folder / "gateway.toml").write_text(gateway)
    (folder / "passphrase").write_bytes(PASSPHRASE)
    (folder / "temporary").mkdir()
    save_key_file(folder / "owner.key", OWNER, PASSPHRASE)
    Vault.init(load_config(folder / "vault.toml"), OWNER).close()


def client(port: int, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}/dicom-web", headers={"Authorization": f"Bearer {token}"}, timeout=30
    )


def send(port: int, data: bytes) -> bool:
    """Send an instance; whether the gateway said that it is stored."""
    try:
        with client(port, SENDER) as web:
            answer = web.post("/studies", content=multipart(data), headers={"Content-Type": MULTIPART})
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def wait_for(port: int, uid: str, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + 60
    with client(port, TOKEN) as web:
        while time.monotonic() < end:
            answer = web.get(f"/studies/{uid}/instances")
            if answer.status_code == 200 and len(answer.json()) >= count:
                return list(answer.json())
            time.sleep(0.1)
    raise AssertionError(f"{count} instances are not found")


def test_killed_again_and_again_it_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    prepare(tmp_path)
    files = study(24)
    said: list[bytes] = []
    for turn in range(3):
        with process(tmp_path) as (one, ports):
            killer = threading.Timer(0.35 + 0.2 * turn, one.kill)
            killer.start()
            for data in files[8 * turn : 8 * turn + 8]:
                if send(ports["web"], data):
                    said.append(data)
            killer.cancel()
            one.kill()
            one.wait(20)
    assert len(said) >= 3, "the machine was too slow for this test to mean anything"
    with process(tmp_path) as (one, ports):
        # What was not acknowledged is sent again, as a modality does.
        assert all(send(ports["web"], data) for data in files)
        found = wait_for(ports["web"], told(files[0]).study, len(files))
        assert len(found) == len(files)
        with client(ports["web"], TOKEN) as web:
            for data in files:
                one_told = told(data)
                path = f"/studies/{one_told.study}/series/{one_told.series}/instances/{one_told.uid}"
                assert web.get(path, headers={"Accept": "application/dicom"}).content == data
        one.send_signal(signal.SIGTERM)
        assert one.wait(30) == 0
    with Vault.open(tmp_path / "vault.toml", OWNER) as vault:
        assert len(vault.list()) == len(files)
        assert vault.verify().findings == ()


def test_sigterm_given_to_another_thread_is_seen(tmp_path: Path) -> None:
    prepare(tmp_path)
    with process(tmp_path) as (one, _):
        tell_another_thread(one.pid, signal.SIGTERM)
        assert one.wait(60) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "gateway.log").read_text().splitlines()]
    assert events[-2:] == ["stopping", "stopped"]


def test_sigterm_finishes_and_flushes(tmp_path: Path) -> None:
    prepare(tmp_path)
    files = study(6)
    with process(tmp_path) as (one, ports):
        assert all(send(ports["web"], data) for data in files)
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    events = [json.loads(line) for line in (tmp_path / "gateway.log").read_text().splitlines()]
    assert [event["event"] for event in events][-2:] == ["stopping", "stopped"]
    assert events[-1]["waiting"] == 0
    with Vault.open(tmp_path / "vault.toml", OWNER) as vault:
        assert len(vault.list()) == 6
        assert vault.search("", limit=10).hits[0].study.attributes["NumberOfStudyRelatedInstances"] == 6


def test_no_patient_data_anywhere(tmp_path: Path) -> None:
    """Logs, stores, queue, temporary files, local state and argv, in clear, in UTF-16, base64 and hex."""
    prepare(tmp_path)
    files = study(2, name="CANARY^MARGARETE")
    one_told = told(files[0])
    canaries = [b"CANARY", b"MARGARETE", one_told.uid.encode(), one_told.study.encode(), files[0][-64:], b"PID-CANAR"]
    with process(tmp_path) as (one, ports):
        argv = Path(f"/proc/{one.pid}/cmdline").read_bytes()
        assert all(send(ports["web"], data) for data in files)
        send(ports["web"], files[0].replace(b"Thorax routine", b"Thorax changed"))
        send(ports["web"], files[0][:5000])
        seen = _everything(tmp_path)
        wait_for(ports["web"], one_told.study, 2)
        with client(ports["web"], TOKEN) as web:
            web.get("/studies?PatientName=CANARY*")
            web.get("/studies?PatientName=CANARY&NoSuch=MARGARETE")
            web.get(f"/studies/{one_told.study}/series/1.2/instances/{one_told.uid}")
            web.get(f"/studies/{one_told.study}")
        seen += _everything(tmp_path)
        one.send_signal(signal.SIGTERM)
        assert one.wait(60) == 0
    seen += [("argv", argv), *_everything(tmp_path)]
    assert len(seen) > 30
    for where, data in seen:
        for canary in canaries:
            forms = {canary, canary.decode("latin-1").encode("utf-16-le"), canary.hex().encode()}
            forms.add(base64.b64encode(canary)[:-4])
            assert not [form for form in forms if form in data], f"{canary!r} is in {where}"


def _everything(folder: Path) -> list[tuple[str, bytes]]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                found.append((str(path.relative_to(folder)), path.read_bytes()))
        found.append((str(path.relative_to(folder)), path.name.encode()))
    return found


def test_a_store_that_is_down_in_mid_study_delays_and_loses_nothing(tmp_path: Path) -> None:
    files = study(4)
    with running(tmp_path) as room:
        assert room.stow(*files[:2]).status_code == 200
        assert room.gateway.wait_sealed(30)
        # Two of three stores go away: nothing can be sealed, everything is taken.
        for name in ("north", "east"):
            (tmp_path / name).rename(tmp_path / f"{name}-away")
            (tmp_path / name).write_bytes(b"a file where a folder was")
        assert room.stow(*files[2:]).status_code == 200
        assert not room.gateway.wait_sealed(2)
        assert any(event["event"] == "seal failed" for event in room.events)
        for name in ("north", "east"):
            (tmp_path / name).unlink()
            (tmp_path / f"{name}-away").rename(tmp_path / name)
        assert room.gateway.wait_sealed(40)
        with room.web() as web:
            end = time.monotonic() + 20
            while len(web.get(f"/studies/{told(files[0]).study}/instances").json()) < 4:
                assert time.monotonic() < end
                time.sleep(0.1)


def test_a_defect_ends_no_worker_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = study(2)
    with running(tmp_path) as room:
        archive = room.gateway._archive
        put, failures = archive.put, [RuntimeError("CANARY^NAME")] * 3

        def broken(data: bytes, uid: str) -> str:
            if failures:
                raise failures.pop()
            return put(data, uid)

        monkeypatch.setattr(archive, "put", broken)
        assert room.stow(*files).status_code == 200
        assert room.gateway.wait_sealed(30)
        assert [event["error"] for event in room.events if event["event"] == "seal failed"] == ["RuntimeError"] * 3
        assert "CANARY" not in room.log.getvalue()


def test_what_waited_is_sealed_after_a_restart(tmp_path: Path) -> None:
    files = study(3)
    with running(tmp_path, GATEWAY.replace("grace = 10", "grace = 0")) as room:
        for thread in (workers := room.gateway._workers)._threads:
            workers._stop.set()
            thread.join()
        assert room.stow(*files).status_code == 200
    with running(tmp_path, init=False) as room:
        assert room.events[-1] == room.events[-1] | {"event": "started", "waiting": 3}
        assert room.gateway.wait_sealed(30)
        assert room.stow(*files).status_code == 200
    with Vault.open(tmp_path / "vault.toml", OWNER) as vault:
        assert len(vault.list()) == 3


def test_a_gateway_without_an_index_serves_no_reader(tmp_path: Path) -> None:
    from medveil.errors import ConfigError

    prepare(tmp_path, vault=VAULT.partition("[search]")[0] + VAULT[VAULT.index("[[store]]") :])
    from medveil.gateway import load_config as load_gateway
    from medveil.gateway.service import Gateway

    with pytest.raises(ConfigError, match="no index"):
        Gateway(load_gateway(tmp_path / "gateway.toml"), OWNER)
