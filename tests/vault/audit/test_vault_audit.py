"""What the vault's verbs leave in the log, and that no patient, name or query is in it."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import pytest
from tests.vault.test_canary import FILE, forms, patient
from tests.vault.vault_room import LARGE, OWNER, SMALL, Room, sample

from medveil.errors import ConfigError, ObjectMissingError, StoreFullError, UnrecoverableError
from medveil.stores.faulty import FaultKind
from medveil.vault import Vault
from medveil.vault.audit import Action, verify_folder
from medveil.vault.auditing import acting_for


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def said(vault: Vault) -> list[tuple[str, str]]:
    return [(event.action.value, event.outcome.value) for _, event in vault.audit.events()]


def test_every_verb_leaves_an_entry(room: Room) -> None:
    with acting_for("dr-alice"):
        put = room.vault.put(sample(), name="x")
        room.read(put.object_id)
    room.vault.verify("x")
    room.vault.repair()
    room.vault.scrub()
    assert [action for action, _ in said(room.vault)] == ["put", "get", "verify", "repair", "verify"]
    events = [event for _, event in room.vault.audit.events()]
    assert events[0].actor == events[1].actor == room.vault.audit.hash_of("actor", "dr-alice")
    assert events[0].subject == events[1].subject == room.vault.audit.hash_of("subject", bytes.fromhex(put.object_id))
    assert events[2].actor == ""
    room.vault.close()
    assert verify_folder(room.vault.audit.folder, room.vault.audit.key).size == 5


def test_who_tampered_is_named(room: Room) -> None:
    put = room.vault.put(sample(LARGE), name="x")
    name = room.share("south", put.object_id)
    data = room.clouds["south"].inner.get(name)
    room.clouds["south"].inner.delete(name)
    room.clouds["south"].inner.put(name, data[:9000] + bytes([data[9000] ^ 1]) + data[9001:])
    room.clouds["east"].inner.delete(room.share("east", put.object_id))
    room.read(put.object_id)
    found = [e.detail for _, e in room.vault.audit.events() if e.action is Action.FINDING]
    assert {(one["kind"], one["store"]) for one in found} == {("tamper", "south"), ("missing", "east")}
    assert any("chunk" in one for one in found)


def test_what_was_refused_or_failed(room: Room) -> None:
    put = room.vault.put(sample(), name="x")
    room.wipe("north", "east", "south")
    with pytest.raises(UnrecoverableError):
        room.read(put.object_id)
    with pytest.raises(ObjectMissingError):
        room.read("00" * 16)
    last = [event for _, event in room.vault.audit.events()][-2:]
    assert [(e.action, e.outcome, e.detail["code"]) for e in last] == [
        (Action.GET, "failed", "UnrecoverableError"),
        (Action.GET, "failed", "ObjectMissingError"),
    ]


def test_66_nothing_is_handed_out_that_cannot_be_logged(room: Room) -> None:
    put = room.vault.put(sample(), name="x")
    log = room.vault.audit
    with log._database.use() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFullError):
        deque((room.vault.read(put.object_id) for _ in range(400)), maxlen=0)
    with log._database.use() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert room.vault.read(put.object_id)[0] == sample()


def test_a_store_that_is_down_is_no_alarm(room: Room) -> None:
    put = room.vault.put(sample(SMALL), name="x")
    room.fail("north", FaultKind.ERROR, "list")
    room.fail("north", FaultKind.ERROR, "get")
    room.read(put.object_id)
    assert said(room.vault) == [("put", "success"), ("get", "success")]


def test_without_a_log(tmp_path: Path) -> None:
    room = Room(tmp_path, more={"audit": False})
    room.vault.put(sample(), name="x")
    with pytest.raises(ConfigError, match="audit"):
        _ = room.vault.audit
    assert not list(tmp_path.rglob("audit*"))


def test_no_patient_data_in_the_log(room: Room, tmp_path: Path) -> None:
    data, canaries = patient()
    room.vault.put(data, name=FILE)
    room.read(FILE)
    with acting_for("CANARY^MARGARETE^ZWEIG"):
        room.vault.verify()
    room.vault.close()
    files = [p for p in (tmp_path / "state").rglob("*") if p.is_file() and "audit" in str(p)]
    assert len(files) >= 5
    for path in files:
        raw = path.read_bytes()
        assert [what for what, one in canaries.items() if any(form in raw for form in forms(one))] == []
    entries = [json.loads(event.encode()) for _, event in room.vault.audit.events()]
    assert all(set(one) == {"v", "action", "outcome", "time", "actor", "subject", "detail"} for one in entries)


def test_two_machines_keep_two_logs(room: Room) -> None:
    other = room.elsewhere("elsewhere")
    assert other.audit.origin != room.vault.audit.origin
    assert other.audit.key != room.vault.audit.key
    assert OWNER.public.fingerprint not in other.audit.origin
