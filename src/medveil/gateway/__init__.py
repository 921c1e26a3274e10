"""A PACS sees a PACS: DICOM and DICOMweb on one side, the vault over untrusted stores on the other.

What comes in (C-STORE, STOW-RS) is on disk, encrypted and synced, before it is acknowledged; workers seal it and spread
it over the stores. What goes out (C-FIND, C-MOVE, C-GET, QIDO-RS, WADO-RS) is the verified original, to whom a grant
allows it. See docs/gateway.md.
"""

from __future__ import annotations

from medveil.gateway.config import GatewayConfig, load_config

__all__ = ["GatewayConfig", "load_config"]
