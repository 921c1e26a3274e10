"""Evidence from inside a Gramine enclave: the pseudo-files under /dev/attestation.

Writing 64 bytes to `user_report_data` and then reading `quote` gives an SGX DCAP quote over them (Gramine manual,
"Attestation and secret provisioning"). The two steps are one transaction over process-wide state, so a lock is held.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.providers.base import Provider, check_echo, check_report_data, read_bounded
from medveil.attestation.quote import MAX_QUOTE
from medveil.errors import UnsupportedError

DEVICE: Final = Path("/dev/attestation")
"""Where Gramine shows its attestation files."""

_LOCK = threading.Lock()


class GramineProvider(Provider):
    """Evidence of the Gramine enclave that this process runs in; `device` is another folder in tests only."""

    name = "gramine"

    def __init__(self, device: Path = DEVICE) -> None:
        self._device = device

    def evidence(self, report_data: bytes) -> Evidence:
        """Return an SGX DCAP quote over `report_data`; errors as in `Provider`, LimitError for an oversized quote."""
        check_report_data(report_data)
        try:
            with _LOCK:
                kind = (self._device / "attestation_type").read_text(encoding="ascii").strip()
                if kind != "dcap":
                    raise UnsupportedError(
                        f"this enclave offers attestation of type {kind[:16]!r}: set sgx.remote_attestation to dcap"
                    )
                with (self._device / "user_report_data").open("wb", buffering=0) as target:
                    target.write(report_data)
                data = read_bounded(self._device / "quote", MAX_QUOTE)
        except (OSError, UnicodeDecodeError):
            raise UnsupportedError(
                f"there is no Gramine attestation at {self._device}: run inside gramine-sgx with remote attestation on"
            ) from None
        return check_echo(Evidence(EvidenceKind.DCAP, data, simulated=False), report_data)


PROVIDER = GramineProvider
