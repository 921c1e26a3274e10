"""The rows of the encrypted index: labels by a pseudorandom function, buckets of postings of one size.

::

    K_index  = derived from the owner's root for the dataset and the index's epoch
    Kw       = PRF(K_index, field, term)
    label_i  = 16 bytes of the extendable output of PRF(Kw), at 16 i
    row_i    = nonce 12 B | AES-256-GCM(PRF(Kw, "bucket"), one bucket, associated data = label_i)
    bucket   = 32 postings (4 for identifiers); a posting = document 8 B, impact 1 B, day 2 B, class bits 2 B

A row is written once and never changed. Buckets of a term lie in the order of impact, so the first holds its best 32
studies. Empty places are postings of document 0. PRF: keyed BLAKE3.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medveil.crypto.hashing import keyed
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.errors import IncompleteResultError, TamperedError
from medveil.vault.search.terms import IDENTIFIERS, Term

LABEL: Final = 16
"""Length of a label, in bytes."""
WIDE: Final = 32
"""Postings in a row of most fields."""
NARROW: Final = 4
"""Postings in a row of an identifier."""
POSTING: Final = np.dtype([("document", "<u8"), ("impact", "u1"), ("day", "<u2"), ("bits", "<u2")])
"""One posting, 13 bytes."""
NONCE: Final = 12
TAG: Final = 16
RECORD_BLOCK: Final = 512
"""Records of documents are padded to a multiple of this, in bytes."""

Postings = npt.NDArray[Any]  # of POSTING


class IndexKeys:
    """The keys of one epoch of one dataset's index. Never shown, compared or pickled."""

    __slots__ = ("_documents", "_records", "_terms", "_tokens", "epoch", "state")

    def __init__(self, owner: OwnerKey, dataset: bytes, epoch: int) -> None:
        root = owner.derive("search index", dataset, epoch.to_bytes(8, "big"))
        forever = owner.derive("search documents", dataset)  # outlives epochs: documents keep their ids
        self.epoch = epoch
        self.state = keyed(root, b"state")
        self._terms = keyed(root, b"terms")
        self._records = keyed(root, b"records")
        self._tokens = keyed(forever, b"studies")
        self._documents = keyed(forever, b"documents")

    def term(self, term: Term) -> TermKey:
        """Return the key of a term."""
        field, value = term
        width = NARROW if field in IDENTIFIERS else WIDE
        return TermKey(keyed(self._terms, field.encode(), value.encode()), width)

    def study(self, uid: str) -> bytes:
        """Return the 16-byte token of a study (or of a file that is none): what it is called in grants and audit."""
        return keyed(self._tokens, uid.encode())[:16]

    def document(self, token: bytes, generation: int) -> int:
        """Return the document id (not 0) of one generation of a study's record."""
        return int.from_bytes(keyed(self._documents, token, generation.to_bytes(4, "big"))[:8], "little") or 1

    def record(self, kind: str, document: bytes) -> TermKey:
        """Return the key of a document's records of one kind ("study" or "instances")."""
        return TermKey(keyed(self._records, kind.encode(), document), 0)

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("index keys are not serialised")

    def __repr__(self) -> str:
        return f"IndexKeys(<secret>, epoch {self.epoch})"


class TermKey:
    """The key of one term, or of one document's records: makes labels, seals and opens rows."""

    __slots__ = ("_cipher", "_key", "width")

    def __init__(self, key: bytes, width: int) -> None:
        self._key = key
        self.width = width
        self._cipher: AESGCM | None = None

    @property
    def counter(self) -> bytes:
        """16 bytes that name the term's counter."""
        return blake3(b"counter", key=self._key).digest(length=16)

    def labels(self, start: int, count: int) -> list[bytes]:
        """Return the labels of rows start to start + count - 1."""
        stream = blake3(b"labels", key=self._key).digest(length=LABEL * count, seek=LABEL * start)
        return [stream[at : at + LABEL] for at in range(0, LABEL * count, LABEL)]

    def _aead(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = AESGCM(blake3(b"bucket", key=self._key).digest())
        return self._cipher

    def seal(self, label: bytes, data: bytes, rng: Randomness = SYSTEM) -> bytes:
        """Return the row of a label."""
        nonce = rng.bytes(NONCE)
        return nonce + self._aead().encrypt(nonce, data, label)

    def open(self, label: bytes, row: bytes) -> bytes:
        """Return what a row holds. Raises TamperedError where it is not the row of this label."""
        try:
            return self._aead().decrypt(row[:NONCE], row[NONCE:], label)
        except (InvalidTag, ValueError):
            raise TamperedError(
                "a row of the search index is not the one that was written: the index was tampered with"
            ) from None

    def buckets(self, postings: Postings, rows: int) -> list[bytes]:
        """Return postings as `rows` full buckets in the order of impact, then of day, newest first."""
        order = np.lexsort((postings["document"], -postings["day"].astype(np.int32), -postings["impact"].astype(int)))
        padded = np.zeros(rows * self.width, POSTING)
        padded[: len(postings)] = postings[order]
        data, size = padded.tobytes(), self.width * POSTING.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]

    def read(self, labels: Sequence[bytes], rows: Mapping[bytes, bytes]) -> Postings:
        """Return the postings of these labels in their order, without the empty ones.

        Raises IncompleteResultError where a row is missing, TamperedError where one is not what was written.
        """
        aead = self._aead()
        parts: list[bytes] = []
        label = b""
        with contextlib.suppress(KeyError, InvalidTag, ValueError):
            for label in labels:
                row = rows[label]
                parts.append(aead.decrypt(row[:NONCE], row[NONCE:], label))
        if len(parts) < len(labels):
            need(labels, rows)
            self.open(label, rows[label])
        data = b"".join(parts)
        if len(data) != len(labels) * self.width * POSTING.itemsize:
            raise TamperedError("a row of the search index has a wrong size: the index was tampered with")
        every: Postings = np.frombuffer(data, POSTING)
        return every.take(np.flatnonzero(every["document"]))


def need(labels: Sequence[bytes], rows: Mapping[bytes, bytes]) -> None:
    """Raise IncompleteResultError where rows that were written are not there."""
    missing = sum(label not in rows for label in labels)
    if missing:
        raise IncompleteResultError(
            f"INCOMPLETE_RESULT: {missing} of {len(labels)} rows that belong to the answer were not given: the index "
            "lost or withholds them; restore it from a backup or build it anew with vault index --rebuild"
        )


def padded_rows(postings: int, width: int, padding: str) -> int:
    """Return how many rows a term with so many postings is given: "bucket" rounds up to whole rows, "power" further
    to a power of two of them.
    """
    rows = -(-postings // width)
    return 1 << (rows - 1).bit_length() if padding == "power" and rows else rows


def pad_record(data: bytes) -> bytes:
    """Return a record with its length in front, padded to the next multiple of RECORD_BLOCK."""
    framed = len(data).to_bytes(4, "big") + data
    return framed + bytes(-len(framed) % RECORD_BLOCK)


def unpad_record(data: bytes) -> bytes:
    """Return the record in a padded one. Raises TamperedError where the length does not fit."""
    size = int.from_bytes(data[:4], "big")
    if size > len(data) - 4:
        raise TamperedError("a record of the search index has a wrong length: the index was tampered with")
    return data[4 : 4 + size]
