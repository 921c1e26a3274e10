"""The verbs on real images: exact bytes, names, versions, lists, and a second machine."""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from tests.vault.vault_room import (
    CLOUDS,
    LARGE,
    OTHER,
    OWNER,
    SMALL,
    Room,
    config,
    directories,
    kinds,
    places,
    put_in_process,
    sample,
)

from medveil.crypto.keyfile import OwnerKey
from medveil.errors import (
    ConfigError,
    ConflictError,
    InputError,
    LimitError,
    ObjectMissingError,
    OutputExistsError,
    StoreUnavailableError,
    UsageError,
    WrongKeyError,
)
from medveil.imaging import samples
from medveil.imaging.reader import read
from medveil.imaging.roi import Rectangle
from medveil.vault import Vault


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.parametrize("name", samples.names())
def test_gives_every_sample_back_exactly(room: Room, name: str) -> None:
    report = room.vault.put(samples.path(name))
    assert (report.version, report.findings, report.name) == (1, (), name)
    assert sorted(report.places) == [1, 2, 3, 4]
    assert set(report.places.values()) == set(CLOUDS)
    data, findings = room.read(report.object_id)
    assert data == sample(name)
    assert findings == ()
    assert room.vault.verify(report.object_id).findings == ()


def test_takes_a_path_an_image_and_bytes(room: Room) -> None:
    data = sample(LARGE)
    by_path = room.vault.put(str(samples.path(LARGE)), name="one")
    by_image = room.vault.put(read(data, name=LARGE), name="two", roi=(Rectangle(10, 10, 50, 60),))
    by_bytes = room.vault.put(data, name="three")
    room.vault.put(b"not an image at all", name="notes")
    for report in (by_path, by_image, by_bytes):
        assert room.read(report.object_id)[0] == data
    assert room.read("notes")[0] == b"not an image at all"
    assert room.vault.put(b"", name="empty").size == 0
    assert room.read("empty")[0] == b""


def test_reads_into_memory_within_a_limit(room: Room) -> None:
    room.vault.put(samples.path(LARGE))
    room.wipe("north")
    data, report = room.vault.read(LARGE)
    assert data == sample(LARGE)
    assert (report.size, report.exact, report.path, kinds(report.findings)) == (len(data), True, None, {"missing"})
    assert room.vault.read(LARGE, limit=len(data))[0] == data
    with pytest.raises(LimitError, match="get it to a file"):
        room.vault.read(LARGE, limit=len(data) - 1)
    assert not [path for path in room.folder.rglob("*") if path.is_file() and sample(LARGE)[:512] in path.read_bytes()]


@pytest.mark.parametrize("threshold", ["1/1", "1/3", "2/2", "2/3", "3/4", "4/4"])
@pytest.mark.parametrize("mode", ["keyed", "two-factor", "perfect"])
def test_every_threshold_and_mode(tmp_path: Path, threshold: str, mode: str) -> None:
    k, n = map(int, threshold.split("/"))
    if mode != "keyed" and k < 2:
        with pytest.raises(ConfigError, match="at least 2"):
            Room(tmp_path, threshold, CLOUDS[:n], more={"mode": mode})
        return
    room = Room(tmp_path, threshold, CLOUDS[:n], more={"mode": mode})
    report = room.vault.put(sample(), name="x")
    room.wipe(*CLOUDS[: n - k])
    data, findings = room.read("x")
    assert data == sample()
    assert ("missing" in kinds(findings)) == (n > k)
    assert report.version == 1


def test_the_same_file_is_not_stored_twice(room: Room) -> None:
    first = room.vault.put(samples.path(SMALL))
    before = room.snapshot()
    second = room.vault.put(samples.path(SMALL))
    assert second.skipped
    assert (second.object_id, second.version) == (first.object_id, 1)
    assert room.snapshot() == before
    assert room.vault.put(samples.path(SMALL), again=True).object_id != first.object_id
    assert room.vault.put(samples.path(SMALL), name="another name").object_id != first.object_id
    assert not room.vault.put(samples.path(OTHER)).skipped


def test_updates_are_chained(room: Room) -> None:
    first = room.vault.put(sample(SMALL), name="study")
    second = room.vault.put(sample(OTHER), object="study")
    third = room.vault.put(sample(LARGE), object=first.object_id, name="study, revised")
    assert [first.version, second.version, third.version] == [1, 2, 3]
    assert {second.object_id, third.object_id} == {first.object_id}
    entries = room.vault.versions(first.object_id)
    assert [entry.version for entry in entries] == [3, 2, 1]
    assert [entry.current for entry in entries] == [True, False, False]
    assert [entry.previous for entry in entries] == [entries[1].digest, entries[2].digest, "00" * 32]
    assert room.read(first.object_id)[0] == sample(LARGE)
    assert room.read(first.object_id, version=1)[0] == sample(SMALL)
    assert room.read(first.object_id, version=2)[0] == sample(OTHER)
    with pytest.raises(ObjectMissingError, match="no version 9"):
        room.read(first.object_id, version=9)
    with pytest.raises(ConflictError, match="at version 3 and not 2"):
        room.vault.put(sample(SMALL), object=first.object_id, base=2)


def test_lists_names_with_the_key_only(room: Room) -> None:
    report = room.vault.put(samples.path(LARGE))
    (entry,) = room.vault.list()
    assert (entry.object_id, entry.version, entry.name) == (report.object_id, 1, LARGE)
    assert (entry.size, entry.media_type) == (len(sample(LARGE)), "application/dicom")
    room.reopen(key=False)
    (entry,) = room.vault.list()
    assert (entry.object_id, entry.name, entry.size) == (report.object_id, None, None)
    with pytest.raises(WrongKeyError):
        room.vault.put(sample())
    with pytest.raises(WrongKeyError):
        room.vault.get(report.object_id, room.folder / "x")
    assert room.vault.verify().findings == ()


def test_finds_by_name_and_by_the_beginning_of_an_id(room: Room) -> None:
    first = room.vault.put(sample(SMALL), name="a study")
    assert room.vault.find("a study") == first.object_id
    assert room.vault.find(first.object_id[:8]) == first.object_id
    assert room.vault.find(first.object_id.upper()) == first.object_id
    room.vault.put(sample(OTHER), name="a study")
    with pytest.raises(UsageError, match="2 objects are called"):
        room.vault.find("a study")
    for unknown in ("nothing", "../etc/passwd", "\0", "a" * 300, "", first.object_id[:5]):
        with pytest.raises(ObjectMissingError):
            room.vault.find(unknown)
    with pytest.raises(ObjectMissingError):
        room.vault.get("00" * 16, room.folder / "x")


def test_never_overwrites_and_leaves_nothing_behind(room: Room) -> None:
    report = room.vault.put(sample(), name="x")
    out = room.folder / "results" / "x.jpg"
    room.vault.get("x", out)
    out.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        room.vault.get("x", out)
    assert out.read_bytes() == b"mine"
    room.vault.get("x", out, force=True)
    assert out.read_bytes() == sample()
    room.wipe("north", "east", "south")
    with pytest.raises(Exception, match="within reach"):
        room.vault.get(report.object_id, room.folder / "results" / "y.jpg")
    assert [path.name for path in out.parent.iterdir()] == ["x.jpg"]
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("given", [Path("/nonexistent/x.dcm"), "\0", 7, None])
def test_refuses_what_cannot_be_read(room: Room, given: object) -> None:
    with pytest.raises(InputError):
        room.vault.put(given)  # type: ignore[arg-type]
    assert not any(room.snapshot().values())
    assert room.vault.list() == ()


def test_a_second_machine_sees_the_same_vault_and_says_that_it_is_new(room: Room) -> None:
    report = room.vault.put(sample(), name="x")
    other = room.elsewhere("laptop")
    data, findings = room.read("x", other)
    assert data == sample()
    assert kinds(findings) == {"unverified"}
    assert room.read("x", other)[1] == ()  # now it is known there
    other.put(sample(OTHER), object="x")
    assert room.read(report.object_id)[0] == sample(OTHER)


def test_state_belongs_to_one_owner_and_dataset(room: Room) -> None:
    with pytest.raises(OutputExistsError):
        Vault.init(room.config(room.folder), OWNER, stores=room.stores())
    with pytest.raises(WrongKeyError):
        Vault.open(room.config(room.folder), OwnerKey(bytes(32)), stores=room.stores())
    with pytest.raises(ConfigError, match="run vault init first"):
        Vault.open(config(room.folder / "elsewhere"), OWNER, stores=room.stores())
    with pytest.raises(ConfigError, match="another dataset"):
        Vault.open(config(room.folder, dataset="other"), OWNER, stores=room.stores())
    with pytest.raises(ConfigError, match="4 different providers"):
        Vault.open(config(room.folder), OWNER, stores=room.stores()[:3])


def test_more_stores_than_parts_take_the_place_of_one_that_fails(tmp_path: Path) -> None:
    room = Room(tmp_path, "2/3", (*CLOUDS, "spare"))
    room.down("east", "north")
    report = room.vault.put(sample(), name="x")
    assert set(report.places.values()) == {"south", "west", "spare"}
    assert report.findings == ()
    assert room.vault.pending == ()
    room.up()
    assert room.read("x")[1] == ()
    room.wipe("spare")
    room.down("spare")
    repaired = room.vault.repair("x")
    assert repaired.repaired == 2  # a part and a manifest, at a provider that had none
    room.up()
    assert not {"missing", "degraded"} & kinds(room.read("x")[1])


def test_progress_is_reported_in_order_to_the_end(room: Room) -> None:
    seen: list[tuple[int, int]] = []
    report = room.vault.put(sample(LARGE), progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    seen.clear()
    room.vault.get(report.object_id, room.folder / "x", progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1]


def test_an_interrupt_leaves_an_upload_that_the_same_put_goes_on_with(room: Room) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        room.vault.put(samples.path(LARGE), progress=interrupt)
    room.reopen()
    report = room.vault.put(samples.path(LARGE))
    assert room.read(report.object_id)[0] == sample(LARGE)
    assert room.vault.put(samples.path(LARGE)).skipped
    assert len(room.vault.list()) == 1
    assert not list((room.folder / "state" / "spool").iterdir())
    assert not list((room.folder / "state" / "locks").glob("upload-*"))


def test_many_files_with_threads_and_again(room: Room) -> None:
    files = [samples.path(name) for name in samples.names()]
    ticks: list[int] = []
    outcomes = list(room.vault.put_many(files, workers=4, progress=lambda done, _total: ticks.append(done)))
    assert [one.error for one in outcomes] == [None] * len(files)
    assert ticks == list(range(1, len(files) + 1))
    again = list(room.vault.put_many([*files, room.folder / "missing.dcm"]))
    assert sum(one.report is not None and one.report.skipped for one in again) == len(files)
    assert [type(one.error) for one in again if one.error] == [InputError]
    for name in samples.names():
        assert room.read(name)[0] == sample(name)
    assert room.vault.scrub().findings == ()


def test_two_writers_of_one_object_on_one_machine(room: Room) -> None:
    report = room.vault.put(sample(SMALL), name="x")
    start, results = threading.Barrier(4), []

    def write(data: bytes) -> None:
        start.wait()
        try:
            results.append(room.vault.put(data, object=report.object_id, base=1).version)
        except ConflictError:
            results.append(0)

    threads = [threading.Thread(target=write, args=(sample(SMALL) + bytes([i]),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 0, 0, 2]
    assert [entry.version for entry in room.vault.versions(report.object_id)] == [2, 1]


@pytest.mark.parametrize("turn", range(3))
def test_two_writers_of_one_object_on_machines_that_share_nothing(room: Room, turn: int) -> None:
    report = room.vault.put(sample(SMALL), name="x")
    machines = [room.vault, room.elsewhere("laptop"), room.elsewhere("desktop")]
    for machine in machines:
        room.read(report.object_id, machine)
    start = threading.Barrier(len(machines))
    results: list[int] = []

    def write(machine: Vault, data: bytes) -> None:
        start.wait()
        try:
            results.append(machine.put(data, object=report.object_id, base=1).version)
        except ConflictError:
            results.append(0)

    threads = [
        threading.Thread(target=write, args=(machine, sample(SMALL) + bytes([i]))) for i, machine in enumerate(machines)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 0, 2]
    digests = {machine.versions(report.object_id)[0].digest for machine in machines}
    assert len(digests) == 1


def test_a_dead_writer_elsewhere_is_passed_over_only_when_asked(room: Room) -> None:
    report = room.vault.put(sample(SMALL), name="x")
    other = room.elsewhere("laptop")
    for cloud in room.clouds.values():  # the other machine died after its claim
        cloud.inner.put(f"{room.share(cloud.name).rpartition('/')[0]}/c-{2:016x}", b"f" * 16)
    with pytest.raises(ConflictError, match="takeover"):
        room.vault.put(sample(OTHER), object="x")
    assert room.vault.put(sample(OTHER), object="x", takeover=True).version == 3
    assert room.read(report.object_id)[0] == sample(OTHER)
    assert room.read(report.object_id, other)[0] == sample(OTHER)


def test_a_new_version_needs_a_majority_of_the_stores(room: Room) -> None:
    room.vault.put(sample(SMALL), name="x")
    room.down("north", "east")
    with pytest.raises(StoreUnavailableError, match="majority"):  # two of four: nobody could say who won
        room.vault.put(sample(OTHER), object="x")
    room.up()
    assert room.vault.put(sample(OTHER), object="x").version >= 2
    assert places(room.read("x")[1], "stale") == set()


def test_many_processes_put_into_one_state(tmp_path: Path) -> None:
    vault = Vault.init(config(tmp_path), OWNER, stores=directories(tmp_path))
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        results = [pool.submit(put_in_process, str(tmp_path), number) for number in range(3)]
        ids = [one for result in results for one in result.result()]
    assert len(set(ids)) == 12
    assert {entry.name for entry in vault.list()} == {f"{number}-{turn}" for number in range(3) for turn in range(4)}
    for number in range(3):
        vault.get(f"{number}-2", tmp_path / "out", force=True)
        assert (tmp_path / "out").read_bytes() == sample() + bytes([number, 2])
    assert vault.scrub().findings == ()


def test_stores_of_a_configuration_one_of_them_away(tmp_path: Path) -> None:
    """The way of the command line: a vault.toml, directories, a disk that is not mounted and later is again."""
    toml = tmp_path / "vault.toml"
    text = '[vault]\nthreshold = "2/3"\n'
    for name in ("a", "b", "c"):
        create = str(name != "c").lower()
        text += f'[[store]]\ntype = "directory"\nname = "{name}"\npath = "disks/{name}"\ncreate = {create}\n'
    toml.write_text(text.replace("create = false", "create = true"))
    with Vault.init(toml, OWNER) as vault:
        report = vault.put(samples.path(SMALL))
    toml.write_text(text)
    (tmp_path / "disks" / "c").rename(tmp_path / "elsewhere")
    with Vault.open(toml, OWNER) as vault:
        found = vault.get(SMALL, tmp_path / "one").findings
        assert places(found, "unreachable") == {"c"}
        assert kinds(vault.put(samples.path(OTHER)).findings) == {"degraded"}
        assert vault.pending
        (tmp_path / "elsewhere").rename(tmp_path / "disks" / "c")
        assert vault.repair().repaired == 2  # the store is opened again without a restart
        assert vault.pending == ()
        assert vault.verify().findings == ()
    assert (tmp_path / "one").read_bytes() == sample()
    assert report.places.keys() == {1, 2, 3}


def test_init_needs_every_store_and_leaves_no_state_behind(tmp_path: Path) -> None:
    toml = tmp_path / "vault.toml"
    toml.write_text(
        '[vault]\nthreshold = "1/2"\n'
        '[[store]]\ntype = "directory"\nname = "a"\npath = "a"\n'
        '[[store]]\ntype = "directory"\nname = "b"\npath = "b"\ncreate = false\n'
    )
    with pytest.raises(StoreUnavailableError, match="store b is not at"):
        Vault.init(toml, OWNER)
    assert not (tmp_path / "state").exists()
    toml.write_text(toml.read_text().replace("create = false", ""))
    Vault.init(toml, OWNER).close()
