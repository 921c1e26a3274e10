"""Ranked keyword search over an encrypted index that an untrusted server keeps (docs/leakage.md says what it shows)."""

from __future__ import annotations

from medveil.vault.search.query import Query, parse_query
from medveil.vault.search.reports import Hit, Instance, SearchReport, Study

__all__ = ["Hit", "Instance", "Query", "SearchReport", "Study", "parse_query"]
