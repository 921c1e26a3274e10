"""A vault over four clouds of which each can be told to fail, and what the tests do behind its back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medveil.crypto.keyfile import OwnerKey
from medveil.imaging import samples
from medveil.schemes.base import Finding
from medveil.stores.base import Store
from medveil.stores.directory import DirectoryStore
from medveil.stores.faulty import Fault, FaultKind, FaultyStore
from medveil.stores.memory import MemoryStore
from medveil.stores.retry import Patience, RetryStore
from medveil.vault import Vault, VaultConfig, parse_config

CLOUDS = ("north", "east", "south", "west")
OWNER = OwnerKey(bytes(range(32)))
SMALL = "mr-brain-glioma.jpg"  # one chunk
LARGE = "ct-thorax.dcm"  # several chunks
OTHER = "us-breast-benign.png"
QUICK = Patience(attempts=2, deadline=0.5, budget=1.0, first_pause=0.01, longest_pause=0.02)


def config(folder: Path, clouds: Sequence[str] = CLOUDS, threshold: str = "2/4", **more: Any) -> VaultConfig:
    """Return a configuration whose stores are only placeholders: tests hand in open ones."""
    table = {"threshold": threshold, "state": "state", "deadline": 2.0, **more}
    stores = [{"type": "memory", "name": name, "provider": f"provider-{name}"} for name in clouds]
    return parse_config({"vault": table, "store": stores}, base=folder)


@dataclass
class Room:
    """A vault and its clouds. `patient`: each cloud behind the retrying wrapper, as configured stores are."""

    folder: Path
    threshold: str = "2/4"
    names: tuple[str, ...] = CLOUDS
    patient: bool = False
    more: dict[str, Any] = field(default_factory=dict)
    clouds: dict[str, FaultyStore] = field(default_factory=dict)
    vault: Vault = field(init=False)

    def __post_init__(self) -> None:
        if not self.clouds:
            self.clouds = {name: FaultyStore(MemoryStore(name, f"provider-{name}")) for name in self.names}
        self.vault = Vault.init(self.config(self.folder), OWNER, stores=self.stores())

    def config(self, folder: Path) -> VaultConfig:
        return config(folder, tuple(self.clouds), self.threshold, **self.more)

    def stores(self) -> list[Store]:
        return [RetryStore(one, QUICK) if self.patient else one for one in self.clouds.values()]

    def reopen(self, *, key: bool = True) -> Vault:
        """Open the same vault again, as after a restart."""
        self.vault = Vault.open(self.config(self.folder), OWNER if key else None, stores=self.stores())
        return self.vault

    def elsewhere(self, folder: str) -> Vault:
        """Open the same vault on another machine of the owner, with a local state of its own."""
        return Vault.init(self.config(self.folder / folder), OWNER, stores=self.stores())

    def names_of(self, cloud: str, kind: str, object_id: str = "") -> list[str]:
        """Return the names of heads ("h"), shares ("s") or claims ("c") that a cloud holds."""
        return sorted(one for one in self.clouds[cloud].inner.list() if f"/{kind}-" in one and object_id in one)

    def share(self, cloud: str, object_id: str = "") -> str:
        (name,) = self.names_of(cloud, "s", object_id)
        return name

    def fail(self, cloud: str, kind: FaultKind, method: str, **details: Any) -> None:
        self.clouds[cloud].add(Fault(kind, method, **details))

    def down(self, *clouds: str) -> None:
        """Make clouds answer nothing at all."""
        for cloud in clouds:
            for method in ("put", "get", "size", "list", "delete", "check"):
                self.fail(cloud, FaultKind.ERROR, method)

    def up(self) -> None:
        for cloud in self.clouds.values():
            cloud.clear()

    def snapshot(self) -> dict[str, dict[str, bytes]]:
        """Return everything that the clouds hold."""
        return {name: {one: store.inner.get(one) for one in store.inner.list()} for name, store in self.clouds.items()}

    def roll_back(self, saved: dict[str, dict[str, bytes]], *clouds: str) -> None:
        """Put clouds back to a snapshot, as an operator could."""
        for name in clouds or tuple(saved):
            inner = self.clouds[name].inner
            for one in list(inner.list()):
                inner.delete(one)
            for one, data in saved[name].items():
                inner.put(one, data)

    def wipe(self, *clouds: str) -> None:
        """Delete everything that clouds hold."""
        self.roll_back({name: {} for name in clouds}, *clouds)

    def read(self, object_id: str, vault: Vault | None = None, **options: Any) -> tuple[bytes, tuple[Finding, ...]]:
        """Get an object and return its bytes and the findings."""
        out = self.folder / "out"
        report = (vault or self.vault).get(object_id, out, force=True, **options)
        return out.read_bytes(), report.findings


def sample(name: str = SMALL) -> bytes:
    return samples.load(name)


def kinds(findings: Sequence[Finding]) -> set[str]:
    return {finding.kind.value for finding in findings}


def places(findings: Sequence[Finding], kind: str) -> set[str | None]:
    return {finding.place for finding in findings if finding.kind.value == kind}


def put_in_process(folder: str, number: int) -> list[str]:
    """Put four files of one process; run in a process of its own."""
    base = Path(folder)
    vault = Vault.open(config(base), OWNER, stores=directories(base))
    files = [sample() + bytes([number, turn]) for turn in range(4)]
    return [vault.put(data, name=f"{number}-{turn}").object_id for turn, data in enumerate(files)]


def directories(base: Path) -> list[Store]:
    return [DirectoryStore(base / name, name, f"provider-{name}") for name in CLOUDS]
