"""A protected file on disk: a folder with ``part-1`` ... ``part-n`` and ``manifest``.

For every scheme but those that stream by themselves (`FolderScheme`) the manifest is::

    "MVBN" | 1 | length u32 | canonical CBOR record | hybrid signature of the record by the owner

    record = {v, scheme, scheme_version, owner, n, parts: [32 B BLAKE3 of each], salt, commitment, envelope, secret}

`secret` is the scheme's secret in the stream form of `medveil.crypto.stream` under a fresh key, which `envelope`
carries to the owner; both are bound to the rest of the record. A part's content is the scheme's own.
The folder appears whole or not at all: it is written under a temporary name beside it, synced, and renamed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from medveil.crypto import canonical, envelope
from medveil.crypto.hashing import tagged
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.prg import SYSTEM
from medveil.crypto.stream import KEY_SIZE, SALT_SIZE, TAG_SIZE, StreamKey, plaintext_length
from medveil.errors import (
    FormatError,
    InputError,
    LimitError,
    OutputExistsError,
    UnrecoverableError,
    WrongKeyError,
)
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI
from medveil.schemes.base import Finding, FindingKind, Part, Protected, Restored, Scheme, Secret, TamperMap

MANIFEST: Final = "manifest"
PUBLIC: Final = "public"
"""Name of the file of what a scheme published beside its parts (`Protected.manifest`), where it is not in each."""
MAGIC: Final = b"MVBN\x01"
_MAX_MANIFEST: Final = 64 << 20  # the secret of a large volume holds a tag for each block
_MAX_PARTS: Final = 255
_CHUNK: Final = 1 << 16
_DOMAIN: Final = "bundle manifest"
_FIELDS: Final[dict[str, type]] = {
    "v": int,
    "scheme": str,
    "scheme_version": int,
    "owner": bytes,
    "n": int,
    "parts": list,
    "salt": bytes,
    "commitment": bytes,
    "envelope": bytes,
    "secret": bytes,
}
_OUTSIDE_CORE: Final = ("commitment", "envelope", "secret")
Progress = Callable[[int, int], None]


def part_files(folder: Path) -> dict[int, Path]:
    """Return the part files of a folder by their 1-based index, whatever their suffix.

    Raises InputError where the folder is none or two files claim one index.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of parts: give the folder that protect wrote")
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = path.name.split(".", 1)[0]
        digits = stem.removeprefix("part-")
        if stem.startswith("part-") and digits.isdigit() and 1 <= int(digits) <= 255 and path.is_file():
            if int(digits) in found:
                raise InputError(f"{folder} holds two files for part {int(digits)}: remove one")
            found[int(digits)] = path
    return found


@contextmanager
def new_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside `target` that becomes `target` on success and vanishes on failure.

    Raises OutputExistsError where `target` exists and `force` is not set.
    """
    if target.exists() and not force:
        raise OutputExistsError(f"{target} exists already: choose another place or pass --force")
    made = _make_parents(target)
    working = target.parent / f".{target.name}.{secrets.token_hex(6)}.partial"
    working.mkdir(mode=0o700)
    try:
        yield working
        for path in working.iterdir():
            sync(path)
        sync(working)
        if target.exists():
            replaced = target.parent / f".{target.name}.{secrets.token_hex(6)}.replaced"
            target.rename(replaced)
            working.rename(target)
            shutil.rmtree(replaced)
        else:
            working.rename(target)
        sync(target.parent)
    finally:
        if working.exists():
            shutil.rmtree(working)
            _remove_empty(made)


@contextmanager
def new_file(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `target` that becomes `target` on success and vanishes on failure.

    Raises OutputExistsError where `target` exists and `force` is not set.
    """
    if target.is_dir():
        raise OutputExistsError(f"{target} is a folder: name the file to write")
    if target.exists() and not force:
        raise OutputExistsError(f"{target} exists already: choose another name or pass --force")
    made = _make_parents(target)
    working = target.parent / f".{target.name}.{secrets.token_hex(6)}.partial"
    try:
        os.close(os.open(working, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield working
        sync(working)
        if force:
            working.replace(target)
        else:
            _link_new(working, target)
        sync(target.parent)
    finally:
        working.unlink(missing_ok=True)
        if not target.exists():
            _remove_empty(made)


def _make_parents(target: Path) -> list[Path]:
    """Make the folders above `target` and return those that were not there, innermost first."""
    absent = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return absent


def _remove_empty(folders: list[Path]) -> None:
    """Take back folders that were made for nothing."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # somebody else uses it meanwhile
            return


def _link_new(working: Path, target: Path) -> None:
    """Name the finished file without ever replacing one that appeared meanwhile."""
    try:
        os.link(working, target)
    except FileExistsError:
        raise OutputExistsError(f"{target} appeared while it was being written: choose another name") from None
    except OSError:  # a filesystem without hard links
        if target.exists():
            raise OutputExistsError(f"{target} appeared while it was being written: choose another name") from None
        working.rename(target)


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@runtime_checkable
class FolderScheme(Protocol):
    """A scheme that reads and writes its folder by itself, in bounded memory and with its own manifest."""

    def protect_folder(
        self, source: Path, folder: Path, *, owner: OwnerKey, roi: ROI, progress: Progress | None
    ) -> tuple[Finding, ...]:
        """Write part-1 ... part-n and the manifest of the file `source` into an empty `folder`."""

    def restore_folder(
        self, folder: Path, *, owner: OwnerKey, out: Path, partial: bool, progress: Progress | None
    ) -> Restored:
        """Write the verified original to `out`, a new private file that becomes visible only on success."""

    def verify_folder(self, folder: Path, *, owner: OwnerKey | None, progress: Progress | None) -> Verified:
        """Check the parts of a folder; with the owner's key also what they hold."""


@runtime_checkable
class OwnerScheme(Protocol):
    """A scheme that needs its owner to protect, for example to open a trained key."""

    def for_owner(self, owner: OwnerKey) -> Scheme:
        """Return the same scheme, ready to protect images of this owner and nothing less than that.

        Raises UsageError where it could only protect with something public, WrongKeyError for another's key.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """What a verification found, and with a key, where in the picture."""

    findings: tuple[Finding, ...]
    tamper_map: TamperMap | None = None
    image: MedicalImage | OpaqueFile | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BundleRecord:
    """A parsed manifest of a scheme that does not stream."""

    scheme: str
    digests: tuple[bytes, ...]
    body: Mapping[str, Any]

    def match(self, parts: Mapping[int, bytes]) -> tuple[tuple[Part, ...], tuple[Finding, ...]]:
        """Compare parts with the manifest: returns all that are there, and what is missing, swapped or changed."""
        findings: list[Finding] = []
        found = []
        for index, digest in enumerate(self.digests, start=1):
            data = parts.get(index)
            if data is None:
                findings.append(Finding(FindingKind.MISSING, f"part {index} is not there", part=index))
                continue
            actual = _digest(data)
            if actual == digest:
                found.append(Part(index, data))
            elif actual in self.digests:
                true = self.digests.index(actual) + 1
                findings.append(Finding(FindingKind.SWAPPED, f"the file of part {index} holds part {true}", part=index))
                found.append(Part(true, data))
            else:
                message = f"part {index} is not what was written: changed, truncated or of another image"
                findings.append(Finding(FindingKind.TAMPER, message, part=index))
                found.append(Part(index, data))
        return tuple(found), tuple(findings)


def _digest(part: bytes) -> bytes:
    return tagged("medveil bundle part", part)


def write(target: Path, protected: Protected, scheme: Scheme, *, owner: OwnerKey, force: bool = False) -> None:
    """Write parts and a signed manifest that carries the secret, sealed to its owner.

    Raises OutputExistsError, and LimitError where the secret is too large to carry.
    """
    secret = protected.secret.data
    if len(secret) > _MAX_MANIFEST // 2:
        raise LimitError(f"a secret of {len(secret)} bytes is too large for a manifest")
    dek, salt = SYSTEM.bytes(KEY_SIZE), SYSTEM.bytes(SALT_SIZE)
    body: dict[str, Any] = {
        "v": 1,
        "scheme": scheme.name,
        "scheme_version": scheme.version,
        "owner": owner.owner_id,
        "n": len(protected.parts),
        "parts": [_digest(part.data) for part in protected.parts],
        "salt": salt,
    }
    core = canonical.encode(body)
    key = StreamKey.derive(dek, core, salt)
    pieces = (secret[start : start + _CHUNK] for start in range(0, len(secret) + 1, _CHUNK))
    body["commitment"] = key.commitment
    body["envelope"] = envelope.seal(owner.public.recipient, dek, core=core)
    body["secret"] = b"".join(key.seal_chunk(index, piece) for index, piece in enumerate(pieces))
    record = canonical.encode(body)
    manifest = MAGIC + len(record).to_bytes(4, "big") + record + owner.signing.sign(_DOMAIN, record)
    with new_folder(target, force=force) as folder:
        for part in protected.parts:
            (folder / f"part-{part.index}{part.suffix}").write_bytes(part.data)
        (folder / MANIFEST).write_bytes(manifest)
        if protected.manifest:
            (folder / PUBLIC).write_bytes(protected.manifest)


def parse_manifest(data: bytes) -> tuple[BundleRecord, bytes, bytes]:
    """Parse a manifest without verifying it; returns the record, its signed bytes and the signature.

    Raises FormatError, LimitError.
    """
    if not data.startswith(MAGIC):
        raise FormatError("the manifest is not one of medveil's, or of an unknown version")
    if len(data) > _MAX_MANIFEST:
        raise LimitError(f"a manifest of {len(data)} bytes is larger than {_MAX_MANIFEST}")
    start = len(MAGIC) + 4
    length = int.from_bytes(data[len(MAGIC) : start], "big")
    record, signature = data[start : start + length], data[start + length :]
    if len(record) != length:
        raise FormatError("the manifest is cut short")
    body = canonical.decode(record, limit=_MAX_MANIFEST)
    if not (isinstance(body, dict) and set(body) == set(_FIELDS) and body["v"] == 1):
        raise FormatError("the manifest's record is of an unknown form or version")
    parts = body["parts"]
    if not (
        all(isinstance(body[name], kind) for name, kind in _FIELDS.items())
        and 1 <= len(parts) <= _MAX_PARTS
        and body["n"] == len(parts)
        and all(isinstance(p, bytes) and len(p) == 32 for p in parts)
        and len(body["salt"]) == SALT_SIZE
    ):
        raise FormatError("the manifest's record has values of the wrong form")
    return BundleRecord(body["scheme"], tuple(parts), body), record, signature


def open_manifest(data: bytes, owner: OwnerKey) -> tuple[BundleRecord, Secret]:
    """Verify a manifest and open the secret that it carries.

    Raises FormatError, TamperedError where it was not signed by this owner, WrongKeyError.
    """
    record, signed, signature = parse_manifest(data)
    body = record.body
    if body["owner"] != owner.owner_id:
        raise WrongKeyError("this key is not the one that protected the image: use its owner's key file")
    owner.public.verifying.verify(_DOMAIN, signed, signature)
    core = canonical.encode({name: body[name] for name in _FIELDS if name not in _OUTSIDE_CORE})
    dek = envelope.open_(owner.recipient, body["envelope"], core=core)
    key = StreamKey.derive(dek, core, body["salt"])
    key.check_commitment(body["commitment"])
    sealed = body["secret"]
    plaintext_length(len(sealed), _CHUNK)
    step = _CHUNK + TAG_SIZE
    secret = b"".join(
        key.open_chunk(index, sealed[start : start + step]) for index, start in enumerate(range(0, len(sealed), step))
    )
    return record, Secret(record.scheme, secret)


def read_manifest(folder: Path) -> bytes:
    """Read the manifest of a folder, bounded. Raises UnrecoverableError where there is none, LimitError."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UnrecoverableError(f"{folder} holds no manifest: bring back the file that protect wrote beside the parts")
    if path.stat().st_size > _MAX_MANIFEST:
        raise LimitError(f"{path} is larger than any manifest ({_MAX_MANIFEST} bytes)")
    return path.read_bytes()


def read_parts(folder: Path, *, limit: int = 4 << 30) -> dict[int, bytes]:
    """Read every part of a folder into memory.

    Raises UnrecoverableError where there is none, LimitError beyond `limit` bytes in all.
    """
    files = part_files(folder)
    total = sum(path.stat().st_size for path in files.values())
    if total > limit:
        raise LimitError(f"parts of {total} bytes in all are larger than the limit of {limit}")
    if not files:
        raise UnrecoverableError(f"{folder} holds no parts: bring back at least k of part-1, part-2, ...")
    return {index: path.read_bytes() for index, path in files.items()}
