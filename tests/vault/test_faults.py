"""The fault cases of the design that concern stores and vault, one row each, with the expected findings or refusal.

The number is the case's place in the design's list ("Faults: the 70 cases", counted in its order). Cases of the
sealed format alone are tested with it (tests/schemes/sealed); those of grants, search and audit come with them:

     1 clean                                      34 fsync omitted (tests/stores: what a store promises)
     2 one cloud missing of 2-of-3                35 ENOSPC at each write
     3 k - 1 only                                 36 EIO, short read
     4 (2,2) one missing                          37 upload to 2 of 3
     5 bit flip in one share                      38 late PUT after a restart
     6 flips in two shares, different chunks      39 two writers (also in test_vault)
     7 flips in two shares, same chunk            42 cloud hangs or trickles
     8 truncated, empty, trailing bytes           43 429/503, redirects, expired auth
    11 clouds swapped                             44 stale list
    12 old version from one cloud                 45 bit-rot scrub without keys
    13 whole consistent rollback, acceptance      46 repair beside a malicious cloud
    14 another object's share                     47 silent deletion found by scrub
    15 whole other object                         56 patient-data canary (test_canary)
    16 versions mixed                             59 one public error class for all wrong-key causes
    17 forked history per user                    60 random mutations (a sample of each stored object here)
    18 manifest byte flip                         31 length bomb (claims of a manifest, of a listing)
    19 re-signed by an attacker                   32 path traversal, NUL, long names (names in listings)
    33 kill -9 at each syscall of put (test_crash)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.vault.vault_room import CLOUDS, LARGE, OTHER, SMALL, Room, kinds, places, sample

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConflictError,
    ForkError,
    MedveilError,
    ObjectMissingError,
    RollbackError,
    StaleError,
    StoreFullError,
    StoreUnavailableError,
    TamperedError,
    UnrecoverableError,
)
from medveil.schemes.sealed import MANIFEST_MAGIC, pack_record, unpack_record
from medveil.schemes.sealed.format import Manifest
from medveil.stores.faulty import Fault, FaultKind
from medveil.vault import Vault
from medveil.vault.head import content_hash, pack_head

# ------------------------------------------------------------------------------------- damage that reading overcomes


@dataclass(frozen=True)
class Case:
    """One row. harm: what is done to the clouds after `put`. found: kinds that must be found, with their clouds;
    the bytes are exact. mended: whether `repair` then makes everything clean.
    """

    number: int
    name: str
    harm: Callable[[Room, str], None]
    found: dict[str, set[str]]
    threshold: str = "2/4"
    source: str = LARGE
    mended: bool = True


def flip(*places: tuple[str, float]) -> Callable[[Room, str], None]:
    def harm(room: Room, object_id: str) -> None:
        for cloud, place in places:
            name = room.share(cloud, object_id)
            room.clouds[cloud].flip(name, int(8 * place * room.clouds[cloud].inner.size(name)))

    return harm


def resize(cloud: str, change: Callable[[bytes], bytes]) -> Callable[[Room, str], None]:
    def harm(room: Room, object_id: str) -> None:
        name = room.share(cloud, object_id)
        room.clouds[cloud].overwrite(name, change(room.clouds[cloud].inner.get(name)))

    return harm


def swap(room: Room, object_id: str) -> None:
    """Each of two clouds gives what the other holds, under the names of the other: hashes still match."""
    north, east = room.clouds["north"].inner, room.clouds["east"].inner
    one, two = room.share("north", object_id), room.share("east", object_id)
    first, second = north.get(one), east.get(two)
    north.delete(one)
    east.delete(two)
    north.put(two, second)
    east.put(one, first)


def exchange(room: Room, object_id: str) -> None:
    """One cloud's share holds the content of another's."""
    room.clouds["north"].overwrite(
        room.share("north", object_id), room.clouds["east"].inner.get(room.share("east", object_id))
    )


def foreign(room: Room, object_id: str) -> None:
    other = room.vault.put(sample(LARGE), name="other").object_id
    room.clouds["north"].overwrite(
        room.share("north", object_id), room.clouds["north"].inner.get(room.share("north", other))
    )


def whole_other(room: Room, object_id: str) -> None:
    """A cloud answers for this object with everything of another one."""
    other = room.vault.put(sample(LARGE), name="other").object_id
    store = room.clouds["north"].inner
    for name in list(store.list()):
        if object_id in name:
            store.delete(name)
    for name in list(store.list()):
        if other in name:
            store.put(name.replace(other, object_id), store.get(name))


def flip_head(cloud: str) -> Callable[[Room, str], None]:
    def harm(room: Room, object_id: str) -> None:
        (name,) = room.names_of(cloud, "h", object_id)
        room.clouds[cloud].flip(name, 8 * 200)

    return harm


def delete(kind: str, *clouds: str) -> Callable[[Room, str], None]:
    def harm(room: Room, object_id: str) -> None:
        for cloud in clouds:
            for name in room.names_of(cloud, kind, object_id):
                room.clouds[cloud].inner.delete(name)

    return harm


def fault(cloud: str, kind: FaultKind, method: str, **details: object) -> Callable[[Room, str], None]:
    def harm(room: Room, object_id: str) -> None:
        room.fail(cloud, kind, method, **details)

    return harm


def wipe(*clouds: str) -> Callable[[Room, str], None]:
    return lambda room, object_id: room.wipe(*clouds)


def down(*clouds: str) -> Callable[[Room, str], None]:
    return lambda room, object_id: room.down(*clouds)


def unavailable(**details: object) -> Callable[[], MedveilError]:
    return lambda: StoreUnavailableError("status 429 or 401", **details)  # type: ignore[arg-type]


CASES = (
    Case(1, "clean", lambda room, object_id: None, {}),
    Case(2, "one cloud missing of 2 of 3", wipe("east"), {"missing": {"east"}}, "2/3"),
    Case(2, "two clouds missing of 2 of 4", wipe("east", "west"), {"missing": {"east", "west"}}),
    Case(5, "bit flip in one share", flip(("north", 0.4)), {"tamper": {"north"}}),
    Case(5, "bit flip in a share header", flip(("north", 0.00002)), {"tamper": {"north"}}),
    Case(5, "bit flip in a leaf list", flip(("north", 0.99999)), {"tamper": {"north"}}),
    Case(6, "flips in two shares", flip(("north", 0.1), ("east", 0.9)), {"tamper": {"north", "east"}}),
    Case(6, "flips in three shares, different chunks", flip(("north", 0.1), ("east", 0.9), ("west", 0.5)),
         {"tamper": {"north", "east", "west"}}),
    Case(7, "flips in two shares of 2 of 4, same chunk", flip(("north", 0.4), ("east", 0.4)),
         {"tamper": {"north", "east"}}),
    Case(8, "truncated share", resize("south", lambda data: data[:-7]), {"truncated": {"south"}}),
    Case(8, "empty share", resize("south", lambda data: b""), {"truncated": {"south"}}),
    Case(8, "trailing bytes", resize("south", lambda data: data + b"x"), {"truncated": {"south"}}),
    Case(9, "halves exchanged", resize("south", lambda data: data[len(data) // 2 :] + data[: len(data) // 2]),
         {"tamper": {"south"}}),
    Case(11, "clouds swapped, names and all", swap, {}),
    Case(11, "a share holds another cloud's share", exchange, {"swapped": {"north"}}),
    Case(14, "another object's share", foreign, {"foreign": {"north"}}),
    Case(15, "everything of another object", whole_other, {"foreign": {"north"}, "missing": {"north"}}),
    Case(18, "manifest byte flip", flip_head("north"), {"tamper": {"north"}}),
    Case(18, "manifests deleted at two clouds", delete("h", "north", "east"), {"missing": {"north", "east"}}),
    Case(18, "manifests left at one cloud only", delete("h", "north", "east", "west"),
         {"missing": {"north", "east", "west"}}),
    Case(36, "EIO at every read of a cloud", fault("west", FaultKind.ERROR, "get"), {"unreachable": {"west"}}),
    Case(36, "short reads", fault("west", FaultKind.SHORT_READ, "get"), {"unreachable": {"west"}}),
    Case(36, "bits flip on the way", fault("west", FaultKind.BIT_FLIP, "get", name="/s-", position=8 * 5000),
         {"tamper": {"west"}}),
    Case(43, "429 at every call", fault("west", FaultKind.ERROR, "list", error=unavailable(retry_after=0.01)),
         {"unreachable": {"west"}}),
    Case(43, "expired credentials", fault("west", FaultKind.ERROR, "list", error=unavailable(transient=False)),
         {"unreachable": {"west"}}),
    Case(44, "a list that is empty", fault("west", FaultKind.EMPTY_LIST, "list"), {"stale": {"west"}}),
    Case(44, "a list that shows what is gone", lambda room, object_id: (
        room.fail("west", FaultKind.STALE_LIST, "list"), room.wipe("west"))[1],
        {"stale": {"west"}, "missing": {"west"}}),
    Case(47, "silent deletion of shares", delete("s", "north"), {"missing": {"north"}}),
    Case(47, "silent deletion of everything", wipe("north"), {"missing": {"north"}}),
    Case(42, "two clouds down", down("north", "south"), {"unreachable": {"north", "south"}}),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.name}".replace(" ", "-"))
def test_exact_with_the_right_cloud_named(tmp_path: Path, case: Case) -> None:
    room = Room(tmp_path, case.threshold, CLOUDS[: int(case.threshold[-1])])
    report = room.vault.put(sample(case.source), name="study")
    case.harm(room, report.object_id)
    for check in ("get", "verify", "scrub"):
        if check == "get":
            data, findings = room.read(report.object_id)
            assert data == sample(case.source)
        elif check == "verify":
            findings = room.vault.verify(report.object_id).findings
        else:
            findings = room.reopen(key=False).scrub().findings
            room.reopen()
        for kind, clouds in case.found.items():
            assert clouds <= places(findings, kind), (check, kind, findings)
        named = {finding.place for finding in findings if finding.place is not None}
        assert named == set().union(*case.found.values()) if case.found else not findings, (check, findings)
    room.up()
    repaired = room.reopen(key=False).repair()
    assert all(one.error is None for one in repaired.objects)
    room.reopen()
    assert room.read(report.object_id) == (sample(case.source), ())
    assert room.vault.scrub().findings == ()
    assert room.vault.pending == ()


def test_6_the_chunk_and_the_region_are_shown(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(LARGE), name="study")
    flip(("north", 0.1), ("east", 0.9))(room, report.object_id)
    checked = room.vault.verify(report.object_id)
    (one,) = checked.objects
    chunks = {finding.place: finding.chunk for finding in one.findings}
    assert chunks["north"] == 0
    assert chunks["east"] is not None
    assert chunks["east"] > 0
    assert one.tamper_map is not None
    assert 0 < one.tamper_map.touched.sum() < one.tamper_map.touched.size
    assert not one.tamper_map.lost.any()


# --------------------------------------------------------------------------------------------- what must be refused


def refuse(room: Room, object_id: str, error: type[MedveilError], said: str, vault: Vault | None = None) -> None:
    """Reading must raise exactly this, write nothing, and hand nothing out."""
    out = room.folder / "refused"
    with pytest.raises(MedveilError, match=said) as refused:
        (vault or room.vault).get(object_id, out)
    assert type(refused.value) is error
    assert not out.exists()
    assert not list(room.folder.glob(".refused*"))


@pytest.mark.parametrize(
    ("threshold", "harm", "said"),
    [
        ("2/4", wipe("north", "east", "south"), "1 parts .* are within reach and 2 are needed"),
        ("2/2", wipe("east"), "restore a store from its backup"),
        ("2/4", down("north", "east", "south"), "bring the stores back"),
        ("3/4", flip(("north", 0.4), ("east", 0.4)), "hold chunks"),
        ("2/4", delete("s", *CLOUDS), "0 parts"),
        ("2/4", delete("h", *CLOUDS), "every store has lost or deleted its manifests"),
        ("2/4", wipe(*CLOUDS), "every store has lost or deleted its manifests"),
    ],
)  # fmt: skip
def test_3_4_7_too_little_is_left(tmp_path: Path, threshold: str, harm: Callable[[Room, str], None], said: str) -> None:
    room = Room(tmp_path, threshold, CLOUDS[: int(threshold[-1])])
    report = room.vault.put(sample(LARGE), name="study")
    harm(room, report.object_id)
    refuse(room, report.object_id, UnrecoverableError, said)
    before = room.snapshot()
    for findings in (room.vault.repair().findings, room.vault.verify().findings, room.vault.scrub().findings):
        assert {"lost", "unreachable"} & kinds(findings)
        assert "repaired" not in kinds(findings) or threshold == "3/4"
    if threshold != "3/4":
        assert all(before[cloud].items() <= held.items() for cloud, held in room.snapshot().items())


def test_7_a_partial_restore_gives_what_is_intact(tmp_path: Path) -> None:
    room = Room(tmp_path, "3/4")
    report = room.vault.put(sample("xray-chest-15-bit.dcm"), name="study")
    flip(("north", 0.4), ("east", 0.4))(room, report.object_id)
    got = room.vault.get(report.object_id, room.folder / "part", partial=True)
    assert not got.exact
    assert got.size == len(sample("xray-chest-15-bit.dcm"))
    assert "lost" in kinds(got.findings)
    assert (room.folder / "part").read_bytes() != sample("xray-chest-15-bit.dcm")


def test_all_clouds_down_says_so(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    room.down(*CLOUDS)
    refuse(room, report.object_id, StoreUnavailableError, "north, south, west did not answer")
    room.up()
    assert room.read(report.object_id)[0] == sample()


def two_versions(room: Room) -> tuple[str, dict[str, dict[str, bytes]]]:
    """Put two versions; returns the object and what the clouds held after the first."""
    report = room.vault.put(sample(SMALL), name="study")
    saved = room.snapshot()
    room.vault.put(sample(OTHER), object=report.object_id)
    return report.object_id, saved


def test_12_old_version_from_one_cloud_or_two(tmp_path: Path) -> None:
    room = Room(tmp_path)
    object_id, saved = two_versions(room)
    room.roll_back(saved, "north")
    data, findings = room.read(object_id)
    assert data == sample(OTHER)
    assert places(findings, "stale") == {"north"}
    room.roll_back(saved, "east")
    assert places(room.vault.scrub().findings, "stale") == {"north", "east"}
    room.vault.repair()
    assert room.read(object_id) == (sample(OTHER), ())


def test_12_only_old_versions_within_reach(tmp_path: Path) -> None:
    room = Room(tmp_path)
    object_id, saved = two_versions(room)
    room.roll_back(saved, "north", "east")
    room.down("south", "west")
    refuse(room, object_id, StaleError, "only version 1 .* version 2 was seen here; south, west did not answer")
    room.up()
    assert room.read(object_id)[0] == sample(OTHER)


def test_13_consistent_rollback_and_the_signed_acceptance(tmp_path: Path) -> None:
    room = Room(tmp_path)
    object_id, saved = two_versions(room)
    laptop = room.elsewhere("laptop")
    assert room.read(object_id, laptop)[0] == sample(OTHER)
    newest = room.snapshot()
    room.roll_back(saved)
    for vault in (room.vault, laptop):
        refuse(room, object_id, RollbackError, "sign it with accept_rollback", vault)
    assert "stale" in kinds(room.vault.verify().findings)
    assert "stale" in kinds(room.vault.scrub().findings)
    with pytest.raises(MedveilError, match="key"):
        room.reopen(key=False).accept_rollback(object_id)
    statement = room.reopen().accept_rollback(object_id)
    assert room.read(object_id)[0] == sample(SMALL)
    refuse(room, object_id, RollbackError, "went back together", laptop)  # not accepted there
    with pytest.raises(TamperedError):
        laptop.apply_acceptance(statement[:-1] + bytes([statement[-1] ^ 1]))
    with pytest.raises(MedveilError):
        laptop.apply_acceptance(b"")
    assert laptop.apply_acceptance(statement) == object_id
    assert room.read(object_id, laptop)[0] == sample(SMALL)
    assert room.vault.put(sample(LARGE), object=object_id).version == 3  # never a number twice
    assert room.read(object_id, laptop)[0] == sample(LARGE)
    with pytest.raises(MedveilError, match="older than what this machine has seen"):
        laptop.apply_acceptance(statement)
    room.roll_back(newest)
    refuse(room, object_id, RollbackError, "version 2 .* at most, and version 3")


def test_13_a_new_machine_cannot_know_and_says_so(tmp_path: Path) -> None:
    room = Room(tmp_path)
    object_id, saved = two_versions(room)
    room.roll_back(saved)
    data, findings = room.read(object_id, room.elsewhere("new"))
    assert data == sample(SMALL)
    assert kinds(findings) == {"unverified"}


def test_16_shares_of_two_versions_mixed(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(SMALL), name="study")
    old = {cloud: room.clouds[cloud].inner.get(room.share(cloud)) for cloud in CLOUDS}
    names = {cloud: set(room.names_of(cloud, "s")) for cloud in CLOUDS}
    room.vault.put(sample(SMALL) + b"!", object=report.object_id)
    for cloud in ("north", "east"):
        (new,) = set(room.names_of(cloud, "s")) - names[cloud]
        room.clouds[cloud].overwrite(new, old[cloud])
    data, findings = room.read(report.object_id)
    assert data == sample(SMALL) + b"!"
    assert places(findings, "stale") == {"north", "east"}


def test_17_forked_history(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(SMALL), name="study")
    object_id = report.object_id
    first = room.snapshot()
    laptop = room.elsewhere("laptop")
    room.read(object_id, laptop)
    room.vault.put(sample(OTHER), object=object_id)  # version 2 as one user sees it
    ours = room.snapshot()
    room.roll_back(first)
    laptop.put(sample(LARGE), object=object_id)  # version 2 as the other does
    refuse(room, object_id, ForkError, "another version 2")
    theirs = room.snapshot()
    for cloud in CLOUDS:  # both at once
        for name, data in ours[cloud].items():
            if name not in theirs[cloud]:
                room.clouds[cloud].inner.put(name, data)
    refuse(room, object_id, ForkError, "2 different manifests of version 2")
    refuse(room, object_id, ForkError, "2 different manifests of version 2", laptop)
    refuse(room, object_id, ForkError, "2 different manifests of version 2", room.elsewhere("third"))
    assert room.vault.repair().objects[0].error is not None
    statement = room.vault.accept_rollback(object_id, 2)
    kept = room.read(object_id)[0]
    assert kept in (sample(OTHER), sample(LARGE))
    laptop.apply_acceptance(statement)
    assert room.read(object_id, laptop)[0] == kept
    assert room.vault.put(sample(SMALL), object=object_id).version == 3
    assert room.read(object_id, laptop)[0] == sample(SMALL)


def test_17_a_history_that_does_not_descend_from_what_was_seen(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(SMALL), name="study")
    first = room.snapshot()
    laptop = room.elsewhere("laptop")
    room.read(report.object_id, laptop)
    room.vault.put(sample(OTHER), object=report.object_id)
    room.roll_back(first)
    laptop.put(sample(LARGE), object=report.object_id)
    laptop.put(sample(LARGE) + b"!", object=report.object_id)  # version 3 above another version 2
    refuse(room, report.object_id, ForkError, "does not descend from version 2")


def resigned(room: Room, object_id: str, version: int | None = None) -> tuple[str, bytes]:
    """Return name and bytes of the current head with a manifest that an attacker signed as itself."""
    attacker = OwnerKey(bytes([7]) * 32)
    (name,) = room.names_of("north", "h", object_id)
    head = room.clouds["north"].inner.get(name)
    length = int.from_bytes(head[5:9], "big")
    record = unpack_record(head[9 : 9 + length], MANIFEST_MAGIC)
    old = Manifest.parse_unverified(record.manifest)
    core = (
        old.core
        if version is None
        else type(old.core)(**{field: getattr(old.core, field) for field in old.core.__slots__} | {"version": version})
    )
    new = Manifest.sign(core, old.commitment, old.share_roots, old.tile_root, old.previous, attacker)
    data = pack_head(new.data, record.envelopes, head[13 + length :])
    stem = name.rpartition("/")[0]
    return f"{stem}/h-{core.version:016x}-{content_hash(data).hex()}", data


@pytest.mark.parametrize("version", [1, 2, 1 << 62, (1 << 64) - 1])
def test_19_re_signed_by_an_attacker(tmp_path: Path, version: int) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    name, data = resigned(room, report.object_id, version)
    assert pack_record(MANIFEST_MAGIC, b"", ())  # the attacker knows the format
    for cloud in ("north", "east", "west"):  # a majority
        room.clouds[cloud].inner.put(name, data)
    got, findings = room.read(report.object_id)
    assert got == sample()
    assert places(findings, "foreign") == {"north", "east", "west"}
    room.vault.repair()
    assert room.read(report.object_id) == (sample(), ())
    assert room.vault.put(sample(OTHER), object="study").version == 2


def test_19_attackers_manifests_alone_are_nothing(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    name, data = resigned(room, report.object_id)
    for cloud in CLOUDS:
        delete("h", cloud)(room, report.object_id)
        room.clouds[cloud].inner.put(name, data)
    refuse(room, report.object_id, UnrecoverableError, "lost or deleted")


def test_31_32_listings_full_of_rubbish(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    store = room.clouds["north"].inner
    stem = room.share("north").rpartition("/")[0]
    for number in range(2, 60):
        digest = hashlib.sha256(bytes([number])).hexdigest()
        store.put(f"{stem}/h-{number:016x}-{digest}", b"MVHD\x01" + b"\xff" * 40)  # claims 4 GiB
    store.put(f"{stem}/h-{(1 << 64) - 1:016x}-{'ab' * 32}", bytes(2 << 20))  # larger than any head
    for name in (f"{stem}/x", f"{stem}/h-1-2", f"{stem}/s-{'0' * 64}", f"{stem}/c-{9:016x}", "elsewhere/y"):
        store.put(name, b"?")
    data, findings = room.read(report.object_id)
    assert data == sample()
    assert places(findings, "tamper") == {"north"}
    assert room.vault.put(sample(OTHER), object="study").version == 2
    scrubbed = room.vault.scrub()
    assert any(name.endswith("/x") for _, name in scrubbed.orphans)


def test_31_a_listing_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    stem = room.share("north").rpartition("/")[0]

    def endless(prefix: str) -> object:
        number = 0
        while True:
            number += 1
            yield f"{stem}/s-{number:064x}"

    monkeypatch.setattr(room.clouds["north"].inner, "list", lambda prefix="": endless(prefix))
    data, findings = room.read(report.object_id)
    assert data == sample()
    assert places(findings, "unreachable") == {"north"}


# --------------------------------------------------------------------------------------------------------- writing


def no_objects(room: Room) -> bool:
    return room.vault.list() == () and not any(room.snapshot().values())


@pytest.mark.parametrize("part", ["/s-", "/h-"])
@pytest.mark.parametrize(
    ("kind", "details", "error"),
    [
        (FaultKind.FULL, {"position": 3}, StoreFullError),
        (FaultKind.ERROR, {}, StoreUnavailableError),
        (FaultKind.ERROR_AFTER, {}, StoreUnavailableError),
        (FaultKind.DROP_PUT, {}, StoreUnavailableError),
        (FaultKind.PARTIAL_WRITE, {"position": 100}, StoreUnavailableError),
        (FaultKind.LATE_PUT, {}, StoreUnavailableError),
    ],
)
def test_35_36_38_a_put_fails_cleanly_or_is_degraded(
    tmp_path: Path, part: str, kind: FaultKind, details: dict[str, int], error: type[MedveilError]
) -> None:
    """Fewer than k stores: nothing is visible or left. k to n - 1: complete, named, queued and repaired."""
    room = Room(tmp_path)
    for bad in (3, 2, 1):
        for cloud in CLOUDS[:bad]:
            room.fail(cloud, kind, "put", name=part, **details)
        if bad == 3:
            with pytest.raises(error):
                room.vault.put(sample(LARGE), name="study")
            room.up()
            for cloud in room.clouds.values():
                cloud.restart()  # what was late arrives now
            room.vault.recover()
            assert no_objects(room)
            continue
        report = room.vault.put(sample(LARGE), name=f"study {bad}")
        assert kinds(report.findings) == {"degraded"}
        assert {store for _, _, store in room.vault.pending} == set(CLOUDS[:bad])
        data, findings = room.read(report.object_id)
        assert data == sample(LARGE)
        if kind is not FaultKind.ERROR_AFTER:  # then only the answers were lost
            assert {"degraded", "missing", "truncated", "tamper"} & kinds(findings)
        room.up()
        for cloud in room.clouds.values():
            cloud.restart()
        room.vault.repair()
        assert room.vault.pending == ()
        assert room.read(report.object_id) == (sample(LARGE), ())
        assert room.vault.scrub().findings == ()


def test_37_upload_to_two_of_three(tmp_path: Path) -> None:
    room = Room(tmp_path, "2/3", CLOUDS[:3])
    room.down("south")
    report = room.vault.put(sample(), name="study")
    assert kinds(report.findings) == {"degraded"}
    assert room.vault.pending == ((report.object_id, 1, "south"),)
    room.up()
    assert room.reopen().pending  # the queue outlives the process
    assert room.vault.repair().repaired == 2
    assert room.vault.pending == ()
    assert room.read("study") == (sample(), ())


def test_38_late_put_after_a_failed_attempt_becomes_an_orphan_that_scrub_removes(tmp_path: Path) -> None:
    room = Room(tmp_path, more={"orphan_age": 3600})
    for cloud in CLOUDS:
        room.fail(cloud, FaultKind.LATE_PUT, "put", name="/s-")
    with pytest.raises(StoreUnavailableError):
        room.vault.put(sample(), name="study")
    room.up()
    state = room.reopen()._session.state
    state.swept(state.garbage())  # as on another machine, which knows nothing of the attempt
    for cloud in room.clouds.values():
        cloud.restart()
    assert room.vault.list() == ()
    now = time.time()
    seen = room.vault.scrub(now=now, prune=True)
    assert len(seen.orphans) == 4
    assert seen.removed == 0  # too young: it could be another machine's upload on its way
    assert room.vault.scrub(now=now + 7200).removed == 0  # not asked to
    assert room.vault.scrub(now=now + 7200, prune=True).removed == 4
    assert no_objects(room)
    assert room.vault.put(sample(), name="study").findings == ()


def test_39_a_rival_that_claims_did_not_stop(tmp_path: Path) -> None:
    """All clouds lie together: they hide another writer's version and claims until the second has written."""
    room = Room(tmp_path)
    object_id = room.vault.put(sample(SMALL), name="study").object_id
    first = room.snapshot()
    laptop = room.elsewhere("laptop")
    room.read(object_id, laptop)
    laptop.put(sample(LARGE), object=object_id)
    theirs = room.snapshot()
    room.roll_back(first)
    for cloud in CLOUDS:
        store = room.clouds[cloud]
        room.fail(cloud, FaultKind.STALE_LIST, "list", call=store.calls["list"] + 1)
        for name, data in theirs[cloud].items():
            if name not in first[cloud] and "/c-" not in name:
                store.inner.put(name, data)
    with pytest.raises(ConflictError, match="another writer has written version 2"):
        room.vault.put(sample(OTHER), object=object_id)
    room.up()
    assert room.read(object_id)[0] == sample(LARGE)
    assert room.read(object_id, laptop) == (sample(LARGE), ())
    assert room.vault.scrub().orphans == ()
    assert room.vault.put(sample(OTHER), object=object_id).version == 3


@pytest.mark.parametrize("method", ["list", "get", "size"])
def test_42_a_cloud_that_hangs_holds_nobody_up(tmp_path: Path, method: str) -> None:
    room = Room(tmp_path, patient=True)
    report = room.vault.put(sample(LARGE), name="study")
    room.fail("east", FaultKind.HANG, method)
    began = time.monotonic()
    data, findings = room.read(report.object_id)
    assert time.monotonic() - began < 20
    assert data == sample(LARGE)
    assert places(findings, "unreachable") == {"east"}
    room.up()


@pytest.mark.parametrize("method", ["put", "list"])
def test_42_a_cloud_that_hangs_while_writing(tmp_path: Path, method: str) -> None:
    room = Room(tmp_path, patient=True)
    room.fail("east", FaultKind.HANG, method)
    began = time.monotonic()
    report = room.vault.put(sample(), name="study")
    assert time.monotonic() - began < 20
    room.up()
    room.reopen().repair()
    assert room.read(report.object_id) == (sample(), ())


def test_42_without_patience_the_vault_has_its_own_deadline(tmp_path: Path) -> None:
    room = Room(tmp_path, more={"deadline": 0.5, "workers": 4})
    report = room.vault.put(sample(), name="study")
    for method in ("list", "get", "size"):
        room.fail("east", FaultKind.HANG, method)
    for _ in range(6):  # more hanging calls than there are workers
        data, findings = room.read(report.object_id)
        assert data == sample()
        assert places(findings, "unreachable") == {"east"}
    room.up()


# ----------------------------------------------------------------------------------------------- scrub and repair


def test_45_scrub_without_a_key_finds_bit_rot_anywhere(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    size = room.clouds["west"].inner.size(room.share("west"))
    scrubber = room.reopen(key=False)
    for bit in range(0, 8 * size, 8 * size // 40):
        room.clouds["west"].flip(room.share("west"), bit)
        assert places(scrubber.scrub().findings, "tamper") == {"west"}, bit
        room.clouds["west"].flip(room.share("west"), bit)
    assert scrubber.scrub().findings == ()
    assert report.version == 1


def test_45_scrub_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    room = Room(tmp_path)
    for number in range(6):
        room.vault.put(sample() + bytes([number]), name=str(number))

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        room.vault.scrub(progress=interrupt)
    rest = room.reopen().scrub()
    assert (rest.resumed, len(rest.objects)) == (True, 2)
    again = room.vault.scrub()
    assert (again.resumed, len(again.objects)) == (False, 6)


def test_45_scrub_keeps_to_its_rate(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.vault.put(sample(LARGE), name="study")
    began = time.monotonic()
    report = room.vault.scrub(rate=1_000_000)
    assert time.monotonic() - began >= 0.9 * report.bytes_read / 1_000_000
    assert report.bytes_read > 300_000


def test_46_repair_beside_a_malicious_cloud(tmp_path: Path) -> None:
    """One cloud lost its part; while it is made again, another lies at every read. Nothing false is written."""
    room = Room(tmp_path)
    report = room.vault.put(sample(LARGE), name="study")
    good = {cloud: room.clouds[cloud].inner.get(room.share(cloud)) for cloud in CLOUDS}
    room.wipe("north")
    room.fail("east", FaultKind.BIT_FLIP, "get", name="/s-", position=8 * 3000 + 1)
    repaired = room.vault.repair(report.object_id)
    assert places(repaired.findings, "tamper") == {"east"}
    assert room.clouds["north"].inner.get(room.share("north")) == good["north"]
    room.up()
    assert room.read(report.object_id)[0] == sample(LARGE)
    for cloud in CLOUDS:
        for name in room.names_of(cloud, "s"):
            assert room.clouds[cloud].inner.get(name) in good.values()


def test_47_an_object_that_all_clouds_deleted_is_missed(tmp_path: Path) -> None:
    room = Room(tmp_path)
    report = room.vault.put(sample(), name="study")
    room.wipe(*CLOUDS)
    for findings in (room.vault.scrub().findings, room.vault.verify().findings, room.vault.list()[0].findings):
        assert "lost" in kinds(findings)
    assert room.vault.list()[0].name == "study"  # from the local state
    with pytest.raises(ObjectMissingError):
        room.elsewhere("new").get(report.object_id, room.folder / "x")


def test_60_mutations_never_give_other_bytes(tmp_path: Path) -> None:
    """Every stored object of one cloud is mutated at 150 places in turn: the bytes stay exact, or it is refused."""
    room = Room(tmp_path, "2/2", CLOUDS[:2])
    report = room.vault.put(sample(), name="study")
    exact = refused = 0
    for number in range(150):
        kind = "h" if number % 3 == 0 else "s"
        (name,) = room.names_of("north", kind)
        data = room.clouds["north"].inner.get(name)
        seed = hashlib.sha256(f"mutation {number}".encode()).digest()
        at = int.from_bytes(seed[:4], "big") % len(data)
        match seed[4] % 4:
            case 0:
                changed = data[:at] + bytes([data[at] ^ (seed[5] or 1)]) + data[at + 1 :]
            case 1:
                changed = data[:at]
            case 2:
                changed = data[:at] + seed[: seed[6] % 31 + 1] + data[at:]
            case _:
                changed = data[:at] + data[at + seed[6] % 97 + 1 :]
        room.clouds["north"].overwrite(name, changed)
        try:
            got, findings = room.read(report.object_id)
        except MedveilError:
            refused += 1
        else:
            exact += 1
            assert got == sample()
            assert findings
        room.clouds["north"].overwrite(name, data)
    assert exact + refused == 150
    assert exact >= 50  # a head changed at one cloud is overcome
    assert refused >= 50  # a share changed in its only chunk is not, at 2 of 2
    assert room.read(report.object_id) == (sample(), ())


def test_faults_on_the_schedule_are_real(tmp_path: Path) -> None:
    """The harness itself: a fault that never fires would make every test above pass for nothing."""
    room = Room(tmp_path)
    room.clouds["north"].add(Fault(FaultKind.ERROR, "put", name="/s-"))
    report = room.vault.put(sample(), name="study")
    assert "north" not in report.places.values()
    assert room.clouds["north"].calls["put"] >= 1
