"""Named shares on disk and on the wire: a bundle is a JSON list of entries and their words; on disk it is sealed.

    file   "MVSH1" | salt 32 | header length 4 | header | chunk | chunk ...
    chunk  AES-256-GCM of up to 8 MiB under HKDF(storage key, salt, name and header); the nonce counts, and the
           associated data marks the last chunk

A file is written beside its place, synced and renamed, so it is whole or not there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medveil.errors import FormatError, LimitError, ObjectMissingError, StoreFullError, TamperedError
from medveil.mpc.shares import Share

Bundle = dict[str, Share]
_MAGIC = b"MVSH1"
_CHUNK = 8 << 20
_TAG = 16
_MAX_HEADER = 8 << 20
_MAX_ENTRIES = 65536
_KEY_FILE = "storage.key"


def describe(bundle: Bundle) -> list[dict[str, Any]]:
    """Return a bundle's entries as data: name, dtype, shape."""
    return [{"name": k, "dtype": s.dtype.name, "shape": list(s.shape)} for k, s in bundle.items()]


def check_entries(entries: Any, limit: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return entries from a stranger as (name, dtype, shape), checked before anything is allocated.

    Raises:
        FormatError: not a list of entries.
        LimitError: more than `limit` bytes in all.
    """
    if not isinstance(entries, list) or not 0 < len(entries) <= _MAX_ENTRIES:
        raise FormatError("a bundle of shares lists 1 to 65536 entries")
    found, total = [], 0
    for entry in entries:
        try:
            name, dtype, shape = str(entry["name"]), str(entry["dtype"]), tuple(int(n) for n in entry["shape"])
        except (KeyError, TypeError, ValueError) as e:
            raise FormatError("an entry of shares needs a name, a dtype and a shape") from e
        if dtype not in ("uint32", "uint64") or len(shape) > 8 or any(n < 0 for n in shape) or len(name) > 512:
            raise FormatError("an entry of shares has an unknown dtype or an impossible shape or name")
        total += 2 * math.prod(shape) * (4 if dtype == "uint32" else 8)
        if total > limit:
            raise LimitError(f"these shares take more than the {limit} bytes that this server accepts at once")
        found.append((name, dtype, shape))
    if len({name for name, _, _ in found}) != len(found):
        raise FormatError("a bundle of shares names an entry twice")
    return found


def byte_count(entries: list[tuple[str, str, tuple[int, ...]]]) -> int:
    """Return the length of a bundle's words."""
    return sum(2 * math.prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in entries)


def allocate(entries: list[tuple[str, str, tuple[int, ...]]]) -> Bundle:
    """Return a bundle of empty words to read into."""
    return {name: Share(np.empty(shape, dtype), np.empty(shape, dtype)) for name, dtype, shape in entries}


def buffers(bundle: Bundle) -> Iterator[memoryview]:
    """Yield the words of a bundle in order, as writable bytes where the arrays are."""
    for share in bundle.values():
        for words in (share.first, share.second):
            if words.size:
                yield np.ascontiguousarray(words).reshape(-1).view(np.uint8).data


class Shelf:
    """A folder of sealed bundles under one storage key, which is made at first use and never leaves the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob("*.partial"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        path = folder / _KEY_FILE
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(32))
        self._key = path.read_bytes()
        if len(self._key) != 32:
            raise FormatError("the storage key is damaged: restore it, or start with an empty state folder")

    def __repr__(self) -> str:
        return f"Shelf({self.folder}, key hidden)"

    def path(self, name: str) -> Path:
        """Return the file of a bundle; names are letters, digits, dot, dash and underscore."""
        if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name) or len(name) > 200:
            raise FormatError("a bundle's name has letters, digits, dot, dash and underscore only")
        return self.folder / f"{name}.shares"

    def _cipher(self, name: str, salt: bytes, header: bytes) -> AESGCM:
        digest = hashes.Hash(hashes.SHA256())
        digest.update(name.encode() + b"\0" + header)
        info = b"medveil mpc shelf 1" + digest.finalize()
        return AESGCM(HKDF(hashes.SHA256(), 32, salt, info).derive(self._key))

    def put(self, name: str, bundle: Bundle, extra: dict[str, Any] | None = None) -> None:
        """Write a bundle and some public JSON beside it.

        Raises:
            StoreFullError: no space is left; the bundle that was there before is untouched.
        """
        header = json.dumps({"entries": describe(bundle), "extra": extra or {}}).encode()
        salt = secrets.token_bytes(32)
        path = self.path(name)
        partial = path.with_suffix(f".{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as file:
                file.write(_MAGIC + salt + len(header).to_bytes(4, "big") + header)
                self._seal(file, self._cipher(name, salt, header), bundle)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            self._sync_folder()
        except OSError as e:
            partial.unlink(missing_ok=True)
            if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise StoreFullError("no space is left for shares: free some, then resume the job") from e
            raise

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def _seal(file: BinaryIO, cipher: AESGCM, bundle: Bundle) -> None:
        pending, index = bytearray(), 0
        for view in buffers(bundle):
            for at in range(0, len(view), _CHUNK):
                pending += view[at : at + _CHUNK]
                while len(pending) > _CHUNK:
                    file.write(cipher.encrypt(index.to_bytes(12, "big"), bytes(pending[:_CHUNK]), b"more"))
                    del pending[:_CHUNK]
                    index += 1
        file.write(cipher.encrypt(index.to_bytes(12, "big"), bytes(pending), b"last"))

    def get(self, name: str) -> tuple[Bundle, dict[str, Any]]:
        """Return a bundle and its public JSON.

        Raises:
            ObjectMissingError: there is no such bundle.
            TamperedError: it was changed, cut or sealed under another key.
        """
        try:
            with self.path(name).open("rb") as file:
                start = file.read(len(_MAGIC) + 36)
                length = int.from_bytes(start[-4:], "big")
                if start[: len(_MAGIC)] != _MAGIC or length > _MAX_HEADER:
                    raise TamperedError("these are not sealed shares: the file was replaced or damaged")
                header = file.read(length)
                cipher = self._cipher(name, start[len(_MAGIC) : -4], header)
                return self._open(file, cipher, header)
        except FileNotFoundError:
            raise ObjectMissingError(
                "there are no shares of this name: they were never uploaded or were removed"
            ) from None

    @staticmethod
    def _open(file: BinaryIO, cipher: AESGCM, header: bytes) -> tuple[Bundle, dict[str, Any]]:
        # The header is not trusted before the first chunk opens under it; its sizes are bounded by the file's.
        try:
            raw = json.loads(header)
            entries = check_entries(raw["entries"], os.fstat(file.fileno()).st_size)
            bundle = allocate(entries)
            left, index, plain = byte_count(entries), 0, b""
            for view in buffers(bundle):
                at = 0
                while at < len(view):
                    if not plain:
                        size = min(left, _CHUNK)
                        mark = b"last" if left <= _CHUNK else b"more"
                        plain = cipher.decrypt(index.to_bytes(12, "big"), file.read(size + _TAG), mark)
                        left, index = left - size, index + 1
                    step = min(len(plain), len(view) - at)
                    view[at : at + step], plain = plain[:step], plain[step:]
                    at += step
            if index == 0:
                cipher.decrypt(bytes(12), file.read(_TAG), b"last")
        except (InvalidTag, FormatError, LimitError, ValueError, KeyError, TypeError) as e:
            raise TamperedError("sealed shares do not open: they were changed, cut or sealed under another key") from e
        return bundle, dict(raw["extra"])

    def names(self) -> list[str]:
        """Return the names of all bundles."""
        return sorted(path.name.removesuffix(".shares") for path in self.folder.glob("*.shares"))

    def stored(self, prefix: str) -> int:
        """Return the bytes on disk of the bundles whose names start with `prefix`."""
        total = 0
        for path in self.folder.glob("*.shares"):
            if path.name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    total += path.stat().st_size
        return total

    def remove(self, name: str) -> None:
        """Remove a bundle where it exists."""
        self.path(name).unlink(missing_ok=True)
