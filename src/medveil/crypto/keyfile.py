"""The owner's key and the files that keep it behind a passphrase.

Everything that an owner has is derived from one root of 32 random bytes (HKDF-Expand-SHA-512 under named labels):
the signing key, the recipient key, the owner's id and the keys of datasets. Whoever backs up the root has
backed up everything.

A key file is one canonical record::

    {v, kind, kdf: {name, memory, passes, lanes}, salt 24 B, commitment 32 B, sealed}

Argon2id (RFC 9106; 64 MiB, 3 passes, 4 lanes) turns the passphrase into the key of a one-chunk stream
(`medveil.crypto.stream`) whose core is the record without `sealed` and `commitment`. The commitment makes a file
that opens under two passphrases impossible. A passphrase that is guessable stays guessable: each try costs an
attacker 64 MiB and a fraction of a second.
"""

from __future__ import annotations

import base64
import errno
import getpass
import os
import secrets
import unicodedata
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from medveil.crypto import canonical
from medveil.crypto.envelope import RecipientKey, RecipientPrivateKey
from medveil.crypto.hashing import tagged
from medveil.crypto.prg import SYSTEM, Randomness
from medveil.crypto.signatures import SigningKey, VerifyingKey
from medveil.crypto.stream import COMMITMENT_SIZE, SALT_SIZE, TAG_SIZE, StreamKey
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    OutputExistsError,
    TamperedError,
    UsageError,
    WrongKeyError,
)

ROOT_SIZE: Final = 32
"""Length of an owner's root, in bytes."""
OWNER_ID_SIZE: Final = 16
"""Length of an owner's id, in bytes."""
PASSPHRASE_VARIABLE: Final = "MEDVEIL_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable, not a secret
"""Environment variable that names a file with the passphrase on its first line."""
MAX_PASSPHRASE: Final = 1024
"""Longest passphrase, in bytes."""

_VERSION: Final = 1
_KINDS: Final = ("owner", "recipient")
_LABEL: Final = b"medveil/v1/owner root/"
_MAX_FILE: Final = 4096
_KDF: Final = {"name": "argon2id", "memory": 65536, "passes": 3, "lanes": 4}  # memory in KiB
# What a file may ask for when it is read back: nothing weaker than it is worth, nothing that hurts.
_KDF_BOUNDS: Final = {"memory": (65536, 262144), "passes": (3, 16), "lanes": (1, 16)}
_EXISTS: Final = "{} exists already: a key file is never overwritten, choose another name"
_WRONG: Final = "the passphrase does not open this key file, or the file was damaged"


@dataclass(frozen=True, slots=False)
class OwnerPublic:
    """What everyone may know of an owner: the key that checks signatures and the key that others seal to."""

    verifying: VerifyingKey
    recipient: RecipientKey
    owner_id: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical encoding."""
        return canonical.encode(
            {
                "v": _VERSION,
                "kind": "owner public",
                "owner": self.owner_id,
                "verifying": self.verifying.to_bytes(),
                "recipient": self.recipient.to_bytes(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> OwnerPublic:
        """Read the canonical encoding.

        Whoever reads it compares `fingerprint` with the owner's over another channel.
        Raises FormatError where it is not one, LimitError where it is too long to be one.
        """
        record = canonical.decode(data, limit=_MAX_FILE)
        fields = {"v": int, "kind": str, "owner": bytes, "verifying": bytes, "recipient": bytes}
        _check_fields(record, fields, "an owner's public key")
        if record["v"] != _VERSION or record["kind"] != "owner public" or len(record["owner"]) != OWNER_ID_SIZE:
            raise FormatError("this is not an owner's public key of a known version")
        return cls(
            verifying=VerifyingKey.from_bytes(record["verifying"]),
            recipient=RecipientKey.from_bytes(record["recipient"]),
            owner_id=record["owner"],
        )

    @cached_property
    def fingerprint(self) -> str:
        """What two people compare: 160 bits of a hash of the whole, in base32, eight groups of four."""
        text = base64.b32encode(tagged("owner fingerprint", self.to_bytes())[:20]).decode().lower()
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


class OwnerKey:
    """An owner's secrets, all derived from `root` (32 bytes). Never shown, compared or pickled.

    `signing` signs manifests and grants; `recipient` opens envelopes sealed to the owner; `owner_id` is 16 bytes,
    public; `public` is what others get.
    """

    __slots__ = ("owner_id", "public", "recipient", "root", "signing")

    def __init__(self, root: bytes) -> None:
        if len(root) != ROOT_SIZE:
            raise InputError(f"an owner's root has {len(root)} bytes where {ROOT_SIZE} belong")
        self.root = root
        self.signing = SigningKey.from_seed(_expand(root, b"signing", 32))
        self.recipient = RecipientPrivateKey(_expand(root, b"recipient", 32))
        self.owner_id = _expand(root, b"owner id", OWNER_ID_SIZE)
        self.public = OwnerPublic(self.signing.public, self.recipient.public, self.owner_id)

    @classmethod
    def generate(cls, rng: Randomness = SYSTEM) -> OwnerKey:
        """Make a fresh owner."""
        return cls(rng.bytes(ROOT_SIZE))

    def derive(self, purpose: str, *context: bytes) -> bytes:
        """Return the 32-byte key for a purpose (a constant of the program) and its context (ids, epochs)."""
        return _expand(self.root, b"derived/" + canonical.encode([purpose, *context]), 32)

    def __reduce__(self) -> str:
        """Refuse to be pickled or copied."""
        raise InputError("an owner's key is not serialised this way: use a key file")

    def __repr__(self) -> str:
        return f"OwnerKey(<secret>, owner {self.owner_id.hex()})"


def _expand(root: bytes, purpose: bytes, size: int) -> bytes:
    return HKDFExpand(hashes.SHA512(), size, _LABEL + purpose).derive(root)


def save_key_file(path: Path, key: OwnerKey | RecipientPrivateKey, passphrase: bytes) -> None:
    """Write a key behind a passphrase to a file that must not exist yet, mode 0600, complete or not at all.

    Raises OutputExistsError where `path` exists, InputError for an empty or overlong passphrase or where the
    file cannot be written.
    """
    _check_passphrase(passphrase)
    path = Path(path)
    if os.path.lexists(path):  # said before the slow part; what decides is the exclusive creation below
        raise OutputExistsError(_EXISTS.format(path))
    kind, secret = ("owner", key.root) if isinstance(key, OwnerKey) else ("recipient", key.seed)
    header = {"v": _VERSION, "kind": kind, "kdf": _KDF, "salt": SYSTEM.bytes(SALT_SIZE)}
    stream = _stream_key(header, passphrase)
    record = header | {"commitment": stream.commitment, "sealed": stream.seal_chunk(0, secret)}
    _write_new(path, canonical.encode(record))


def load_key_file(path: Path, passphrase: bytes) -> OwnerKey:
    """Read an owner's key file.

    Raises WrongKeyError for a wrong passphrase or damaged content, FormatError where it is not an owner's key
    file of a known version, LimitError where it is too large or asks for more memory or time than any file of
    ours (checked before anything is allocated), InputError where it cannot be read.
    """
    return OwnerKey(_load(Path(path), "owner", passphrase))


def load_recipient_key_file(path: Path, passphrase: bytes) -> RecipientPrivateKey:
    """Read a recipient's key file; raises as `load_key_file`."""
    return RecipientPrivateKey(_load(Path(path), "recipient", passphrase))


def read_passphrase(*, confirm: bool = False) -> bytes:
    """Get the passphrase from the file that MEDVEIL_PASSPHRASE_FILE names, or ask for it on the terminal.

    From a file it is the first line without its end. From a terminal it is not echoed, asked for twice with
    `confirm`, and normalised to NFC, so that it is the same on every keyboard. Never from the command line,
    where every process can read it.
    Raises UsageError where there is neither file nor terminal, where the two entries differ, or where it is
    empty or longer than 1024 bytes.
    """
    source = os.environ.get(PASSPHRASE_VARIABLE)
    if source:
        line = _read_bounded(Path(source), MAX_PASSPHRASE + 2).partition(b"\n")[0]
        passphrase = line.removesuffix(b"\r")
    else:
        passphrase = _ask("passphrase: ")
        if confirm and _ask("the same passphrase again: ") != passphrase:
            raise UsageError("the two passphrases differ: try again")
    _check_passphrase(passphrase)
    return passphrase


def _ask(prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)  # else it would echo what is typed
            text = getpass.getpass(prompt)
    except (getpass.GetPassWarning, EOFError, OSError):
        raise UsageError(f"there is no terminal to ask for a passphrase: set {PASSPHRASE_VARIABLE}") from None
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")


def _check_passphrase(passphrase: bytes) -> None:
    if not passphrase:
        raise InputError("the passphrase is empty: choose one that nobody can guess")
    if len(passphrase) > MAX_PASSPHRASE:
        raise InputError(f"the passphrase is longer than {MAX_PASSPHRASE} bytes: choose a shorter one")


def _stream_key(header: dict[str, Any], passphrase: bytes) -> StreamKey:
    kdf, salt = header["kdf"], header["salt"]
    stretched = _stretch(salt, kdf["passes"], kdf["lanes"], kdf["memory"], passphrase)
    return StreamKey.derive(stretched, b"key file" + canonical.encode(header), salt)


def _stretch(salt: bytes, passes: int, lanes: int, memory: int, passphrase: bytes) -> bytes:
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(passphrase)


def _load(path: Path, kind: str, passphrase: bytes) -> bytes:
    _check_passphrase(passphrase)
    record = canonical.decode(_read_bounded(path, _MAX_FILE + 1), limit=_MAX_FILE)
    header = _checked_header(record, kind)
    stream = _stream_key(header, passphrase)
    try:
        stream.check_commitment(record["commitment"])
        secret = stream.open_chunk(0, record["sealed"])
    except (WrongKeyError, TamperedError):
        raise WrongKeyError(_WRONG) from None
    return secret


def _checked_header(record: object, kind: str) -> dict[str, Any]:
    """Check everything that is not secret, and the bounds of Argon2id above all, before any of it is used."""
    fields = {"v": int, "kind": str, "kdf": dict, "salt": bytes, "commitment": bytes, "sealed": bytes}
    checked = _check_fields(record, fields, "a key file")
    if checked["v"] != _VERSION or checked["kind"] not in _KINDS:
        raise FormatError("this is not a key file of a known version")
    if checked["kind"] != kind:
        raise FormatError(f"this is a key file of kind {checked['kind']} where one of kind {kind} is needed")
    sizes = (len(checked["salt"]), len(checked["commitment"]), len(checked["sealed"]))
    if sizes != (SALT_SIZE, COMMITMENT_SIZE, ROOT_SIZE + TAG_SIZE):
        raise FormatError("a key file has fields of wrong lengths: it is damaged")
    kdf = _check_fields(checked["kdf"], {"name": str, "memory": int, "passes": int, "lanes": int}, "a key file")
    if kdf["name"] != _KDF["name"]:
        raise FormatError("a key file names an unknown way to stretch a passphrase: it needs another version")
    for name, (low, high) in _KDF_BOUNDS.items():
        if not low <= kdf[name] <= high:
            raise LimitError(f"a key file asks for argon2id {name} {kdf[name]}: only {low} to {high} are allowed")
    return {name: checked[name] for name in ("v", "kind", "kdf", "salt")}


def _check_fields(record: object, fields: dict[str, type], what: str) -> dict[str, Any]:
    """Return the record where it has exactly these fields of exactly these types."""
    if not isinstance(record, dict) or set(record) != set(fields):
        raise FormatError(f"this is not {what}: its fields are others")
    for name, kind in fields.items():
        if type(record[name]) is not kind:
            raise FormatError(f"this is not {what}: its field {name} has a wrong type")
    return record


def _read_bounded(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(most)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _write_new(path: Path, data: bytes) -> None:
    """Write a new file completely and durably, or not at all: a temporary beside it is linked to its name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_exclusive(temporary, data)
        try:
            os.link(temporary, path)  # unlike a rename, this fails where the name is taken
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
            _write_exclusive(path, data)  # a file system without hard links
        finally:
            temporary.unlink()
        _sync_folder(path.parent)
    except FileExistsError:
        raise OutputExistsError(_EXISTS.format(path)) from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def _write_exclusive(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        path.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
