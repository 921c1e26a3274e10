"""What changes an index: a chain of encrypted, signed, numbered records of its counters, one for each batch of adds.

::

    commit  = {v, dataset, epoch, version, previous (hash of the last commit), sealed} | signature of the owner
    sealed  = nonce 12 B | AES-256-GCM(K_state, changes, associated data = all other fields)
    changes = {base, counters, studies, gone, objects, documents, length, first_day, last_day}

counters: packed (counter 16 B, rows in order of impact u32, all rows u32, postings u32), the state after the commit.
studies: packed (token 16 B, generation u32, document u64, rows of the study's record u32, rows of its instances u32,
digest 16 B).
gone: document ids (8 B each) that no longer count. objects: (object id 16 B, version u64) that are in the index now.
A commit with `base` holds everything; it is what compaction writes, and the others before it are gone.

Whoever keeps the index can only show the whole chain or an older end of it; a client that has seen a newer one
notices. The client's own copy of all this is a cache that is made again from the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto import canonical
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey, OwnerPublic
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.signatures import SIGNATURE_SIZE
from medveil.errors import FormatError, TamperedError
from medveil.vault.search.rows import NONCE

MAX_COMMIT: Final = 1 << 30
"""Largest commit that is read, in bytes."""
COUNTER: Final = np.dtype([("counter", "S16"), ("base", "<u4"), ("rows", "<u4"), ("postings", "<u4")])
STUDY: Final = np.dtype(
    [
        ("token", "S16"),
        ("generation", "<u4"),
        ("document", "<u8"),
        ("rows", "<u4"),
        ("batches", "<u4"),
        ("digest", "S16"),
    ]
)
OBJECT: Final = np.dtype([("object", "S16"), ("version", "<u8")])
FIRST: Final = bytes(32)
"""What the first commit of all names as the previous one."""

_DOMAIN: Final = "search index commit"
_HEADER: Final[dict[str, type]] = {
    "v": int, "dataset": bytes, "epoch": int, "version": int, "previous": bytes, "sealed": bytes,
}  # fmt: skip
_CHANGES: Final[dict[str, type]] = {
    "base": bool, "counters": bytes, "studies": bytes, "gone": bytes, "objects": bytes, "documents": int,
    "length": int, "first_day": int, "last_day": int,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers over all studies. documents: how many; length: words of all together; first_day, last_day: the span."""

    documents: int = 0
    length: int = 0
    first_day: int = 0
    last_day: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """What a commit says; packed tables as in the module's text."""

    base: bool
    counters: bytes
    studies: bytes
    gone: bytes
    objects: bytes
    totals: Totals


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that was verified and opened. `digest` is what the next one names as the previous."""

    epoch: int
    version: int
    previous: bytes
    digest: bytes
    changes: Changes


def digest_of(record: bytes) -> bytes:
    """Return the hash of a commit that the next one names."""
    return tagged("search index commit", record)


def seal_commit(
    changes: Changes, owner: OwnerKey, key: bytes, *, dataset: bytes, epoch: int, version: int, previous: bytes,
    rng: Randomness = SYSTEM,
) -> bytes:  # fmt: skip
    """Return the bytes of a commit."""
    totals = changes.totals
    plain = canonical.encode(
        {
            "base": changes.base,
            "counters": changes.counters,
            "studies": changes.studies,
            "gone": changes.gone,
            "objects": changes.objects,
            "documents": totals.documents,
            "length": totals.length,
            "first_day": totals.first_day,
            "last_day": totals.last_day,
        }
    )
    header = {"v": 1, "dataset": dataset, "epoch": epoch, "version": version, "previous": previous}
    nonce = rng.bytes(NONCE)
    sealed = nonce + AESGCM(key).encrypt(nonce, plain, canonical.encode(header))
    body = canonical.encode(header | {"sealed": sealed})
    return body + owner.signing.sign(_DOMAIN, body)


def read_header(record: bytes, owner: OwnerPublic, dataset: bytes) -> dict[str, object]:
    """Verify a commit's signature and return its header.

    Raises TamperedError where it is not the owner's, FormatError where it is of another dataset or form, LimitError.
    """
    if len(record) <= SIGNATURE_SIZE:
        raise FormatError("a commit of the search index is cut short")
    body, signature = record[:-SIGNATURE_SIZE], record[-SIGNATURE_SIZE:]
    owner.verifying.verify(_DOMAIN, body, signature)
    header = canonical.decode(body, limit=MAX_COMMIT)
    if not isinstance(header, dict) or set(header) != set(_HEADER) or header["v"] != 1:
        raise FormatError("a commit of the search index is of an unknown form")
    if not all(type(header[name]) is kind for name, kind in _HEADER.items()) or header["dataset"] != dataset:
        raise FormatError("a commit of the search index is of another dataset or form")
    return header


def open_commit(record: bytes, owner: OwnerPublic, key: bytes, dataset: bytes) -> Commit:
    """Verify and open a commit. Raises as `read_header`, and TamperedError where its key does not open it."""
    header = read_header(record, owner, dataset)
    sealed = bytes(header.pop("sealed"))  # type: ignore[call-overload]
    try:
        plain = AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], canonical.encode(header))
    except (InvalidTag, ValueError):
        raise TamperedError("a commit of the search index does not open: it was altered") from None
    found = canonical.decode(plain, limit=MAX_COMMIT)
    if not isinstance(found, dict) or set(found) != set(_CHANGES):
        raise FormatError("the changes of a commit of the search index are of an unknown form")
    if not all(type(found[name]) is kind for name, kind in _CHANGES.items()):
        raise FormatError("the changes of a commit of the search index are of an unknown form")
    totals = Totals(found["documents"], found["length"], found["first_day"], found["last_day"])
    changes = Changes(found["base"], found["counters"], found["studies"], found["gone"], found["objects"], totals)
    sizes = ((changes.counters, COUNTER), (changes.studies, STUDY), (changes.objects, OBJECT))
    if any(len(table) % kind.itemsize for table, kind in sizes) or len(changes.gone) % 8:
        raise FormatError("a table of a commit of the search index has a wrong length")
    return Commit(header["epoch"], header["version"], header["previous"], digest_of(record), changes)  # type: ignore[arg-type]
