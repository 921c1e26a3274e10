"""What one entry of the log says: fixed words, numbers, and hashes of everything that could name a patient.

::

    {"action": "get", "actor": hash, "detail": {...}, "outcome": "success", "subject": hash, "time": "...Z", "v": 1}

One line of JSON with sorted keys. Hashes are HMAC-SHA-256 under a random secret of the log that is never published, so
a reader of the log can follow one object or person through it and cannot tell which. `detail` has only keys of a
fixed list, with numbers and short tokens as values: no name, no query, no identifier ever gets in.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from medveil.errors import FormatError, InputError

MAX_ENTRY: Final = 4096
"""Longest entry, in bytes."""
DETAILS: Final = frozenset(
    {"store", "part", "chunk", "kind", "count", "level", "code", "epoch", "version", "bytes", "rows", "fields", "words",
     "association", "service"}
)  # fmt: skip
"""Keys that `detail` may have."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HASH: Final = re.compile(r"[0-9a-f]{32}|")


class Action(enum.StrEnum):
    """What was done."""

    START = "start"
    STOP = "stop"
    PUT = "put"
    GET = "get"
    SEARCH = "search"
    VERIFY = "verify"
    REPAIR = "repair"
    ACCEPT = "accept-rollback"
    FINDING = "finding"
    RECIPIENT = "recipient"
    GRANT = "grant"
    REVOKE = "revoke"
    ROTATE = "rotate"
    LOGIN = "login"
    TRANSFER = "transfer"


class Outcome(enum.StrEnum):
    """What came of it."""

    SUCCESS = "success"
    REFUSED = "refused"  # not allowed or not authentic
    FAILED = "failed"  # anything else


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. actor, subject: 32 hex digits or nothing. time: UTC, to the second."""

    action: Action
    outcome: Outcome
    time: datetime
    actor: str = ""
    subject: str = ""
    detail: Mapping[str, str | int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the entry. Raises InputError where `detail` holds what it may not."""
        for key, value in self.detail.items():
            if key not in DETAILS:
                raise InputError(f"an audit entry takes no detail {key!r}: only fixed keys, so that no name gets in")
            if not isinstance(value, int) and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
                raise InputError(f"the audit detail {key!r} is no number or short token")
        if not (_HASH.fullmatch(self.actor) and _HASH.fullmatch(self.subject)):
            raise InputError("actor and subject of an audit entry are hashes")
        record = {
            "v": 1,
            "action": self.action.value,
            "outcome": self.outcome.value,
            "time": self.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "actor": self.actor,
            "subject": self.subject,
            "detail": dict(self.detail),
        }
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode("ascii")

    @classmethod
    def decode(cls, data: bytes) -> Event:
        """Read an entry. Raises FormatError where it is not one in its one form."""
        wrong = FormatError("an entry of the audit log is of an unknown form")
        if len(data) > MAX_ENTRY:
            raise wrong
        try:
            record: Any = json.loads(data)
            time = datetime.strptime(record["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            event = cls(
                Action(record["action"]), Outcome(record["outcome"]), time, record["actor"], record["subject"],
                record["detail"],
            )  # fmt: skip
            if record["v"] != 1 or event.encode() != data:
                raise wrong
        except (ValueError, KeyError, TypeError, AttributeError, InputError, RecursionError):
            raise wrong from None
        return event


def hashed(secret: bytes, kind: str, value: bytes) -> str:
    """Return the hash that stands for a person ("actor") or thing ("subject"); nothing for nothing."""
    if not value:
        return ""
    return hmac.new(secret, kind.encode() + b"\0" + value, hashlib.sha256).hexdigest()[:32]
