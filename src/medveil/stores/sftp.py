"""A store in a folder of a machine reached by SFTP (OpenSSH and the like), through paramiko.

Write-once: an object is sent to a private folder, synced there where the server can (``fsync@openssh.com``), and
renamed. The rename of SFTP version 3 must fail where the new name exists; OpenSSH does it by a hard link, so it is
exact there, and a crash leaves the object absent or complete. The server must be known: its key is pinned in the
table or stands in a ``known_hosts`` file; a key that is neither is refused.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field

from medveil.errors import (
    ConfigError,
    MissingExtraError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreUnavailableError,
)
from medveil.stores.base import Source, Store, check_range, folders_of, is_name, short_read
from medveil.stores.settings import StoreConfig, read_secret

if TYPE_CHECKING:
    from paramiko import SFTPClient, SFTPFile, SSHClient

PRIVATE: Final = ".medveil"
"""The folder of unfinished objects; no object's name can begin with a dot."""

STALE_AFTER: Final = 86400.0
"""Seconds after which an unfinished object is taken for a dead writer's."""

_ONE_REQUEST: Final = 32 << 10
_EXTENDED: Final = 200  # SSH_FXP_EXTENDED


class SFTPConfig(StoreConfig):
    """A table of type ``sftp``.

    path: absolute folder at the server; it must exist. key_file: our private key, whose passphrase, if it has one,
    is named by passphrase_env or passphrase_file; or password_env or password_file instead of a key.
    host_key: the server's public key as ``ssh-keyscan`` prints it without the host ("ssh-ed25519 AAAA..."); or
    known_hosts: a file, by default the user's own.
    """

    type: Literal["sftp"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Annotated[str, Field(min_length=1, max_length=64)]
    path: Annotated[str, Field(pattern=r"^/[^\x00]*$", max_length=1000)]
    key_file: Path | None = None
    passphrase_env: str | None = None
    passphrase_file: Path | None = None
    password_env: str | None = None
    password_file: Path | None = None
    host_key: str | None = None
    known_hosts: Path | None = None
    connect_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    idle_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0


class SFTPStore(Store):
    """Objects as files at a server. Write-once is exact at OpenSSH; each call has a connection of its own."""

    Config: ClassVar[type[StoreConfig]] = SFTPConfig

    def __init__(self, config: SFTPConfig) -> None:
        super().__init__(config.name, config.provider)
        self._config = config
        self._root = config.path.rstrip("/")
        self._idle: list[tuple[SSHClient, SFTPClient]] = []
        self._lock = threading.Lock()
        self._swept = False
        password = read_secret(f"password of store {config.name!r}", env=config.password_env, file=config.password_file)
        passphrase = read_secret(
            f"passphrase of store {config.name!r}", env=config.passphrase_env, file=config.passphrase_file
        )
        if (password is None) == (config.key_file is None):
            raise ConfigError(f"store {config.name!r} needs either key_file or a password: name one of them")
        self._password, self._passphrase = password, passphrase

    @classmethod
    def from_config(cls, config: SFTPConfig) -> Self:
        """Open the store that a table describes; connects on first use.

        Raises ConfigError for a host key that is none or a missing secret, and MissingExtraError without paramiko.
        """
        try:
            import paramiko  # noqa: F401
        except ImportError:
            raise MissingExtraError("a store of type sftp", "clouds") from None
        store = cls(config)
        store._client().close()
        return store

    # Connections

    def _client(self) -> SSHClient:
        """Return a client, not yet connected, that knows the server's key and no other."""
        import paramiko
        from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

        config = self._config
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        if config.host_key is not None:
            label = config.host if config.port == 22 else f"[{config.host}]:{config.port}"
            try:
                entry = HostKeyEntry.from_line(f"{label} {config.host_key.strip()}")
            except (paramiko.SSHException, InvalidHostKey):
                entry = None
            if entry is None or entry.key is None:
                raise ConfigError(f"store {config.name!r}: host_key is no public key of the form 'ssh-ed25519 AAAA...'")
            client.get_host_keys().add(label, entry.key.get_name(), entry.key)
        else:
            path = config.known_hosts or Path("~/.ssh/known_hosts").expanduser()
            try:
                client.load_host_keys(str(path))
            except (OSError, InvalidHostKey):
                raise ConfigError(
                    f"store {config.name!r}: {path} cannot be read: pin the server's key with host_key"
                ) from None
        return client

    def _connect(self) -> tuple[SSHClient, SFTPClient]:
        config = self._config
        client = self._client()
        try:
            client.connect(
                config.host,
                port=config.port,
                username=config.user,
                key_filename=str(config.key_file.expanduser()) if config.key_file else None,
                passphrase=self._passphrase.get_secret_value() if self._passphrase else None,
                password=self._password.get_secret_value() if self._password else None,
                timeout=config.connect_timeout,
                banner_timeout=config.connect_timeout,
                auth_timeout=config.connect_timeout,
                channel_timeout=config.connect_timeout,
                allow_agent=False,
                look_for_keys=False,
            )
            files = client.open_sftp()
            channel = files.get_channel()
            if channel is not None:
                channel.settimeout(config.idle_timeout)
        except BaseException:
            client.close()
            raise
        return client, files

    @contextlib.contextmanager
    def _session(self, name: str) -> Iterator[SFTPClient]:
        """Lend a connection; after any failure that is not a plain answer of the server it is closed."""
        import paramiko

        with self._lock:
            client, files = self._idle.pop() if self._idle else (None, None)
        kept = False
        try:
            if client is None or files is None or not _alive(client):
                if client is not None:
                    client.close()
                client, files = self._connect()
            try:
                yield files
                kept = True
            except (ObjectMissingError, ObjectExistsError):
                kept = True
                raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            kept = isinstance(error, OSError) and error.errno == errno.ENOENT
            raise self._translated(error, name) from None
        finally:
            if client is not None and files is not None:
                with self._lock:
                    if kept and not self._closed:
                        self._idle.append((client, files))
                    else:
                        client.close()

    def _shut(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for client, _ in idle:
            client.close()

    # Writing

    def _write(self, name: str, source: Source) -> None:
        with self._session(name) as files:
            if self._exists(files, name):
                raise self._taken(name)
            unfinished = self._unfinished(files)
            try:
                self._send(files, unfinished, source, name)
                self._rename(files, unfinished, name)
            except BaseException:
                with contextlib.suppress(OSError, EOFError):
                    files.remove(unfinished)
                raise

    def _unfinished(self, files: SFTPClient) -> str:
        """Return a path for an object under way, in a private folder that is made and swept on first use."""
        private = f"{self._root}/{PRIVATE}"
        if not self._swept:
            with contextlib.suppress(OSError):
                files.mkdir(private, 0o700)
            limit = time.time() - STALE_AFTER
            for entry in files.listdir_attr(private):
                if (entry.st_mtime or limit) < limit:
                    with contextlib.suppress(OSError):
                        files.remove(f"{private}/{entry.filename}")
            self._swept = True
        return f"{private}/{secrets.token_hex(16)}"

    def _send(self, files: SFTPClient, path: str, source: Source, name: str) -> None:
        total = 0
        with files.open(path, "wx") as file:
            file.set_pipelined(True)
            last: memoryview | None = None
            for piece in source:
                if last is not None:
                    file.write(last)
                last = piece
                total += len(piece)
            # With pipelining off, this write waits for the answers to all of them, and raises for any that failed.
            file.set_pipelined(False)
            if last is not None:
                file.write(last)
            file.flush()
            _sync(files, file)
            arrived = file.stat().st_size
        if arrived != total:
            raise short_read(self.name, name, arrived or 0, total)

    def _rename(self, files: SFTPClient, unfinished: str, name: str) -> None:
        target = f"{self._root}/{name}"
        try:
            files.rename(unfinished, target)
        except FileNotFoundError:
            for folder in folders_of(name):
                with contextlib.suppress(OSError):
                    files.mkdir(f"{self._root}/{folder}", 0o700)
            try:
                files.rename(unfinished, target)
            except OSError:
                self._refuse_taken(files, name)
                raise
        except OSError:
            # Version 3 of the protocol has no word for "exists": the server says "failure".
            self._refuse_taken(files, name)
            raise

    def _refuse_taken(self, files: SFTPClient, name: str) -> None:
        if any(self._exists(files, path) for path in (name, *_files_in_the_way(files, self._root, name))):
            raise self._taken(name)

    def _exists(self, files: SFTPClient, name: str) -> bool:
        try:
            files.lstat(f"{self._root}/{name}")
        except FileNotFoundError:
            return False
        return True

    def _taken(self, name: str) -> ObjectExistsError:
        return ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    # Reading

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        with self._session(name) as files:
            total = self._stat(files, name)
            count = check_range(self.name, name, total, offset, length, limit)
            with files.open(f"{self._root}/{name}", "r", bufsize=0) as file:
                file.seek(offset)
                if count > _ONE_REQUEST:
                    # No bound on concurrent requests: paramiko keeps to one by sleeping, ten times slower.
                    file.prefetch(offset + count)
                got = bytearray()
                while len(got) < count:
                    piece = file.read(min(count - len(got), 1 << 20))
                    if not piece:
                        raise short_read(self.name, name, len(got), count)
                    got += piece
            return bytes(got)

    def _stat(self, files: SFTPClient, name: str) -> int:
        status = files.lstat(f"{self._root}/{name}")
        mode = status.st_mode or 0
        if stat.S_ISDIR(mode):
            raise ObjectMissingError(f"store {self.name} holds no object {name}")
        if not stat.S_ISREG(mode) or status.st_size is None:
            raise StoreError(f"{name} in store {self.name} is not a regular file: remove it")
        return int(status.st_size)

    def _size(self, name: str) -> int:
        with self._session(name) as files:
            return self._stat(files, name)

    def _names(self, prefix: str) -> Iterator[str]:
        with self._session(prefix) as files:
            if not self._exists(files, ""):
                raise self._no_root()
            found = tuple(self._walk(files, "".join(f"{folder}/" for folder in prefix.split("/")[:-1])))
        yield from found

    def _walk(self, files: SFTPClient, folder: str) -> Iterator[str]:
        try:
            entries = files.listdir_attr(f"{self._root}/{folder}")
        except FileNotFoundError:
            return
        except OSError:
            if self._exists(files, folder.rstrip("/")):
                return  # a file is no folder
            raise
        for entry in entries:
            name = f"{folder}{entry.filename}"
            if not is_name(name):  # also what a lying server makes up to lead elsewhere
                continue
            if stat.S_ISREG(entry.st_mode or 0):
                yield name
            elif stat.S_ISDIR(entry.st_mode or 0):
                yield from self._walk(files, f"{name}/")

    # Removing and checking

    def _remove(self, name: str) -> None:
        with self._session(name) as files:
            try:
                files.remove(f"{self._root}/{name}")
            except FileNotFoundError:
                return
            except OSError:
                if stat.S_ISDIR(files.lstat(f"{self._root}/{name}").st_mode or 0):
                    return
                raise

    def _probe(self) -> None:
        with self._session("check") as files:
            if not self._exists(files, ""):
                raise self._no_root()
            unfinished = self._unfinished(files)
            self._send(files, unfinished, Source(b"medveil"), "check")
            files.remove(unfinished)

    # What the server said

    def _no_root(self) -> StoreUnavailableError:
        return StoreUnavailableError(f"store {self.name} is not at {self._root}: make the folder", transient=False)

    def _translated(self, error: Exception, name: str) -> StoreError:
        import paramiko
        from paramiko.ssh_exception import NoValidConnectionsError

        what = f"store {self.name} at {self._config.host}"
        if isinstance(error, FileNotFoundError):
            return ObjectMissingError(f"store {self.name} holds no object {name}")
        if isinstance(error, paramiko.BadHostKeyException):
            return StoreUnavailableError(
                f"{what} shows another host key than the pinned one: someone may be in between", transient=False
            )
        if isinstance(error, paramiko.AuthenticationException | paramiko.PasswordRequiredException):
            return StoreUnavailableError(f"{what} refuses our credentials: renew them or their rights", transient=False)
        if isinstance(error, paramiko.SSHException) and "known_hosts" in str(error):
            return StoreUnavailableError(f"{what} is not known: pin its key with host_key", transient=False)
        if isinstance(error, PermissionError):
            return StoreUnavailableError(
                f"{what} denies access to {name}: give {self._config.user} the right to it", transient=False
            )
        no_route = isinstance(error, TimeoutError | NoValidConnectionsError)
        if isinstance(error, OSError) and error.errno is None and not no_route:
            return StoreError(f"{what} failed on {name} without saying why: look for a full disk at the server")
        return StoreUnavailableError(f"{what} did not answer for {name} ({type(error).__name__})")


def _alive(client: SSHClient) -> bool:
    transport = client.get_transport()
    return transport is not None and transport.is_active()


def _sync(files: SFTPClient, file: SFTPFile) -> None:
    """Ask the server to make the file durable; one that does not know how keeps its own promise."""
    with contextlib.suppress(OSError):
        files._request(_EXTENDED, "fsync@openssh.com", file.handle)


def _files_in_the_way(files: SFTPClient, root: str, name: str) -> Iterator[str]:
    """Yield those folders of `name` that are files at the server."""
    for folder in folders_of(name):
        with contextlib.suppress(OSError):
            if not stat.S_ISDIR(files.lstat(f"{root}/{folder}").st_mode or 0):
                yield folder


STORE = SFTPStore
