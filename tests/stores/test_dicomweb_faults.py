"""What a PACS can do wrong over DICOMweb, which no real one shows on demand."""

from __future__ import annotations

import json
import secrets

import pytest
from tests.stores.misbehaving import Behaviour, hang, in_turn, misbehaving, rubbish, say

from medveil.errors import (
    LimitError,
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores import raw_data
from medveil.stores.base import Store
from medveil.stores.config import open_store
from medveil.stores.dicomweb import DicomwebStore

pytest.importorskip("httpx")

NAME = "folder/object"
DATA = bytes(range(10))
WHERE = raw_data.place_of("medveil", NAME)
ATTEMPT = bytes(raw_data.ATTEMPT)
MULTIPART = {"Content_Type": 'multipart/related; type="application/dicom"; boundary=b'}
INSTANCE = raw_data.before("medveil", NAME, len(DATA), ATTEMPT) + DATA


def open_at(url: str) -> Store:
    config = DicomwebStore.Config.model_validate(
        {"type": "dicomweb", "name": "pacs", "url": f"{url}/dicom-web", "insecure_http": True, "idle_timeout": 1}
    )
    return DicomwebStore.from_config(config)  # type: ignore[arg-type]


def part(data: bytes) -> bytes:
    return b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"


def entry(comments: object = f"{NAME} 10 {ATTEMPT.hex()}", uid: object = WHERE.instance) -> dict[str, object]:
    return {"00080018": {"Value": [uid]}, "00204000": {"vr": "LT", "Value": [comments]}}


def listing(*entries: object) -> Behaviour:
    return say(200, json.dumps(list(entries)).encode())


GET: dict[str, tuple[Behaviour, type[MedveilError], bool | None]] = {
    "429": (say(429), StoreUnavailableError, True),
    "503": (say(503), StoreUnavailableError, True),
    "401": (say(401), StoreUnavailableError, False),
    "403": (say(403), StoreUnavailableError, False),
    "404": (say(404), ObjectMissingError, None),
    "410": (say(410), ObjectMissingError, None),
    "418": (say(418), StoreError, None),
    "a redirect": (say(302, Location="http://127.0.0.1:1/"), StoreUnavailableError, False),
    "rubbish": (rubbish, StoreUnavailableError, True),
    "hangs": (hang, StoreUnavailableError, True),
    "no multipart": (say(200, INSTANCE, Content_Type="application/dicom"), StoreError, None),
    "an empty multipart": (say(200, b"", **MULTIPART), StoreUnavailableError, True),
    "endless headers": (say(200, b"x" * 100_000, **MULTIPART), StoreUnavailableError, True),
    "a page of HTML": (say(200, part(b"<html>" * 100), **MULTIPART), StoreError, None),
    "cut short": (say(200, part(INSTANCE)[:-20], **MULTIPART), StoreUnavailableError, True),
    "another object": (say(200, part(bytes(128) + b"DICM" + bytes(200)), **MULTIPART), StoreError, None),
}


@pytest.mark.parametrize(("behaviour", "error", "transient"), GET.values(), ids=GET.keys())
def test_get(behaviour: Behaviour, error: type[MedveilError], transient: bool | None) -> None:
    with misbehaving(behaviour) as server, open_at(server.url) as store, pytest.raises(error) as caught:
        store.get(NAME)
    if isinstance(caught.value, StoreUnavailableError):
        assert caught.value.transient == transient
    assert server.url not in str(caught.value)


def test_get_reads_what_it_should() -> None:
    with misbehaving(say(200, part(INSTANCE), **MULTIPART)) as server, open_at(server.url) as store:
        assert store.get(NAME) == DATA
        assert store.get(NAME, offset=3, length=4) == DATA[3:7]
        with pytest.raises(LimitError):
            store.get(NAME, limit=9)


def failed(reason: object) -> bytes:
    return json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"Value": [reason]}}]}}).encode()


NOTHING = say(204)
STORED = say(200, json.dumps({"00081199": {"Value": [{"00081155": {"Value": [WHERE.instance]}}]}}).encode())
PUT: dict[str, tuple[Behaviour, type[MedveilError]]] = {
    "taken": (listing(entry()), ObjectExistsError),
    "duplicate": (in_turn(NOTHING, say(409, failed(0x0111))), ObjectExistsError),
    "out of resources": (in_turn(NOTHING, say(409, failed(0xA700))), StoreFullError),
    "cannot understand": (in_turn(NOTHING, say(409, failed(0xC000))), StoreError),
    "no reason": (in_turn(NOTHING, say(409, b"{}")), StoreError),
    "a list of nonsense": (in_turn(NOTHING, say(200, b"[3]")), StoreError),
    "nothing stored": (in_turn(NOTHING, say(200, b"")), StoreError),
    "no JSON": (in_turn(NOTHING, say(200, b"<xml/>")), StoreError),
    "deep JSON": (in_turn(NOTHING, say(200, b"[" * 100_000)), StoreError),
    "413": (in_turn(NOTHING, say(413)), StoreFullError),
    "507": (in_turn(NOTHING, say(507)), StoreFullError),
    "503": (in_turn(NOTHING, say(503)), StoreUnavailableError),
    "hangs": (in_turn(NOTHING, hang), StoreUnavailableError),
    "took it and lost it": (
        in_turn(NOTHING, STORED, NOTHING),
        StoreError,
    ),
    "another writer was first": (
        in_turn(NOTHING, STORED, listing(entry())),
        ObjectExistsError,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("behaviour", "error"), PUT.values(), ids=PUT.keys())
def test_put(behaviour: Behaviour, error: type[MedveilError]) -> None:
    with misbehaving(behaviour) as server, open_at(server.url) as store, pytest.raises(error) as caught:
        store.put(NAME, DATA)
    assert type(caught.value) is error


def test_a_listing_shows_only_what_is_ours() -> None:
    nonsense = [
        None,
        5,
        [],
        {},
        {"00204000": 3},
        entry(None),
        entry("a report of a patient"),
        entry(f"../x 1 {'0' * 32}"),
    ]
    with misbehaving(listing(*nonsense, entry(), entry())) as server, open_at(server.url) as store:
        assert list(store.list()) == [NAME]
        assert list(store.list("folder/")) == [NAME]
        assert list(store.list("elsewhere/")) == []
        assert "StudyDescription=folder*" in server.requests[1][1]


def test_a_search_is_taken_for_what_was_asked() -> None:
    answers = [entry(uid="1.2.3"), entry(f"other/name 10 {ATTEMPT.hex()}")]
    with misbehaving(listing(*answers)) as server, open_at(server.url) as store, pytest.raises(ObjectMissingError):
        store.size(NAME)


def test_a_flood_of_json_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medveil.stores.dicomweb._ANSWER_LIMIT", 1000)
    with misbehaving(say(200, b" " * 5000)) as server, open_at(server.url) as store, pytest.raises(LimitError):
        list(store.list())


def test_secrets_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secrets.token_hex(8)
    monkeypatch.setenv("PACS_PASSWORD", secret)
    table = {"type": "dicomweb", "name": "pacs", "url": "https://127.0.0.1:1/dicom-web", "user": "u",
             "password_env": "PACS_PASSWORD", "retry": {"attempts": 1}}  # fmt: skip
    with open_store(table) as store, pytest.raises(StoreUnavailableError) as caught:
        store.check()
    assert secret not in f"{caught.value!r} {store!r}"
