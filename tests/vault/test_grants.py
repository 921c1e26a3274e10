"""Grants: what a recipient can read and find, until when, and what each level of revocation takes away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.vault.grants_room import KEYS, dicom, joined, pin, reads
from tests.vault.vault_room import OTHER, OWNER, Room, config, kinds, sample

from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConfigError,
    FormatError,
    InputError,
    LimitError,
    NotAuthenticError,
    ObjectMissingError,
    PolicyError,
    RollbackError,
    StoreUnavailableError,
    TamperedError,
    WrongKeyError,
)
from medveil.stores.faulty import FaultKind
from medveil.vault import Vault
from medveil.vault.grants import LIMITS, Level
from medveil.vault.grants.recipients import fingerprint_of, public_file, read_public

STUDY, SECOND = "1.2.840.1", "1.2.840.2"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def with_study(room: Room, study: str = STUDY, number: int = 0, **changes: object) -> tuple[str, bytes]:
    data = dicom(study, number, **changes)
    return room.vault.put(data, name=f"{study}-{number}.dcm").object_id, data


# ------------------------------------------------------------------------------------------------- what is granted


def test_a_granted_study_is_found_and_read_and_no_other(room: Room, tmp_path: Path) -> None:
    first, data = with_study(room, StudyDescription="CT chest", PatientID="77")
    second, _ = with_study(room, SECOND)
    pin(room.vault, "alice")
    pin(room.vault, "bob")
    report = room.vault.grants.grant("alice", [STUDY])
    assert report.findings == ()
    alice, bob = joined(room, "alice"), joined(room, "bob")
    assert reads(alice, first, tmp_path) == data
    assert reads(alice, f"{STUDY}.0", tmp_path) == data  # by SOP Instance UID
    assert [one.attributes["StudyInstanceUID"] for one in alice.list()] == [STUDY]
    assert [hit.study.attributes["PatientID"] for hit in alice.search("ModalitiesInStudy=CT chest").hits] == ["77"]
    assert alice.search("PatientID=78").hits == alice.search("liver").hits == ()
    assert bob.list() == ()
    for vault, wanted in ((alice, second), (bob, first), (bob, second)):
        with pytest.raises(PolicyError):
            reads(vault, wanted, tmp_path)
    room.vault.grants.check("alice", STUDY)
    room.vault.grants.check("alice", first)
    with pytest.raises(PolicyError):
        room.vault.grants.check("alice", SECOND)
    with pytest.raises(PolicyError):
        room.vault.grants.check("bob", STUDY)


def test_a_file_that_is_no_dicom_is_a_study_of_its_own(room: Room, tmp_path: Path) -> None:
    put = room.vault.put(sample(OTHER), name="breast scan.png")
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [put.object_id])
    alice = joined(room, "alice")
    assert reads(alice, put.object_id, tmp_path) == sample(OTHER)
    assert alice.search("breast").total == 1
    assert alice.get(put.object_id, tmp_path / "x").name == "breast scan.png"


def test_files_and_versions_that_come_later_are_granted_too(room: Room, tmp_path: Path) -> None:
    first, _ = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    second, later = with_study(room, number=1)
    alice = joined(room, "alice")
    with pytest.raises(PolicyError):
        reads(alice, second, tmp_path)  # not listed for her yet
    room.vault.grants.resume()
    assert reads(alice, second, tmp_path) == later
    newer = dicom(STUDY, 0, StudyDescription="corrected")
    room.vault.put(newer, object=first)
    assert reads(alice, first, tmp_path) == newer  # the study's key opens it, with the old list


@pytest.mark.parametrize("mode", ["keyed", "two-factor", "perfect"])
def test_every_mode_of_sealing(tmp_path: Path, mode: str) -> None:
    room = Room(tmp_path, threshold="2/3", names=("north", "east", "south"), more={"mode": mode})
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    machine = config(tmp_path / "alice", ("north", "east", "south"), "2/3")
    alice = Vault.join(
        machine, room.vault.grants.invitation("alice"), KEYS["alice"], OWNER.public.fingerprint, stores=room.stores()
    )
    assert reads(alice, object_id, tmp_path) == data


def test_one_damaged_cloud_is_named_to_the_recipient(room: Room, tmp_path: Path) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    room.clouds["east"].inner.delete(room.share("east", object_id))
    report = joined(room, "alice").get(object_id, tmp_path / "out")
    assert "missing" in kinds(report.findings)
    assert (tmp_path / "out").read_bytes() == data


def test_search_through_the_owner_shows_granted_studies_only(tmp_path: Path) -> None:
    from tests.vault.search.test_vault_search import searching

    room = Room(tmp_path)
    room.vault = Vault.open(searching(tmp_path), OWNER, stores=room.stores())
    with_study(room, PatientID="77")
    with_study(room, SECOND, PatientID="77")
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [SECOND])
    assert room.vault.search("PatientID=77").total == 2
    mine = room.vault.search("PatientID=77", recipient="alice")
    assert [hit.study.attributes["StudyInstanceUID"] for hit in mine.hits] == [SECOND]
    room.vault.grants.revoke("alice", level="rotate")
    assert room.vault.search("PatientID=77", recipient="alice").hits == ()
    with pytest.raises(PolicyError):
        room.vault.search("PatientID=77", recipient="nobody")
    assert room.vault.search("PatientID=77").total == 2  # under the new epoch's keys


def test_what_another_machine_put_can_be_granted_once_it_was_seen(room: Room, tmp_path: Path) -> None:
    other = room.elsewhere("elsewhere")
    put = other.put(dicom(STUDY), name="a.dcm")
    pin(room.vault, "alice")
    with pytest.raises(ObjectMissingError, match="list"):
        room.vault.grants.grant("alice", [STUDY])
    room.vault.list()
    room.vault.grants.grant("alice", [STUDY])
    assert reads(joined(room, "alice"), put.object_id, tmp_path) == dicom(STUDY)


def test_another_machine_takes_the_epoch_over(room: Room) -> None:
    other = room.elsewhere("before")
    with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    thief = Thief(room, "alice")
    room.vault.grants.revoke("alice", level="rotate")
    assert room.elsewhere("after")._session.epoch == 2
    assert other._session.epoch == 1  # it cannot know yet
    other.list()
    assert other._session.epoch == 2
    new = other.put(dicom(STUDY, 7), name="new.dcm")
    thief.learns(new.object_id, STUDY)
    assert thief.try_read(new.object_id, room.folder) is None
    for cloud in room.clouds.values():  # an epoch that somebody else signs, and rubbish, is nothing
        cloud.inner.put(f"{room.vault._session.dataset.hex()}/e/{9:016x}-{'ab' * 32}", b"epoch 9")
    other.list()
    assert other._session.epoch == 2


# ------------------------------------------------------------------------------------------------------- pinned keys


def test_27_a_substituted_recipient_key(room: Room) -> None:
    alice, mallory = KEYS["alice"].public, KEYS["bob"].public
    with pytest.raises(PolicyError, match="fingerprint"):
        room.vault.grants.add_recipient("alice", public_file(mallory), fingerprint_of(alice))
    pin(room.vault, "alice")
    with pytest.raises(PolicyError, match="pinned with another key"):
        room.vault.grants.add_recipient("alice", public_file(mallory), fingerprint_of(mallory))
    assert room.vault.grants.recipients()[0].key == alice
    pin(room.vault, "alice")  # the same again is no change
    with_study(room)
    room.vault.grants.grant("alice", [STUDY])
    room.vault.grants.add_recipient("alice", public_file(mallory), fingerprint_of(mallory), replace=True)
    assert room.vault.grants.list() == ()  # what the old key had is withdrawn, and given to the new one by nobody


def test_27_a_key_that_a_cloud_offers_is_never_taken(room: Room) -> None:
    """The clouds' names and bytes are the only thing they can offer; no operation of the owner reads a key there."""
    with_study(room)
    pin(room.vault, "alice")
    mallory = public_file(KEYS["bob"].public)
    for cloud in room.clouds.values():
        cloud.inner.put(f"{room.vault._session.dataset.hex()}/g/{KEYS['alice'].public.key_id.hex()}/key", mallory)
    room.vault.grants.grant("alice", [STUDY])
    assert joined(room, "alice").list()


@pytest.mark.parametrize("data", [b"", b"\xa0", b"x" * 20_000, OWNER.public.to_bytes()])
def test_no_recipient_keys(room: Room, data: bytes) -> None:
    with pytest.raises((FormatError, LimitError)):
        read_public(data)


def test_25_26_a_low_order_or_corrupt_key_is_refused(room: Room) -> None:
    encoded = KEYS["alice"].public.to_bytes()
    for wrong in (encoded[:1184] + bytes(32), b"\xff" * 1184 + encoded[1184:]):
        from medveil.crypto import canonical

        with pytest.raises(FormatError):
            read_public(canonical.encode({"v": 1, "kind": "recipient public", "key": wrong}))


def test_invitations_are_for_one_key_and_of_one_owner(room: Room, tmp_path: Path) -> None:
    pin(room.vault, "alice")
    invitation = room.vault.grants.invitation("alice")
    machine, right = config(tmp_path / "alice"), OWNER.public.fingerprint
    with pytest.raises(WrongKeyError):
        Vault.join(machine, invitation, KEYS["bob"], right, stores=room.stores())
    with pytest.raises(PolicyError):
        Vault.join(machine, invitation, KEYS["alice"], OwnerKey(bytes(32)).public.fingerprint, stores=room.stores())
    with pytest.raises(NotAuthenticError):
        Vault.join(machine, invitation[:-1] + b"?", KEYS["alice"], right, stores=room.stores())
    other = config(tmp_path / "alice", dataset="other")
    with pytest.raises(ConfigError):
        Vault.join(other, invitation, KEYS["alice"], right, stores=room.stores())
    assert not machine.state.exists()
    joined(room, "alice")
    with pytest.raises(WrongKeyError):
        Vault.open_granted(machine, KEYS["bob"], stores=room.stores())
    with pytest.raises(PolicyError, match="no recipient"):
        room.vault.grants.invitation("nobody")


# -------------------------------------------------------------------------------------------------------------- time


def test_28_expired_future_and_skewed_grants(room: Room, tmp_path: Path) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    now = time.time()
    room.vault.grants.grant("alice", [STUDY], not_before=now + 86400, expires=now + 2 * 86400)
    alice, check = joined(room, "alice"), room.vault.grants.check
    with pytest.raises(PolicyError, match="not begun"):
        check("alice", STUDY, now=now)
    with pytest.raises(PolicyError):
        reads(alice, object_id, tmp_path, now=now)
    for within in (now + 86400 - 200, now + 86400, now + 2 * 86400 - 1):  # clocks may differ by five minutes
        check("alice", STUDY, now=within)
        assert reads(alice, object_id, tmp_path, now=within) == data
    for after in (now + 2 * 86400, now + 9 * 86400):
        with pytest.raises(PolicyError, match="expired"):
            check("alice", STUDY, now=after)
        with pytest.raises(PolicyError):
            reads(alice, object_id, tmp_path, now=after)
    assert room.vault.grants.allowed("alice", now=now + 9 * 86400) == set()


def test_28_a_clock_that_is_set_back(room: Room, tmp_path: Path) -> None:
    object_id, _ = with_study(room)
    pin(room.vault, "alice")
    now = time.time()
    room.vault.grants.grant("alice", [STUDY], expires=now + 86400)
    alice = joined(room, "alice")
    with pytest.raises(PolicyError):
        reads(alice, object_id, tmp_path, now=now + 2 * 86400)
    with pytest.raises(PolicyError, match="clock"):
        reads(alice, object_id, tmp_path, now=now)  # the expired grant does not come back to life
    with pytest.raises(PolicyError):
        room.vault.grants.check("alice", STUDY, now=now + 2 * 86400)
    with pytest.raises(PolicyError, match="clock"):
        room.vault.grants.check("alice", STUDY, now=now)
    room.vault.grants.accept_clock()
    room.vault.grants.check("alice", STUDY, now=now)


def test_28_a_grant_that_would_be_over_is_refused(room: Room) -> None:
    with_study(room)
    pin(room.vault, "alice")
    now = time.time()
    for wrong in ({"expires": now - 1}, {"not_before": now + 100, "expires": now + 50}):
        with pytest.raises(InputError):
            room.vault.grants.grant("alice", [STUDY], **wrong)
    with pytest.raises(PolicyError):
        room.vault.grants.grant("nobody", [STUDY])
    with pytest.raises(ObjectMissingError):
        room.vault.grants.grant("alice", ["1.9.9"])
    with pytest.raises(InputError):
        room.vault.grants.grant("alice", [])
    assert room.vault.grants.list() == ()


# -------------------------------------------------------------------------------------------------------- revocation


class Thief:
    """A revoked recipient who kept every key that was ever opened, and can still reach the clouds."""

    def __init__(self, room: Room, name: str) -> None:
        self._vault = joined(room, name, f"{name}-thief")
        self._room = room
        self.kept = dict(self._vault.grants())

    def try_read(self, object_id: str, folder: Path) -> bytes | None:
        self._vault.grants = lambda *, now=None: self.kept  # type: ignore[method-assign]
        try:
            return reads(self._vault, object_id, folder)
        except (PolicyError, WrongKeyError):
            return None

    def learns(self, object_id: str, study: str) -> None:
        """Somebody tells the thief an object's id: it goes into a study whose key was kept."""
        from dataclasses import replace

        token = next(t for t, one in self.kept.items() if one.attributes.get("StudyInstanceUID") == study)
        grant = self.kept[token]
        extra = replace(grant.objects[0], object_id=bytes.fromhex(object_id), attributes={}, key=b"")
        self.kept[token] = replace(grant, objects=(*grant.objects, extra))


@pytest.mark.parametrize("level", list(Level))
def test_29_30_what_a_kept_key_still_opens(room: Room, tmp_path: Path, level: Level) -> None:
    old, data = with_study(room)
    pin(room.vault, "alice")
    pin(room.vault, "bob")
    room.vault.grants.grant("alice", [STUDY])
    room.vault.grants.grant("bob", [STUDY])
    thief = Thief(room, "alice")
    alice = joined(room, "alice")
    assert reads(alice, old, tmp_path) == data
    report = room.vault.grants.revoke("alice", level=level)
    assert report.limit == LIMITS[level]
    assert "cannot be recalled" in report.limit
    with pytest.raises(PolicyError):
        room.vault.grants.check("alice", STUDY)
    with pytest.raises(PolicyError):
        reads(alice, old, tmp_path)  # an honest client has nothing left
    new, later = with_study(room, number=1)
    thief.learns(new, STUDY)
    expected = {  # (old file, new file), as the printed limit says
        Level.STOP: (data, later),
        Level.ROTATE: (data, None),
        Level.REENCRYPT: (None, None),
    }[level]
    assert (thief.try_read(old, tmp_path), thief.try_read(new, tmp_path)) == expected
    room.vault.grants.resume()
    bob = joined(room, "bob")
    assert (reads(bob, old, tmp_path), reads(bob, new, tmp_path)) == (data, later)  # others notice nothing
    assert room.read(old)[0] == data
    assert report.reencrypted == (1 if level is Level.REENCRYPT else 0)


def test_reencryption_leaves_no_old_ciphertext(room: Room) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    before = {name: set(cloud.inner.list()) for name, cloud in room.clouds.items()}
    room.vault.grants.revoke("alice", level="reencrypt")
    for name, cloud in room.clouds.items():
        left = {one for one in set(cloud.inner.list()) & before[name] if f"/o/{object_id}/" in one and "/c-" not in one}
        assert left == set(), name
    assert room.read(object_id)[0] == data
    assert [one.version for one in room.vault.versions(object_id)] == [2]
    assert room.vault.scrub(restart=True).findings == ()
    assert room.elsewhere("elsewhere").verify(object_id).objects[0].error is None


def test_part_of_a_grant_is_withdrawn(room: Room, tmp_path: Path) -> None:
    first, data = with_study(room)
    second, other = with_study(room, SECOND)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY, SECOND])
    room.vault.grants.revoke("alice", [STUDY])
    alice = joined(room, "alice")
    assert reads(alice, second, tmp_path) == other
    with pytest.raises(PolicyError):
        reads(alice, first, tmp_path)
    for cloud in room.clouds.values():
        assert len([one for one in cloud.inner.list() if "/g/" in one]) == 1  # the record with both is gone
    with pytest.raises(PolicyError, match="nothing"):
        room.vault.grants.revoke("alice", [STUDY])
    assert data


def test_many_studies_are_several_records(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medveil.vault.grants.grants.PACK", 2)
    objects = {uid: with_study(room, uid) for uid in (f"1.2.{n}" for n in range(5))}
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", objects)
    alice = joined(room, "alice")
    for object_id, data in objects.values():
        assert reads(alice, object_id, tmp_path) == data
    room.vault.grants.revoke("alice", ["1.2.2"])
    assert {one.attributes["StudyInstanceUID"] for one in alice.list()} == {"1.2.0", "1.2.1", "1.2.3", "1.2.4"}
    assert room.vault.grants.rotate().grants == 4
    assert {one.attributes["StudyInstanceUID"] for one in alice.list()} == {"1.2.0", "1.2.1", "1.2.3", "1.2.4"}
    assert len([one for one in room.clouds["north"].inner.list() if "/g/" in one]) == 2


# ------------------------------------------------------------------------------------------- clouds that misbehave


def records(room: Room, cloud: str = "north") -> list[str]:
    return sorted(one for one in room.clouds[cloud].inner.list() if "/g/" in one)


def test_a_withdrawn_record_that_is_put_back(room: Room, tmp_path: Path) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    alice = joined(room, "alice")
    reads(alice, object_id, tmp_path)
    saved = room.snapshot()
    room.vault.grants.revoke("alice")
    assert alice.list() == ()
    for name, cloud in room.clouds.items():
        for one in records_in(saved[name]):
            cloud.inner.put(one, saved[name][one])
    assert alice.list() == ()  # the newest record says which count
    room.roll_back(saved)
    with pytest.raises(RollbackError):
        alice.list()
    assert data


def records_in(held: dict[str, bytes]) -> list[str]:
    return [one for one in held if "/g/" in one]


def test_a_record_that_is_withheld_everywhere_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medveil.vault.grants.grants.PACK", 1)
    with_study(room)
    with_study(room, SECOND)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY, SECOND])
    first, second = records(room)
    alice = joined(room, "alice")
    for cloud in room.clouds.values():
        cloud.inner.delete(first)
    assert len(alice.list()) == 1
    assert kinds(alice.findings) == {"missing"}
    for cloud in room.clouds.values():
        cloud.inner.delete(second)
    with pytest.raises(RollbackError):
        alice.list()


def test_one_honest_cloud_is_enough(room: Room, tmp_path: Path) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    (name,) = records(room)
    raw = room.clouds["north"].inner.get(name)
    for cloud, bad in (("north", raw[:-1] + b"?"), ("east", b""), ("south", raw[:100])):
        room.clouds[cloud].inner.delete(name)
        room.clouds[cloud].inner.put(name, bad)
    alice = joined(room, "alice")
    assert reads(alice, object_id, tmp_path) == data
    assert {one.place for one in alice.findings if one.kind.value == "tamper"} == {"north", "east", "south"}


def test_24_a_grant_of_another_recipient_or_owner_is_nothing(room: Room, tmp_path: Path) -> None:
    with_study(room)
    pin(room.vault, "alice")
    pin(room.vault, "bob")
    room.vault.grants.grant("alice", [STUDY])
    (name,) = records(room)
    raw = room.clouds["north"].inner.get(name)
    hers, his = (KEYS[one].public.key_id.hex() for one in ("alice", "bob"))
    for cloud in room.clouds.values():
        cloud.inner.put(name.replace(hers, his), raw)
    bob = joined(room, "bob")
    assert bob.list() == ()
    assert kinds(bob.findings) == {"tamper"}
    from medveil.vault.grants import places
    from medveil.vault.grants.records import content_hash, seal_record

    forged = seal_record(
        [], KEYS["bob"].public, OwnerKey(bytes(32)), dataset=room.vault._session.dataset, epoch=1, serial=9, live=(9,),
        issued=0,
    )  # fmt: skip
    fake = places.grant_name(room.vault._session.dataset, KEYS["bob"].public.key_id, 9, content_hash(forged))
    room.clouds["north"].inner.put(fake, forged)
    assert bob.list() == ()


def test_a_recipient_s_key_must_be_its_own(room: Room) -> None:
    with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    from medveil.vault.grants.places import parse_grant_name
    from medveil.vault.grants.records import open_record, read_record

    (name,) = records(room)
    _, content = parse_grant_name(name) or (0, b"")
    raw = room.clouds["north"].inner.get(name)
    session = room.vault._session
    record = read_record(raw, content, session.public, session.dataset, KEYS["alice"].public.key_id)
    assert open_record(record, KEYS["alice"])[0].study
    for other in (KEYS["bob"], RecipientPrivateKey(bytes(32))):
        with pytest.raises(WrongKeyError):
            open_record(record, other)
    for at in range(0, len(raw), 97):
        changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        with pytest.raises(TamperedError):
            read_record(changed, content, session.public, session.dataset, KEYS["alice"].public.key_id)


def test_34_a_record_that_claims_too_much(room: Room) -> None:
    from medveil.crypto import canonical
    from medveil.vault.grants.records import MAGIC, MAX_RECORD, content_hash, read_record

    session, alice = room.vault._session, KEYS["alice"].public.key_id
    fields = {"v": 1, "dataset": session.dataset, "recipient": alice, "epoch": 1, "serial": 1, "issued": 0}
    body = canonical.encode(fields | {"live": [1], "envelope": b"", "entries": [b""] * 5000})
    many = MAGIC + body + OWNER.signing.sign("grant", body)
    with pytest.raises(FormatError):
        read_record(many, content_hash(many), session.public, session.dataset, alice)
    huge = bytes(MAX_RECORD + 1)
    with pytest.raises(LimitError):
        read_record(huge, content_hash(huge), session.public, session.dataset, alice)
    body = canonical.encode(fields | {"live": ["x"], "envelope": b"", "entries": []})
    odd = MAGIC + body + OWNER.signing.sign("grant", body)
    with pytest.raises(FormatError):
        read_record(odd, content_hash(odd), session.public, session.dataset, alice)


def test_34_a_listing_full_of_rubbish_is_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    prefix = records(room)[0].rpartition("/")[0]
    for number in range(40):
        room.clouds["east"].inner.put(f"{prefix}/{number:016x}-{number:064x}", b"rubbish")
        room.clouds["east"].inner.put(f"{prefix}/x{number}", b"rubbish")
    alice = joined(room, "alice")
    assert len(alice.list()) == 1
    assert {one.place for one in alice.findings} == {"east"}
    monkeypatch.setattr("medveil.vault.grants.places.MAX_NAMES", 50)
    assert len(alice.list()) == 1
    assert "unreachable" in kinds(alice.findings)


def test_stores_that_are_down_delay_a_grant_and_no_revocation(room: Room, tmp_path: Path) -> None:
    object_id, data = with_study(room)
    pin(room.vault, "alice")
    room.down("north", "east", "south")
    with pytest.raises(StoreUnavailableError, match="next try"):
        room.vault.grants.grant("alice", [STUDY])
    room.up()
    room.vault.grants.resume()
    alice = joined(room, "alice")
    assert reads(alice, object_id, tmp_path) == data
    room.down("west")
    report = room.vault.grants.revoke("alice")
    assert {one.place for one in report.findings} == {"west"}
    with pytest.raises(PolicyError):
        room.vault.grants.check("alice", STUDY)
    room.up()
    assert any("/g/" in one for one in room.clouds["west"].inner.list())
    assert alice.list() == ()
    assert room.vault.grants.resume() == ()
    assert not [one for one in room.clouds["west"].inner.list() if one in records(room, "west")[:-1]]


def test_a_cloud_that_hangs_holds_no_revocation_up(room: Room) -> None:
    with_study(room)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [STUDY])
    room.fail("south", FaultKind.HANG, "put")
    began = time.monotonic()
    report = room.vault.grants.revoke("alice")  # comes back, within the vault's deadline for a store
    assert time.monotonic() - began < 20
    assert {one.place for one in report.findings} == {"south"}
    with pytest.raises(PolicyError):
        room.vault.grants.check("alice", STUDY)


def test_no_patient_data_in_grants(room: Room, tmp_path: Path) -> None:
    from tests.vault.test_canary import FILE, forms, patient

    data, canaries = patient()
    put = room.vault.put(data, name=FILE)
    pin(room.vault, "alice")
    room.vault.grants.grant("alice", [put.object_id])
    room.vault.grants.rotate()
    joined(room, "alice").list()
    seen = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    seen += [name.encode() + raw for held in room.snapshot().values() for name, raw in held.items()]
    for raw in seen:
        assert [what for what, one in canaries.items() if any(form in raw for form in forms(one))] == []
