"""C-STORE into the gateway beside plain Orthanc, in one run; and a soak of many instances with memory and losses.

    python -m benchmarks.gateway [--instances 300] [--side 512 128] [--runs 3] [--soak 10000] [--no-pace]

The sender is dcmtk's storescu, one association. Both receivers run as processes of their own on the same disk; both
sync what they store before they answer (Orthanc's default). The gateway takes turns with Orthanc, run by run. What the
gateway has taken is sealed into three folders meanwhile; with `pace` (the default) sealing yields to arrivals.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
from pydicom.uid import generate_uid
from tests.gateway.gateway_room import STORES, VAULT
from tests.integration.servers.orthanc import run_orthanc

from benchmarks.pages import write
from medveil.crypto.keyfile import OwnerKey, save_key_file
from medveil.imaging import samples
from medveil.vault import Vault, load_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "gateway.md"
HEAD = "| instance | gateway, 1/s | Orthanc, 1/s | ratio | sealed afterwards, 1/s |\n|---|---|---|---|---|"
SENDER = "/usr/bin/storescu"
GATEWAY = """
[dicom]
port = 0
[admin]
port = 0
[[client]]
name = "modality"
ae_title = "CT1"
may = ["store"]
"""


def make_study(folder: Path, count: int, side: int) -> int:
    """Write `count` instances of side x side pixels cut from a real CT slice; returns the bytes of one."""
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(samples.load("ct-thorax.dcm")))
        dataset.pop(0xFFFCFFFC, None)
        pixels = dataset.pixel_array
        start = (pixels.shape[0] - side) // 2
        dataset.PixelData = pixels[start : start + side, start : start + side].tobytes()
        dataset.Rows = dataset.Columns = side
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        for number in range(count):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = number + 1
            dataset.save_as(folder / f"{number:06d}.dcm")
    return (folder / "000000.dcm").stat().st_size


def send(folder: Path, port: int, title: str) -> float:
    """Send a folder over one association; returns the seconds it took."""
    command = [SENDER, "-aet", "CT1", "-aec", title, "+sd", "127.0.0.1", str(port), str(folder)]
    began = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | {"TCP_NODELAY": "1"}, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


@dataclass
class Running:
    """A gateway as a process."""

    process: subprocess.Popen[bytes]
    dicom: int
    admin: int
    folder: Path
    owner: OwnerKey

    @property
    def waiting(self) -> int:
        return int(httpx.get(f"http://127.0.0.1:{self.admin}/ready", timeout=60).json()["queue"]["instances"])

    def memory(self, field: str = "VmRSS") -> float:
        """Return MiB of resident memory now, or at most (VmHWM)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        return 0.0

    def drain(self) -> float:
        """Wait until all is sealed; returns the seconds."""
        began = time.monotonic()
        while self.waiting:
            time.sleep(0.2)
        return time.monotonic() - began


@contextlib.contextmanager
def gateway(folder: Path, more: str = "") -> Iterator[Running]:
    owner, passphrase = OwnerKey.generate(), secrets.token_bytes(16).hex().encode()
    folder.mkdir()
    (folder / "passphrase").write_bytes(passphrase)
    (folder / "vault.toml").write_text(VAULT)
    (folder / "gateway.toml").write_text(GATEWAY + more)
    save_key_file(folder / "owner.key", owner, passphrase)
    Vault.init(load_config(folder / "vault.toml"), owner).close()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"), "MEDVEIL_PASSPHRASE_FILE": str(folder / "passphrase"),
    }  # fmt: skip
    command = [sys.executable, "-m", "medveil", "serve", "gateway", "--config", str(folder / "gateway.toml")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        ports: dict[str, int] = {}
        while "admin" not in ports:
            time.sleep(0.1)
            lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
            ports = {line["via"]: line["port"] for line in lines if line["event"] == "listening"}
        yield Running(process, ports["dicom"], ports["admin"], folder, owner)
    finally:
        process.terminate()
        process.wait(120)


def compare(base: Path, count: int, side: int, runs: int, more: str) -> str:
    """Send the same number of fresh instances to both in turn; returns a row of medians."""
    rates: dict[str, list[float]] = {"gateway": [], "orthanc": []}
    drained = []
    with gateway(base / f"gateway-{side}", more) as ours, run_orthanc(base / f"orthanc-{side}") as theirs:
        for run in range(runs):
            for name, port, title in (
                ("orthanc", theirs.dicom_port, theirs.ae_title),
                ("gateway", ours.dicom, "MEDVEIL"),
            ):
                files = base / f"files-{side}-{run}-{name}"
                size = make_study(files, count, side)
                rates[name].append(count / send(files, port, title))
                shutil.rmtree(files)
            drained.append(count / max(0.001, ours.drain()))
    ours_rate, theirs_rate = (statistics.median(rates[name]) for name in ("gateway", "orthanc"))
    row = (
        f"| {side}x{side}, {size / 1024:.0f} KiB | {ours_rate:.0f} | {theirs_rate:.0f} | {ours_rate / theirs_rate:.1f} "
        f"| {statistics.median(drained):.0f} |"
    )
    print(row, flush=True)
    return row


def missing_of(folder: Path, uids: set[str], owner: OwnerKey) -> tuple[int, int]:
    """Return how many instances were lost and doubled.

    The ledger names an object for each instance, every object must have its manifest and share in each of the three
    stores, no store may hold another object, and 200 instances are read and compared by UID.
    """
    with sqlite3.connect(folder / "gateway-state" / "ledger.sqlite") as database:
        objects = [row[0] for row in database.execute("SELECT object FROM sealed")]
    held = []
    for store in STORES:
        names = [path for path in (folder / store).rglob("*") if path.is_file()]
        heads, shares = ({p.parent.name for p in names if p.name.startswith(mark)} for mark in ("h-", "s-"))
        held.append(heads & shares)
    whole = set.intersection(*held)
    found = set()
    with Vault.open(folder / "vault.toml", owner) as vault:
        for one in sorted(whole)[:: max(1, len(whole) // 200)]:
            data, _ = vault.read(one)
            found.add(str(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).SOPInstanceUID))
    lost = len(uids) - len(set(objects) & whole) + len(found - uids)
    return lost, len(objects) - len(set(objects)) + len(set.union(*held) - set(objects))


def soak(base: Path, total: int, side: int) -> str:
    """Send `total` instances in studies of 500; returns memory over time, and what was lost."""
    uids: set[str] = set()
    memory: list[float] = []
    began = time.monotonic()
    with gateway(base / "soak") as ours:
        first = ours.memory()
        while len(uids) < total:
            files = base / "soak-files"
            make_study(files, min(500, total - len(uids)), side)
            uids |= {str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files.iterdir()}
            send(files, ours.dicom, "MEDVEIL")
            shutil.rmtree(files)
            memory.append(ours.memory())
        accepted = time.monotonic() - began
        ours.drain()
        sealed = time.monotonic() - began
        memory.append(ours.memory())
        peak = ours.memory("VmHWM")
        folder, owner = ours.folder, ours.owner
    lost, doubled = missing_of(folder, uids, owner)
    outcome = (
        f"{total} instances of {side}x{side} pixels: accepted in {accepted:.0f} s, all sealed after {sealed:.0f} s "
        f"({total / sealed:.0f}/s); **{lost} lost, {doubled} doubled**.\n"
        f"Resident memory of the gateway: {first:.0f} MiB at the start, {statistics.median(memory):.0f} median after "
        f"each study of 500, {memory[-1]:.0f} at the end, {peak:.0f} at most."
    )
    print(outcome, flush=True)
    print("after each study, MiB:", " ".join(f"{one:.0f}" for one in memory))
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--side", type=int, nargs="*", default=[512, 128], help="pixels of a side, one run each")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--soak", type=int, default=10_000, help="instances; 0 leaves it out")
    parser.add_argument("--no-pace", action="store_true", help="seal while instances arrive; printed, not written")
    options = parser.parse_args()
    more = "[queue]\npace = false\n" if options.no_pace else ""
    if not Path(SENDER).exists():
        raise SystemExit("needs dcmtk: scripts/system-packages test")
    with tempfile.TemporaryDirectory(prefix="medveil-gateway-") as name:
        base = Path(name)
        if options.side:
            rows = [compare(base, options.instances, side, options.runs, more) for side in options.side]
            if not options.no_pace:
                write(PAGE, "rate", "\n".join([HEAD, *rows]))
        if options.soak:
            write(PAGE, "soak", soak(base, options.soak, 128))


if __name__ == "__main__":
    main()
