"""The log: appended, published as tiles, verified from files alone; every way of changing it is refused."""

from __future__ import annotations

import base64
import shutil
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.vault.vault_room import OWNER

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    FormatError,
    InputError,
    MedveilError,
    ObjectMissingError,
    StoreFullError,
    TamperedError,
    WrongKeyError,
)
from medveil.vault.audit import Action, AuditLog, Event, Outcome, verify_folder
from medveil.vault.audit.atna import audit_message
from medveil.vault.audit.note import WITNESS, Checkpoint, NoteKey, NoteSigner
from medveil.vault.audit.offline import pack_proof, verify_proof
from medveil.vault.audit.tiles import tile_path, unpack_entries
from medveil.vault.audit.witness import Witness

DATASET = bytes(range(16))


def log_of(folder: Path, entries: int = 0, owner: OwnerKey | None = OWNER) -> AuditLog:
    log = AuditLog(folder, DATASET, owner)
    for number in range(entries):
        log.append(Action.GET, actor="alice", subject=bytes([number % 251]), detail={"version": number}, now=1.7e9)
    return log


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return log_of(tmp_path, 5)


# ------------------------------------------------------------------------------------------------------ formats


def test_a_note_and_key_of_the_go_module_proxy_s_package() -> None:
    """From the documentation of golang.org/x/mod/sumdb/note."""
    key = NoteKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    note = Checkpoint("PeterNeumann", 0, b"", text, ((key.name, base64.b64decode(line)),))
    note.verify(key)
    changed = Checkpoint("PeterNeumann", 0, b"", text.replace("your", "my"), note.signatures)
    with pytest.raises(TamperedError):
        changed.verify(key)
    assert str(key) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_our_notes_are_read_as_they_were_written() -> None:
    signer = NoteSigner("example.org/log", bytes(32))
    fresh = Checkpoint.make("example.org/log", 7, bytes(32))
    again = Checkpoint.parse(fresh.signed([signer.line(fresh.text)]))
    again.verify(NoteKey.parse(str(signer.key)))
    assert (again.origin, again.size, again.root) == ("example.org/log", 7, bytes(32))
    with pytest.raises(WrongKeyError):
        again.verify(NoteSigner("example.org/log", bytes(31) + b"\1").key)
    with pytest.raises(WrongKeyError):
        again.verify(NoteSigner("example.org/other", bytes(32)).key)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"x", b"\xff\xff", b"o\n1\n\n", b"o\n01\nAAAA\n\n\xe2\x80\x94 n AAAAAAA=\n", b"a" * 70_000,
        b"o\n1\n" + base64.b64encode(bytes(31)) + b"\n\n\xe2\x80\x94 n AAAAAAA=\n",
        b"o\n1\n" + base64.b64encode(bytes(32)) + b"\n\n- n AAAAAAA=\n",
        b"o\n1\n" + base64.b64encode(bytes(32)) + b"\n\n",
        b"o\n-1\n" + base64.b64encode(bytes(32)) + b"\n\n\xe2\x80\x94 n AAAAAAA=\n",
    ],
)  # fmt: skip
def test_no_checkpoints(text: bytes) -> None:
    with pytest.raises(MedveilError):
        Checkpoint.parse(text)


@pytest.mark.parametrize("text", ["", "x", "a+b+c", "a+00000000+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"])
def test_no_keys(text: str) -> None:
    with pytest.raises(FormatError):
        NoteKey.parse(text)


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (1, 5, 17, "tile/1/005.p/17"),
        ("entries", 1000, 256, "tile/entries/x001/000"),
    ],
)
def test_paths_of_tiles(level: int | str, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


# ------------------------------------------------------------------------------------------------------ publishing


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_published_logs_verify_from_their_files(tmp_path: Path, size: int) -> None:
    log = log_of(tmp_path / "state" if (tmp_path / "state").mkdir() is None else tmp_path, size)
    checkpoint = log.publish()
    shutil.copytree(log.folder, tmp_path / "elsewhere")
    report = verify_folder(tmp_path / "elsewhere", NoteKey.parse(str(log.key)))
    assert (report.size, report.root) == (size, checkpoint.root)
    files = sorted(
        str(p.relative_to(log.folder)) for p in log.folder.rglob("*") if p.is_file() and "atna" not in str(p)
    )
    full, rest = divmod(size, 256)
    expected = {"checkpoint"}
    for kind in ("0", "entries"):
        expected |= {f"tile/{kind}/{n:03}" for n in range(full)}
        expected |= {f"tile/{kind}/{full:03}.p/{rest}"} if rest else set()
    expected |= {f"tile/1/000.p/{full}"} if full else set()
    assert set(files) >= expected
    assert log.publish().root == checkpoint.root


def test_a_log_grows_and_continues_its_checkpoints(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    kept: list[bytes] = []
    for number in range(12):
        for _ in range(number * 7):
            log.append(Action.PUT)
        log.publish()
        kept.append((log.folder / "checkpoint").read_bytes())
    report = verify_folder(log.folder, log.key, older=kept)
    assert report.continues == tuple(sum(7 * n for n in range(k + 1)) for k in range(12))


def test_entries_say_what_was_done_and_no_name(log: AuditLog) -> None:
    events = dict(log.events())
    assert [one.detail["version"] for one in events.values()] == [0, 1, 2, 3, 4]
    assert events[0].actor == events[1].actor == log.hash_of("actor", "alice")
    assert events[0].subject == log.hash_of("subject", b"\0") != events[1].subject
    log.publish()
    for path in log.folder.rglob("*"):
        assert not path.is_file() or b"alice" not in path.read_bytes()
    other = AuditLog(log.folder.parent / "x" if not (log.folder.parent / "x").mkdir() else log.folder, DATASET, OWNER)
    assert other.hash_of("actor", "alice") != events[0].actor  # another log, another secret


@pytest.mark.parametrize(
    "detail",
    [{"patient": "77"}, {"kind": "Zweig^Marta"}, {"kind": "a b"}, {"count": 1.5}, {"kind": ""}, {"kind": "x" * 64}],
)
def test_details_that_could_carry_a_name_are_refused(log: AuditLog, detail: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        log.append(Action.GET, detail=detail)
    assert log.size == 5


def test_without_the_owner_entries_wait_for_their_signature(tmp_path: Path) -> None:
    keyless = log_of(tmp_path, 3, owner=None)
    with pytest.raises(WrongKeyError):
        keyless.publish()
    keyless.close()
    log = AuditLog(tmp_path, DATASET, OWNER)
    assert log.publish().size == 3
    assert verify_folder(log.folder, log.key).size == 3


def test_threads_append_without_a_gap(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    threads = [threading.Thread(target=lambda: [log.append(Action.PUT) for _ in range(25)]) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    log.publish()
    assert verify_folder(log.folder, log.key).size == 100


# ------------------------------------------------------------------------------------------------------- tampering


def test_65_entries_removed_reordered_or_changed_in_the_database(log: AuditLog) -> None:
    log.publish()
    with log._database.use() as db:
        db.execute("UPDATE entries SET entry = (SELECT entry FROM entries WHERE number = 0) WHERE number = 3")
    log.append(Action.GET)
    log.publish()
    with pytest.raises(TamperedError):
        verify_folder(log.folder, log.key)
    with log._database.use() as db:
        db.execute("DELETE FROM entries WHERE number > 1")
    with pytest.raises(TamperedError, match="removed"):
        log.publish()


def swap(folder: Path) -> None:
    path = folder / "tile/entries/000.p/5"
    entries = unpack_entries(path.read_bytes(), 5)
    entries[1], entries[2] = entries[2], entries[1]
    path.write_bytes(b"".join(len(one).to_bytes(2, "big") + one for one in entries))


def drop_last(folder: Path) -> None:
    path = folder / "tile/entries/000.p/5"
    entries = unpack_entries(path.read_bytes(), 5)[:-1]
    path.write_bytes(b"".join(len(one).to_bytes(2, "big") + one for one in entries))


def rewrite(folder: Path) -> None:
    path = folder / "tile/entries/000.p/5"
    path.write_bytes(path.read_bytes().replace(b'"outcome":"success"', b'"outcome":"refused"', 1))


def forge(folder: Path) -> None:
    """A whole new log, signed by somebody else."""
    other = folder.parent / "forged"
    other.mkdir()
    log = log_of(other, 4, OwnerKey(bytes(32)))
    log.publish()
    shutil.rmtree(folder)
    shutil.copytree(log.folder, folder)


def hide_hashes(folder: Path) -> None:
    path = folder / "tile/0/000.p/5"
    path.write_bytes(bytes(32) + path.read_bytes()[32:])


@pytest.mark.parametrize("harm", [swap, drop_last, rewrite, forge, hide_hashes])
def test_65_published_files_that_were_changed(log: AuditLog, harm: Any) -> None:
    log.publish()
    key = log.key
    harm(log.folder)
    with pytest.raises((TamperedError, FormatError, WrongKeyError)):
        verify_folder(log.folder, key)


def test_65_a_tile_removed(log: AuditLog) -> None:
    log.publish()
    (log.folder / "tile/entries/000.p/5").unlink()
    with pytest.raises(ObjectMissingError):
        verify_folder(log.folder, log.key)


def test_65_a_log_put_back_to_an_earlier_day(log: AuditLog, tmp_path: Path) -> None:
    log.publish()
    shutil.copytree(log.folder, tmp_path / "old")
    log.append(Action.REVOKE)
    log.publish()
    newest = (log.folder / "checkpoint").read_bytes()
    assert verify_folder(tmp_path / "old", log.key).size == 5  # by itself it is a log
    with pytest.raises(TamperedError, match="removed"):
        verify_folder(tmp_path / "old", log.key, older=[newest])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_65_any_flipped_bit_of_any_file(log: AuditLog, data: st.DataObject) -> None:
    log.publish()
    key = log.key
    files = sorted(p for p in log.folder.rglob("*") if p.is_file() and "atna" not in p.parts)
    path = data.draw(st.sampled_from(files))
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    whole = path.read_bytes()
    path.write_bytes(raw)
    with pytest.raises(MedveilError):
        verify_folder(log.folder, key)
    path.write_bytes(whole)
    verify_folder(log.folder, key)


def test_66_log_full(log: AuditLog) -> None:
    with log._database.use() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreFullError, match="audit log is full"):
        deque((log.append(Action.GET) for _ in range(500)), maxlen=0)
    size = log.size
    with log._database.use() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    log.append(Action.GET)
    log.publish()
    assert verify_folder(log.folder, log.key).size == size + 1


# -------------------------------------------------------------------------------------------- proofs and witnesses


def test_a_proof_of_one_entry(log: AuditLog) -> None:
    checkpoint = log.publish()
    entry, proof = log.inclusion(3)
    text = pack_proof(3, proof, checkpoint.signed(checkpoint.lines()))
    number, seen = verify_proof(text, entry, log.key)
    assert (number, seen.size) == (3, 5)
    with pytest.raises(TamperedError):
        verify_proof(text, entry.replace(b"success", b"refused"), log.key)
    with pytest.raises(TamperedError):
        verify_proof(text.replace(b"index 3", b"index 2"), entry, log.key)
    for wrong in (b"", text[10:], text.replace(b"index 3", b"index x"), text.replace(b"\n\n", b"\n", 1)):
        with pytest.raises(MedveilError):
            verify_proof(wrong, entry, log.key)


def test_a_witness_cosigns_what_continues_and_nothing_else(log: AuditLog, tmp_path: Path) -> None:
    log.publish()
    witness = Witness(tmp_path / "witness", "example.org/witness")
    line, size = witness.cosign(log.folder, log.key, now=1_700_000_000)
    log.add_cosignatures([line], [witness.key])
    report = verify_folder(log.folder, log.key, witnesses=[NoteKey.parse(str(witness.key))])
    assert (size, report.witnesses) == (5, {"example.org/witness": 1_700_000_000})
    log.append(Action.GET)
    log.publish()
    with pytest.raises(WrongKeyError):
        verify_folder(log.folder, log.key, witnesses=[witness.key])  # the new checkpoint is not cosigned yet
    assert Witness(tmp_path / "witness", "example.org/witness").cosign(log.folder, log.key)[1] == 6
    # The owner of the log's own key writes another history: the witness refuses.
    (tmp_path / "other").mkdir()
    with log._database.use() as db:
        meta = db.execute("SELECT key, value FROM meta").fetchall()
    rewritten = AuditLog(tmp_path / "other", DATASET, None)
    with rewritten._database.use() as db:
        db.executemany("UPDATE meta SET value = ? WHERE key = ?", [(v, k) for k, v in meta if k != "published"])
    rewritten = AuditLog(tmp_path / "other", DATASET, OWNER)
    assert rewritten.key == log.key
    for _ in range(7):
        rewritten.append(Action.PUT)
    rewritten.publish()
    with pytest.raises(TamperedError, match="rewritten"):
        witness.cosign(rewritten.folder, log.key)
    with pytest.raises(TamperedError):
        log.add_cosignatures([line], [witness.key])  # a line of another checkpoint


def test_a_witness_s_key_is_no_log_s_key() -> None:
    signer = NoteSigner("example.org/log", bytes(32), WITNESS)
    fresh = Checkpoint.make("example.org/log", 1, bytes(32))
    note = Checkpoint.parse(fresh.signed([signer.line(fresh.text, 5)]))
    with pytest.raises(WrongKeyError):
        note.verify(NoteSigner("example.org/log", bytes(32)).key)


# ------------------------------------------------------------------------------------------------------------ ATNA


@pytest.mark.parametrize("action", list(Action))
def test_audit_messages_of_dicom(action: Action) -> None:
    when = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    event = Event(action, Outcome.REFUSED, when, "ab" * 16, "cd" * 16, {"store": "north", "part": 2})
    message = ET.fromstring(audit_message(event, "medveil.audit/x"))  # noqa: S314 - our own
    assert [child.tag for child in message] == [
        "EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification",
    ]  # fmt: skip
    identified = message[0]
    assert identified.attrib["EventOutcomeIndicator"] == "4"
    assert identified.attrib["EventActionCode"] in "CRUDE"
    assert identified.attrib["EventDateTime"] == "2024-02-29T12:00:00+00:00"
    (code,) = identified.findall("EventID")
    assert code.attrib["codeSystemName"] == "DCM"
    assert 110100 <= int(code.attrib["csd-code"]) <= 110114
    assert message[1].attrib["UserID"] == "ab" * 16
    details = {
        one.attrib["type"]: base64.b64decode(one.attrib["value"]) for one in message[3].iter("ParticipantObjectDetail")
    }
    assert details == {"store": b"north", "part": b"2"}


def test_syslog_lines_lie_beside_the_tiles(log: AuditLog) -> None:
    log.publish()
    lines = (log.folder / "atna" / "000.log").read_bytes().splitlines()
    assert len(lines) == 5
    for line in lines:
        header, message = line.split(b"\xef\xbb\xbf")
        assert header.startswith(b"<85>1 2023-11-14T22:13:20Z - medveil - DICOM+RFC3881 - ")
        ET.fromstring(message)  # noqa: S314 - our own
