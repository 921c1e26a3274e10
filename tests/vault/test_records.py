"""Heads, catalogue records, names, local state and the fleet, each by itself."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vault.vault_room import OWNER, QUICK, sample

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConfigError,
    ConflictError,
    FormatError,
    LimitError,
    NotAuthenticError,
    OutputExistsError,
    StoreError,
    StoreUnavailableError,
    TamperedError,
    WrongKeyError,
)
from medveil.schemes.sealed import SealedRecord, seal
from medveil.stores.base import check_name
from medveil.stores.faulty import Fault, FaultKind, FaultyStore
from medveil.stores.memory import MemoryStore
from medveil.stores.retry import RetryStore
from medveil.vault.fleet import Fleet
from medveil.vault.head import (
    MAX_CATALOGUE,
    CatalogueEntry,
    content_hash,
    open_entry,
    pack_head,
    read_head,
    seal_entry,
)
from medveil.vault.naming import Holdings, claim_name, head_name, share_name, sort_names
from medveil.vault.session import locked
from medveil.vault.state import Attempt, State


@pytest.fixture(scope="module")
def record() -> SealedRecord:
    return seal(sample(), [io.BytesIO() for _ in range(4)], owner=OWNER)


ENTRY = CatalogueEntry("Thorax übergröße.dcm", "application/dicom", 12345, 1_700_000_000)


def test_a_catalogue_record_opens_for_its_owner_and_version_only(record: SealedRecord) -> None:
    sealed = seal_entry(ENTRY, record.parsed, OWNER)
    assert open_entry(sealed, record.parsed, OWNER) == ENTRY
    other = seal(sample(), [io.BytesIO() for _ in range(4)], owner=OWNER)
    with pytest.raises(WrongKeyError):
        open_entry(sealed, other.parsed, OWNER)
    with pytest.raises(WrongKeyError):
        open_entry(sealed, record.parsed, OwnerKey(bytes(32)))
    assert b"bergr" not in sealed


def test_a_catalogue_record_hides_the_length_of_a_name(record: SealedRecord) -> None:
    lengths = {
        len(seal_entry(CatalogueEntry("n" * size, "image/png", 1, 1), record.parsed, OWNER))
        for size in range(1, 150, 7)
    }
    assert len(lengths) == 1
    with pytest.raises(LimitError):
        seal_entry(CatalogueEntry("n" * 1025, "", 1, 1), record.parsed, OWNER)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_head_that_was_changed_anywhere_is_refused(record: SealedRecord, data: st.DataObject) -> None:
    head = pack_head(record.manifest, record.envelopes, seal_entry(ENTRY, record.parsed, OWNER))
    content = content_hash(head)
    assert read_head(head, content, OWNER.public).manifest.digest == record.parsed.digest
    at = data.draw(st.integers(0, len(head) - 1))
    value = data.draw(st.integers(1, 255))
    changed = data.draw(
        st.sampled_from(
            [head[:at], head + b"x", head[:at] + bytes([head[at] ^ value]) + head[at + 1 :], head[at:] + b"y"]
        )
    )
    with pytest.raises(TamperedError):
        read_head(changed, content, OWNER.public)
    signed = 9 + 9 + len(record.manifest)  # what the signature covers; behind it are envelopes and the catalogue
    if changed[:signed] != head[:signed]:
        with pytest.raises((NotAuthenticError, LimitError)):
            read_head(changed, content_hash(changed), OWNER.public)


def test_claims_of_sizes_are_checked_before_anything_is_made(record: SealedRecord) -> None:
    for wrong in (b"MVHD\x01" + b"\xff" * 4, b"MVHD\x01" + (1 << 31).to_bytes(4, "big") + b"x"):
        with pytest.raises(LimitError):
            read_head(wrong, content_hash(wrong), OWNER.public)
    for wrong in (b"", b"MVHD\x02", b"MVHD\x01", b"MVHD\x01\0\0\0\x05abc"):
        with pytest.raises(FormatError):
            read_head(wrong, content_hash(wrong), OWNER.public)
    with pytest.raises(LimitError):
        pack_head(record.manifest, record.envelopes, bytes(MAX_CATALOGUE + 1))


@given(st.binary(min_size=16, max_size=16), st.integers(0, (1 << 64) - 1), st.binary(min_size=32, max_size=32))
def test_names_are_names_and_are_read_back(object_id: bytes, version: int, digest: bytes) -> None:
    dataset = bytes(16)
    names = [
        head_name(dataset, object_id, version, digest),
        share_name(dataset, object_id, digest),
        share_name(dataset, object_id, digest, b"attempt!"),
        claim_name(dataset, object_id, version),
    ]
    for name in names:
        check_name(name)
    held = sort_names([*names, "x", f"{dataset.hex()}/o/zz/h-1", "a/o/b/c"])
    assert held == {
        object_id: Holdings({(version, digest): names[0]}, {digest: [names[1], names[2]]}, {version: names[3]}, [])
    }


def test_the_state_only_goes_forward_but_for_an_acceptance(tmp_path: Path) -> None:
    state = State.create(tmp_path / "s", {"a": b"1"})
    one = bytes(16)
    state.see(one, 3, b"three", b"c", b"m")
    state.see(one, 2, b"two", b"c", b"m")
    known = state.known(one)
    assert known is not None
    assert (known.version, known.digest, known.highest) == (3, b"three", 3)
    state.accept(one, 1, b"one", b"c", b"m", b"signed")
    state.see(one, 1, b"other", b"c", b"m")
    known = State(tmp_path / "s").known(one)
    assert known is not None
    assert (known.version, known.digest, known.highest) == (1, b"one", 3)
    assert state.accepted(one, 1, b"one")
    assert not state.accepted(one, 1, b"two")
    assert state.meta("a") == b"1"
    with pytest.raises(ConfigError):
        state.meta("b")
    with pytest.raises(OutputExistsError):
        State.create(tmp_path / "s", {})
    with pytest.raises(ConfigError):
        State(tmp_path)


def test_the_journal(tmp_path: Path) -> None:
    state = State.create(tmp_path / "s", {})
    state.begin(b"attempt", b"object", 1, b"ledger")
    state.claimed(b"attempt", 4)
    state.advance(b"attempt", "uploading", b"head")
    assert state.attempts() == [Attempt(b"attempt", b"object", 4, b"ledger", "uploading", b"head")]
    state.commit(state.attempts()[0], b"d", b"c", b"m", {1: ("a", "n")}, {"a": "h"}, ["b"])
    assert state.attempts() == []
    assert state.stored(b"ledger") == (b"object", 4)
    assert state.places(b"object", 4) == ({1: ("a", "n")}, {"a": "h"})
    assert state.repairs() == {(b"object", 4, "b")}
    state.begin(b"other", b"object", 5, b"ledger 2")
    state.abandon(b"other", [("a", "left")])
    assert state.abandoned(b"other")
    assert not state.abandoned(b"attempt")
    assert state.garbage() == [("a", "left")]
    state.swept([("a", "left")])
    assert state.garbage() == []


def test_a_damaged_state_is_refused_with_one_error(tmp_path: Path) -> None:
    State.create(tmp_path / "s", {})
    file = tmp_path / "s" / "state.sqlite"
    data = file.read_bytes()
    file.write_bytes(hashlib.shake_256(b"rubbish").digest(len(data)))
    with pytest.raises((StoreError, ConfigError)):
        State(tmp_path / "s")


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    with locked(tmp_path / "locks" / "x", "object x"):
        with pytest.raises(ConflictError, match="object x"), locked(tmp_path / "locks" / "x", "object x"):
            pass
        with locked(tmp_path / "locks" / "y", "object y"):
            pass
    with locked(tmp_path / "locks" / "x", "object x"):
        pass


def test_the_fleet_asks_all_at_once_and_waits_for_none() -> None:
    stores = [FaultyStore(MemoryStore(f"s{i}")) for i in range(6)]
    for store in stores:
        store.put("x", b"1")
    stores[2].add(Fault(FaultKind.HANG, "get"))
    stores[3].add(Fault(FaultKind.ERROR, "get"))
    for store in stores[4:]:
        store.add(Fault(FaultKind.DELAY, "get", seconds=0.2))
    fleet = Fleet(stores, deadline=0.6, workers=6)
    began = time.monotonic()
    outcomes = fleet.each(lambda store: store.get("x"))
    assert time.monotonic() - began < 2
    assert [name for name, outcome in outcomes.items() if outcome.ok] == ["s0", "s1", "s4", "s5"]
    assert isinstance(outcomes["s2"].error, StoreUnavailableError)
    with pytest.raises(StoreUnavailableError, match="hangs or trickles"):
        _ = outcomes["s2"].value
    with pytest.raises(ZeroDivisionError):  # a defect is not hidden
        fleet.each(lambda store: 1 // 0)
    fleet.close()


def test_the_fleet_keeps_to_its_number_of_calls() -> None:
    fleet = Fleet([MemoryStore("a")], deadline=5, workers=3)
    lock, now, most = threading.Lock(), 0, 0

    def job() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    fleet.ask(dict.fromkeys(range(1), job) | dict.fromkeys(range(1, 12), job))
    assert most == 3


def test_a_store_that_cannot_be_opened_says_so_and_is_opened_later() -> None:
    tries = []

    def opener() -> RetryStore:
        tries.append(1)
        if len(tries) < 3:
            raise StoreUnavailableError("no route", transient=False)
        return RetryStore(MemoryStore("far"), QUICK)

    fleet = Fleet(openers={"far": ("p", opener)}, deadline=1)
    assert fleet.providers == {"far": "p"}
    for call in (
        lambda store: store.get("x"),
        lambda store: store.put("x", b""),
        lambda store: list(store.list()),
        lambda store: store.size("x"),
        lambda store: store.delete("x"),
        lambda store: store.check(),
    ):
        error = fleet.each(call)["far"].error
        assert isinstance(error, StoreUnavailableError)
        assert "no route" in str(error)
    fleet.reopen("far")
    fleet.reopen("nothing")
    assert not fleet.each(lambda store: store.check())["far"].ok
    fleet.reopen("far")
    assert fleet.each(lambda store: store.check())["far"].ok
