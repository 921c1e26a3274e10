"""The web door: STOW-RS, QIDO-RS and WADO-RS as clients use them, and what is wrong with a request or its sender."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from tests.gateway.gateway_room import GATEWAY, MULTIPART, SENDER, TOKEN, Room, multipart, running, study, told

from medveil.gateway.multipart import MultipartReader
from medveil.imaging import samples

RELATED = 'multipart/related; type="application/dicom"'


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with running(tmp_path_factory.mktemp("gateway")) as one:
        yield one


@pytest.fixture(scope="module")
def web(room: Room) -> Iterator[httpx.Client]:
    with room.web() as client:
        yield client


@pytest.fixture(scope="module")
def stored(room: Room, web: httpx.Client) -> list[bytes]:
    files = study(3, series=2)
    answer = room.stow(*files)
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 3
    store_and_find(room, web, *files)
    return files


def store_and_find(room: Room, web: httpx.Client, *files: bytes) -> None:
    """Wait until all files of a study are sealed and found."""
    assert room.gateway.wait_sealed(30)
    end = time.monotonic() + 20
    while True:
        answer = web.get("/studies", params={"StudyInstanceUID": told(files[0]).study})
        if answer.status_code == 200 and answer.json()[0]["00201208"]["Value"] == [len(files)]:
            return
        assert time.monotonic() < end, "the study is not found"
        time.sleep(0.1)


def parts_of(answer: httpx.Response) -> list[bytes]:
    reader = MultipartReader(answer.headers["content-type"], 1 << 30)
    parts = reader.feed(answer.content)
    reader.finish()
    return [part.body for part in parts]


def path_of(data: bytes, level: str = "instance") -> str:
    one = told(data)
    path = f"/studies/{one.study}"
    path += "" if level == "study" else f"/series/{one.series}"
    return path + (f"/instances/{one.uid}" if level == "instance" else "")


def test_what_comes_out_is_what_went_in(web: httpx.Client, stored: list[bytes]) -> None:
    assert parts_of(web.get(path_of(stored[0]), headers={"Accept": RELATED})) == [stored[0]]
    assert sorted(parts_of(web.get(path_of(stored[0], "study")))) == sorted(stored)
    assert parts_of(web.get(path_of(stored[0], "series"))) == [stored[0], stored[2]]
    assert web.get(path_of(stored[1]), headers={"Accept": "application/dicom"}).content == stored[1]


def test_searches(web: httpx.Client, stored: list[bytes]) -> None:
    one = told(stored[0])
    for query in (
        "PatientName=ZWEIG*",
        "00100020=PID-ZWEIG",
        f"StudyInstanceUID={one.study}",
        "ModalitiesInStudy=CT",
        "",
    ):
        (found,) = web.get(f"/studies?{query}").json()
        assert found["0020000D"]["Value"] == [one.study]
        assert found["00201208"]["Value"] == [3]
    series = web.get(path_of(stored[0], "study") + "/series").json()
    assert [each["00201209"]["Value"] for each in series] == [[2], [1]]
    assert len(web.get(path_of(stored[0], "study") + "/instances").json()) == 3
    assert len(web.get(path_of(stored[0], "series") + "/instances").json()) == 2
    (last,) = web.get(path_of(stored[0], "study") + "/instances?InstanceNumber=2").json()
    assert last["00080018"]["Value"] == [told(stored[1]).uid]
    assert len(web.get(path_of(stored[0], "study") + "/instances?limit=2").json()) == 2
    assert len(web.get(path_of(stored[0], "study") + "/instances?limit=2&offset=2").json()) == 1
    assert web.get("/studies?PatientID=NOBODY").status_code == 204


def test_gives_metadata_and_frames(web: httpx.Client, stored: list[bytes]) -> None:
    (found,) = web.get(path_of(stored[0]) + "/metadata").json()
    original = pydicom.dcmread(io.BytesIO(stored[0]))
    read = pydicom.Dataset.from_json(found)
    assert (read.PatientName, read.Rows, read.SOPInstanceUID) == (
        original.PatientName,
        original.Rows,
        original.SOPInstanceUID,
    )
    assert "PixelData" not in read
    assert len(web.get(path_of(stored[0], "study") + "/metadata").json()) == 3
    assert parts_of(web.get(path_of(stored[0]) + "/frames/1")) == [original.PixelData]


@pytest.mark.parametrize("name", ["ct-perfusion-2-frames.dcm", "mr-10-frames.dcm", "us-doppler-8-frames.dcm"])
def test_gives_frames_as_stored_and_as_pixels(room: Room, web: httpx.Client, name: str) -> None:
    data = samples.load(name)
    assert room.stow(data).status_code == 200
    store_and_find(room, web, data)
    dataset = pydicom.dcmread(io.BytesIO(data))
    pixels = dataset.pixel_array
    plain = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'}
    first, second = parts_of(web.get(path_of(data) + "/frames/1,2", headers=plain))
    assert np.frombuffer(second, pixels.dtype).size == pixels[1].size
    if dataset.PhotometricInterpretation.startswith(("MONO", "RGB")):
        assert np.array_equal(np.frombuffer(second, pixels.dtype).reshape(pixels[1].shape), pixels[1])
    assert first != second
    stored = web.get(path_of(data) + "/frames/1,2")
    assert len(parts_of(stored)) == 2
    assert parts_of(web.get(path_of(data))) == [data]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/studies/1.2.3", {}, 404),
        ("{study}/series/1.2.3", {}, 404),
        ("{instance}x", {}, 404),
        ("{instance}/frames/2", {}, 404),
        ("{instance}/frames/0", {}, 404),
        ("{instance}/frames/one", {}, 400),
        ("{instance}", {"Accept": "image/png"}, 406),
        ("{instance}", {"Accept": f"{RELATED}; transfer-syntax=1.2.840.10008.1.2.4.90"}, 406),
        ("{study}", {"Accept": "application/dicom"}, 406),
        ("/studies?NoSuchAttribute=1", {}, 400),
        ("/studies?limit=-1", {}, 400),
        ("/studies?StudyDate=yesterday", {}, 400),
        ("/instances", {}, 400),
        ("/nothing", {}, 404),
    ],
)
def test_bad_requests(web: httpx.Client, stored: list[bytes], path: str, headers: dict[str, str], status: int) -> None:
    filled = path.format(study=path_of(stored[0], "study"), instance=path_of(stored[0]))
    assert web.get(filled, headers=headers).status_code == status


@pytest.mark.parametrize("token", [None, "wrong", TOKEN[:-1], SENDER])
def test_who_is_not_known_sees_nothing(room: Room, stored: list[bytes], token: str | None) -> None:
    wanted = 403 if token == SENDER else 401
    with room.web(token) as client:
        for path in (
            "/studies",
            path_of(stored[0]),
            path_of(stored[0]) + "/metadata",
            path_of(stored[0]) + "/frames/1",
        ):
            answer = client.get(path)
            assert answer.status_code == wanted
            assert b"ZWEIG" not in answer.content
            assert (answer.headers.get("WWW-Authenticate") is not None) == (wanted == 401)


def test_a_reader_may_not_store(room: Room) -> None:
    assert room.stow(*study(1), token=TOKEN).status_code == 403
    assert room.stow(*study(1), token=TOKEN[1:]).status_code == 401


def test_the_same_again_other_bytes_and_rubbish(room: Room, stored: list[bytes]) -> None:
    assert room.stow(stored[0]).status_code == 200
    changed = stored[0].replace(b"Thorax routine", b"Thorax changed")
    answer = room.stow(changed)
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0x0111]
    answer = room.stow(stored[1], changed, b"rubbish")
    assert answer.status_code == 202
    assert len(answer.json()["00081199"]["Value"]) == 1
    assert [one["00081197"]["Value"] for one in answer.json()["00081198"]["Value"]] == [[0x0111], [0xC000]]
    answer = room.stow(stored[0], path=f"/studies/{generate_uid()}")
    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert room.stow(stored[0], path=path_of(stored[0], "study")).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (MULTIPART, b"", 400),
        (MULTIPART, b"nonsense", 400),
        (MULTIPART, multipart(b"x")[:-5], 400),
        (MULTIPART, multipart(), 400),
        (MULTIPART.replace("; boundary=frontier", ""), b"x", 400),
        ("application/dicom", b"x", 415),
        ("multipart/form-data; boundary=frontier", multipart(b"x"), 415),
        ('multipart/related; type="image/png"; boundary=frontier', multipart(b"x"), 415),
        ("", b"x", 415),
    ],
)
def test_bad_bodies(room: Room, kind: str, body: bytes, status: int) -> None:
    with room.web(SENDER) as client:
        assert client.post("/studies", content=body, headers={"Content-Type": kind}).status_code == status


def test_too_large_a_part_is_refused_within_bounds(tmp_path: Path) -> None:
    with running(tmp_path, GATEWAY.replace("[queue]", "[queue]\nmax_instance = 100000")) as small:
        (data,) = study(1)
        assert small.stow(data).status_code == 413
        assert small.gateway.wait_sealed(0)


def raw(room: Room) -> socket.socket:
    assert room.gateway.web is not None
    return socket.create_connection(("127.0.0.1", room.gateway.web.port), timeout=20)


def test_slow_clients_are_cut_off_and_hold_up_nobody(room: Room, web: httpx.Client) -> None:
    began = time.monotonic()
    head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SENDER}\r\n".encode()
    body = head + f"Content-Type: {MULTIPART}\r\nContent-Length: 100000\r\n\r\n--frontier\r\n".encode()
    with raw(room) as silent, raw(room) as slow_head, raw(room) as slow_body, raw(room) as rubbish:
        slow_head.sendall(head)
        slow_body.sendall(body)
        rubbish.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert web.get("/studies?PatientID=NOBODY").status_code == 204
        assert slow_body.recv(4096).startswith(b"HTTP/1.1 408")
        assert silent.recv(4096) == b""
        assert slow_head.recv(4096) == b""
        assert rubbish.recv(4096).startswith(b"HTTP/1.1 400")
    assert time.monotonic() - began < 15


def test_a_client_that_does_not_read_is_cut_off(room: Room, web: httpx.Client) -> None:
    files = study(12)
    assert room.stow(*files).status_code == 200
    store_and_find(room, web, *files)
    with raw(room) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ask = f"GET /dicom-web{path_of(files[0], 'study')} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        before = [one.get("reason") for one in room.events].count("slow")
        link.sendall(ask.encode())
        end = time.monotonic() + 20
        while [one.get("reason") for one in room.events].count("slow") == before:
            assert time.monotonic() < end, "it is still waited for"
            time.sleep(0.1)


def test_health_and_metrics(room: Room, stored: list[bytes]) -> None:
    with room.admin() as admin:
        assert admin.get("/health").json() == {"alive": True}
        ready = admin.get("/ready")
        assert ready.status_code == 200
        assert ready.json()["stores"] == {"north": True, "east": True, "south": True}
        text = admin.get("/metrics").text
    assert 'medveil_gateway_received_total{outcome="new",via="web"}' in text
    assert "ZWEIG" not in text
    assert told(stored[0]).study not in text
