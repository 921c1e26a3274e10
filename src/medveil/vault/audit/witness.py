"""A witness: another machine that remembers a log's last checkpoint and cosigns only what continues it.

It keeps, in a folder of its own, its Ed25519 key and the newest size and root of each log. With one honest witness a
log cannot be rewritten even by the owner of its key. Cosignatures are C2SP tlog-cosignature/v1.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Final

from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM
from medveil.errors import FormatError, InputError
from medveil.vault.audit import tiles
from medveil.vault.audit.note import WITNESS, Checkpoint, NoteKey, NoteSigner
from medveil.vault.audit.offline import verify_folder

_SEED: Final = "witness.key"


class Witness:
    """A witness in `folder`, made where there is none. Raises InputError where the folder cannot be used."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / _SEED
            if not path.exists():
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
                    handle.write(SYSTEM.bytes(32))
            seed = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot use the witness's folder {folder}: {error.strerror}") from None
        if len(seed) != 32:
            raise FormatError("the witness's key is damaged")
        self._signer = NoteSigner(name, seed, WITNESS)

    @property
    def key(self) -> NoteKey:
        """What others check its cosignatures with."""
        return self._signer.key

    def cosign(self, log: Path, key: NoteKey, *, now: float | None = None) -> tuple[str, int]:
        """Verify a published log whole, compare it with what was seen, remember it; returns (line, size).

        Raises TamperedError where the log does not continue what this witness cosigned, and as `verify_folder`.
        """
        held = self._folder / f"{tagged('witness log', str(key).encode())[:16].hex()}.json"
        older = []
        if held.exists():
            older.append(json.loads(held.read_text())["checkpoint"].encode())
        verify_folder(log, key, older=older)
        data = tiles.TileFolder(log).read(tiles.CHECKPOINT)
        checkpoint = Checkpoint.parse(data)
        kept = checkpoint.signed(checkpoint.lines()).decode()
        tiles.TileFolder(self._folder).write(held.name, json.dumps({"checkpoint": kept}).encode())
        return self._signer.line(checkpoint.text, int(time.time() if now is None else now)), checkpoint.size
