"""Records: a manifest with its envelopes, in front of a share in a part file or alone in a manifest file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from medveil.crypto.envelope import ENVELOPE_OVERHEAD
from medveil.crypto.hashing import HASH_SIZE
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.crypto.stream import COMMITMENT_SIZE, KEY_SIZE
from medveil.errors import FormatError, LimitError
from medveil.schemes.sealed.format import MAX_MANIFEST, VERSION, Core, Mode, encode_body

MAX_ENVELOPES: Final = 64
"""Most envelopes that a record carries; further grants are records of their own."""
MAX_ENVELOPE: Final = 4096
"""Largest envelope of this format, in bytes."""
MAX_RECORD: Final = 16 + MAX_MANIFEST + MAX_ENVELOPES * (4 + MAX_ENVELOPE)
"""Largest record, in bytes."""
PART_MAGIC: Final = b"MVPT"
MANIFEST_MAGIC: Final = b"MVMF"


@dataclass(frozen=True, slots=True)
class Record:
    """What stands in front of a share in a part file, and alone in a manifest file; nothing in it is verified."""

    manifest: bytes
    envelopes: tuple[bytes, ...]
    size: int


def pack_record(magic: bytes, manifest: bytes, envelopes: Sequence[bytes]) -> bytes:
    """Return the record of a manifest and its envelopes. Raises LimitError where one is too large."""
    if len(manifest) > MAX_MANIFEST or len(envelopes) > MAX_ENVELOPES:
        raise LimitError(f"a record holds one manifest and at most {MAX_ENVELOPES} envelopes")
    out = [magic, bytes([VERSION]), len(manifest).to_bytes(4, "big"), manifest, bytes([len(envelopes)])]
    for envelope in envelopes:
        if len(envelope) > MAX_ENVELOPE:
            raise LimitError(f"an envelope of {len(envelope)} bytes is larger than any ({MAX_ENVELOPE})")
        out += [len(envelope).to_bytes(4, "big"), envelope]
    return b"".join(out)


def record_size(core: Core, envelopes: int = 1) -> int:
    """Return how long the record of an object with this core will be, with envelopes that hold a key each."""
    body = encode_body(
        core.encode(), bytes(COMMITMENT_SIZE), [bytes(HASH_SIZE)] * core.n, bytes(32), bytes(32), bytes(16)
    )
    count = 0 if core.mode is Mode.KEYLESS else envelopes
    manifest = 4 + len(body) + SIGNATURE_SIZE
    return 10 + manifest + count * (4 + KEY_SIZE + ENVELOPE_OVERHEAD)


def unpack_record(data: bytes, magic: bytes) -> Record:
    """Read a record at the start of `data` (at most MAX_RECORD bytes of it are needed).

    Raises FormatError where it is none of a known version or is cut short, LimitError for claims out of bounds.
    """
    if data[:4] != magic or len(data) < 9:
        raise FormatError("this is not a file of a protected object: its first bytes are others")
    if data[4] != VERSION:
        raise FormatError(f"the file is of format version {data[4]}: this program reads version {VERSION}")
    manifest, at = _field(data, 5, MAX_MANIFEST)
    if at >= len(data):
        raise FormatError("the record is cut short")
    count, at = data[at], at + 1
    if count > MAX_ENVELOPES:
        raise LimitError(f"a record claims {count} envelopes: at most {MAX_ENVELOPES} are read")
    envelopes = []
    for _ in range(count):
        envelope, at = _field(data, at, MAX_ENVELOPE)
        envelopes.append(envelope)
    return Record(manifest, tuple(envelopes), at)


def _field(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    size = int.from_bytes(data[at : at + 4], "big")
    if size > most:
        raise LimitError(f"a field claims {size} bytes where at most {most} are allowed")
    end = at + 4 + size
    if end > len(data):
        raise FormatError("the record is cut short")
    return bytes(data[at + 4 : end]), end


def pack_part(manifest: bytes, envelopes: Sequence[bytes], share: bytes) -> bytes:
    """Return a part file: complete in itself, so that any k of them suffice."""
    return pack_record(PART_MAGIC, manifest, envelopes) + share


def unpack_part(data: bytes) -> tuple[Record, bytes]:
    """Return the record and the share object of a part file; neither is verified. Raises FormatError, LimitError."""
    record = unpack_record(data[:MAX_RECORD], PART_MAGIC)
    return record, bytes(data[record.size :])
