"""A store in a folder of a WebDAV server (nginx, Apache, Nextcloud, rclone), through httpx.

Write-once: an object is uploaded to a private folder and moved to its name with ``Overwrite: F`` (RFC 4918,
section 10.6), so it shows complete or not at all. Servers that look before they move, as nginx and rclone do, can let
two racing writers both pass; so names must not be reused across writers, and the vault's are not: they are hashes
or carry a random number. Redirects are refused, and TLS is verified always.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self
from urllib.parse import quote, unquote, urlsplit

from medveil.errors import (
    LimitError,
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores.base import Source, Store, check_range, folders_of, short_read
from medveil.stores.http import PASSING, HttpConfig, is_number, open_client, retry_after
from medveil.stores.multistatus import Entry, MultistatusParser
from medveil.stores.settings import StoreConfig

if TYPE_CHECKING:
    import httpx

PRIVATE: Final = "_incoming"
"""The folder of unfinished objects; no object's name can begin with an underscore."""

_LISTING_LIMIT: Final = 256 << 20
_ASK: Final = (
    b'<?xml version="1.0" encoding="utf-8"?>'
    b'<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/></prop></propfind>'
)


class WebDAVConfig(HttpConfig):
    """A table of type ``webdav``: see `HttpConfig`; url is of an existing folder."""

    type: Literal["webdav"]


class WebDAVStore(Store):
    """Objects as files of a WebDAV server. Write-once is as exact as the server's ``Overwrite: F``."""

    Config: ClassVar[type[StoreConfig]] = WebDAVConfig

    def __init__(self, client: httpx.Client, url: str, name: str, provider: str | None = None) -> None:
        super().__init__(name, provider)
        self._client = client
        self._url = url.rstrip("/") + "/"
        self._path = unquote(urlsplit(self._url).path)
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, config: WebDAVConfig) -> Self:
        """Open the store that a table describes; connects on first use.

        Raises ConfigError where a secret or TLS is missing, and MissingExtraError without httpx.
        """
        return cls(open_client(config), config.url, config.name, config.provider)

    def _shut(self) -> None:
        self._client.close()

    # Writing

    def _write(self, name: str, source: Source) -> None:
        with contextlib.suppress(ObjectMissingError):
            self._entry(name)
            raise self._taken(name)
        self._make_folders(f"{PRIVATE}/object")
        unfinished = f"{PRIVATE}/{secrets.token_hex(16)}"
        try:
            self._upload(unfinished, source, name)
            self._make_folders(name)
            self._move(unfinished, name)
        except BaseException:
            with contextlib.suppress(StoreError):
                self._request("DELETE", unfinished)
            raise

    def _upload(self, path: str, source: Source, name: str) -> None:
        headers = {} if source.size is None else {"Content-Length": str(source.size)}
        with self._answer("PUT", path, headers=headers, content=map(bytes, source)) as answer:
            if answer.status_code not in (200, 201, 204):
                raise self._refusal(answer, name)

    def _move(self, unfinished: str, name: str) -> None:
        headers = {"Destination": self._address(name), "Overwrite": "F"}
        status = 0
        for turn in range(2):
            with self._answer("MOVE", unfinished, headers=headers) as answer:
                status = answer.status_code
                if status in (201, 204):
                    return
                if status == 412:
                    raise self._taken(name)
                if turn or status not in (403, 404, 409):
                    raise self._refusal(answer, name)
            # A folder that was there may have been removed since.
            with self._lock:
                self._folders.clear()
            self._make_folders(name)

    def _make_folders(self, name: str) -> None:
        for folder in folders_of(name):
            with self._lock:
                if folder in self._folders:
                    continue
            with self._answer("MKCOL", f"{folder}/") as answer:
                if answer.status_code == 405 and not self._entry(folder).folder:
                    raise self._taken(name)
                if answer.status_code not in (200, 201, 405):
                    raise self._refusal(answer, name, writing=True)
            with self._lock:
                self._folders.add(folder)

    def _taken(self, name: str) -> ObjectExistsError:
        return ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    # Reading

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        if length == 0 or (offset and length is None):
            # An open end is closed first, and an empty range cannot be asked for.
            length = check_range(self.name, name, self._size(name), offset, length, limit)
            if length == 0:
                return b""
        span = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}
        with self._answer("GET", name, headers=span) as answer:
            if answer.status_code == 416:
                raise short_read(self.name, name, 0, length or 0, transient=False)
            if answer.status_code not in (200, 206):
                raise self._refusal(answer, name)
            start, total = self._extent(answer, name)
            count = check_range(self.name, name, total, offset, length, limit)
            if start > offset:
                raise StoreError(f"store {self.name} answers with another range of {name} than was asked for")
            return self._collect(answer, name, offset - start, count)

    def _extent(self, answer: httpx.Response, name: str) -> tuple[int, int]:
        """Return where the answer's body begins in the object, and the object's size."""
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise StoreError(f"store {self.name} changes the bytes of {name} on the way: turn compression off there")
        if answer.status_code == 206:
            unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
            span, _, total = rest.partition("/")
            first = span.partition("-")[0]
            if unit == "bytes" and is_number(first) and is_number(total):
                return int(first), int(total)
        elif is_number(length := answer.headers.get("Content-Length", "")):
            return 0, int(length)
        raise StoreError(f"store {self.name} does not say how long {name} is")

    def _collect(self, answer: httpx.Response, name: str, skip: int, count: int) -> bytes:
        """Return `count` bytes of the body after the first `skip`.

        A partial answer is read to its end, so that the connection can be used again; a whole one (from a server
        that does not know ranges) only as far as needed.
        """
        got = bytearray()
        for chunk in answer.iter_raw():
            passed = min(skip, len(chunk))
            skip -= passed
            wanted = memoryview(chunk)[passed:]
            if len(wanted) > count - len(got) and answer.status_code == 206:
                raise LimitError(f"store {self.name} sends more than the {count} bytes asked of {name}")
            if len(wanted) > count - len(got):
                got += wanted[: count - len(got)]
                break
            got += wanted
        if len(got) != count:
            raise short_read(self.name, name, len(got), count)
        return bytes(got)

    def _size(self, name: str) -> int:
        entry = self._entry(name)
        if entry.folder or entry.size is None:
            raise ObjectMissingError(f"store {self.name} holds no object {name}")
        return entry.size

    def _entry(self, name: str) -> Entry:
        """Return what the server says of one object or folder; raises ObjectMissingError."""
        for entry in self._properties(name, depth=0):
            return entry
        raise ObjectMissingError(f"store {self.name} holds no object {name}")

    def _names(self, prefix: str) -> Iterator[str]:
        waiting = ["".join(f"{folder}/" for folder in prefix.split("/")[:-1])]
        while waiting:
            folder = waiting.pop()
            try:
                entries = self._properties(folder, depth=1)
            except ObjectMissingError:
                if not folder:
                    raise StoreUnavailableError(
                        f"store {self.name} has no folder at its URL: make it", transient=False
                    ) from None
                continue  # removed since, or never there
            for entry in entries:
                leaf = self._leaf(entry, folder)
                if leaf and entry.folder:
                    waiting.append(f"{folder}{leaf}/")
                elif leaf:
                    yield f"{folder}{leaf}"

    def _leaf(self, entry: Entry, folder: str) -> str:
        """Return the name of a direct child of `folder`, or nothing: a lying server must not lead elsewhere."""
        path = unquote(urlsplit(entry.href).path)
        start = self._path + folder
        leaf = path.removeprefix(start).removesuffix("/") if path.startswith(start) else ""
        return "" if "/" in leaf or leaf[:1] in ("", ".", "_") else leaf

    def _properties(self, name: str, *, depth: int) -> tuple[Entry, ...]:
        headers = {"Depth": str(depth), "Content-Type": "application/xml"}
        with self._answer("PROPFIND", name, headers=headers, content=_ASK) as answer:
            if answer.status_code != 207:
                raise self._refusal(answer, name)
            parser = MultistatusParser(self.name)
            total = 0
            for chunk in answer.iter_raw():
                total += len(chunk)
                if total > _LISTING_LIMIT:
                    raise LimitError(f"store {self.name} sends a listing of more than {_LISTING_LIMIT} bytes")
                parser.feed(chunk)
            return parser.finish()

    # Removing and checking

    def _remove(self, name: str) -> None:
        try:
            if self._entry(name).folder:
                return  # WebDAV would remove all that is in it
            self._request("DELETE", name)
        except ObjectMissingError:
            return

    def _probe(self) -> None:
        with self._lock:
            self._folders.clear()
        self._make_folders(f"{PRIVATE}/object")
        unfinished = f"{PRIVATE}/{secrets.token_hex(16)}"
        self._upload(unfinished, Source(b"medveil"), "check")
        self._request("DELETE", unfinished)

    # Requests

    def _address(self, name: str) -> str:
        return self._url + quote(name)

    def _request(self, method: str, name: str) -> None:
        with self._answer(method, name) as answer:
            if not answer.is_success:
                raise self._refusal(answer, name)

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request and lend the answer, whose body is not read yet."""
        import httpx

        try:
            with self._client.stream(method, self._address(name), headers=headers, content=content) as answer:
                yield answer
        except httpx.HTTPError as error:
            # Its text can repeat the URL; the class says enough.
            raise StoreUnavailableError(
                f"store {self.name} did not answer for {name} ({type(error).__name__})"
            ) from None

    def _refusal(self, answer: httpx.Response, name: str, *, writing: bool = False) -> MedveilError:
        """Return the store error for an answer that is not what was asked for."""
        status = answer.status_code
        if status in (301, 302, 303, 307, 308):
            target = urlsplit(answer.headers.get("Location", "")).path
            if unquote(target) == f"{self._path}{name}/":  # nginx answers so for a folder
                return ObjectMissingError(f"store {self.name} holds no object {name}")
            return StoreUnavailableError(
                f"store {self.name} redirects elsewhere (status {status}), which is refused: check its URL",
                transient=False,
            )
        if status in (401, 403, 407):
            return StoreUnavailableError(
                f"store {self.name} refuses our credentials (status {status}): renew them or their rights",
                transient=False,
            )
        if status in (404, 410) and not writing:
            return ObjectMissingError(f"store {self.name} holds no object {name}")
        if status in (404, 409, 410):
            return StoreUnavailableError(f"store {self.name} has no folder at its URL: make it", transient=False)
        if status == 507:
            return StoreFullError(f"store {self.name} has no room for {name}: make room or raise the quota")
        if status == 413:
            return StoreFullError(f"store {self.name} takes no object as large as {name}: raise its limit")
        if status in PASSING:
            return StoreUnavailableError(
                f"store {self.name} cannot answer for {name} now (status {status})",
                retry_after=retry_after(answer.headers.get("Retry-After", "")),
            )
        return StoreError(f"store {self.name} refused {name} (status {status})")


STORE = WebDAVStore
