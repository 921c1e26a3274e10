"""Grants bind what leaves the gateway: found and handed out is what was granted, from when and until when it was."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.gateway.gateway_room import GATEWAY, OWNER, Room, running, study, told
from tests.gateway.test_gateway_dimse import find, get

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.errors import PolicyError
from medveil.gateway.access import Client, hash_token
from medveil.vault import Vault
from medveil.vault.grants.recipients import fingerprint_of, public_file

ROE = "a0" * 32
CLIENT = f"""
[[client]]
name = "dr-roe"
ae_title = "ROE"
token_sha256 = "{hash_token(ROE)}"
recipient = "roe"
may = ["query", "retrieve"]
"""

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with running(tmp_path_factory.mktemp("gateway"), GATEWAY + CLIENT) as one:
        yield one


@pytest.fixture(scope="module")
def studies(room: Room) -> tuple[list[bytes], list[bytes]]:
    """Two studies of two patients, sealed and found by who sees everything."""
    found = study(2, name="ADAMS^ONE"), study(1, name="BAKER^TWO")
    assert all(room.stow(*files).status_code == 200 for files in found)
    assert room.gateway.wait_sealed(30)
    end = time.monotonic() + 20
    with room.web() as web:
        while len(web.get("/studies").json() if web.get("/studies").status_code == 200 else []) < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def owner(room: Room) -> Iterator[Vault]:
    """The owner, with the vault open beside the gateway."""
    with Vault.open(room.folder / "vault.toml", OWNER) as vault:
        key = RecipientPrivateKey(bytes([7]) * 32).public
        vault.grants.add_recipient("roe", public_file(key), fingerprint_of(key))
        yield vault


def seen(room: Room) -> list[str]:
    with room.web(ROE) as web:
        answer = web.get("/studies")
    return [one["00100010"]["Value"][0]["Alphabetic"] for one in answer.json()] if answer.status_code == 200 else []


def status(room: Room, data: bytes) -> int:
    one = told(data)
    with room.web(ROE) as web:
        codes = {
            web.get(path).status_code
            for path in (
                f"/studies/{one.study}",
                f"/studies/{one.study}/series",
                f"/studies/{one.study}/metadata",
                f"/studies/{one.study}/series/{one.series}/instances/{one.uid}/frames/1",
            )
        }
    (code,) = codes
    return code


def test_a_grant_opens_its_study_alone_and_ends_when_it_ends(
    room: Room, owner: Vault, studies: tuple[list[bytes], list[bytes]]
) -> None:
    first, second = studies
    assert seen(room) == []
    assert status(room, first[0]) == status(room, second[0]) == 403

    owner.grants.grant("roe", [told(first[0]).study])
    assert seen(room) == ["ADAMS^ONE"]
    assert status(room, first[0]) == 200
    assert status(room, second[0]) == 403
    assert [one.PatientName for one in find(room.dicom_port, "ROE", QueryRetrieveLevel="STUDY", PatientName="")[1]] == [
        "ADAMS^ONE"
    ]
    assert get(room, first, "ROE")[0] == 0
    assert get(room, second, "ROE") == (0x0124, [])

    owner.grants.revoke("roe", [told(first[0]).study])
    assert seen(room) == []
    assert status(room, first[0]) == 403
    assert get(room, first, "ROE") == (0x0124, [])

    end = time.time() + 5
    owner.grants.grant("roe", [told(second[0]).study], expires=end)
    assert seen(room) == ["BAKER^TWO"]
    time.sleep(max(0.0, end - time.time()) + 0.1)
    assert seen(room) == []
    assert status(room, second[0]) == 403

    owner.grants.grant("roe", [told(second[0]).study], not_before=time.time() + 5000, expires=time.time() + 9000)
    assert status(room, second[0]) == 403


def test_refusals_are_in_the_audit_log(room: Room, owner: Vault, studies: tuple[list[bytes], list[bytes]]) -> None:
    before = owner.audit.size
    with room.web("0" * 64) as web:
        assert web.get("/studies").status_code == 401
    events = [event for _, event in owner.audit.events(before)]
    assert [(event.action, event.outcome, event.detail) for event in events] == [
        ("login", "refused", {"code": "UnknownClientError", "service": "web"})
    ]


def test_a_recipient_that_is_not_pinned_sees_nothing(room: Room, studies: tuple[list[bytes], list[bytes]]) -> None:
    stranger = Client("stranger", frozenset({"query"}), "nobody")
    with pytest.raises(PolicyError):
        room.gateway._archive.check(stranger, told(studies[0][0]).study)
