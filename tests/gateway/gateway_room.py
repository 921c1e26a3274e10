"""A gateway in this process over a vault in three folders, and real instances to send to it."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pydicom
from pydicom.uid import generate_uid

from medveil.crypto.keyfile import OwnerKey
from medveil.gateway import load_config
from medveil.gateway.access import hash_token
from medveil.gateway.instances import Received, from_file
from medveil.gateway.journal import Journal
from medveil.gateway.service import Gateway
from medveil.imaging import samples
from medveil.vault import Vault

OWNER = OwnerKey(bytes(range(32)))
TOKEN = "5f" * 32
SENDER = "5e" * 32

STORES = ("north", "east", "south")
VAULT = """
[vault]
dataset = "gateway"
threshold = "2/3"
codec = "none"
state = "state"
[search]
type = "sqlite"
path = "index.sqlite"
prefixes = true
""" + "".join(
    f'[[store]]\ntype = "directory"\nname = "{name}"\npath = "{name}"\n' for name in ("north", "east", "south")
)

GATEWAY = f"""
[gateway]
grace = 10
[dicom]
port = 0
timeout = 1.5
[web]
port = 0
timeout = 1.5
[admin]
port = 0
[queue]
min_free = 0
pace = false
[[client]]
name = "ct"
ae_title = "CT1"
token_sha256 = "{hash_token(SENDER)}"
may = ["store"]
[[client]]
name = "station"
ae_title = "STATION"
token_sha256 = "{hash_token(TOKEN)}"
may = ["query", "retrieve"]
all_studies = true
"""


@dataclass
class Room:
    """A running gateway, its log, and the folder of everything."""

    gateway: Gateway
    log: io.StringIO
    folder: Path

    @property
    def dicom_port(self) -> int:
        assert self.gateway.dicom is not None
        return self.gateway.dicom.port

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def web(self, token: str | None = TOKEN, **options: Any) -> httpx.Client:
        assert self.gateway.web is not None
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        base = f"http://127.0.0.1:{self.gateway.web.port}/dicom-web"
        return httpx.Client(base_url=base, headers=headers, timeout=30, **options)

    def admin(self) -> httpx.Client:
        assert self.gateway.admin is not None
        return httpx.Client(base_url=f"http://127.0.0.1:{self.gateway.admin.port}", timeout=30)

    def stow(self, *files: bytes, token: str = SENDER, path: str = "/studies") -> httpx.Response:
        with self.web(token) as web:
            return web.post(path, content=multipart(*files), headers={"Content-Type": MULTIPART})


MULTIPART = 'multipart/related; type="application/dicom"; boundary=frontier'


def multipart(*files: bytes) -> bytes:
    parts = b"".join(b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in files)
    return parts + b"--frontier--\r\n"


@contextmanager
def running(folder: Path, text: str = GATEWAY, *, init: bool = True) -> Iterator[Room]:
    """Run a gateway until the block ends. init: make its vault; else it is there from an earlier block."""
    if init:
        (folder / "vault.toml").write_text(VAULT)
        (folder / "gateway.toml").write_text(text)
        Vault.init(folder / "vault.toml", OWNER).close()
    log = io.StringIO()
    gateway = Gateway(load_config(folder / "gateway.toml"), OWNER, journal=Journal(log))
    gateway.start()
    try:
        yield Room(gateway, log, folder)
    finally:
        gateway.stop()


def study(count: int = 3, *, name: str = "ZWEIG^MARGARETE", series: int = 1) -> list[bytes]:
    """Return the files of a study of a real CT slice, each an instance of its own."""
    study_uid = generate_uid()
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series_uids = [generate_uid() for _ in range(series)]
        for number in range(count):
            dataset = pydicom.dcmread(io.BytesIO(samples.load("ct-thorax.dcm")))
            dataset.StudyInstanceUID = study_uid
            dataset.SeriesInstanceUID = series_uids[number % series]
            dataset.SeriesNumber = number % series + 1
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = number + 1
            dataset.PatientName, dataset.PatientID = name, f"PID-{name[:5]}"
            dataset.StudyDescription = "Thorax routine"
            dataset.pop(0xFFFCFFFC, None)  # trailing padding, which some tools leave out
            out = io.BytesIO()
            dataset.save_as(out)
            files.append(out.getvalue())
    return files


def told(data: bytes) -> Received:
    return from_file(data)


def dataset_bytes(data: bytes) -> bytes:
    one = from_file(data)
    return one.data[one.dataset :]
