"""Evidence from inside a confidential virtual machine: Linux configfs-tsm, for Intel TDX and AMD SEV-SNP.

Each request has its own folder under /sys/kernel/config/tsm/report (kernel documentation, ABI/testing/configfs-tsm):
write 64 bytes to `inblob`, read `outblob`, and compare `generation`, which counts writes to the folder, before and
after, so that another writer is noticed. The folder is removed at the end.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.providers.base import Provider, check_echo, check_report_data, read_bounded
from medveil.attestation.quote import MAX_QUOTE
from medveil.crypto.prg import SYSTEM
from medveil.errors import TamperedError, UnsupportedError

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
"""Where the kernel shows configfs-tsm."""
MAX_AUXILIARY: Final = 65536
"""Longest certificate table that is read, in bytes."""

_KINDS: Final = {"tdx_guest": EvidenceKind.DCAP, "sev_guest": EvidenceKind.SNP}


class TsmProvider(Provider):
    """Evidence of the virtual machine that this process runs in; `reports` is another folder in tests only."""

    name = "tsm"

    def __init__(self, reports: Path = REPORTS) -> None:
        self._reports = reports

    def evidence(self, report_data: bytes) -> Evidence:
        """Return a TDX quote or an SEV-SNP report over `report_data`; errors as in `Provider`."""
        check_report_data(report_data)
        try:
            entry = self._reports / f"medveil-{SYSTEM.bytes(8).hex()}"
            self._open_entry(entry)
            try:
                evidence = self._ask(entry, report_data)
            finally:
                with suppress(OSError):
                    self._close_entry(entry)
        except OSError:
            raise UnsupportedError(
                f"there is no configfs-tsm at {self._reports}: run in a TDX or SEV-SNP guest with Linux 6.7 or newer"
            ) from None
        return check_echo(evidence, report_data)

    def _open_entry(self, entry: Path) -> None:
        """Make the request's folder; the kernel fills it with its files."""
        entry.mkdir()

    def _close_entry(self, entry: Path) -> None:
        entry.rmdir()

    def _ask(self, entry: Path, report_data: bytes) -> Evidence:
        provider = read_bounded(entry / "provider", 64).decode("ascii", errors="replace").strip()
        if provider not in _KINDS:
            raise UnsupportedError(f"configfs-tsm is served by {provider[:32]!r}: only TDX and SEV-SNP are supported")
        before = _generation(entry)
        with (entry / "inblob").open("wb", buffering=0) as target:
            target.write(report_data)
        data = read_bounded(entry / "outblob", MAX_QUOTE)
        kind = _KINDS[provider]
        auxiliary = read_bounded(entry / "auxblob", MAX_AUXILIARY) if kind is EvidenceKind.SNP else b""
        if _generation(entry) != before + 1:
            raise TamperedError("another program wrote to this attestation request: nothing of it is used")
        return Evidence(kind, data, simulated=False, auxiliary=auxiliary)


def _generation(entry: Path) -> int:
    text = read_bounded(entry / "generation", 32).decode("ascii", errors="replace").strip()
    if not text.isdecimal():
        raise TamperedError("configfs-tsm gives no generation number: its answer is not used")
    return int(text)


PROVIDER = TsmProvider
