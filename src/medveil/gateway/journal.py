"""Structured logs without patient data: one JSON object a line, of fields and values that are allowed by name.

An event has a name and fields; a field that is not in the list below is a defect and refused. Text values are names
that the administrator gave (clients, stores), classes of errors, and words of this program; never a UID, a name, a
path of a request, or the message of an error, since those can quote what a sender sent.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, Final, TextIO

FIELDS: Final = frozenset(
    {"bytes", "client", "count", "error", "found", "kind", "level", "method", "port", "reason", "seconds", "signal",
     "status", "store", "via", "waiting", "where"}
)  # fmt: skip
_LONGEST: Final = 64


class Journal:
    """Writes events to a stream, one line each. Safe for several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def write(self, event: str, **fields: str | int | float | None) -> None:
        """Write an event. Raises ValueError for a field that is not allowed."""
        unknown = set(fields) - FIELDS
        if unknown:
            raise ValueError(f"{sorted(unknown)[0]} is no field of the log")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": now, "event": event}
        for name, value in fields.items():
            if value is not None:
                line[name] = value[:_LONGEST] if isinstance(value, str) else value
        text = json.dumps(line, ensure_ascii=True) + "\n"
        # A log that nobody takes any more must not keep instances from being received.
        with self._lock, contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def silence_libraries(journal: Journal) -> None:
    """Keep libraries from writing what they read: they quote values of datasets, paths and tracebacks.

    For the process of the service only. What ends a thread is written to the journal by its class.
    """
    for name in ("pynetdicom", "pydicom", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
    logging.getLogger().handlers[:] = [logging.NullHandler()]
    warnings.simplefilter("ignore")

    def thread_died(arguments: threading.ExceptHookArgs) -> None:
        journal.write("defect", error=arguments.exc_type.__name__, where=_where(arguments.exc_traceback))

    threading.excepthook = thread_died


def _where(trace: TracebackType | None) -> str:
    """Return file and line of the innermost frame."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
