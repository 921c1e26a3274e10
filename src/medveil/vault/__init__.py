"""The repository over several stores: placement, manifests, freshness, scrub and repair."""

from __future__ import annotations

from medveil.vault.config import VaultConfig, load_config, parse_config
from medveil.vault.reports import (
    GetReport,
    ListEntry,
    ObjectReport,
    PutReport,
    RepairReport,
    ScrubReport,
    VerifyReport,
    VersionEntry,
)
from medveil.vault.repository import PutOutcome, Vault

__all__ = [
    "GetReport",
    "ListEntry",
    "ObjectReport",
    "PutOutcome",
    "PutReport",
    "RepairReport",
    "ScrubReport",
    "Vault",
    "VaultConfig",
    "VerifyReport",
    "VersionEntry",
    "load_config",
    "parse_config",
]
