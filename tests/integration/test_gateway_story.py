"""The whole story with real programs: dcmtk's tools as a modality and a workstation, dicomweb-client as a radiologist,
Orthanc as one of three clouds, and the gateway between them, over TLS."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from tests.gateway.gateway_room import GATEWAY, Room, dataset_bytes, running, study, told
from tests.integration.servers.certificates import Identity
from tests.integration.servers.gateway import RunningGateway
from tests.integration.servers.orthanc import Orthanc
from tests.integration.servers.process import free_ports

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.vault.grants.recipients import fingerprint_of, public_file

pytestmark = [
    pytest.mark.integration,
    # pydicom and dicomweb-client warn of odd values in real files
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]

TOOLS = ("echoscu", "storescu", "findscu", "movescu", "getscu", "dcmconv")


@pytest.fixture(scope="module")
def tools() -> dict[str, str]:
    # Not those of the same names that pynetdicom installs beside Python.
    found = {name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in TOOLS}
    if not all(found.values()):
        pytest.skip("needs dcmtk's tools: apt-get install --no-install-recommends dcmtk")
    return {name: str(path) for name, path in found.items()}


def run(
    tools: dict[str, str], name: str, gateway: RunningGateway, who: Identity, *arguments: str
) -> subprocess.CompletedProcess[str]:
    titles = {gateway.modality: "CT1", gateway.station: "STATION", gateway.stranger: "CT1"}
    command = [
        tools[name], "-aet", titles[who], "-aec", "MEDVEIL", "+tls", str(who.key), str(who.certificate),
        "+cf", str(gateway.ca), "127.0.0.1", str(gateway.ports["dicom"]), *arguments,
    ]  # fmt: skip
    return subprocess.run(command, env=os.environ | {"TCP_NODELAY": "1"}, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def sent(gateway: RunningGateway, tools: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A study that the modality has sent, in files as dcmtk writes them."""
    folder = tmp_path_factory.mktemp("modality")
    files = []
    for number, data in enumerate(study(3, name="STORY^ANNA")):
        (folder / f"{number}.in").write_bytes(data)
        files.append(folder / f"{number}.dcm")
        subprocess.run([tools["dcmconv"], str(folder / f"{number}.in"), str(files[-1])], check=True, timeout=60)
    done = run(tools, "storescu", gateway, gateway.modality, *map(str, files))
    assert done.returncode == 0, done.stderr
    gateway.wait_sealed()
    return files


@pytest.fixture(scope="module")
def granted(gateway: RunningGateway, sent: list[Path]) -> None:
    """Two radiologists are pinned and granted the study; one grant is revoked again."""
    uid = told(sent[0].read_bytes()).study
    with gateway.open_vault() as vault:
        vault.index()
        for number, name in enumerate(("dr-roe", "dr-doe"), start=1):
            key = RecipientPrivateKey(bytes([number]) * 32).public
            vault.grants.add_recipient(name, public_file(key), fingerprint_of(key))
            vault.grants.grant(name, [uid])
        vault.grants.revoke("dr-doe", [uid])


def radiologist(gateway: RunningGateway, who: str) -> DICOMwebClient:
    session = create_session()
    session.verify = str(gateway.ca)
    session.trust_env = False  # a bundle named there would take the place of the line above
    session.headers["Authorization"] = f"Bearer {gateway.tokens[who]}"
    client = DICOMwebClient(gateway.dicomweb, session=session)
    client.set_http_retry_params(retry=False)
    return client


def test_1_the_modality_is_known_by_its_certificate(gateway: RunningGateway, tools: dict[str, str]) -> None:
    assert run(tools, "echoscu", gateway, gateway.modality).returncode == 0
    refused = run(tools, "echoscu", gateway, gateway.stranger, "-v")
    assert "0x124" in refused.stderr  # not authorised


def test_1_without_a_certificate_there_is_no_connection(gateway: RunningGateway, tools: dict[str, str]) -> None:
    address = ("127.0.0.1", str(gateway.ports["dicom"]))
    # A peer that begins no handshake holds up nobody.
    with socket.create_connection(("127.0.0.1", gateway.ports["dicom"])):
        for how in ((), ("+tla", "-ic")):
            command = [tools["echoscu"], "-to", "5", "-aet", "CT1", "-aec", "MEDVEIL", *how, *address]
            assert subprocess.run(command, capture_output=True, timeout=60).returncode != 0
        assert run(tools, "echoscu", gateway, gateway.modality).returncode == 0


def test_2_the_study_lies_sealed_in_three_clouds(gateway: RunningGateway, orthanc: Orthanc, sent: list[Path]) -> None:
    clouds = [gateway.folder / "clouds" / "north", gateway.folder / "clouds" / "south", orthanc.storage]
    pixels = pydicom.dcmread(sent[0]).PixelData
    for cloud in clouds:
        contents = [path.read_bytes() for path in cloud.rglob("*") if path.is_file()]
        held = [one for one in contents if len(one) > len(pixels) // 3]
        assert len(held) >= 3
        for one in contents:
            assert b"STORY^ANNA" not in one
            assert told(sent[0].read_bytes()).uid.encode() not in one
            assert pixels[100_000:100_064] not in one
    with httpx.Client(auth=(orthanc.user, orthanc.password)) as client:
        found = client.get(f"{orthanc.dicomweb}/studies?PatientID=gateway-story").json()
    assert len(found) == 3  # an object a study of Raw Data
    assert "STORY" not in json.dumps(found)


def test_3_a_radiologist_with_a_grant_finds_and_gets_it(
    gateway: RunningGateway, sent: list[Path], granted: None
) -> None:
    client = radiologist(gateway, "roe")
    (found,) = client.search_for_studies(search_filters={"PatientName": "STORY*"})
    one = told(sent[0].read_bytes())
    assert found["0020000D"]["Value"] == [one.study]
    assert len(client.search_for_instances(one.study)) == 3
    for path in sent:
        original = told(path.read_bytes())
        got = client.retrieve_instance(original.study, original.series, original.uid)
        out = io.BytesIO()
        got.save_as(out)
        assert dataset_bytes(out.getvalue()) == dataset_bytes(path.read_bytes())
    # And the bytes themselves, without a client's own reading and writing.
    address = f"{gateway.dicomweb}/studies/{one.study}/series/{one.series}/instances/{one.uid}"
    headers = {"Authorization": f"Bearer {gateway.tokens['roe']}", "Accept": "application/dicom"}
    raw = httpx.get(address, headers=headers, verify=ssl.create_default_context(cafile=gateway.ca)).content
    assert dataset_bytes(raw) == dataset_bytes(sent[0].read_bytes())
    (pixels,) = client.retrieve_instance_frames(
        one.study, one.series, one.uid, [1], media_types=(("application/octet-stream", "1.2.840.10008.1.2.1"),)
    )
    assert pixels == pydicom.dcmread(sent[0]).PixelData
    assert client.retrieve_instance_metadata(one.study, one.series, one.uid)["00100010"]["Value"]


@pytest.mark.parametrize(("who", "status"), [("doe", 403), ("past", 401)])
def test_4_a_revoked_one_and_an_expired_one_do_not(
    gateway: RunningGateway, sent: list[Path], granted: None, who: str, status: int
) -> None:
    one = told(sent[0].read_bytes())
    client = radiologist(gateway, who)
    if status == 403:
        assert client.search_for_studies(search_filters={"PatientName": "STORY*"}) == []
    with pytest.raises(requests.HTTPError) as caught:
        client.retrieve_study(one.study)
    assert caught.value.response.status_code == status
    assert b"STORY" not in caught.value.response.content


def test_5_a_workstation_finds_it(gateway: RunningGateway, tools: dict[str, str], sent: list[Path]) -> None:
    one = told(sent[0].read_bytes())
    keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={one.study}", "-k", "PatientName")
    found = run(tools, "findscu", gateway, gateway.station, *keys)
    assert "STORY^ANNA" in found.stderr + found.stdout
    # The same certificate opens the web door; another's, signed by the same authority, does not.
    context = ssl.create_default_context(cafile=gateway.ca)
    context.load_cert_chain(gateway.station.certificate, gateway.station.key)
    assert httpx.get(f"{gateway.dicomweb}/studies?StudyInstanceUID={one.study}", verify=context).status_code == 200
    context = ssl.create_default_context(cafile=gateway.ca)
    context.load_cert_chain(gateway.stranger.certificate, gateway.stranger.key)
    assert httpx.get(f"{gateway.dicomweb}/studies", verify=context).status_code == 401


def test_6_a_cloud_that_tampers_is_named_in_the_audit_log(
    gateway: RunningGateway, orthanc: Orthanc, sent: list[Path], granted: None
) -> None:
    with gateway.open_vault() as vault:
        before = vault.audit.size
    changed = 0
    for path in orthanc.storage.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if b"MEDVEIL-OBJECT-1" in data and len(data) > 100_000:
            middle = len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
            changed += 1
    assert changed >= 3
    client = radiologist(gateway, "roe")
    for path in sent:
        original = told(path.read_bytes())
        got = client.retrieve_instance(original.study, original.series, original.uid)
        assert got.PixelData == pydicom.dcmread(path).PixelData
    with gateway.open_vault() as vault:
        events = [event for _, event in vault.audit.events(before)]
    named = {event.detail.get("store") for event in events if event.action == "finding"}
    assert named == {"pacs"}
    assert any(event.action == "get" and event.outcome == "success" for event in events)


def test_7_the_logs_know_no_patient(gateway: RunningGateway, sent: list[Path], granted: None) -> None:
    one = told(sent[0].read_bytes())
    audit = b"".join(path.read_bytes() for path in (gateway.folder / "state").rglob("*") if path.is_file())
    for canary in ("STORY", "ANNA", one.uid, one.study, "PID-STORY"):
        assert canary not in gateway.log
        assert canary.encode() not in audit
    for line in gateway.log.splitlines():
        json.loads(line)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Room, int]]:
    """A gateway without TLS on loopback, for dcmtk's tools that know none, and the port of the destination."""
    (port,) = free_ports(1)
    destination = f'\n[[destination]]\nae_title = "STATION"\nhost = "127.0.0.1"\nport = {port}\n'
    text = GATEWAY.replace("timeout = 1.5", "timeout = 30")
    with running(tmp_path_factory.mktemp("plain"), text + destination) as room:
        yield room, port


@pytest.mark.parametrize("name", ["movescu", "getscu"])
def test_8_the_other_tools_of_dcmtk_get_the_very_bytes(
    plain: tuple[Room, int], tools: dict[str, str], tmp_path: Path, name: str
) -> None:
    room, port = plain
    files = []
    for number, data in enumerate(study(2)):
        (tmp_path / f"{number}.in").write_bytes(data)
        files.append(tmp_path / f"{number}.dcm")
        subprocess.run([tools["dcmconv"], str(tmp_path / f"{number}.in"), str(files[-1])], check=True, timeout=60)
    uid = told(files[0].read_bytes()).study

    def call(tool: str, title: str, *arguments: str) -> str:
        command = [tools[tool], "-v", "-aet", title, "-aec", "MEDVEIL", "127.0.0.1", str(room.dicom_port), *arguments]
        environment = os.environ | {"TCP_NODELAY": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    call("storescu", "CT1", *map(str, files))
    assert room.gateway.wait_sealed(30)
    study_keys = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}")
    end = time.monotonic() + 20
    while "[2 ]" not in (said := call("findscu", "STATION", *study_keys, "-k", "0020,1208")):
        assert time.monotonic() < end, said
    out = tmp_path / "out"
    out.mkdir()
    where = ("+P", str(port)) if name == "movescu" else ()
    call(name, "STATION", *where, "-od", str(out), *study_keys)
    got = sorted(dataset_bytes(path.read_bytes()) for path in out.iterdir())
    assert got == sorted(dataset_bytes(path.read_bytes()) for path in files)
