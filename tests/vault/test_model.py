"""Hypothesis against a model in memory: whatever up to n - k clouds do, the last bytes put come back, or it is refused.

The model is a dictionary: name -> list of versions. `harmed` are the clouds that were harmed since the last complete
repair; as long as there are at most n - k of them every read must be exact. The rules let clouds vanish, delete,
flip, truncate, swap, go back in time, hide what they hold, and take puts without keeping them; two machines of the
owner write and read; the process restarts and is interrupted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.vault.vault_room import CLOUDS, Room, kinds

from medveil.errors import ConflictError, StoreUnavailableError
from medveil.stores.faulty import FaultKind
from medveil.vault import Vault

CLOUD = st.sampled_from(CLOUDS)
CONTENT = st.binary(min_size=0, max_size=300)
ANY = st.integers(0, 2**20 - 1)  # taken modulo what there is: names and sizes in a store are not the same in two runs
ALLOWED = 2  # n - k


class VaultMachine(RuleBasedStateMachine):
    """Four clouds, two of which may do what they like."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.room = Room(self.folder)
        self.laptop: Vault = self.room.elsewhere("laptop")
        self.model: dict[str, list[bytes]] = {}
        self.ids: dict[str, str] = {}
        self.harmed: set[str] = set()
        self.snapshots: list[tuple[dict[str, dict[str, bytes]], int]] = []
        self.writes = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def may_harm(self, cloud: str) -> bool:
        return len(self.harmed | {cloud}) <= ALLOWED

    def machine(self, second: bool) -> Vault:
        return self.laptop if second else self.room.vault

    # ------------------------------------------------------------------------------------------------- the owner

    @rule(content=CONTENT, second=st.booleans())
    def put(self, content: bytes, second: bool) -> None:
        name = f"study {len(self.model)}"
        report = self.machine(second).put(content, name=name, again=True)
        self.model[name] = [content]
        self.ids[name] = report.object_id
        self.writes += 1
        lacking = set(CLOUDS) - set(report.places.values())
        assert lacking <= self.harmed, "a cloud that nobody harmed took no part"

    @precondition(lambda self: self.model)
    @rule(data=st.data(), content=CONTENT, second=st.booleans())
    def update(self, data: st.DataObject, content: bytes, second: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        try:
            self.machine(second).put(content, object=self.ids[name])
        except (StoreUnavailableError, ConflictError):
            # A new version needs a majority of four, so two harmed clouds can prevent it, and no fewer.
            assert len(self.harmed) == ALLOWED
            return
        self.model[name].append(content)
        self.writes += 1

    @precondition(lambda self: self.model)
    @rule(data=st.data(), second=st.booleans())
    def get(self, data: st.DataObject, second: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        got, findings = self.room.read(self.ids[name], self.machine(second))
        assert got == self.model[name][-1]
        assert {f.place for f in findings if f.place} <= self.harmed, "a cloud was blamed that did nothing"

    @rule()
    def scrub_and_verify(self) -> None:
        for findings in (self.room.vault.scrub().findings, self.room.vault.verify().findings):
            assert {f.place for f in findings if f.place} <= self.harmed
            if not self.harmed:
                assert kinds(findings) <= {"unverified"}

    @rule()
    def mend(self) -> None:
        """All clouds behave again, and one repair puts everything right."""
        self.room.up()
        report = self.room.vault.repair()
        assert [one.error for one in report.objects] == [None] * len(self.model)
        self.harmed.clear()
        for name, versions in self.model.items():
            got, findings = self.room.read(self.ids[name])
            assert got == versions[-1]
            assert findings == ()
        assert self.room.vault.scrub().findings == ()

    @rule()
    def restart(self) -> None:
        self.room.reopen()

    @rule(content=CONTENT)
    def interrupted(self, content: bytes) -> None:
        """Ctrl-C in the middle of a put; the next one of the same file goes on with it."""
        name = f"study {len(self.model)}"

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        try:
            self.room.vault.put(content, name=name, progress=interrupt)
        except KeyboardInterrupt:
            self.room.reopen()
        report = self.room.vault.put(content, name=name)
        self.model[name] = [content]
        self.ids[name] = report.object_id
        self.writes += 1

    # ------------------------------------------------------------------------------------------------ the clouds

    @rule(cloud=CLOUD)
    def vanish(self, cloud: str) -> None:
        if self.may_harm(cloud):
            self.harmed.add(cloud)
            self.room.down(cloud)

    @rule(cloud=CLOUD)
    def come_back(self, cloud: str) -> None:
        self.room.clouds[cloud].clear()

    @rule(cloud=CLOUD)
    def forget(self, cloud: str) -> None:
        if self.may_harm(cloud):
            self.harmed.add(cloud)
            self.room.wipe(cloud)

    @rule(cloud=CLOUD, how=st.sampled_from(["flip", "truncate", "exchange", "delete"]), one=ANY, other=ANY, place=ANY)
    def change(self, cloud: str, how: str, one: int, other: int, place: int) -> None:
        names = sorted(name for name in self.room.clouds[cloud].inner.list() if "/c-" not in name)
        if not names or not self.may_harm(cloud):
            return
        self.harmed.add(cloud)
        store: Any = self.room.clouds[cloud]
        name = names[one % len(names)]
        size = store.inner.size(name)
        match how:
            case "flip":
                store.flip(name, place % max(1, 8 * size))
            case "truncate":
                store.truncate(name, place % max(1, size))
            case "exchange":
                store.exchange(name, names[other % len(names)])
            case _:
                store.inner.delete(name)

    @rule()
    def remember(self) -> None:
        self.snapshots.append((self.room.snapshot(), self.writes))

    @precondition(lambda self: self.snapshots)
    @rule(cloud=CLOUD, one=ANY)
    def go_back(self, cloud: str, one: int) -> None:
        if self.may_harm(cloud):
            self.harmed.add(cloud)
            saved, _ = self.snapshots[one % len(self.snapshots)]
            self.room.roll_back(saved, cloud)

    @rule(cloud=CLOUD, kind=st.sampled_from([FaultKind.DROP_PUT, FaultKind.BIT_FLIP, FaultKind.FULL]))
    def write_badly(self, cloud: str, kind: FaultKind) -> None:
        if self.may_harm(cloud):
            self.harmed.add(cloud)
            self.room.fail(cloud, kind, "put", position=8 * 40)

    @rule(cloud=CLOUD)
    def list_nothing(self, cloud: str) -> None:
        if self.may_harm(cloud):
            self.harmed.add(cloud)
            self.room.fail(cloud, FaultKind.EMPTY_LIST, "list")

    # ------------------------------------------------------------------------------------------------- always

    @invariant()
    def nothing_is_left_in_the_way(self) -> None:
        if hasattr(self, "room"):
            spool = self.room.folder / "state" / "spool"
            assert not spool.exists() or not any(spool.iterdir())


TestVault = VaultMachine.TestCase
TestVault.settings = settings(
    max_examples=int(os.environ.get("MEDVEIL_VAULT_EXAMPLES", "15")),
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
