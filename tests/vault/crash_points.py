"""Run by test_crash.py: forks a child for every write point of a story, kills it there, and looks at what is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.vault.vault_room import CLOUDS, OTHER, OWNER, SMALL, config, sample

from medveil.errors import MedveilError, ObjectMissingError
from medveil.stores.directory import DirectoryStore
from medveil.vault import Vault

WRITES = {"os.mkdir", "os.link", "os.remove", "os.rename", "os.rmdir", "os.truncate"}

STATEMENTS = ("BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE")


class Points:
    """Counts write points and kills this process at the one that is due."""

    def __init__(self) -> None:
        self.due = 0  # 0: not armed
        self.count = 0
        self.armed = False

    def reach(self) -> None:
        if self.armed:
            self.count += 1
            if self.count == self.due:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if self.armed and (event in WRITES or writing):
            self.reach()


POINTS = Points()


def trace_sql() -> None:
    """Make every SQLite statement that writes, begins or ends a point."""
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db = real(*arguments, **options)
        db.set_trace_callback(lambda statement: POINTS.reach() if statement.startswith(STATEMENTS) else None)
        return db

    sqlite3.connect = connect  # type: ignore[assignment]


def open_vault(folder: Path, *, first: bool = False) -> Vault:
    stores = [DirectoryStore(folder / name, name, f"provider-{name}") for name in CLOUDS]
    make = Vault.init if first else Vault.open
    return make(config(folder, workers=1), OWNER, stores=stores)


def story_new(vault: Vault, folder: Path) -> None:
    vault.put(sample(SMALL), name="x")


def story_update(vault: Vault, folder: Path) -> None:
    vault.put(sample(OTHER), object="x")


def story_degraded(vault: Vault, folder: Path) -> None:
    (folder / "west" / ".medveil").rename(folder / "west" / "away")
    vault.put(sample(SMALL), name="x")


def story_repair(vault: Vault, folder: Path) -> None:
    vault.repair("x")


STORIES: dict[str, Callable[[Vault, Path], None]] = {
    "new": story_new,
    "update": story_update,
    "degraded": story_degraded,
    "repair": story_repair,
}


def prepare(folder: Path, story: str) -> None:
    vault = open_vault(folder, first=True)
    if story in ("update", "repair"):
        vault.put(sample(SMALL), name="x")
    if story == "repair":
        shutil.rmtree(folder / "north")
        share = max((p for p in (folder / "east").rglob("s-*")), key=lambda p: p.stat().st_size)
        share.write_bytes(share.read_bytes()[:-1] + b"?")
    vault.close()


def child(folder: Path, story: str, due: int) -> None:
    vault = open_vault(folder)
    POINTS.due, POINTS.armed = due, True
    STORIES[story](vault, folder)
    os._exit(0)


def read(vault: Vault, folder: Path) -> bytes | None:
    try:
        vault.get("x", folder / "out", force=True)
    except ObjectMissingError:
        return None
    return (folder / "out").read_bytes()


def check(folder: Path, story: str) -> tuple[str, list[str]]:
    """Look at the vault after the crash, then finish the story; returns what the object was and what is wrong."""
    wrong = []
    if (folder / "west" / "away").exists():
        (folder / "west" / "away").rename(folder / "west" / ".medveil")
    before = {"new": None, "degraded": None, "update": sample(SMALL), "repair": sample(SMALL)}[story]
    after = {"update": sample(OTHER)}.get(story, sample(SMALL))
    vault = open_vault(folder)
    found = read(vault, folder)
    if found not in (before, after):
        wrong.append(f"{0 if found is None else len(found)} bytes that nobody put")
    if story in ("new", "update", "degraded"):
        STORIES[story](vault, folder)
        if story == "degraded":
            (folder / "west" / "away").rename(folder / "west" / ".medveil")
            vault.repair()
    if story == "repair":
        vault.repair()
    vault.recover()
    if read(vault, folder) != after:
        wrong.append("the put that was repeated did not give the file back")
    scrubbed = vault.scrub(restart=True)
    if len(scrubbed.objects) != 1:
        wrong.append(f"{len(scrubbed.objects)} objects where 1 belongs")
    wrong += [finding.message for finding in scrubbed.findings]
    wrong += [f"orphan {name} at {store}" for store, name in scrubbed.orphans]
    if vault.pending:
        wrong.append(f"pending {vault.pending}")
    left = [*(folder / "state" / "spool").glob("*"), *(folder / "state" / "locks").glob("upload-*")]
    wrong += [f"left behind: {path.name}" for path in left]
    vault.close()
    return ("complete" if found == after and found != before else "absent"), wrong


def main(root: Path, story: str, step: int) -> None:
    trace_sql()
    sys.addaudithook(POINTS.audit)
    base = root / "base"
    prepare(base, story)
    outcomes: list[str] = []
    wrong: list[str] = []
    due = 0
    while True:
        due += step
        folder = root / "work"
        shutil.copytree(base, folder)
        pid = os.fork()
        if pid == 0:
            try:
                child(folder, story, due)
            except BaseException as error:  # noqa: BLE001 - the child must never go on into the parent's code
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        ended = os.WIFEXITED(status)
        if ended and os.WEXITSTATUS(status) != 0:
            wrong.append(f"point {due}: the child failed by itself")
        try:
            outcome, bad = check(folder, story)
        except MedveilError as error:
            outcome, bad = "broken", [f"{type(error).__name__}: {error}"]
        outcomes.append(outcome)
        wrong += [f"point {due}: {one}" for one in bad]
        shutil.rmtree(folder)
        if ended:
            break
    told = {
        "killed": len(outcomes) - 1,
        "absent": outcomes.count("absent"),
        "complete": outcomes.count("complete"),
        "wrong": wrong[:20],
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
