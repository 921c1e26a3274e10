"""The directory store at its edges: crashes, full and failing disks, links, leftovers, races between processes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medveil.errors import (
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores.directory import PRIVATE, STALE_AFTER, DirectoryStore

OBJECT = b"a" * 4000 + b"b" * 4000 + b"c" * 4000
SCRIPT = Path(__file__).with_name("kill_at_each_call.py")


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def unfinished(store_folder: Path) -> list[str]:
    return sorted(path.name for path in (store_folder / PRIVATE).iterdir())


# Crashes


@pytest.mark.skipif(sys.platform != "linux", reason="counts the system calls of Linux")
def test_killed_at_each_system_call_the_object_is_absent_or_complete(tmp_path: Path) -> None:
    def run(folder: Path, number: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), str(folder), str(number)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run(tmp_path / "whole", -1)
    assert whole.returncode == 0, whole.stderr
    calls = int(whole.stdout)
    assert calls >= 20
    outcomes = []
    for number in range(1, calls + 1):
        folder = tmp_path / str(number)
        assert run(folder, number).returncode == -signal.SIGKILL
        store = DirectoryStore(folder)
        names = list(store.list())
        outcomes.append(names)
        if names:
            assert names == ["study/series/part-1"]
            assert store.get(names[0]) == OBJECT
            with pytest.raises(ObjectExistsError):
                store.put(names[0], b"other")
        else:
            store.put("study/series/part-1", OBJECT)
            assert store.get("study/series/part-1") == OBJECT
    # Once it is there, no later crash takes it away again.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] == []
    assert outcomes[-1] == ["study/series/part-1"]


def test_syncs_the_bytes_before_the_name_and_the_name_before_it_returns(
    tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after any step leaves the object absent or complete only if the steps come in this order."""
    steps: list[str] = []
    for function in ("write", "fsync", "link", "mkdir"):
        original = getattr(os, function)

        def call(*arguments: object, _of: object = original, _as: str = function, **keywords: object) -> object:
            what = ""
            if _as == "fsync":
                what = " " + Path(f"/proc/self/fd/{arguments[0]}").readlink().name.split("-")[0]
            steps.append(_as + what)
            return _of(*arguments, **keywords)  # type: ignore[operator]

        monkeypatch.setattr(os, function, call)
    store.put("study/part", [b"a", b"b"])
    assert steps == [
        "mkdir", "fsync store", "write", "write", f"fsync {os.getpid()}", "link", "fsync study",
    ]  # fmt: skip


def test_leftovers_are_not_listed_and_go_with_age(tmp_path: Path, store: DirectoryStore) -> None:
    private = tmp_path / "store" / PRIVATE
    old, young = private / "1-old", private / "2-young"
    old.write_bytes(b"left by a dead writer")
    young.write_bytes(b"being written now")
    os.utime(old, (0, time.time() - STALE_AFTER - 60))
    assert list(store.list()) == []
    DirectoryStore(tmp_path / "store")
    assert unfinished(tmp_path / "store") == ["2-young"]


# What the operating system says, at each call


def failing(original: Callable[..., object], at: int, number: int) -> Callable[..., object]:
    calls = 0

    def call(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **keywords)

    return call


ERRORS = {
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EFBIG: StoreFullError,
    errno.EIO: StoreError,
    errno.EROFS: StoreUnavailableError,
    errno.EACCES: StoreUnavailableError,
    errno.ESTALE: StoreUnavailableError,
    errno.EMFILE: StoreError,
}


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(
    ("function", "at"),
    [("open", 1), ("open", 3), ("open", 5), ("mkdir", 1), ("mkdir", 2), ("write", 1), ("write", 2), ("write", 3),
     ("fsync", 1), ("fsync", 3), ("link", 1)],
)  # fmt: skip
def test_a_failing_disk_leaves_nothing(
    tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, function: str, at: int, number: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(getattr(os, function), at, number))
        with pytest.raises(ERRORS[number]) as caught:
            store.put("study/series/part-1", [OBJECT[:4000], OBJECT[4000:8000], OBJECT[8000:]])
    assert os.strerror(number) in str(caught.value)
    assert list(store.list()) == []
    assert unfinished(tmp_path / "store") == []
    store.put("study/series/part-1", OBJECT)
    assert store.get("study/series/part-1") == OBJECT


@pytest.mark.parametrize("function", ["open", "fstat", "pread"])
def test_a_failing_read_is_an_error(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    store.put("part-1", OBJECT)
    monkeypatch.setattr(os, function, failing(getattr(os, function), 1, errno.EIO))
    with pytest.raises(StoreError, match=os.strerror(errno.EIO)):
        store.get("part-1")


def test_a_file_that_shrinks_under_the_reader_is_no_short_read(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("part-1", OBJECT)
    original = os.pread
    monkeypatch.setattr(os, "pread", lambda f, n, o: original(f, n // 2, o) if o == 0 else b"")
    with pytest.raises(StoreUnavailableError, match="6000 of 12000"):
        store.get("part-1")


def test_short_writes_are_completed(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda f, data: original(f, data[:1000]))
    store.put("part-1", OBJECT)
    assert store.get("part-1") == OBJECT


def test_a_limit_of_the_kernel_is_a_full_store(tmp_path: Path) -> None:
    """The real thing, not an injected error: a process that may not write files of more than 64 KiB."""
    code = (
        "import resource, signal, sys\n"
        "from medveil.errors import StoreFullError\n"
        "from medveil.stores.directory import DirectoryStore\n"
        "store = DirectoryStore(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "try:\n    store.put('large', bytes(100_000))\nexcept StoreFullError as error:\n    print(error)\n"
        "store.put('small', bytes(60_000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert "make room" in done.stdout
    assert list(DirectoryStore(tmp_path / "store").list()) == ["small"]
    assert unfinished(tmp_path / "store") == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 65536


# Links and other things that are no files


@pytest.mark.parametrize("ask", ["get", "size", "put", "delete"])
def test_a_link_in_the_way_is_refused(tmp_path: Path, store: DirectoryStore, ask: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"not for the store")
    (tmp_path / "store" / "linked").symlink_to(outside)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("linked/secret"),
        "size": lambda: store.size("linked/secret"),
        "put": lambda: store.put("linked/new", b"x"),
        "delete": lambda: store.delete("linked/secret"),
    }
    with pytest.raises(StoreError, match="symbolic link"):
        calls[ask]()
    assert list(outside.iterdir()) == [outside / "secret"]
    assert list(store.list()) == []


def test_a_linked_object_is_refused_and_can_be_deleted(tmp_path: Path, store: DirectoryStore) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"not for the store")
    (tmp_path / "store" / "object").symlink_to(target)
    for ask in (store.get, store.size):
        with pytest.raises(StoreError, match="symbolic link"):
            ask("object")
    with pytest.raises(ObjectExistsError):
        store.put("object", b"x")
    assert list(store.list()) == []
    store.delete("object")
    assert target.read_bytes() == b"not for the store"


def test_a_pipe_does_not_hang_the_reader(tmp_path: Path, store: DirectoryStore) -> None:
    os.mkfifo(tmp_path / "store" / "pipe")
    with pytest.raises(StoreError, match="regular"):
        store.get("pipe")
    assert list(store.list()) == []


def test_foreign_files_are_left_out_and_left_alone(tmp_path: Path, store: DirectoryStore) -> None:
    folder = tmp_path / "store"
    for name in ("UPPER", ".hidden", "with space", "ü"):
        (folder / name).write_bytes(b"x")
    (folder / "Folder").mkdir()
    (folder / "Folder" / "object").write_bytes(b"x")
    assert list(store.list()) == []
    store.delete("folder")
    store.put("folder", b"x")
    store.delete("folder")
    assert len(list(folder.iterdir())) == 6


def test_a_folder_is_no_object(store: DirectoryStore) -> None:
    store.put("folder/object", b"x")
    store.delete("folder")
    assert store.get("folder/object") == b"x"
    with pytest.raises(ObjectExistsError):
        store.put("folder", b"x")
    with pytest.raises(ObjectExistsError):
        store.put("folder/object/inside", b"x")


# The folder itself


def test_a_vanished_folder_is_unavailable_and_not_made_again(tmp_path: Path, store: DirectoryStore) -> None:
    store.put("object", b"x")
    shutil.rmtree(tmp_path / "store")
    for ask in (store.get, store.size, store.delete, lambda n: store.put(n, b"x"), lambda n: list(store.list(n))):
        with pytest.raises(StoreUnavailableError, match="not at") as caught:
            ask("object")
        assert not caught.value.transient
    assert not (tmp_path / "store").exists()


def test_an_empty_mount_point_is_no_empty_store(tmp_path: Path, store: DirectoryStore) -> None:
    store.put("object", b"x")
    (tmp_path / "store").rename(tmp_path / "unmounted")
    (tmp_path / "store").mkdir()
    for ask in (store.get, lambda n: store.put(n, b"x"), lambda n: list(store.list(n))):
        with pytest.raises(StoreUnavailableError):
            ask("object")
    with pytest.raises(StoreUnavailableError, match="mount"):
        DirectoryStore(tmp_path / "store", create=False)
    assert DirectoryStore(tmp_path / "unmounted", create=False).get("object") == b"x"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(MedveilError):
        DirectoryStore(tmp_path / "file")


def test_files_are_for_their_owner_alone(tmp_path: Path, store: DirectoryStore) -> None:
    store.put("folder/object", b"x")
    modes = {p: p.stat().st_mode & 0o777 for p in (tmp_path / "store").rglob("*")}
    assert {m for p, m in modes.items() if p.is_file()} == {0o600}
    assert {m for p, m in modes.items() if p.is_dir()} == {0o700}


# File systems without hard links


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is Linux's")
def test_without_hard_links_it_still_writes_once(
    tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    store.put("a/object", b"first")
    # Past the first look, as a racing writer would be.
    monkeypatch.setattr(DirectoryStore, "_refuse_taken", lambda *_: None)
    with pytest.raises(ObjectExistsError):
        store.put("a/object", b"second")
    assert store.get("a/object") == b"first"
    assert unfinished(tmp_path / "store") == []


def test_a_race_past_the_first_look_is_still_decided(
    tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectoryStore, "_refuse_taken", lambda *_: None)
    store.put("object", b"first")
    with pytest.raises(ObjectExistsError):
        store.put("object", b"second")
    assert store.get("object") == b"first"
    assert unfinished(tmp_path / "store") == []


def test_two_processes_write_once(tmp_path: Path) -> None:
    DirectoryStore(tmp_path / "store")
    code = (
        "import sys\nfrom medveil.errors import ObjectExistsError\n"
        "from medveil.stores.directory import DirectoryStore\n"
        "store, won = DirectoryStore(sys.argv[1]), 0\n"
        "for i in range(100):\n"
        "    try:\n        store.put(f'object-{i}', sys.argv[2].encode())\n        won += 1\n"
        "    except ObjectExistsError:\n        pass\n"
        "print(won)\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "store"), who], stdout=subprocess.PIPE, text=True)
        for who in ("one", "two")
    ]
    won = [int(writer.communicate()[0]) for writer in writers]
    assert sum(won) == 100
    store = DirectoryStore(tmp_path / "store")
    held = [store.get(f"object-{i}").decode() for i in range(100)]
    assert [held.count("one"), held.count("two")] == won


def test_missing_is_missing(store: DirectoryStore) -> None:
    with pytest.raises(ObjectMissingError):
        store.get("nothing")
