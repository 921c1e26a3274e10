"""The DICOM door: what goes in comes out byte for byte, to whom it may; what is wrong is refused and harms nobody."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from tests.gateway.gateway_room import GATEWAY, Room, dataset_bytes, running, study, told

# pynetdicom leaves sockets of refused and cut connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

FIND = StudyRootQueryRetrieveInformationModelFind


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with running(tmp_path_factory.mktemp("gateway"), GATEWAY + DESTINATION) as one:
        yield one


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


STATION_PORT = _free_port()
DESTINATION = f'\n[[destination]]\nae_title = "STATION"\nhost = "127.0.0.1"\nport = {STATION_PORT}\n'


def _no_delay(event: Any) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextmanager
def associated(
    port: int, title: str, *contexts: Any, called: str = "MEDVEIL", handlers: tuple[Any, ...] = (), roles: Any = None
) -> Iterator[Any]:
    entity = AE(ae_title=title)
    entity.requested_contexts = list(contexts)
    entity.dimse_timeout = entity.network_timeout = 20
    association = entity.associate(
        "127.0.0.1", port, ae_title=called, evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay), *handlers], ext_neg=roles
    )
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


CT = build_context(CTImageStorage, [ExplicitVRLittleEndian])


def raw_sender(data: bytes) -> tuple[Dataset, Any]:
    """Return what makes pynetdicom send a file's dataset as it is."""
    one = told(data)
    stand_in = Dataset()
    stand_in.file_meta = pydicom.dataset.FileMetaDataset()
    stand_in.file_meta.TransferSyntaxUID = one.transfer_syntax
    stand_in.SOPClassUID, stand_in.SOPInstanceUID = one.sop_class, one.uid

    def replace(event: Any) -> None:
        if type(event.message).__name__ == "C_STORE_RQ":
            event.message.data_set = io.BytesIO(one.data[one.dataset :])

    return stand_in, replace


def send(port: int, data: bytes, title: str = "CT1") -> int:
    stand_in, replace = raw_sender(data)
    with associated(port, title, CT, handlers=((evt.EVT_DIMSE_SENT, replace),)) as association:
        assert association.is_established
        return int(association.send_c_store(stand_in).Status)


def find(port: int, title: str = "STATION", model: Any = FIND, **keys: str) -> tuple[int, list[Dataset]]:
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    with associated(port, title, build_context(model)) as association:
        answers = list(association.send_c_find(identifier, model))
    return int(answers[-1][0].Status), [one for _, one in answers if one is not None]


@pytest.fixture(scope="module")
def stored(room: Room) -> list[bytes]:
    files = study(4, series=2)
    assert [send(room.dicom_port, one) for one in files] == [0] * 4
    assert room.gateway.wait_sealed(30)
    wait_indexed(room, files[0])
    return files


def wait_indexed(room: Room, data: bytes) -> None:
    uid = told(data).study
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if find(room.dicom_port, QueryRetrieveLevel="STUDY", StudyInstanceUID=uid)[1]:
            return
        time.sleep(0.1)
    raise AssertionError("the study is not found")


def test_echo(room: Room) -> None:
    for title in ("CT1", "STATION"):
        with associated(room.dicom_port, title, build_context(Verification)) as association:
            assert association.send_c_echo().Status == 0


@pytest.mark.parametrize(("title", "called"), [("NOBODY", "MEDVEIL"), ("CT1", "ANOTHER")])
def test_unknown_titles_are_rejected(room: Room, title: str, called: str) -> None:
    with associated(room.dicom_port, title, CT, called=called) as association:
        assert association.is_rejected


def test_finds_at_every_level(room: Room, stored: list[bytes]) -> None:
    one = told(stored[0])
    status, (found,) = find(
        room.dicom_port, QueryRetrieveLevel="STUDY", PatientName="ZWEIG*", StudyInstanceUID=one.study,
        NumberOfStudyRelatedInstances="", ModalitiesInStudy="",
    )  # fmt: skip
    assert status == 0
    assert (found.PatientName, found.NumberOfStudyRelatedInstances, found.ModalitiesInStudy) == (
        "ZWEIG^MARGARETE",
        4,
        "CT",
    )
    _, series = find(room.dicom_port, QueryRetrieveLevel="SERIES", StudyInstanceUID=one.study, SeriesInstanceUID="",
                     SeriesNumber="", NumberOfSeriesRelatedInstances="")  # fmt: skip
    assert [(each.SeriesNumber, each.NumberOfSeriesRelatedInstances) for each in series] == [(1, 2), (2, 2)]
    _, images = find(room.dicom_port, QueryRetrieveLevel="IMAGE", StudyInstanceUID=one.study,
                     SeriesInstanceUID=one.series, SOPInstanceUID="", InstanceNumber="")  # fmt: skip
    assert [each.InstanceNumber for each in images] == [1, 3]
    _, patients = find(room.dicom_port, model=PatientRootQueryRetrieveInformationModelFind,
                       QueryRetrieveLevel="PATIENT", PatientID="PID-ZWEIG", PatientName="")  # fmt: skip
    assert [each.PatientName for each in patients] == ["ZWEIG^MARGARETE"]


@pytest.mark.parametrize(
    "keys",
    [
        {"QueryRetrieveLevel": "STUDY", "PatientID": "NOBODY"},
        {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2.3"},
        {"QueryRetrieveLevel": "STUDY", "StudyDate": "19000101-19000102"},
    ],
)
def test_finds_nothing_where_nothing_is(room: Room, stored: list[bytes], keys: dict[str, str]) -> None:
    assert find(room.dicom_port, **keys) == (0, [])


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"QueryRetrieveLevel": "NONSENSE"}, 0xA900),
        ({"QueryRetrieveLevel": "SERIES"}, 0xA900),
        ({"QueryRetrieveLevel": "STUDY", "StudyDate": "yesterday"}, 0xA900),
    ],
)
def test_bad_queries_are_refused(room: Room, keys: dict[str, str], status: int) -> None:
    assert find(room.dicom_port, **keys) == (status, [])


def test_a_modality_may_only_send(room: Room, stored: list[bytes]) -> None:
    assert find(room.dicom_port, "CT1", QueryRetrieveLevel="STUDY", PatientID="PID-ZWEIG") == (0x0124, [])
    assert send(room.dicom_port, stored[0], "STATION") == 0x0124
    assert get(room, stored, "CT1") == (0x0124, [])


def get(room: Room, files: list[bytes], title: str = "STATION", syntax: Any = ExplicitVRLittleEndian) -> Any:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", told(files[0]).study
    got: list[bytes] = []

    def take(event: Any) -> int:
        got.append(event.request.DataSet.getvalue())
        return 0

    model = StudyRootQueryRetrieveInformationModelGet
    contexts = (build_context(model), build_context(CTImageStorage, [syntax]))
    roles = [build_role(CTImageStorage, scp_role=True)]
    with associated(room.dicom_port, title, *contexts, handlers=((evt.EVT_C_STORE, take),), roles=roles) as association:
        answers = list(association.send_c_get(identifier, model))
    return int(answers[-1][0].Status), got


def test_get_gives_the_very_bytes(room: Room, stored: list[bytes]) -> None:
    status, got = get(room, stored)
    assert status == 0
    assert sorted(got) == sorted(map(dataset_bytes, stored))


def test_get_converts_only_where_the_receiver_asks(room: Room, stored: list[bytes]) -> None:
    status, got = get(room, stored, syntax=ImplicitVRLittleEndian)
    assert status == 0
    original = pydicom.dcmread(io.BytesIO(stored[0]))
    read = [pydicom.dcmread(io.BytesIO(one), force=True) for one in got]
    (same,) = (one for one in read if one.SOPInstanceUID == original.SOPInstanceUID)
    assert same.PixelData == original.PixelData
    assert dict(same.items()).keys() == dict(original.items()).keys()


def test_move_sends_to_a_known_destination(room: Room, stored: list[bytes]) -> None:
    got: list[bytes] = []

    def take(event: Any) -> int:
        got.append(event.request.DataSet.getvalue())
        return 0

    receiver = AE(ae_title="STATION")
    receiver.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])
    server = receiver.start_server(
        ("127.0.0.1", STATION_PORT), block=False, evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_CONN_OPEN, _no_delay)]
    )
    try:
        assert move(room, stored, "STATION") == 0
    finally:
        server.shutdown()
    assert sorted(got) == sorted(map(dataset_bytes, stored))


def move(room: Room, files: list[bytes], destination: str, title: str = "STATION") -> int:
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", told(files[0]).study
    model = StudyRootQueryRetrieveInformationModelMove
    with associated(room.dicom_port, title, build_context(model)) as association:
        return int([one.Status for one, _ in association.send_c_move(identifier, destination, model)][-1])


def test_move_sends_nowhere_else(room: Room, stored: list[bytes]) -> None:
    assert move(room, stored, "EVIL") == 0xA801
    assert move(room, stored, "STATION", "CT1") == 0xA801
    assert move(room, stored, "STATION") in (0xA702, 0xA801)  # nobody listens there now


# -------------------------------------------------------------------------------------------------------- bad input


def test_the_same_again_succeeds_and_other_bytes_are_refused(room: Room) -> None:
    (data,) = study(1)
    assert send(room.dicom_port, data) == 0
    assert send(room.dicom_port, data) == 0
    assert room.gateway.wait_sealed(30)
    assert send(room.dicom_port, data) == 0
    assert send(room.dicom_port, data.replace(b"Thorax routine", b"Thorax changed")) == 0x0111


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:132] + told(data).data[132 : told(data).dataset] + b"rubbish" * 100,
        lambda data: data[: told(data).dataset + 9],
    ],
    ids=["rubbish", "cut"],
)
def test_datasets_that_are_none_are_not_understood(room: Room, change: Callable[[bytes], bytes]) -> None:
    (data,) = study(1)
    stand_in, _ = raw_sender(data)
    broken = change(data)
    start = told(data).dataset

    def replace(event: Any) -> None:
        if type(event.message).__name__ == "C_STORE_RQ":
            event.message.data_set = io.BytesIO(broken[start:])

    with associated(room.dicom_port, "CT1", CT, handlers=((evt.EVT_DIMSE_SENT, replace),)) as association:
        assert association.send_c_store(stand_in).Status in (0xC000, 0xA900, 0xC210, 0xC211)
    assert room.gateway.wait_sealed(5)


def test_a_dataset_of_another_instance_is_refused(room: Room) -> None:
    (data,) = study(1)
    stand_in, replace = raw_sender(data)
    stand_in.SOPInstanceUID = generate_uid()
    with associated(room.dicom_port, "CT1", CT, handlers=((evt.EVT_DIMSE_SENT, replace),)) as association:
        assert association.send_c_store(stand_in).Status == 0xC000


def test_an_instance_that_is_too_large_ends_the_association(tmp_path: Path) -> None:
    (data,) = study(1)
    with running(tmp_path, GATEWAY.replace("[queue]", "[queue]\nmax_instance = 200000")) as small:
        stand_in, replace = raw_sender(data)
        with associated(small.dicom_port, "CT1", CT, handlers=((evt.EVT_DIMSE_SENT, replace),)) as association:
            assert "Status" not in association.send_c_store(stand_in)
        with associated(small.dicom_port, "CT1", build_context(Verification)) as association:
            assert association.send_c_echo().Status == 0
        assert any(one.get("reason") == "oversize" for one in small.events)


def test_a_full_queue_asks_to_come_back(tmp_path: Path) -> None:
    first, second = study(2)
    with running(tmp_path, GATEWAY.replace("[queue]", "[queue]\nmax_instances = 1")) as small:
        hold(small)
        assert send(small.dicom_port, first) == 0
        assert send(small.dicom_port, second) == 0xA700
        assert small.stow(second).status_code == 503
        assert small.stow(second).headers["Retry-After"] == "30"
        assert small.admin().get("/ready").status_code == 503
        go_on(small)
        assert small.gateway.wait_sealed(30)
        assert send(small.dicom_port, second) == 0


def hold(room: Room) -> None:
    """Keep the workers from sealing, as stores that do not answer would."""
    room.gateway._workers._stop.set()
    for thread in room.gateway._workers._threads:
        thread.join()


def go_on(room: Room) -> None:
    from medveil.gateway.workers import Workers

    old = room.gateway._workers
    room.gateway._workers = Workers(old._queue, old._archive, old._journal, old._metrics, None, 2)
    room.gateway._workers.start()


def connection(room: Room) -> socket.socket:
    return socket.create_connection(("127.0.0.1", room.dicom_port), timeout=20)


def ended(link: socket.socket) -> bool:
    """Whether the gateway ends a connection, saying at most an abort."""
    try:
        while piece := link.recv(4096):
            assert piece[0] in (3, 7)
    except ConnectionError:
        pass
    return True


RAW = {
    "no DICOM": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown PDU": struct.pack(">BBL", 0x77, 0, 4) + b"\0" * 4,
    "a PDU of four gigabytes": struct.pack(">BBL", 0x01, 0, 0xFFFFFFF0) + b"\0" * 100,
    "data before an association": struct.pack(">BBL", 0x04, 0, 12) + struct.pack(">LBB", 8, 1, 3) + b"\0" * 6,
    "an association of nonsense": struct.pack(">BBL", 0x01, 0, 100) + bytes(range(100)),
    "nothing": b"",
    "half a head": b"\x01\x00\x00",
    "a PDU that does not end": struct.pack(">BBL", 0x01, 0, 5000) + b"x",
}


def test_what_is_no_dicom_or_too_slow_is_cut_off(room: Room) -> None:
    began = time.monotonic()
    links = {name: connection(room) for name in RAW}
    for name, link in links.items():
        link.sendall(RAW[name])
    # They hold up nobody.
    with associated(room.dicom_port, "CT1", build_context(Verification)) as association:
        assert association.send_c_echo().Status == 0
    for link in links.values():
        with link:
            assert ended(link)
    assert time.monotonic() - began < 15


def test_a_trickling_peer_is_cut_off(room: Room) -> None:
    with connection(room) as link:
        link.sendall(struct.pack(">BBL", 0x01, 0, 5000))
        stop = threading.Event()

        def trickle() -> None:
            while not stop.wait(0.2):
                try:
                    link.send(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        assert ended(link)
        stop.set()
        thread.join()
    assert any(one.get("reason") == "slow" for one in room.events)


def test_only_so_many_associations(tmp_path: Path) -> None:
    with running(tmp_path, GATEWAY.replace("[dicom]", "[dicom]\nmax_associations = 2")) as small:
        echo = build_context(Verification)
        with associated(small.dicom_port, "CT1", echo) as one, associated(small.dicom_port, "CT1", echo) as two:
            assert one.is_established
            assert two.is_established
            with associated(small.dicom_port, "CT1", echo) as three:
                assert three.is_rejected
        time.sleep(0.5)
        with associated(small.dicom_port, "CT1", echo) as four:
            assert four.send_c_echo().Status == 0
