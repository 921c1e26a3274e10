"""Run by test_grants_crash.py: kills a child at every write of a grant, a revocation or a rotation, then looks on."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vault.crash_points import POINTS, open_vault, trace_sql
from tests.vault.grants_room import KEYS, dicom, pin
from tests.vault.vault_room import CLOUDS, OWNER, config

from medveil.errors import MedveilError, ObjectMissingError, PolicyError
from medveil.stores.directory import DirectoryStore
from medveil.vault import Vault
from medveil.vault.grants import GrantedVault

FIRST, SECOND = "1.2.1", "1.2.2"


def joined(folder: Path, name: str, vault: Vault) -> GrantedVault:
    machine = config(folder / f"machine-{name}", CLOUDS, workers=1)
    stores = [DirectoryStore(folder / cloud, cloud, f"provider-{cloud}") for cloud in CLOUDS]
    if (machine.state / "state.sqlite").exists():
        return Vault.open_granted(machine, KEYS[name], stores=stores)
    return Vault.join(machine, vault.grants.invitation(name), KEYS[name], OWNER.public.fingerprint, stores=stores)


def story_grant(vault: Vault) -> None:
    vault.grants.grant("bob", [FIRST, SECOND])


def story_stop(vault: Vault) -> None:
    vault.grants.revoke("alice", [FIRST])


def story_rotate(vault: Vault) -> None:
    vault.grants.revoke("alice", level="rotate")


def story_reencrypt(vault: Vault) -> None:
    vault.grants.revoke("alice", [FIRST], level="reencrypt")


STORIES: dict[str, Callable[[Vault], None]] = {
    "grant": story_grant, "stop": story_stop, "rotate": story_rotate, "reencrypt": story_reencrypt,
}  # fmt: skip
# After the story: what alice and bob can read, and the epoch.
AFTER = {
    "grant": ({FIRST, SECOND}, {FIRST, SECOND}, 1),
    "stop": ({SECOND}, {SECOND}, 1),
    "rotate": (set(), {SECOND}, 2),
    "reencrypt": ({SECOND}, {SECOND}, 2),
}


def prepare(folder: Path, story: str) -> None:
    vault = open_vault(folder, first=True)
    for study in (FIRST, SECOND):
        vault.put(dicom(study), name=f"{study}.dcm")
    pin(vault, "alice")
    pin(vault, "bob")
    vault.grants.grant("alice", [FIRST, SECOND])
    if story != "grant":
        vault.grants.grant("bob", [SECOND])
    joined(folder, "alice", vault).close()
    joined(folder, "bob", vault).close()
    vault.close()


def child(folder: Path, story: str, due: int) -> None:
    vault = open_vault(folder)
    POINTS.due, POINTS.armed = due, True
    STORIES[story](vault)
    os._exit(0)


def readable(folder: Path, name: str, vault: Vault) -> set[str]:
    """What an honest client reads now, checked byte for byte; what the ledger says must be the same."""
    seen = set()
    with joined(folder, name, vault) as granted:
        for study in granted.list():
            uid = str(study.attributes["StudyInstanceUID"])
            granted.get(study.instances[0].object_id, folder / "out", force=True)
            if (folder / "out").read_bytes() == dicom(uid):
                seen.add(uid)
    return seen


def allowed(name: str, vault: Vault) -> set[str]:
    found = set()
    for study in (FIRST, SECOND):
        try:
            vault.grants.check(name, study)
        except (PolicyError, ObjectMissingError):
            continue
        found.add(study)
    return found


def check(folder: Path, story: str) -> tuple[bool, list[str]]:
    """Look at what is left; then resume, do the story again where it never began, and look again."""
    wrong: list[str] = []
    alice, bob, epoch = AFTER[story]
    vault = open_vault(folder)
    decided = (allowed("alice", vault), allowed("bob", vault)) == (alice, bob)
    before = (readable(folder, "alice", vault), readable(folder, "bob", vault))
    if not before[0] <= {FIRST, SECOND} or not before[1] <= {FIRST, SECOND}:
        wrong.append("somebody reads what nobody granted")
    if story != "grant" and before[1] != {SECOND}:
        wrong.append("who was not concerned lost a grant")
    vault.grants.resume()
    if not decided:
        STORIES[story](vault)
    after = (readable(folder, "alice", vault), readable(folder, "bob", vault))
    if after != (alice, bob):
        wrong.append(f"after all {after} is readable where {(alice, bob)} should be")
    if (allowed("alice", vault), allowed("bob", vault)) != (alice, bob):
        wrong.append("the ledger says something else")
    if vault._session.epoch != epoch:
        wrong.append(f"epoch {vault._session.epoch} where {epoch} should be")
    left = (
        vault.grants._ledger.packs(None, "new", "dead"),
        vault.grants._ledger.stage,
        vault.grants._ledger.to_reencrypt(),
    )
    if left != ([], "", []):
        wrong.append(f"left to do: {left}")
    live = {one.name for one in vault.grants._ledger.packs(None, "live")}
    for cloud in CLOUDS:
        held = {str(p.relative_to(folder / cloud)) for p in (folder / cloud).rglob("*-*") if "/g/" in str(p)}
        if held != live:
            wrong.append(f"{cloud} holds {len(held)} records where {len(live)} are in force")
    vault.recover()
    scrubbed = vault.scrub(restart=True)
    wrong += [finding.message for finding in scrubbed.findings]
    wrong += [f"orphan {name} at {store}" for store, name in scrubbed.orphans]
    vault.close()
    return decided, wrong


def main(root: Path, story: str, step: int) -> None:
    trace_sql()
    sys.addaudithook(POINTS.audit)
    base = root / "base"
    prepare(base, story)
    decided: list[bool] = []
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
            one, bad = check(folder, story)
        except MedveilError as error:
            one, bad = False, [f"{type(error).__name__}: {error}"]
        decided.append(one)
        wrong += [f"point {due}: {message}" for message in bad]
        shutil.rmtree(folder)
        if ended:
            break
    told = {"killed": len(decided) - 1, "decided": sum(decided), "wrong": wrong[:20]}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
