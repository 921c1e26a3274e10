"""Who may read what: pinned recipients, envelopes for each study, expiry, revocation in three levels, rotation."""

from __future__ import annotations

from medveil.vault.grants.granted import GrantedVault
from medveil.vault.grants.grants import (
    LIMITS,
    GrantEntry,
    GrantReport,
    Grants,
    Level,
    RevokeReport,
    RotateReport,
)
from medveil.vault.grants.recipients import Recipient

__all__ = [
    "LIMITS",
    "GrantEntry",
    "GrantReport",
    "GrantedVault",
    "Grants",
    "Level",
    "Recipient",
    "RevokeReport",
    "RotateReport",
]
