"""The vault as the gateway sees it: store, find, look up, hand out, and the grants that bind all reading."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from medveil.errors import ConfigError, MedveilError, ObjectMissingError
from medveil.gateway.access import Client
from medveil.gateway.journal import Journal
from medveil.gateway.metrics import Metrics
from medveil.schemes.base import Finding
from medveil.vault import Vault
from medveil.vault.audit import Action, AuditLog, Outcome
from medveil.vault.auditing import acting_for
from medveil.vault.search import Instance, Study

_REMEMBERED: Final = 64
_SECONDS: Final = 5.0


class Archive:
    """One open vault with its index. Safe for several threads."""

    def __init__(self, vault: Vault, journal: Journal, metrics: Metrics, *, limit: int) -> None:
        self._vault = vault
        self._journal = journal
        self._metrics = metrics
        self._limit = limit
        self._log: AuditLog | None
        try:
            self._log = vault.audit
        except ConfigError:
            self._log = None  # the vault's configuration says so
        self._studies: dict[str, tuple[float, Study]] = {}
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------------ writing

    def put(self, data: bytes, uid: str) -> str:
        """Seal an instance and spread it; returns its object id. The index learns of it by `index`.

        The same bytes under the same UID are the same object, also after a crash. Raises as `Vault.put`.
        """
        report = self._vault.put(data, name=f"{uid}.dcm", index=False)
        self._note(report.findings)
        return report.object_id

    def index(self) -> int:
        """Put what was stored into the index, and give it to who was granted its studies; returns how many objects.

        Raises as `Vault.index` and `Grants.resume`.
        """
        count = self._vault.index()
        self._vault.grants.resume()
        with self._lock:
            self._studies.clear()
        return count

    # ------------------------------------------------------------------------------------------------------ reading

    def search(self, client: Client, query: str, *, limit: int, offset: int) -> list[Study]:
        """Find the studies that a client may see: a QIDO-RS query, best first. Raises as `Vault.search`."""
        with acting_for(client.name):
            report = self._vault.search(query, limit=limit, offset=offset, recipient=client.recipient)
        return [hit.study for hit in report.hits]

    def study(self, client: Client, uid: str) -> Study:
        """Return a study with its instances.

        Raises PolicyError where the client's grant on it was revoked, has expired or was never given, and
        ObjectMissingError where there is none.
        """
        self.check(client, uid)
        with self._lock:
            now = time.monotonic()
            kept = self._studies.get(uid)
            if kept is not None and kept[0] > now:
                return kept[1]
        study = self._vault.study(uid)
        with self._lock:
            self._studies[uid] = (now + _SECONDS, study)
            while len(self._studies) > _REMEMBERED:
                del self._studies[next(iter(self._studies))]
        return study

    def read(self, client: Client, study: Study, instance: Instance) -> bytes:
        """Return the verified file of an instance. Raises PolicyError and as `Vault.read`."""
        self.check(client, _uid(study))
        with acting_for(client.name):
            data, report = self._vault.read(instance.object_id, limit=self._limit)
        self._note(report.findings)
        return data

    def check(self, client: Client, uid: str) -> None:
        """Raise PolicyError unless a client may see a study now."""
        if client.recipient is not None:
            self._vault.grants.check(client.recipient, uid)

    # --------------------------------------------------------------------------------------------------------- audit

    def log_in(self, client: str, service: str) -> None:
        """Note in the audit log that a client began an association."""
        self._audit(Action.LOGIN, Outcome.SUCCESS, client, service, "")

    def log_refusal(self, client: str, service: str, error: MedveilError) -> None:
        """Note in the audit log that a client, or somebody unknown (""), was refused."""
        self._audit(Action.LOGIN, Outcome.REFUSED, client, service, type(error).__name__)

    def _audit(self, action: Action, outcome: Outcome, client: str, service: str, code: str) -> None:
        log = self._log
        if log is not None:
            detail: dict[str, str | int] = {"service": service, **({"code": code} if code else {})}
            guarded(lambda: log.append(action, outcome, actor=client, detail=detail), self._journal, "audit failed")

    # -------------------------------------------------------------------------------------------------------- health

    def stores(self) -> dict[str, bool]:
        """Ask every store whether it can be reached; name -> answer."""
        return self._vault.reach()

    def close(self) -> None:
        """Close the vault, which publishes its audit log."""
        self._vault.close()

    def _note(self, findings: Iterable[Finding]) -> None:
        """Count and log what was wrong at stores; the vault's audit log has it too."""
        for finding in findings:
            store = finding.place or "none"
            self._metrics.findings.labels(store, finding.kind.value).inc()
            self._journal.write("finding", store=store, kind=finding.kind.value)


def _uid(study: Study) -> str:
    return str(study.attributes.get("StudyInstanceUID", ""))


def find_instance(study: Study, uid: str) -> Instance:
    """Return the instance of a study with a SOP Instance UID. Raises ObjectMissingError."""
    for instance in study.instances:
        if instance.attributes.get("SOPInstanceUID") == uid:
            return instance
    raise ObjectMissingError("the study has no such instance")


def guarded(job: Callable[[], object], journal: Journal, event: str) -> bool:
    """Do something whose failure must not stop the service; returns whether it succeeded."""
    try:
        job()
    except (MedveilError, OSError) as error:
        journal.write(event, error=type(error).__name__)
        return False
    return True
