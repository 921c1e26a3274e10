"""A store in a folder of this machine or of a mounted disk: the embedded default.

An object is a file under the folder, by its own name. It is written to a private folder of the same file system,
synced, and linked to its name, which fails if the name is taken: so write-once is exact, also between processes,
and a crash at any point leaves the object absent or complete. What a dead writer leaves in the private folder is
never listed and is removed once it is a day old.

Every path is walked from the root one segment at a time without following symbolic links, so that nobody who can
write into the folder can point the store outside it.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

from medveil.errors import (
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    UnsupportedError,
)
from medveil.stores.base import Source, Store, check_range, short_read
from medveil.stores.settings import StoreConfig

PRIVATE: Final = ".medveil"
"""The private folder; no object's name can begin with a dot."""

STALE_AFTER: Final = 86400.0
"""Seconds after which an unfinished file is taken for a dead writer's."""

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang the reader
_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_GONE: Final = {errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.ENODEV, errno.ENXIO}
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_RENAME_NOREPLACE: Final = 1


class DirectoryConfig(StoreConfig):
    """A table of type ``directory``.

    path: the folder. create: make it where it is not there; say false for a disk that may not be mounted, so that
    an empty mount point is not taken for an empty store.
    """

    type: Literal["directory"]
    path: Path
    create: bool = True


class DirectoryStore(Store):
    """Objects as files under one folder. Write-once is exact: a link to a taken name fails."""

    Config: ClassVar[type[StoreConfig]] = DirectoryConfig

    def __init__(
        self, root: Path | str, name: str | None = None, provider: str | None = None, *, create: bool = True
    ) -> None:
        self._root = Path(root).expanduser().absolute()
        super().__init__(name or self._root.name, provider)
        with self._errors("open", writing=True):
            if create:
                self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            private = self._root / PRIVATE
            if not create and not private.is_dir():
                raise StoreUnavailableError(
                    f"store {self.name} is not at {self._root}: mount its disk, or let it be created", transient=False
                )
            if not private.is_dir():
                private.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._root)
                _sync_folder(self._root.parent)
        self._sweep()

    @classmethod
    def from_config(cls, config: DirectoryConfig) -> Self:
        """Open the store that a table describes."""
        return cls(config.path, config.name, config.provider, create=config.create)

    # Writing

    def _write(self, name: str, source: Source) -> None:
        *folders, leaf = name.split("/")
        with (
            self._errors(name, writing=True),
            self._folder([PRIVATE], name) as private,
            self._made(folders, name) as folder,
        ):
            self._refuse_taken(leaf, folder, name)
            unfinished = f"{os.getpid()}-{secrets.token_hex(12)}"
            try:
                self._fill(unfinished, private, source)
                _link(unfinished, private, leaf, folder)
            except FileExistsError:
                raise self._taken(name) from None
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished, dir_fd=private)
            os.fsync(folder)

    def _fill(self, unfinished: str, private: int, source: Source) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(unfinished, flags, 0o600, dir_fd=private)
        try:
            for piece in source:
                rest = piece
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            _sync_file(descriptor)
        finally:
            os.close(descriptor)

    def _refuse_taken(self, leaf: str, folder: int, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(leaf, dir_fd=folder)
            raise self._taken(name)

    def _taken(self, name: str) -> ObjectExistsError:
        return ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    @contextlib.contextmanager
    def _made(self, folders: list[str], name: str) -> Iterator[int]:
        """Open the folder of an object about to be written, making what is missing, each synced in its parent."""
        descriptor = self._open_root()
        try:
            for segment in folders:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(segment, 0o700, dir_fd=descriptor)
                    os.fsync(descriptor)
                inner = self._enter(segment, descriptor, name, taken=True)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    # Reading

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        with self._errors(name), self._file(name) as (descriptor, total):
            count = check_range(self.name, name, total, offset, length, limit)
            got = bytearray()
            while len(got) < count:
                piece = os.pread(descriptor, min(count - len(got), 1 << 26), offset + len(got))
                if not piece:
                    raise short_read(self.name, name, len(got), count)
                if len(piece) == count:
                    return piece
                got += piece
            return bytes(got)

    def _size(self, name: str) -> int:
        with self._errors(name), self._file(name) as (_, total):
            return total

    @contextlib.contextmanager
    def _file(self, name: str) -> Iterator[tuple[int, int]]:
        """Open an object for reading; yields the descriptor and the size."""
        *folders, leaf = name.split("/")
        with self._folder(folders, name) as folder:
            try:
                descriptor = os.open(leaf, _FILE_FLAGS, dir_fd=folder)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise self._link_refused(name) from None
                raise
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise self._missing(name)
            if not stat.S_ISREG(status.st_mode):
                raise StoreError(f"{name} in store {self.name} is not a regular file: remove it")
            yield descriptor, status.st_size
        finally:
            os.close(descriptor)

    def _names(self, prefix: str) -> Iterator[str]:
        folders = prefix.split("/")[:-1]
        start = "".join(f"{folder}/" for folder in folders)
        try:
            with self._errors(prefix), self._folder(folders, prefix) as folder:
                found = tuple(self._walk(folder, start))
        except ObjectMissingError:
            return
        yield from found

    def _walk(self, folder: int, start: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            inner = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_file(follow_symlinks=False):
                    yield start + entry.name
                elif entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
        for segment in inner:
            try:
                descriptor = os.open(segment, _FOLDER_FLAGS, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # removed since
            try:
                yield from self._walk(descriptor, f"{start}{segment}/")
            finally:
                os.close(descriptor)

    # Removing and checking

    def _remove(self, name: str) -> None:
        *folders, leaf = name.split("/")
        with contextlib.suppress(ObjectMissingError), self._errors(name), self._folder(folders, name) as folder:
            try:
                os.unlink(leaf, dir_fd=folder)
            except (IsADirectoryError, PermissionError):
                # Linux says EISDIR for a folder, POSIX EPERM; a folder is no object.
                if stat.S_ISDIR(os.lstat(leaf, dir_fd=folder).st_mode):
                    return
                raise
            os.fsync(folder)

    def _probe(self) -> None:
        with self._errors("check", writing=True), self._folder([PRIVATE], "check") as private:
            unfinished = f"{os.getpid()}-{secrets.token_hex(12)}"
            try:
                self._fill(unfinished, private, Source(b"medveil"))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished, dir_fd=private)

    def _sweep(self) -> None:
        """Remove what writers that died long ago left behind; another process may be sweeping too."""
        limit = time.time() - STALE_AFTER
        with (
            self._errors("open", writing=True),
            self._folder([PRIVATE], "open") as private,
            os.scandir(private) as entries,
        ):
            for entry in entries:
                with contextlib.suppress(FileNotFoundError, PermissionError):
                    if os.lstat(entry.name, dir_fd=private).st_mtime < limit:
                        os.unlink(entry.name, dir_fd=private)

    # The way there

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise self._lost() from None
        try:
            # An empty mount point has no private folder.
            os.lstat(PRIVATE, dir_fd=descriptor)
        except FileNotFoundError:
            os.close(descriptor)
            raise self._lost() from None
        return descriptor

    def _lost(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"store {self.name} is not at {self._root} any more: mount its disk or restore the folder", transient=False
        )

    def _enter(self, segment: str, folder: int, name: str, *, taken: bool = False) -> int:
        try:
            return os.open(segment, _FOLDER_FLAGS, dir_fd=folder)
        except NotADirectoryError:
            # A file is in the way, or (O_NOFOLLOW with O_DIRECTORY) a symbolic link.
            if stat.S_ISLNK(os.lstat(segment, dir_fd=folder).st_mode):
                raise self._link_refused(name) from None
            raise (self._taken(name) if taken else self._missing(name)) from None

    @contextlib.contextmanager
    def _folder(self, folders: list[str], name: str) -> Iterator[int]:
        descriptor = self._open_root()
        try:
            for segment in folders:
                inner = self._enter(segment, descriptor, name)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _missing(self, name: str) -> ObjectMissingError:
        return ObjectMissingError(f"store {self.name} holds no object {name}")

    def _link_refused(self, name: str) -> StoreError:
        return StoreError(f"the way to {name} in store {self.name} is a symbolic link, which is refused: remove it")

    @contextlib.contextmanager
    def _errors(self, name: str, *, writing: bool = False) -> Iterator[None]:
        """Turn what the operating system says into the errors of a store.

        writing: nothing of the object need be there yet, so that what is missing is the store's own.
        """
        try:
            yield
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise (self._lost() if writing else self._missing(name)) from None
            reason = f"store {self.name} at {self._root}, {name}: {error.strerror or type(error).__name__}"
            if error.errno in _NO_SPACE:
                raise StoreFullError(f"{reason}; make room and try again") from error
            if error.errno in _NOT_ALLOWED:
                raise StoreUnavailableError(f"{reason}; give medveil the right to use it", transient=False) from error
            if error.errno in _GONE:
                raise StoreUnavailableError(f"{reason}; check that the disk is attached") from error
            raise StoreError(f"{reason}; check the disk") from error


def _sync_file(descriptor: int) -> None:
    """Make a file durable; on macOS fsync alone leaves it in the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """Give a finished file its name; raises FileExistsError where that is taken."""
    try:
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_without_replacing(source, source_folder, target, target_folder)


def _rename_without_replacing(source: str, source_folder: int, target: str, target_folder: int) -> None:
    """The way of file systems without hard links (FAT, some network shares): renameat2 of Linux."""
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    rename = getattr(library, "renameat2", None)
    if rename is None:
        raise UnsupportedError("this file system has no hard links and this system no renameat2: use another disk")
    if rename(source_folder, source.encode(), target_folder, target.encode(), ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOSYS):
            raise UnsupportedError("this file system can neither link nor rename without overwriting: use another disk")
        raise OSError(number, os.strerror(number))


STORE = DirectoryStore
