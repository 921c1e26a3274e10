"""The head of a version: everything small that belongs to it, in one object that appears at once.

::

    head      = "MVHD" | 1 | length u32 | record of the sealed format | length u32 | catalogue record
    catalogue = salt 24 B | commitment 32 B | one chunk of the stream cipher, padded to a multiple of 256 B
    key       = derived from the owner's root for the dataset and epoch; core = [dataset, object, version, digest]

The manifest in the record is signed. The head is named by the hash of all its bytes, so that a copy that was changed
anywhere is known without a key. The catalogue record holds what the user calls the file; no store ever sees it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.stream import COMMITMENT_SIZE, SALT_SIZE, TAG_SIZE, StreamKey
from medveil.errors import FormatError, LimitError, TamperedError, WrongKeyError
from medveil.schemes.sealed import MANIFEST_MAGIC, MAX_RECORD, Manifest, pack_record, unpack_record

MAGIC: Final = b"MVHD\x01"
MAX_CATALOGUE: Final = 8192
"""Largest encrypted catalogue record, in bytes."""
MAX_HEAD: Final = len(MAGIC) + 8 + MAX_RECORD + MAX_CATALOGUE
"""Largest head, in bytes."""
MAX_NAME: Final = 1024
"""Longest name of a file, in bytes of UTF-8."""

_BLOCK: Final = 256
_FIELDS: Final[dict[str, type]] = {"v": int, "name": str, "media_type": str, "size": int, "time": int}


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """What the owner knows of one version: the file's name, media type, size in bytes and Unix time of the put."""

    name: str
    media_type: str
    size: int
    time: int


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A head that was read and whose manifest is the owner's. `data` is the whole of it, `content` its hash."""

    data: bytes
    content: bytes
    manifest: Manifest
    envelopes: tuple[bytes, ...]
    catalogue: bytes


def content_hash(data: bytes) -> bytes:
    """Return the hash that names a head."""
    return tagged("vault head", data)


def pack_head(manifest: bytes, envelopes: tuple[bytes, ...], catalogue: bytes) -> bytes:
    """Return the bytes of a head. Raises LimitError where something in it is too large."""
    record = pack_record(MANIFEST_MAGIC, manifest, envelopes)
    if len(catalogue) > MAX_CATALOGUE:
        raise LimitError(f"a catalogue record of {len(catalogue)} bytes is larger than any: use a shorter name")
    return b"".join((MAGIC, len(record).to_bytes(4, "big"), record, len(catalogue).to_bytes(4, "big"), catalogue))


def read_head(data: bytes, content: bytes, owner: OwnerPublic) -> Head:
    """Check and parse a head.

    content: the hash in its name. Raises TamperedError where the bytes are others or the signature is not the
    owner's, WrongKeyError where it is another owner's, FormatError, LimitError.
    """
    if content_hash(data) != content:
        raise TamperedError("the bytes of a manifest are not what its name says: they were changed")
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError("this is no head of a version, or of an unknown format version")
    at = len(MAGIC)
    record_bytes, at = _field(data, at, MAX_RECORD)
    catalogue, at = _field(data, at, MAX_CATALOGUE)
    record = unpack_record(record_bytes, MANIFEST_MAGIC)
    if at != len(data) or record.size != len(record_bytes):
        raise FormatError("bytes follow the end of a head")
    return Head(data, content, Manifest.verify(record.manifest, owner), record.envelopes, catalogue)


def _field(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    size = int.from_bytes(data[at : at + 4], "big")
    if size > most:
        raise LimitError(f"a head claims a field of {size} bytes where at most {most} are allowed")
    end = at + 4 + size
    if end > len(data):
        raise FormatError("a head is cut short")
    return data[at + 4 : end], end


def seal_entry(entry: CatalogueEntry, manifest: Manifest, owner: OwnerKey, *, rng: Randomness = SYSTEM) -> bytes:
    """Encrypt a catalogue record for the version that `manifest` describes. Raises LimitError for a long name."""
    plain = canonical.encode(
        {"v": 1, "name": entry.name, "media_type": entry.media_type, "size": entry.size, "time": entry.time}
    )
    if len(entry.name.encode()) > MAX_NAME or len(plain) > MAX_CATALOGUE // 2:
        raise LimitError(f"a name of more than {MAX_NAME} bytes cannot be kept: use a shorter one")
    framed = len(plain).to_bytes(2, "big") + plain
    framed += bytes(-len(framed) % _BLOCK)
    salt = rng.bytes(SALT_SIZE)
    key = _key(manifest, owner, salt)
    return salt + key.commitment + key.seal_chunk(0, framed)


def open_entry(sealed: bytes, manifest: Manifest, owner: OwnerKey) -> CatalogueEntry:
    """Decrypt a catalogue record.

    Raises WrongKeyError, TamperedError or FormatError where it is not the owner's record of this version.
    """
    start = SALT_SIZE + COMMITMENT_SIZE
    if len(sealed) < start + TAG_SIZE + _BLOCK:
        raise FormatError("a catalogue record is cut short")
    key = _key(manifest, owner, sealed[:SALT_SIZE])
    key.check_commitment(sealed[SALT_SIZE:start])
    framed = key.open_chunk(0, sealed[start:])
    size = int.from_bytes(framed[:2], "big")
    record = canonical.decode(framed[2 : 2 + size])
    if not isinstance(record, dict) or set(record) != set(_FIELDS) or record["v"] != 1:
        raise FormatError("a catalogue record is of an unknown form")
    if not all(type(record[name]) is kind for name, kind in _FIELDS.items()):
        raise FormatError("a catalogue record has a field of a wrong type")
    return CatalogueEntry(record["name"], record["media_type"], record["size"], record["time"])


def find_entry(catalogues: tuple[bytes, ...], manifest: Manifest, owner: OwnerKey) -> CatalogueEntry | None:
    """Return the first catalogue record that opens, or None."""
    for sealed in catalogues:
        try:
            return open_entry(sealed, manifest, owner)
        except (WrongKeyError, TamperedError, FormatError, LimitError):
            continue
    return None


def _key(manifest: Manifest, owner: OwnerKey, salt: bytes) -> StreamKey:
    dek = owner.derive("vault catalogue", manifest.dataset, manifest.epoch.to_bytes(8, "big"))
    core = canonical.encode([manifest.dataset, manifest.object_id, manifest.version, manifest.digest])
    return StreamKey.derive(dek, b"catalogue" + core, salt)
