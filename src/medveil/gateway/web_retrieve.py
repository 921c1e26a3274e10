"""WADO-RS (PS3.18, 10.4): verified originals, their metadata, and frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from pydicom.dataset import Dataset
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from medveil.errors import InputError, ObjectMissingError, UnsupportedError
from medveil.gateway import matching
from medveil.gateway.access import Client
from medveil.gateway.instances import Received, from_file
from medveil.gateway.matching import Wish
from medveil.gateway.multipart import MediaType, MultipartWriter
from medveil.gateway.web import JSON, Door, blocking
from medveil.vault.search import Instance, Study

DICOM: Final = "application/dicom"
BYTES: Final = "application/octet-stream"
_MOST_FRAMES: Final = 1000
_LITTLE: Final = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
_FRAME_TYPES: Final = {
    "1.2.840.10008.1.2.4.50": "image/jpeg", "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg", "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls", "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2", "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc", "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc", "1.2.840.10008.1.2.5": "image/dicom-rle",
}  # fmt: skip


async def retrieve(door: Door, request: Request) -> Response:
    """Give the instances of a study, a series, or one; each is the file that came in, byte for byte."""
    client, study, wanted = await _wanted(door, request)
    syntaxes, single = _accepted_dicom(request, alone=len(wanted) == 1)
    first = await _original(door, client, study, wanted[0], syntaxes)
    if single:
        door.metrics.sent.labels("web").inc()
        return Response(first.data, media_type=DICOM)
    writer = MultipartWriter(DICOM)

    async def body() -> AsyncIterator[bytes]:
        # An error after the first part ends the connection without its last boundary: nobody takes it for whole.
        for number, instance in enumerate(wanted):
            original = first if number == 0 else await _original(door, client, study, instance, syntaxes)
            yield writer.part(f"{DICOM}; transfer-syntax={original.transfer_syntax}", original.data)
            door.metrics.sent.labels("web").inc()
        yield writer.end()

    return StreamingResponse(body(), media_type=writer.content_type)


async def metadata(door: Door, request: Request) -> Response:
    """Give the attributes of instances without their pixels, in the JSON model of DICOM."""
    client, study, wanted = await _wanted(door, request)
    found = []
    for instance in wanted:
        original = await _original(door, client, study, instance, frozenset())
        found.append(await blocking(_attributes, original))
    return JSONResponse(found, media_type=JSON)


async def frames(door: Door, request: Request) -> Response:
    """Give frames of an instance, as they are stored or as plain pixels."""
    client, study, wanted = await _wanted(door, request)
    numbers = _frame_numbers(request.path_params["frames"])
    original = await _original(door, client, study, wanted[0], frozenset())
    stored_as = _FRAME_TYPES.get(original.transfer_syntax, BYTES)
    plain = _plain_frames(request, stored_as, original.transfer_syntax)
    kind = BYTES if plain else stored_as
    found = await blocking(lambda: list(_frames(original, numbers, plain=plain)))
    writer = MultipartWriter(kind)
    syntax = "1.2.840.10008.1.2.1" if plain else original.transfer_syntax
    parts = [writer.part(f"{kind}; transfer-syntax={syntax}", frame) for frame in found]
    return Response(b"".join(parts) + writer.end(), media_type=writer.content_type)


async def _wanted(door: Door, request: Request) -> tuple[Client, Study, list[Instance]]:
    """Return who asks for which instances. Raises PolicyError, ObjectMissingError."""
    client = door.client(request, "retrieve")
    path = request.path_params
    study = await blocking(door.archive.study, client, path["study"])
    names = (("series", "SeriesInstanceUID"), ("instance", "SOPInstanceUID"))
    wish = Wish("IMAGE", {keyword: path[name] for name, keyword in names if name in path})
    found = [
        instance
        for instance, _ in matching.instances_of(study, Wish("IMAGE", {}))
        if all(instance.attributes.get(keyword) == value for keyword, value in wish.keys.items())
    ]
    if not found:
        raise ObjectMissingError("there is no such instance")
    return client, study, found


async def _original(door: Door, client: Client, study: Study, instance: Instance, syntaxes: frozenset[str]) -> Received:
    """Return the verified original. Raises UnsupportedError where its transfer syntax is not accepted."""
    original: Received = from_file(await blocking(door.archive.read, client, study, instance))
    if syntaxes and original.transfer_syntax not in syntaxes:
        raise UnsupportedError(
            f"the instance is in transfer syntax {original.transfer_syntax} and is not re-encoded: accept that or *"
        )
    return original


def _accepted(request: Request) -> list[MediaType]:
    """Return what the client accepts: Accept, or the query parameter of that name."""
    text = request.query_params.get("accept") or request.headers.get("accept", "*/*")
    found, quoted, start = [], False, 0
    for at, character in enumerate(text + ","):
        quoted ^= character == '"'
        if character == "," and not quoted:
            found.append(MediaType.parse(text[start:at].strip()))
            start = at + 1
    return found


def _accepted_dicom(request: Request, *, alone: bool) -> tuple[frozenset[str], bool]:
    """Return which transfer syntaxes are accepted (empty: all), and whether as a body that is no multipart.

    Raises UnsupportedError.
    """
    syntaxes: set[str] = set()
    every = multipart = single = False
    for one in _accepted(request):
        related = one.name == "multipart/related" and one.parameters.get("type", DICOM) == DICOM
        if not related and one.name not in ("*/*", "multipart/*", DICOM, "application/*"):
            continue
        multipart |= one.name != DICOM and one.name != "application/*"
        single |= one.name in (DICOM, "application/*")
        syntax = one.parameters.get("transfer-syntax", "*")
        every |= syntax == "*"
        syntaxes.add(syntax)
    if not multipart and not (single and alone):
        raise UnsupportedError('instances come as multipart/related; type="application/dicom"')
    return frozenset() if every else frozenset(syntaxes), not multipart


def _plain_frames(request: Request, stored_as: str, syntax: str) -> bool:
    """Return whether frames are wanted as plain pixels. Raises UnsupportedError."""
    if stored_as == BYTES:
        return syntax not in _LITTLE
    for one in _accepted(request):
        kind = one.parameters.get("type", "*/*") if one.name == "multipart/related" else one.name
        if kind in (stored_as, "*/*", "image/*", "multipart/*"):
            return False
        if kind == BYTES:
            return one.parameters.get("transfer-syntax", "") != syntax
    raise UnsupportedError(f"frames come as {stored_as} or {BYTES}")


def _frame_numbers(text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > _MOST_FRAMES or not all(one.isascii() and one.isdigit() and len(one) < 9 for one in parts):
        raise InputError("frames are numbers from 1, joined by commas")
    return [int(one) for one in parts]


def _attributes(original: Received) -> dict[str, Any]:
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(original.data), stop_before_pixels=True)
        found = dict(dataset.to_json_dict(suppress_invalid_tags=True))
    found["00083002"] = {"vr": "UI", "Value": [original.transfer_syntax]}  # Available Transfer Syntax UID
    return found


def _frames(original: Received, numbers: list[int], *, plain: bool) -> Iterator[bytes]:
    """Yield frames by number. Raises ObjectMissingError where there is none, UnsupportedError where it is damaged."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(io.BytesIO(original.data))
        count = int(dataset.get("NumberOfFrames", 1) or 1)
        if "PixelData" not in dataset or not all(1 <= number <= count for number in numbers):
            raise ObjectMissingError(f"the instance has {count if 'PixelData' in dataset else 0} frames")
        read = _plain if plain else _stored
        for number in numbers:
            try:
                yield read(dataset, number, count)
            except UnsupportedError:
                raise
            except Exception:  # noqa: BLE001 - decoders raise anything on damaged data
                raise UnsupportedError("a frame of this instance cannot be read: retrieve it whole") from None


def _plain(dataset: Dataset, number: int, _: int) -> bytes:
    from pydicom.pixels.utils import pixel_array

    return bytes(pixel_array(dataset, index=number - 1, raw=True).tobytes())


def _stored(dataset: Dataset, number: int, count: int) -> bytes:
    from pydicom.encaps import get_frame

    if dataset.file_meta.TransferSyntaxUID not in _LITTLE:
        return get_frame(dataset.PixelData, number - 1, number_of_frames=count)
    bits = int(dataset.Rows) * int(dataset.Columns) * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated)
    if bits % 8:
        raise UnsupportedError("frames of this instance do not begin at a byte: retrieve it whole")
    return bytes(dataset.PixelData[(number - 1) * bits // 8 : number * bits // 8])
