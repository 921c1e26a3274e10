"""A store in a bucket of an S3 server: AWS, Ceph, MinIO, OpenStack Swift and the like, through obstore.

Write-once: a server that knows conditional writes (``If-None-Match: *``) decides exactly. One that answers "not
implemented" (Swift) is asked first whether the name is taken, which two racing writers can both pass; so names must
not be reused across writers there, and the vault's are not: they are hashes or carry a random number.
Redirects: obstore follows those of requests without a body, without our credentials when they lead to another host,
and has no switch for it; so what comes back may be from elsewhere, as with any server that lies. Uploads are not
redirected, and an endpoint with TLS is never left for one without.
An object shows only once it is complete, also when it travels in parts; parts of an upload that died stay hidden at
the server until a lifecycle rule of the bucket removes them.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, SecretStr

from medveil.errors import (
    ConfigError,
    LimitError,
    MedveilError,
    MissingExtraError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores.base import Source, Store, check_range, short_read
from medveil.stores.settings import StoreConfig, read_secret

if TYPE_CHECKING:
    from obstore.store import S3Store as Bucket

PART: Final = 8 << 20
"""Bytes that travel in one request; a larger object travels in parts of this size or more, two at a time."""

_MOST_PARTS: Final = 9_000  # S3 allows 10,000
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z.]{1,64})</Code>")
_FULL_CODES: Final = {"QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "StorageFull", "XMinioStorageFull"}
_EXPIRED_CODES: Final = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}  # AWS sends them with status 400
_PASSING: Final = {408, 425, 429, 500, 502, 503, 504}


class S3Config(StoreConfig):
    """A table of type ``s3``.

    bucket: it must exist. endpoint: the server's URL, where it is not AWS. prefix: a folder of the bucket.
    access_key_env, secret_key_env, session_token_env: environment variables with the credentials, or ..._file:
    files with them; where none is named, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
    ca_file: certificates to trust instead of the system's. insecure_http: allow an endpoint without TLS.
    conditional_put: use If-None-Match where the server knows it.
    """

    type: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,62}$")]
    endpoint: Annotated[str, Field(pattern=r"^https?://[^/@?#]+/?$")] | None = None
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = "us-east-1"
    prefix: Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*/?)*$", max_length=200)] = ""
    access_key_env: str | None = None
    access_key_file: Path | None = None
    secret_key_env: str | None = None
    secret_key_file: Path | None = None
    session_token_env: str | None = None
    session_token_file: Path | None = None
    ca_file: Path | None = None
    insecure_http: bool = False
    conditional_put: bool = True
    connect_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    idle_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0


class S3Store(Store):
    """Objects in a bucket. Write-once is exact where the server knows conditional writes, else best effort."""

    Config: ClassVar[type[StoreConfig]] = S3Config

    def __init__(self, bucket: Bucket, name: str, provider: str | None = None, *, conditional_put: bool = True) -> None:
        super().__init__(name, provider)
        self._bucket = bucket
        self._conditional = conditional_put

    @classmethod
    def from_config(cls, config: S3Config) -> Self:
        """Open the store that a table describes.

        Raises ConfigError where credentials are missing or TLS is, and MissingExtraError without obstore.
        """
        try:
            from obstore.store import S3Store as Bucket
        except ImportError:
            raise MissingExtraError("a store of type s3", "clouds") from None
        if config.endpoint and config.endpoint.startswith("http:") and not config.insecure_http:
            raise ConfigError(
                f"store {config.name!r} has an endpoint without TLS: use https, or say insecure_http = true"
            )
        options: dict[str, Any] = {
            "allow_http": config.insecure_http,
            "connect_timeout": timedelta(seconds=config.connect_timeout),
            "read_timeout": timedelta(seconds=config.idle_timeout),
            # The whole request; how long a call may take is for RetryStore to say, this frees its thread.
            "timeout": timedelta(seconds=600),
        }
        if config.ca_file:
            try:
                options["root_certificate"] = config.ca_file.read_bytes()
            except OSError as error:
                raise ConfigError(f"store {config.name!r}: ca_file cannot be read: {error.strerror}") from None
        arguments: dict[str, Any] = _credentials(config)
        if config.endpoint:
            arguments["endpoint"] = config.endpoint.rstrip("/")
        bucket = Bucket(
            config.bucket,
            prefix=config.prefix.strip("/") or None,
            region=config.region,
            client_options=options,  # type: ignore[arg-type]  # obstore's TypedDict exists for type checkers only
            retry_config={"max_retries": 0},
            **arguments,
        )
        return cls(bucket, config.name, config.provider, conditional_put=config.conditional_put)

    # Writing

    def _write(self, name: str, source: Source) -> None:
        pieces = iter(source)
        held: list[memoryview] = []
        total = 0
        for piece in pieces:
            held.append(piece)
            total += len(piece)
            if total > PART:
                break
        else:
            self._put_whole(name, b"".join(held))
            return
        self._refuse_taken(name)
        self._put_parts(name, itertools.chain(held, pieces), source.size or 0)

    def _put_whole(self, name: str, data: bytes) -> None:
        import obstore

        if self._conditional:
            try:
                obstore.put(self._bucket, name, data, mode="create", use_multipart=False)
            except (obstore.exceptions.BaseError, OSError) as error:
                if _status(error) != 501:
                    raise self._translated(error, name, writing=True) from None
                self._conditional = False
            else:
                return
        self._refuse_taken(name)
        try:
            obstore.put(self._bucket, name, data, use_multipart=False)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._translated(error, name, writing=True) from None

    def _put_parts(self, name: str, pieces: Iterable[memoryview], size: int) -> None:
        import obstore

        part = max(PART, -(-size // _MOST_PARTS))
        try:
            obstore.put(self._bucket, name, iter(pieces), use_multipart=True, chunk_size=part, max_concurrency=2)
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._translated(error, name, writing=True) from None

    def _refuse_taken(self, name: str) -> None:
        try:
            self._head(name)
        except ObjectMissingError:
            return
        raise self._taken(name)

    # Reading

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        import obstore

        if length == 0 or (offset and length is None):
            # An open end is closed first, and an empty range cannot be asked for.
            length = check_range(self.name, name, self._size(name), offset, length, limit)
            if length == 0:
                return b""
        try:
            span = {} if length is None else {"range": (offset, offset + length)}
            answer = obstore.get(self._bucket, name, options=span)  # type: ignore[arg-type]
            count = check_range(self.name, name, answer.meta["size"], offset, length, limit)
            got = bytearray()
            for chunk in answer.stream(min_chunk_size=1 << 20):
                if len(got) + len(chunk) > count:
                    raise LimitError(f"store {self.name} sends more than the {count} bytes asked of {name}")
                got += memoryview(chunk)
        except (obstore.exceptions.BaseError, OSError) as error:
            if _status(error) == 416:
                raise short_read(self.name, name, 0, length or 0, transient=False) from None
            raise self._translated(error, name) from None
        if len(got) != count:
            raise short_read(self.name, name, len(got), count)
        return bytes(got)

    def _size(self, name: str) -> int:
        try:
            return self._head(name)
        except ObjectMissingError:
            # The answer to HEAD has no body to tell a missing object from a missing bucket; that to GET has.
            self._read(name, 0, 1, 1)
            return self._head(name)

    def _head(self, name: str) -> int:
        import obstore

        try:
            return int(obstore.head(self._bucket, name)["size"])
        except (obstore.exceptions.BaseError, OSError) as error:
            if _status(error) == 400:
                self._read(name, 0, 1, 1)  # says more, for instance that a token expired
            raise self._translated(error, name) from None

    def _names(self, prefix: str) -> Iterator[str]:
        import obstore

        folder = prefix.rpartition("/")[0]
        try:
            for page in obstore.list(self._bucket, folder or None):
                for entry in page:
                    yield entry["path"]
        except (obstore.exceptions.BaseError, OSError) as error:
            raise self._translated(error, f"{prefix}*", writing=True) from None

    # Removing and checking

    def _remove(self, name: str) -> None:
        import obstore

        try:
            obstore.delete(self._bucket, name)
        except (obstore.exceptions.BaseError, OSError) as error:
            failure = self._translated(error, name)
            if not isinstance(failure, ObjectMissingError):
                raise failure from None

    def _probe(self) -> None:
        name = f"check-{secrets.token_hex(12)}"
        self._put_whole(name, b"medveil")
        self._remove(name)

    # What the server said

    def _taken(self, name: str) -> ObjectExistsError:
        return ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    def _translated(self, error: Exception, name: str, *, writing: bool = False) -> MedveilError:
        """Return the store error for what obstore raised.

        Its text is left out: it repeats the server's answer, which can hold parts of the request.
        writing: no object need be there, so that what is missing is the bucket.
        """
        from obstore import exceptions

        status, code = _status(error), _code(error)
        said = " ".join(filter(None, [f"status {status}" if status else "", code]))
        if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError) or status == 412:
            return self._taken(name)
        if code == "NoSuchBucket" or (status == 404 and writing):
            return StoreUnavailableError(f"store {self.name} has no such bucket ({said}): make it", transient=False)
        if isinstance(error, FileNotFoundError) or status == 404:
            return ObjectMissingError(f"store {self.name} holds no object {name}")
        if status == 507 or code in _FULL_CODES:
            return StoreFullError(f"store {self.name} has no room for {name} ({said}): make room or raise the quota")
        denied = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        if denied or status in (401, 403) or code in _EXPIRED_CODES:
            return StoreUnavailableError(
                f"store {self.name} refuses our credentials ({said}): renew them or their rights", transient=False
            )
        if status is not None and 300 <= status < 400:
            return StoreUnavailableError(
                f"store {self.name} redirects elsewhere ({said}), which is refused: check endpoint and region",
                transient=False,
            )
        if status is None or status in _PASSING:
            return StoreUnavailableError(f"store {self.name} did not answer for {name} ({said or 'no connection'})")
        return StoreError(f"store {self.name} refused {name} ({said})")


def _status(error: Exception) -> int | None:
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def _code(error: Exception) -> str:
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _credentials(config: S3Config) -> dict[str, str]:
    """Return what obstore calls the credentials; raises ConfigError where a key is not named or not there."""
    found = {}
    for ours, theirs, env, file, fallback in (
        ("access key", "access_key_id", config.access_key_env, config.access_key_file, "AWS_ACCESS_KEY_ID"),
        ("secret key", "secret_access_key", config.secret_key_env, config.secret_key_file, "AWS_SECRET_ACCESS_KEY"),
        ("session token", "session_token", config.session_token_env, config.session_token_file, "AWS_SESSION_TOKEN"),
    ):
        secret = read_secret(f"{ours} of store {config.name!r}", env=env, file=file)
        if secret is None and (plain := os.environ.get(fallback)):
            secret = SecretStr(plain)
        if secret is not None:
            found[theirs] = secret.get_secret_value()
    if not {"access_key_id", "secret_access_key"} <= set(found):
        raise ConfigError(
            f"store {config.name!r} has no credentials: name them with access_key_env and secret_key_env, or _file"
        )
    return found


STORE = S3Store
