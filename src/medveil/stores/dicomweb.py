"""A store in a PACS, over DICOMweb (PS3.18): STOW-RS, QIDO-RS and WADO-RS, through httpx.

An object is an instance of Raw Data Storage (see `medveil.stores.raw_data`); the PACS sees ciphertext and random names.

- Write-once: the name gives the SOP Instance UID. A PACS that keeps the first of two instances with one UID (Orthanc
  does by default) decides a race exactly; one that overwrites does not, so names must not be reused across writers,
  and the vault's are not.
- DICOMweb knows no delete that all servers have. ``delete = "dicomweb"`` sends DELETE to the instance (Google, Azure,
  dcm4chee with a plug-in); Orthanc answers it with 405 and has its REST interface, ``delete = "orthanc"``. With
  ``delete = "none"`` what is removed stays until the PACS's retention ends, and the vault's queue says so.
- DICOMweb knows no ranges. Of an object larger than `WHOLE` all is fetched at the first read and kept for a few
  seconds in an unlinked temporary file (ciphertext), so a change at the PACS within that time goes unseen until later.
- A PACS may answer from its own cache: what it holds on disk can be damaged and not show until it restarts.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field

from medveil.errors import (
    LimitError,
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores import raw_data
from medveil.stores.base import Bytes, Source, Store, check_range, short_read
from medveil.stores.fetched import Kept, KeptObject
from medveil.stores.http import PASSING, HttpConfig, open_client, retry_after
from medveil.stores.raw_data import ATTEMPT, Pieces, Place, place_of
from medveil.stores.settings import Label, StoreConfig

if TYPE_CHECKING:
    import httpx

WHOLE: Final = 1 << 20
"""Bytes of an object up to which each read fetches it anew; a larger one is kept for a moment."""

_PAGE: Final = 2000
_ANSWER_LIMIT: Final = 64 << 20
_JSON: Final = {"Accept": "application/dicom+json"}
_DICOM: Final = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
_SOP_CLASS, _SOP_INSTANCE, _COMMENTS = "00080016", "00080018", "00204000"
_FAILED, _STORED, _REASON, _REFERENCED = "00081198", "00081199", "00081197", "00081155"
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)
_DUPLICATE: Final = 0x0111


class DicomwebConfig(HttpConfig):
    """A table of type ``dicomweb``: see `HttpConfig`; url is of the service, as https://pacs.example/dicom-web.

    archive: a label that keeps several stores in one PACS apart; it is the Patient ID of all their instances.
    delete: how instances are removed (see the module). orthanc_url: of Orthanc's REST interface, where it is not the
    folder that url lies in.
    """

    type: Literal["dicomweb"]
    archive: Label = "medveil"
    delete: Literal["dicomweb", "orthanc", "none"] = "dicomweb"
    orthanc_url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^?#\s]*)?$", max_length=1000)] | None = None


class DicomwebStore(Store):
    """Objects as instances of a PACS. Write-once is exact where it keeps the first of two instances with one UID."""

    Config: ClassVar[type[StoreConfig]] = DicomwebConfig

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        name: str,
        provider: str | None = None,
        *,
        archive: str = "medveil",
        delete: str = "dicomweb",
        orthanc_url: str | None = None,
    ) -> None:
        super().__init__(name, provider)
        self._client = client
        self._url = url.rstrip("/") + "/"
        self._archive = archive
        self._delete = delete
        self._orthanc = (orthanc_url or self._url.rstrip("/").rpartition("/")[0]).rstrip("/") + "/"
        self._kept = Kept()

    @classmethod
    def from_config(cls, config: DicomwebConfig) -> Self:
        """Open the store that a table describes; connects on first use.

        Raises ConfigError where a secret or TLS is missing, and MissingExtraError without httpx.
        """
        return cls(
            open_client(config),
            config.url,
            config.name,
            config.provider,
            archive=config.archive,
            delete=config.delete,
            orthanc_url=config.orthanc_url,
        )

    def _shut(self) -> None:
        self._kept.clear()
        self._client.close()

    # Writing

    def _write(self, name: str, source: Source) -> None:
        where = place_of(self._archive, name)
        if self._found(where, name) is not None:
            raise self._taken(name)
        attempt = secrets.token_bytes(ATTEMPT)
        with contextlib.ExitStack() as stack:
            pieces: Iterable[Bytes] = source
            size = source.size
            if size is None:  # the instance says its length before its content
                spooled = stack.enter_context(tempfile.TemporaryFile())
                size = sum(spooled.write(piece) for piece in source)
                spooled.seek(0)
                pieces = iter(lambda: spooled.read(1 << 20), b"")
            self._send(where, name, size, attempt, pieces)
        found = self._found(where, name)
        if found is None:
            raise StoreError(f"store {self.name} took {name} and does not find it")
        if found[2] != attempt:
            raise self._taken(name)

    def _send(self, where: Place, name: str, size: int, attempt: bytes, pieces: Iterable[Bytes]) -> None:
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        head += raw_data.before(self._archive, name, size, attempt)
        tail = raw_data.after(size) + f"\r\n--{boundary}--\r\n".encode()
        headers = _JSON | {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Content-Length": str(len(head) + size + len(tail)),
        }

        def body() -> Iterator[bytes]:
            yield head
            for piece in pieces:
                yield bytes(piece)
            yield tail

        with self._answer("POST", "studies", name, headers=headers, content=body()) as answer:
            if answer.status_code not in (200, 202, 409):
                raise self._refusal(answer, name)
            said = self._json(answer, name)
        report = said[0] if isinstance(said, list) and said else said
        self._check_stored(report if isinstance(report, dict) else {}, where, name)

    def _check_stored(self, report: dict[str, Any], where: Place, name: str) -> None:
        """Raise unless the answer to a STOW names the instance as stored (PS3.18 10.5.3)."""
        if any(_value(item, _REFERENCED) == where.instance for item in _values(report, _STORED)):
            return
        reason = next((_value(item, _REASON) for item in _values(report, _FAILED)), None)
        if reason == _DUPLICATE:
            raise self._taken(name)
        if isinstance(reason, int) and reason in _OUT_OF_RESOURCES:
            raise StoreFullError(f"store {self.name} has no room for {name}: make room or raise the quota")
        shown = f"{reason:#06x}" if isinstance(reason, int) else "none given"
        raise StoreError(f"store {self.name} did not store {name} (reason: {shown}): see the log of the PACS")

    def _taken(self, name: str) -> ObjectExistsError:
        return ObjectExistsError(f"store {self.name} holds {name} already: names are written once")

    # Reading

    def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
        kept = self._kept.get(name)
        if kept is not None:
            count = check_range(self.name, name, kept.size, offset, length, limit)
            return kept.read(offset, count)
        with self._instance(name) as (pieces, total):
            count = check_range(self.name, name, total, offset, length, limit)
            if count == total or total <= WHOLE:
                pieces.skip(offset)
                data = b"".join(pieces.rest(count))
                if len(data) != count:
                    raise short_read(self.name, name, len(data), count)
                return data
            kept = KeptObject(total)
            got = kept.fill(pieces.rest(total))
        if got != total:
            raise short_read(self.name, name, got, total)
        self._kept.add(name, kept)
        return kept.read(offset, count)

    @contextlib.contextmanager
    def _instance(self, name: str) -> Iterator[tuple[Pieces, int]]:
        """Lend the bytes of an object as they arrive, and its size."""
        with self._answer("GET", place_of(self._archive, name).path, name, headers=_DICOM) as answer:
            if answer.status_code != 200:
                raise self._refusal(answer, name)
            if not answer.headers.get("Content-Type", "").startswith("multipart/related"):
                raise StoreError(
                    f"store {self.name} answers with no multipart for {name}: check that it speaks WADO-RS"
                )
            pieces = Pieces(answer.iter_bytes())
            try:
                while pieces.line():  # up to the empty line after the headers of the first part
                    pass
                size = raw_data.find_object(pieces, self.name, name)
                yield pieces, size
            except EOFError:
                raise StoreUnavailableError(
                    f"store {self.name} gave {name} cut short: the instance is or the answer was"
                ) from None

    def _size(self, name: str) -> int:
        found = self._found(place_of(self._archive, name), name)
        if found is None:
            raise ObjectMissingError(f"store {self.name} holds no object {name}")
        return found[1]

    def _found(self, where: Place, name: str) -> tuple[str, int, bytes] | None:
        """Return (name, size, attempt) that the PACS says of one object, or None where it has none."""
        path = f"studies/{where.study}/series/{where.series}/instances"
        for entry in self._search(f"{path}?SOPInstanceUID={where.instance}&includefield={_COMMENTS}", name):
            found = raw_data.read_description(_value(entry, _COMMENTS))
            if _value(entry, _SOP_INSTANCE) == where.instance and found is not None and found[0] == name:
                return found
        return None

    def _names(self, prefix: str) -> Iterator[str]:
        # Not percent-encoded: names need it nowhere, and Orthanc would take %2F and %2A for text.
        folder = raw_data.folder_of(prefix)
        narrowed = f"&StudyDescription={folder[:63]}*" if folder else ""
        seen: set[str] = set()
        offset = 0
        while True:
            ask = (
                f"instances?PatientID={self._archive}{narrowed}&includefield={_COMMENTS}&limit={_PAGE}&offset={offset}"
            )
            page = self._search(ask, "its listing")
            for entry in page:
                found = raw_data.read_description(_value(entry, _COMMENTS))
                if found is not None and found[0] not in seen:
                    seen.add(found[0])
                    yield found[0]
            offset += len(page)
            if len(page) < _PAGE:
                return

    def _search(self, ask: str, name: str) -> list[dict[str, Any]]:
        with self._answer("GET", ask, name, headers=_JSON) as answer:
            if answer.status_code in (204, 404):
                return []
            if answer.status_code != 200:
                raise self._refusal(answer, name)
            found = self._json(answer, name)
        if not isinstance(found, list):
            raise StoreError(f"store {self.name} answers a search with no list: check that it speaks QIDO-RS")
        return [entry for entry in found if isinstance(entry, dict)]

    # Removing and checking

    def _remove(self, name: str) -> None:
        self._kept.drop(name)
        where = place_of(self._archive, name)
        if self._delete == "orthanc":
            self._remove_at_orthanc(where, name)
            return
        if self._found(where, name) is None:
            return
        if self._delete == "none":
            raise StoreError(
                f"store {self.name} removes nothing (delete = none): {name} stays until its retention ends"
            )
        with self._answer("DELETE", where.path, name) as answer:
            if answer.status_code in (404, 410):
                return
            if answer.status_code in (405, 501):
                raise StoreError(
                    f"store {self.name} knows no DELETE of instances: set delete = orthanc, where it is one, or none"
                )
            if not answer.is_success:
                raise self._refusal(answer, name)

    def _remove_at_orthanc(self, where: Place, name: str) -> None:
        with self._answer(
            "POST", f"{self._orthanc}tools/lookup", name, content=iter([where.instance.encode()])
        ) as found:
            if found.status_code != 200:
                raise self._refusal(found, name)
            listed = self._json(found, name)
        for entry in listed if isinstance(listed, list) else []:
            path = entry.get("ID", "") if isinstance(entry, dict) and entry.get("Type") == "Instance" else ""
            if not path or set(path) - set("0123456789abcdef-"):
                continue
            with self._answer("DELETE", f"{self._orthanc}instances/{path}", name) as gone:
                if not gone.is_success and gone.status_code != 404:
                    raise self._refusal(gone, name)

    def _probe(self) -> None:
        name = f"check-{secrets.token_hex(8)}"
        if self._delete == "none":
            self._found(place_of(self._archive, name), name)
            return
        self._write(name, Source(b"medveil"))
        self._remove(name)

    # Requests

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        name: str,
        *,
        headers: dict[str, str] | None = None,
        content: Iterator[bytes] | None = None,
    ) -> Iterator[httpx.Response]:
        """Send a request and lend the answer, whose body is not read yet."""
        import httpx

        address = path if path.startswith("http") else self._url + path
        try:
            with self._client.stream(method, address, headers=headers, content=content) as answer:
                yield answer
        except httpx.HTTPError as error:
            # Its text can repeat the URL; the class says enough.
            raise StoreUnavailableError(
                f"store {self.name} did not answer for {name} ({type(error).__name__})"
            ) from None

    def _json(self, answer: httpx.Response, name: str) -> Any:
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > _ANSWER_LIMIT:
                raise LimitError(f"store {self.name} answers with more than {_ANSWER_LIMIT} bytes of JSON for {name}")
        try:
            return json.loads(body or b"null")
        except (ValueError, RecursionError):
            raise StoreError(
                f"store {self.name} answers with no JSON for {name}: check that it speaks DICOMweb"
            ) from None

    def _refusal(self, answer: httpx.Response, name: str) -> MedveilError:
        """Return the store error for an answer that is not what was asked for."""
        status = answer.status_code
        if status in (301, 302, 303, 307, 308):
            return StoreUnavailableError(
                f"store {self.name} redirects elsewhere (status {status}), which is refused: check its URL",
                transient=False,
            )
        if status in (401, 403, 407):
            return StoreUnavailableError(
                f"store {self.name} refuses our credentials (status {status}): renew them or their rights",
                transient=False,
            )
        if status in (404, 410):
            return ObjectMissingError(f"store {self.name} holds no object {name}")
        if status in (413, 507):
            return StoreFullError(f"store {self.name} has no room for {name} (status {status}): raise its limit")
        if status in PASSING:
            return StoreUnavailableError(
                f"store {self.name} cannot answer for {name} now (status {status})",
                retry_after=retry_after(answer.headers.get("Retry-After", "")),
            )
        return StoreError(f"store {self.name} refused {name} (status {status})")


def _values(dataset: dict[str, Any], tag: str) -> list[Any]:
    """Return the values of an attribute of a DICOM JSON dataset (PS3.18 F.2), which a server may have made up."""
    attribute = dataset.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def _value(dataset: Any, tag: str) -> Any:
    values = _values(dataset, tag) if isinstance(dataset, dict) else []
    return values[0] if values else None


STORE = DicomwebStore
