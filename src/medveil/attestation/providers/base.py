"""The interface of a provider, and the checks that are the same for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.quote import parse_quote
from medveil.attestation.snp import parse_report
from medveil.attestation.statement import REPORT_DATA_SIZE
from medveil.errors import InputError, LimitError, TamperedError


class Provider(ABC):
    """Gives evidence that this program runs where it does."""

    name: str

    @abstractmethod
    def evidence(self, report_data: bytes) -> Evidence:
        """Return evidence that carries the 64 bytes of `report_data`.

        Raises InputError where they are not 64 bytes, UnsupportedError where this machine has no such hardware,
        and TamperedError where the evidence that came back does not carry them.
        """


def check_report_data(report_data: bytes) -> None:
    """Raise InputError unless there are 64 bytes."""
    if len(report_data) != REPORT_DATA_SIZE:
        raise InputError(f"report data has {len(report_data)} bytes where {REPORT_DATA_SIZE} belong")


def check_echo(evidence: Evidence, report_data: bytes) -> Evidence:
    """Return the evidence where it carries `report_data`.

    Somebody else may have asked between our question and the answer. Raises TamperedError where it carries other
    data and FormatError where it cannot be read.
    """
    parsed = parse_quote(evidence.data) if evidence.kind is EvidenceKind.DCAP else parse_report(evidence.data)
    if parsed.report_data != report_data:
        raise TamperedError("the evidence carries other report data than was asked for: another program interfered")
    return evidence


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a pseudo-file, whose size is not known before, to its end.

    Raises LimitError where it holds more than `limit` bytes, and OSError as the file system does.
    """
    pieces = bytearray()
    with path.open("rb", buffering=0) as source:
        while piece := source.read(limit + 1 - len(pieces)):
            pieces += piece
            if len(pieces) > limit:
                raise LimitError(f"{path.name} is longer than the {limit} bytes allowed: it is not used")
    return bytes(pieces)
