"""Signed notes, checkpoints and cosignatures: C2SP signed-note, tlog-checkpoint and tlog-cosignature.

::

    <origin>                         what the log is called
    <size>                           number of entries
    <root>                           base64 of the root hash
                                     an empty line, then one line for each signature:
    — <name> <base64 of key id (4 B) and signature>

Key id: the first 4 bytes of SHA-256(name | newline | type | public key); type 1 is Ed25519 over the text above, type 4
a witness's Ed25519 over ``cosignature/v1``, ``time <unix seconds>`` and that text, preceded by the time as 8 bytes.
A verifier key is ``<name>+<key id, hex>+<base64 of type and public key>``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from medveil.errors import FormatError, LimitError, TamperedError, WrongKeyError
from medveil.vault.audit.tree import HASH

LOG: Final = 1
"""Type of a log's key."""
WITNESS: Final = 4
"""Type of a witness's key."""
MAX_NOTE: Final = 1 << 16
"""Longest note, in bytes."""

_DASH: Final = "\u2014 "
_NAME: Final = re.compile(r"[^\s+]{1,255}")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_SIGNATURES: Final = 64


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that checks signatures of notes. kind: LOG or WITNESS; public: 32 bytes of Ed25519."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key. Raises FormatError."""
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        raw = _decoded(encoded)
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[0] not in (LOG, WITNESS):
            raise FormatError("this is no verifier key of a log or witness: it reads name+key id+base64")
        key = cls(name, raw[0], raw[1:])
        if key.key_id.hex() != identity:
            raise FormatError("a verifier key's id does not fit its name and key: it was altered or mistyped")
        return key


class NoteSigner:
    """Signs notes. Never shown, compared or pickled."""

    __slots__ = ("_private", "key")

    def __init__(self, name: str, seed: bytes, kind: int = LOG) -> None:
        if not _NAME.fullmatch(name):
            raise FormatError("the name of a log or witness has no spaces and no plus")
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = NoteKey(name, kind, self._private.public_key().public_bytes_raw())

    def line(self, text: str, time: int = 0) -> str:
        """Return the signature line of a note's text; `time` (Unix seconds) is for a witness."""
        if self.key.kind == LOG:
            signature = self._private.sign(text.encode())
        else:
            signature = time.to_bytes(8, "big") + self._private.sign(_cosigned(text, time))
        encoded = base64.b64encode(self.key.key_id + signature).decode()
        return f"{_DASH}{self.key.name} {encoded}\n"

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise TypeError("a signer is not serialised")

    def __repr__(self) -> str:
        return f"NoteSigner(<secret>, {self.key.name})"


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint. text: what is signed; signatures: (name, key id and signature), none of them verified."""

    origin: str
    size: int
    root: bytes
    text: str
    signatures: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def make(cls, origin: str, size: int, root: bytes) -> Checkpoint:
        """Return an unsigned checkpoint."""
        return cls(origin, size, root, f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n")

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        """Read a checkpoint. Raises FormatError, LimitError."""
        if len(data) > MAX_NOTE:
            raise LimitError(f"a checkpoint of {len(data)} bytes is larger than any")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("a checkpoint is not text") from None
        text, gap, lines = whole.rpartition("\n\n")
        body = text.split("\n")
        if not gap or not whole.endswith("\n") or len(body) < 3 or not body[0] or not _SIZE.fullmatch(body[1]):
            raise FormatError("this is no checkpoint of a log")
        root = _decoded(body[2])
        if len(root) != HASH:
            raise FormatError("a checkpoint's root is no hash")
        signatures = []
        for line in lines.splitlines():
            name, _, encoded = line.removeprefix(_DASH).partition(" ")
            raw = _decoded(encoded)
            if not line.startswith(_DASH) or not _NAME.fullmatch(name) or len(raw) < 5:
                raise FormatError("a signature line of a checkpoint is malformed")
            signatures.append((name, raw))
        if not signatures or len(signatures) > _MAX_SIGNATURES:
            raise FormatError("a checkpoint has no signature, or too many")
        return cls(body[0], int(body[1]), root, text + "\n", tuple(signatures))

    def verify(self, log: NoteKey) -> None:
        """Check the log's own signature. Raises WrongKeyError where there is none of this key, TamperedError."""
        if self.origin != log.name:
            raise WrongKeyError("the checkpoint is of another log than the key: give the key of this log")
        self._check(log, lambda raw: (raw, self.text.encode()))

    def witnessed(self, witness: NoteKey) -> int:
        """Check a witness's cosignature and return its time, Unix seconds. Raises WrongKeyError, TamperedError."""
        return self._check(witness, lambda raw: (raw[8:], _cosigned(self.text, int.from_bytes(raw[:8], "big"))))

    def _check(self, key: NoteKey, parts: object) -> int:
        for name, raw in self.signatures:
            if name != key.name or raw[:4] != key.key_id:
                continue
            signature, signed = parts(raw[4:])  # type: ignore[operator]
            try:
                Ed25519PublicKey.from_public_bytes(key.public).verify(signature, signed)
            except InvalidSignature:
                raise TamperedError(
                    f"the signature of {key.name} on the log's checkpoint is not valid: it was altered"
                ) from None
            return int.from_bytes(raw[4:12], "big") if key.kind == WITNESS else 0
        raise WrongKeyError(
            f"the checkpoint has no signature of {key.name}: it is of another log, or not witnessed yet"
        )

    def signed(self, lines: Iterable[str]) -> bytes:
        """Return the note with these signature lines."""
        return (self.text + "\n" + "".join(lines)).encode()

    def lines(self) -> list[str]:
        """Return the signature lines that it came with."""
        return [f"{_DASH}{name} {base64.b64encode(raw).decode()}\n" for name, raw in self.signatures]


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode() == text else b""
