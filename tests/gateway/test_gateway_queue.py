"""The queue: durable before it says so, never twice, bounded, and whole again after a crash at any call."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.gateway.queue_story import BOUNDS, KEY, instance

from medveil.errors import ConflictError, LimitError, StoreError, StoreFullError, TamperedError
from medveil.gateway import queue as module
from medveil.gateway import segments
from medveil.gateway.queue import Bounds, Queue


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    one = Queue(tmp_path / "queue", KEY, BOUNDS)
    yield one
    one.close()


def reopened(queue: Queue, folder: Path) -> Queue:
    queue.close()
    return Queue(folder / "queue", KEY, BOUNDS)


def drain(queue: Queue) -> list[bytes]:
    """Take and seal everything; returns the files in order."""
    files = []
    while (name := queue.take(0)) is not None:
        files.append(queue.read(name))
        queue.sealed(name, f"object-{len(files)}")
    return files


def test_gives_back_what_it_took(queue: Queue) -> None:
    assert [queue.accept(instance(number)) for number in range(5)] == [True] * 5
    assert queue.depth == (5, sum(len(instance(number).data) for number in range(5)))
    assert drain(queue) == [instance(number).data for number in range(5)]
    assert queue.depth == (0, 0)
    assert queue.object_of("1.2.3.0") == "object-1"
    assert queue.object_of("1.2.3.99") is None


def test_the_same_again_is_accepted_and_not_kept_twice(queue: Queue, tmp_path: Path) -> None:
    assert queue.accept(instance(1))
    assert not queue.accept(instance(1))
    queue = reopened(queue, tmp_path)
    assert not queue.accept(instance(1))
    assert len(drain(queue)) == 1
    assert not queue.accept(instance(1))
    queue = reopened(queue, tmp_path)
    assert not queue.accept(instance(1))
    assert drain(queue) == []
    queue.close()


def test_other_content_under_the_same_uid_is_a_conflict(queue: Queue) -> None:
    queue.accept(instance(1))
    for _ in range(2):
        with pytest.raises(ConflictError):
            queue.accept(instance(1, size=2999))
        drain(queue)


def test_the_meta_header_is_not_content(queue: Queue) -> None:
    first = instance(1)
    other = type(first)(
        first.sop_class, first.uid, first.study, first.series, first.transfer_syntax, b"meta" + first.data, 136
    )
    assert queue.accept(first)
    assert not queue.accept(other)


def test_nothing_readable_lies_on_the_disk(queue: Queue, tmp_path: Path) -> None:
    queue.accept(instance(65))
    found = b"".join(path.read_bytes() for path in (tmp_path / "queue").iterdir())
    assert b"A" * 16 not in found
    assert b"1.2.3." not in found
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "queue").iterdir() if path.suffix == ".queue")


def test_is_bounded(tmp_path: Path) -> None:
    size = len(instance(1).data)
    for bounds in (Bounds(2 * size, 100, 1 << 20, 0), Bounds(1 << 30, 2, 1 << 20, 0)):
        queue = Queue(tmp_path / str(bounds.max_instances), KEY, bounds)
        queue.accept(instance(1))
        queue.accept(instance(2))
        with pytest.raises(StoreFullError, match="full"):
            queue.accept(instance(3))
        assert not queue.accept(instance(2))
        assert queue.fill == 1
        name = queue.take(0)
        assert name is not None
        queue.sealed(name, "object")
        assert queue.accept(instance(3))
        queue.close()


def test_leaves_the_disk_some_room(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", KEY, Bounds(1 << 30, 100, 1 << 20, 1 << 60))
    with pytest.raises(StoreFullError, match="disk"):
        queue.accept(instance(1))
    assert queue.depth == (0, 0)
    queue.close()


def test_refuses_what_is_too_large(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", KEY, Bounds(1 << 30, 100, 3000, 0))
    with pytest.raises(LimitError):
        queue.accept(instance(1))
    queue.close()


def test_is_synced_before_it_says_so(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.accept(instance(1))  # the segment's own calls are over
    calls: list[str] = []
    for name in ("write", "fdatasync"):
        original = getattr(os, name)
        monkeypatch.setattr(
            segments.os, name, lambda *a, original=original, name=name: (calls.append(name), original(*a))[1]
        )
    queue.accept(instance(2))
    assert calls == ["write", "fdatasync"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_a_disk_that_fails_is_an_error_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    queue = Queue(tmp_path / "queue", KEY, BOUNDS)
    queue.accept(instance(1))
    original = getattr(os, call)
    written = 0

    def fails(*arguments: object) -> object:
        nonlocal written
        if call == "write" and written == 0:  # half of it gets through
            written = 1
            return original(arguments[0], bytes(arguments[1])[:50])  # type: ignore[call-overload]
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(segments.os, call, fails)
    with pytest.raises(StoreError) as caught:
        queue.accept(instance(2))
    full = code != errno.EIO
    assert isinstance(caught.value, StoreFullError) == full
    monkeypatch.undo()
    assert queue.depth[0] == 1
    assert queue.accept(instance(3))
    assert queue.accept(instance(2))
    queue = reopened(queue, tmp_path)
    assert queue.damaged == 0
    files = drain(queue)
    assert files[0] == instance(1).data
    assert set(files) == {instance(number).data for number in (1, 2, 3)}
    assert len(files) == 3
    queue.close()


def test_many_senders_at_once(queue: Queue) -> None:
    outcomes: list[bool] = []
    start = threading.Barrier(8)

    def send(offset: int) -> None:
        start.wait()
        for number in range(40):
            outcomes.append(queue.accept(instance((number + offset) % 40)))

    threads = [threading.Thread(target=send, args=(5 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 40
    assert len(set(drain(queue))) == 40


def test_segments_are_removed_once_they_are_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT", 8000)
    queue = Queue(tmp_path / "queue", KEY, BOUNDS)
    for number in range(20):
        queue.accept(instance(number))
    assert len(list((tmp_path / "queue").glob("*.queue"))) > 5
    drain(queue)
    assert len(list((tmp_path / "queue").glob("*.queue"))) == 1
    queue.close()
    assert list((tmp_path / "queue").glob("*.queue")) == []


@pytest.mark.parametrize("where", ["head", "body", "magic"])
def test_damage_in_the_middle_is_counted_and_the_rest_is_kept(tmp_path: Path, where: str) -> None:
    queue = Queue(tmp_path / "queue", KEY, BOUNDS)
    for number in range(1, 4):
        queue.accept(instance(number))
    queue.close()
    (path,) = (tmp_path / "queue").glob("*.queue")
    data = bytearray(path.read_bytes())
    second = data.index(b"MVR1", data.index(b"MVR1") + 4)
    data[second + {"magic": 0, "head": 20, "body": 500}[where]] ^= 1
    path.write_bytes(data)
    queue = Queue(tmp_path / "queue", KEY, BOUNDS)
    assert queue.damaged == 1
    assert drain(queue) == [instance(1).data, instance(3).data]
    queue.close()
    assert path.exists(), "what was destroyed is kept for whoever looks into it"


def test_a_record_that_changes_while_it_waits_is_refused(queue: Queue, tmp_path: Path) -> None:
    queue.accept(instance(1))
    (path,) = (tmp_path / "queue").glob("*.queue")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    name = queue.take(0)
    assert name is not None
    with pytest.raises(TamperedError):
        queue.read(name)
    queue.put_back(name)
    assert queue.take(0) == name


def test_another_key_opens_nothing(queue: Queue, tmp_path: Path) -> None:
    queue.accept(instance(1))
    queue.close()
    other = Queue(tmp_path / "queue", bytes(32), BOUNDS)
    assert other.depth == (0, 0)
    other.close()


def test_a_damaged_ledger_is_said_to_be_one(tmp_path: Path) -> None:
    Queue(tmp_path / "queue", KEY, BOUNDS).close()
    (tmp_path / "queue" / "ledger.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        Queue(tmp_path / "queue", KEY, BOUNDS)


def story(folder: Path, due: int) -> tuple[int, list[str]]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.gateway.queue_story", str(folder), str(due)],
        env=environment, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout.split("\n")[:-1]


def check_what_is_left(folder: Path, said: list[str]) -> None:
    """Everything that was accepted is waiting or sealed, once, with its bytes; what was sealed is not waiting."""
    queue = Queue(folder, KEY, BOUNDS)
    assert queue.damaged == 0
    accepted = {line.split()[1] for line in said if line.startswith("accepted")}
    sealed = {line.split()[1] for line in said if line.startswith("sealed")}
    waiting = drain(queue)
    uids = [f"1.2.3.{data[-1]}" for data in waiting]
    assert len(uids) == len(set(uids))
    assert set(waiting) <= {instance(number).data for number in range(1, 7)}
    assert accepted - sealed <= set(uids) | {uid for uid in accepted if queue.object_of(uid)}
    assert not sealed & set(uids)
    for number in range(1, 7):
        uid = instance(number).uid
        assert queue.accept(instance(number)) == (uid not in uids and uid not in sealed and uid not in accepted)
    queue.close()


def test_killed_at_any_call_it_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    code, said = story(tmp_path / "whole", 0)
    assert code == 0
    calls = int(said[-1])
    assert calls > 40
    # A forked child for each point: the interpreter starts once, the story runs in every child.
    kill = [*range(1, calls + 1)]
    pairs = _fork_stories(tmp_path, kill)
    assert len(pairs) == calls
    for folder, lines in pairs:
        check_what_is_left(folder, lines)


def _fork_stories(base: Path, points: list[int]) -> list[tuple[Path, list[str]]]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    code = (
        "import os, sys\n"
        "from tests.gateway import queue_story\n"
        "base = sys.argv[1]\n"
        "for due in map(int, sys.argv[2:]):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        out = os.open(f'{base}/said-{due}', os.O_WRONLY | os.O_CREAT, 0o600)\n"
        "        os.dup2(out, 1)\n"
        "        sys.argv[1:] = [f'{base}/left-{due}', str(due)]\n"
        "        queue_story.main()\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(base), *map(str, points)], env=environment, cwd=ROOT, check=True)
    return [(base / f"left-{due}", (base / f"said-{due}").read_text().split("\n")[:-1]) for due in points]
