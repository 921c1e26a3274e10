"""The audit log: what was done, when and by whom, in a form that nobody can shorten or change unnoticed."""

from __future__ import annotations

from medveil.vault.audit.events import Action, Event, Outcome
from medveil.vault.audit.log import AuditLog
from medveil.vault.audit.offline import AuditReport, verify_folder

__all__ = ["Action", "AuditLog", "AuditReport", "Event", "Outcome", "verify_folder"]
