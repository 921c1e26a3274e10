"""A grant as bytes: one record of envelopes for one recipient, signed by the owner, readable by that recipient alone.

::

    record   = "MVGR" | 1 | body | hybrid signature of the owner
    body     = canonical {v, dataset, recipient (key id), epoch, serial, issued, live, envelope, entries}
    envelope = HPKE to the recipient's pinned key of a fresh 32-byte key K; info names dataset, recipient, epoch, serial
    entry_i  = AES-256-GCM(PRF(K, i), nonce 0, padded study entry, associated data = the same four and i)
    study entry = {study, not_before, expires, keys {epoch: study key}, objects: [id, version, epoch, said]}

Serials of a recipient only rise. `live` lists the serials that count once this record is issued: a client that has seen
it takes no other, so a provider can neither bring a withdrawn record back nor hide one unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto import canonical, envelope
from medveil.crypto.envelope import RecipientKey, RecipientPrivateKey
from medveil.crypto.hashing import keyed, tagged
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import FormatError, LimitError, TamperedError, WrongKeyError
from medveil.vault.search.attributes import Attributes

MAGIC: Final = b"MVGR\x01"
MAX_RECORD: Final = 64 << 20
"""Largest record, in bytes."""
MAX_ENTRIES: Final = 4096
"""Most studies in one record; a longer grant is several records."""
PACK: Final = 1024
"""Studies in one record as the owner writes them."""

_DOMAIN: Final = "grant"
_BLOCK: Final = 512
_NONCE: Final = bytes(12)  # each key seals one entry
_BODY: Final[dict[str, type]] = {
    "v": int, "dataset": bytes, "recipient": bytes, "epoch": int, "serial": int, "issued": int, "live": list,
    "envelope": bytes, "entries": list,
}  # fmt: skip
_ENTRY: Final[dict[str, type]] = {
    "study": bytes, "not_before": int, "expires": int, "keys": dict, "objects": list,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GrantedObject:
    """One file of a granted study: id, version, size in bytes, epoch of its key, attributes by DICOM keyword.

    key: of an object whose key does not follow from the study's; nothing for all others.
    """

    object_id: bytes
    version: int
    size: int
    epoch: int
    attributes: Attributes = field(repr=False)
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class StudyGrant:
    """One study as it is granted. not_before, expires: Unix seconds, 0 for no bound. keys: epoch -> study key."""

    study: bytes
    not_before: int
    expires: int
    keys: dict[int, bytes] = field(repr=False)
    attributes: Attributes = field(repr=False)
    objects: tuple[GrantedObject, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study as the owner grants it. objects: (id, version, epoch, `Said` as it is encoded) of each."""

    study: bytes
    not_before: int
    expires: int
    keys: dict[int, bytes] = field(repr=False)
    objects: Sequence[tuple[bytes, int, int, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """What is kept of one object: size in bytes, attributes of study and instance, file name, a key of its own."""

    size: int
    study: Attributes = field(repr=False)
    instance: Attributes = field(repr=False)
    name: str = field(default="", repr=False)
    key: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        """Return the canonical encoding."""
        return canonical.encode([self.size, self.study, self.instance, self.name, self.key])

    @classmethod
    def decode(cls, data: bytes) -> Said:
        """Read the canonical encoding. Raises FormatError, LimitError."""
        found = canonical.decode(data, limit=1 << 20)
        kinds = (int, dict, dict, str, bytes)
        if not isinstance(found, list) or [type(one) for one in found] != list(kinds):
            raise FormatError("what is said of a granted object is of an unknown form")
        return cls(*found)


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A record whose signature is the owner's; entries are still sealed."""

    dataset: bytes
    recipient: bytes
    epoch: int
    serial: int
    issued: int
    live: tuple[int, ...]
    envelope: bytes = field(repr=False)
    entries: tuple[bytes, ...] = field(repr=False)


def content_hash(data: bytes) -> bytes:
    """Return the hash that names a record in the stores."""
    return tagged("grant record", data)


def seal_record(
    studies: list[StudyEntry], recipient: RecipientKey, owner: OwnerKey, *, dataset: bytes, epoch: int, serial: int,
    live: tuple[int, ...], issued: int, rng: Randomness = SYSTEM,
) -> bytes:  # fmt: skip
    """Return the bytes of a record. Raises LimitError where it would be too large."""
    if len(studies) > MAX_ENTRIES:
        raise LimitError(f"a grant record takes {MAX_ENTRIES} studies at most: got {len(studies)}")
    key = rng.bytes(32)
    where = _where(dataset, recipient.key_id, epoch, serial)
    entries = [_seal_entry(key, where, number, study) for number, study in enumerate(studies)]
    body = canonical.encode(
        {
            "v": 1,
            "dataset": dataset,
            "recipient": recipient.key_id,
            "epoch": epoch,
            "serial": serial,
            "issued": issued,
            "live": list(live),
            "envelope": envelope.seal(recipient, key, core=where),
            "entries": entries,
        }
    )
    data = MAGIC + body + owner.signing.sign(_DOMAIN, body)
    if len(data) > MAX_RECORD:
        raise LimitError("a grant record would be larger than any: grant fewer studies at once")
    return data


def read_record(data: bytes, content: bytes, owner: OwnerPublic, dataset: bytes, recipient: bytes) -> GrantRecord:
    """Verify a record: that it is what its name says, the owner's, of this dataset, for this recipient.

    Raises TamperedError, WrongKeyError where it is for another recipient or dataset, FormatError, LimitError.
    """
    if len(data) > MAX_RECORD:
        raise LimitError("a grant record is larger than any")
    if content_hash(data) != content:
        raise TamperedError("the bytes of a grant are not what its name says: they were changed")
    if data[: len(MAGIC)] != MAGIC or len(data) <= len(MAGIC) + SIGNATURE_SIZE:
        raise FormatError("this is no grant, or of an unknown format version")
    body = data[len(MAGIC) : -SIGNATURE_SIZE]
    owner.verifying.verify(_DOMAIN, body, data[-SIGNATURE_SIZE:])
    found = _checked(canonical.decode(body, limit=MAX_RECORD), _BODY)
    if found["v"] != 1 or len(found["entries"]) > MAX_ENTRIES:
        raise FormatError("a grant is of an unknown version")
    if not all(type(one) is int for one in found["live"]) or not all(type(one) is bytes for one in found["entries"]):
        raise FormatError("a grant has a field of a wrong type")
    if found["dataset"] != dataset or found["recipient"] != recipient:
        raise WrongKeyError("a grant is for another recipient or dataset")
    return GrantRecord(
        dataset, recipient, found["epoch"], found["serial"], found["issued"], tuple(found["live"]), found["envelope"],
        tuple(found["entries"]),
    )  # fmt: skip


def open_record(record: GrantRecord, private: RecipientPrivateKey) -> list[StudyGrant]:
    """Open the entries of a verified record. Raises WrongKeyError for another recipient's key, TamperedError."""
    where = _where(record.dataset, record.recipient, record.epoch, record.serial)
    key = envelope.open_(private, record.envelope, core=where)
    if len(key) != 32:
        raise FormatError("the envelope of a grant holds no key")
    return [_open_entry(key, where, number, sealed) for number, sealed in enumerate(record.entries)]


def _where(dataset: bytes, recipient: bytes, epoch: int, serial: int) -> bytes:
    return canonical.encode(["grant", dataset, recipient, epoch, serial])


def _seal_entry(key: bytes, where: bytes, number: int, study: StudyEntry) -> bytes:
    plain = canonical.encode(
        {
            "study": study.study,
            "not_before": study.not_before,
            "expires": study.expires,
            "keys": study.keys,
            "objects": study.objects,
        }
    )
    framed = len(plain).to_bytes(4, "big") + plain
    framed += bytes(-len(framed) % _BLOCK)
    index = number.to_bytes(4, "big")
    return AESGCM(keyed(key, b"entry", index)).encrypt(_NONCE, framed, where + index)


def _open_entry(key: bytes, where: bytes, number: int, sealed: bytes) -> StudyGrant:
    index = number.to_bytes(4, "big")
    try:
        framed = AESGCM(keyed(key, b"entry", index)).decrypt(_NONCE, sealed, where + index)
    except (InvalidTag, ValueError):
        raise TamperedError("an entry of a grant does not open: it was altered") from None
    plain = framed[4 : 4 + int.from_bytes(framed[:4], "big")]
    found = _checked(canonical.decode(plain, limit=MAX_RECORD), _ENTRY)
    attributes: Attributes = {}
    objects = []
    for one in found["objects"]:
        if not isinstance(one, list) or [type(part) for part in one] != [bytes, int, int, bytes]:
            raise FormatError("a grant's list of objects is of an unknown form")
        object_id, version, epoch, encoded = one
        said = Said.decode(encoded)
        attributes = attributes or said.study or {"name": said.name}
        named = said.instance | {"name": said.name}
        objects.append(GrantedObject(object_id, version, said.size, epoch, named, said.key))
    return StudyGrant(found["study"], found["not_before"], found["expires"], found["keys"], attributes, tuple(objects))


def _checked(record: object, fields: dict[str, type]) -> dict[str, Any]:
    if not isinstance(record, dict) or set(record) != set(fields):
        raise FormatError("a grant is of an unknown form")
    if not all(type(record[name]) is kind for name, kind in fields.items()):
        raise FormatError("a grant has a field of a wrong type")
    return record
