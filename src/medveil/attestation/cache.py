"""Collateral kept as files: whole or not at all, never older than what was there, never outside its validity."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from medveil.attestation.appraisal import Evidence, EvidenceKind
from medveil.attestation.collateral import MAX_COLLATERAL, Collateral
from medveil.attestation.quote import Tee, parse_quote
from medveil.crypto.prg import SYSTEM
from medveil.errors import InputError, LimitError, StaleError, UnsupportedError


class CollateralCache:
    """A folder with one file a platform family, `<tee>-<fmspc>.json`."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError where `folder` is not a folder."""
        if not folder.is_dir():
            raise InputError(f"the collateral folder {folder.name!r} does not exist: make it")
        self._folder = folder
        self._parsed: dict[str, tuple[tuple[int, int, int], Collateral]] = {}

    def put(self, text: str | bytes) -> Collateral:
        """Read collateral and keep it; the file appears whole or not at all.

        Raises FormatError or LimitError where it is malformed, and StaleError where newer collateral is there
        already: evaluation number and issue date never go back.
        """
        collateral = Collateral.from_json(text)
        path = self._path(collateral.tee, collateral.fmspc)
        if path.exists():
            kept = self._read(path)
            if (collateral.evaluation_number, collateral.issued_at) < (kept.evaluation_number, kept.issued_at):
                raise StaleError("newer collateral for this platform is there already: it is not replaced by older")
        partial = self._folder / f".{path.name}.{SYSTEM.bytes(8).hex()}"
        try:
            with partial.open("xb") as target:
                target.write(collateral.text.encode("utf-8"))
                target.flush()
                os.fsync(target.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return collateral

    def get(self, tee: Tee, fmspc: str, now: int) -> Collateral:
        """Return the collateral for a platform family at `now`.

        Raises InputError where there is none and StaleError where it has expired or is from the future, which
        means that the clock went back.
        """
        path = self._path(tee, fmspc)
        if not path.exists():
            raise InputError(f"there is no collateral for {tee} platforms {fmspc}: fetch it from Intel's service")
        collateral = self._read(path)
        if now >= collateral.valid_until:
            raise StaleError(f"the collateral for {tee} platforms {fmspc} has expired: fetch it again")
        if now < collateral.valid_from:
            raise StaleError(f"the collateral for {tee} platforms {fmspc} is from the future: check the clock")
        return collateral

    def finder(self, now: int) -> Callable[[Evidence], Collateral]:
        """Return the function that `verify_set` takes: evidence -> its collateral at `now`."""

        def find(evidence: Evidence) -> Collateral:
            if evidence.kind is not EvidenceKind.DCAP:
                raise UnsupportedError("this cache keeps Intel's collateral only: give that of SEV-SNP yourself")
            quote = parse_quote(evidence.data)
            return self.get(quote.tee, quote.fmspc, now)

        return find

    def _path(self, tee: Tee, fmspc: str) -> Path:
        if len(fmspc) != 12 or not set(fmspc) <= set("0123456789abcdef"):
            raise InputError("a platform family is named by 12 hexadecimal digits")
        return self._folder / f"{tee}-{fmspc}.json"

    def _read(self, path: Path) -> Collateral:
        """Parse a file, once for each of its versions."""
        status = path.stat()
        if status.st_size > MAX_COLLATERAL:
            raise LimitError(f"{path.name} is larger than the {MAX_COLLATERAL} bytes allowed")
        version = (status.st_ino, status.st_size, status.st_mtime_ns)
        kept = self._parsed.get(path.name)
        if kept is None or kept[0] != version:
            kept = (version, Collateral.from_json(path.read_bytes()))
            self._parsed[path.name] = kept
        return kept[1]
