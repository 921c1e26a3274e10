"""Orthanc with its DICOMweb plugin: a real PACS, from Debian's packages, with a storage folder of its own."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.servers.process import Server, free_ports, need_programs, running

PACKAGES = "orthanc orthanc-dicomweb"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running PACS: its web address, DICOM port and title, who may use it, and where it keeps its files."""

    url: str
    dicom_port: int
    ae_title: str
    user: str
    password: str = field(repr=False)
    storage: Path

    @property
    def dicomweb(self) -> str:
        """Address of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def file_with(self, data: bytes) -> Path:
        """Return the one file of its storage folder that holds these bytes."""
        (found,) = (one for one in self.storage.rglob("*") if one.is_file() and data in one.read_bytes())
        return found


@contextlib.contextmanager
def run_orthanc(folder: Path, **settings: object) -> Iterator[Orthanc]:
    """Run Orthanc in `folder` on loopback; skips the test where it is not installed. settings: more of its own."""
    program = need_programs(PACKAGES, "Orthanc")["Orthanc"]
    if not PLUGIN.exists():
        pytest.skip(f"needs {PLUGIN.name}: apt-get install --no-install-recommends {PACKAGES}")
    web, dicom = free_ports(2)
    storage = folder / "storage"
    storage.mkdir(parents=True)
    password = secrets.token_urlsafe(18)
    config: Mapping[str, object] = {
        "Name": "cloud",
        "StorageDirectory": str(storage),
        "IndexDirectory": str(storage),
        "Plugins": [str(PLUGIN)],
        "HttpPort": web,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"medveil": password},
        "DicomServerEnabled": True,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        # Its cache in memory would hide what the tests change in its storage folder, until it restarts.
        "MaximumStorageCacheSize": 0,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "Full", "SeriesMetadata": "Full"},
        **settings,
    }
    path = folder / "orthanc.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    # It opens its DICOM port before its web port.
    with running(Server([program, str(path)], web, folder / "orthanc.log")):
        yield Orthanc(f"http://127.0.0.1:{web}", dicom, "ORTHANC", "medveil", password, storage)


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A PACS that is a cloud."""
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as started:
        yield started
