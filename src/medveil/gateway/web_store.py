"""STOW-RS (PS3.18, 10.5): instances in a multipart body, each durable before the answer says that it is stored."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from medveil.errors import InputError, LimitError, StoreFullError, UnsupportedError
from medveil.gateway.access import Client
from medveil.gateway.instances import Received, from_file
from medveil.gateway.multipart import MediaType, MultipartReader, Part
from medveil.gateway.receiving import FULL, MISMATCH, NOT_UNDERSTOOD, SUCCESS
from medveil.gateway.web import JSON, ROOT, Door, blocking

_ANSWERS: Final = ("application/dicom+json", "application/json", "*/*", "application/*", "")


@dataclass(slots=True)
class _Tally:
    """What came of the parts. stored, failed: items of the answer's sequences."""

    stored: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    full: bool = False


async def store(door: Door, request: Request) -> Response:
    """Take the instances of a request. Status 200: all stored; 202: some; 409: none; 503: come back later."""
    client = door.client(request, "store")
    kind = MediaType.parse(request.headers.get("content-type", ""))
    if kind.name != "multipart/related" or kind.parameters.get("type", "application/dicom") != "application/dicom":
        return JSONResponse({"error": "UnsupportedMediaType"}, 415)
    accepted = [MediaType.parse(one).name for one in request.headers.get("accept", "*/*").split(",")]
    if not any(one in _ANSWERS for one in accepted):
        raise UnsupportedError("the answer to STOW-RS comes as application/dicom+json")
    announced = request.headers.get("content-length", "")
    budget = min(int(announced) if announced.isdigit() else door.queue.max_instance, door.queue.max_instance)
    reader = MultipartReader(request.headers["content-type"], door.queue.max_instance)
    try:
        await blocking(door.memory.take, budget, time.monotonic() + door.timeout)
    except TimeoutError:
        raise StoreFullError("too much is arriving at once: send again later") from None
    try:
        tally = await _take_parts(door, request, reader, client)
    finally:
        door.memory.give(budget)
    return _answer(door, request, tally)


async def _take_parts(door: Door, request: Request, reader: MultipartReader, client: Client) -> _Tally:
    tally = _Tally()
    stream = request.stream().__aiter__()
    while True:
        try:
            piece = await asyncio.wait_for(stream.__anext__(), door.timeout)
        except StopAsyncIteration:
            break
        for part in reader.feed(piece):
            await blocking(_take, door, request, part, client, tally)
    reader.finish()
    if not tally.stored and not tally.failed:
        raise InputError("the body has no part")
    return tally


def _take(door: Door, request: Request, part: Part, client: Client, tally: _Tally) -> None:
    try:
        instance = _instance(part)
    except (InputError, LimitError) as error:
        door.reception.refuse(error, via="web", client=client.name)
        tally.failed.append(_failure("", "", NOT_UNDERSTOOD))
        return
    wanted = request.path_params.get("study")
    if wanted is not None and wanted != instance.study:
        outcome = door.reception.refuse(InputError("another study"), via="web", client=client.name)
        tally.failed.append(_failure(instance.sop_class, instance.uid, MISMATCH))
        return
    outcome = door.reception.take(instance, via="web", client=client.name)
    if outcome.status != SUCCESS:
        tally.full |= outcome.status == FULL
        tally.failed.append(_failure(instance.sop_class, instance.uid, outcome.status))
        return
    where = f"{ROOT}/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}"
    tally.stored.append(
        _reference(instance.sop_class, instance.uid) | {"00081190": _text("UR", f"{_base(request)}{where}")}
    )


def _instance(part: Part) -> Received:
    if MediaType.parse(part.headers.get("content-type", "application/dicom")).name != "application/dicom":
        raise InputError("a part is not application/dicom")
    return from_file(part.body)


def _answer(door: Door, request: Request, tally: _Tally) -> Response:
    body: dict[str, Any] = {"00081190": _text("UR", f"{_base(request)}{ROOT}/studies")}
    if tally.stored:
        body["00081199"] = {"vr": "SQ", "Value": tally.stored}
    if tally.failed:
        body["00081198"] = {"vr": "SQ", "Value": tally.failed}
    headers = {}
    if not tally.failed:
        status = 200
    elif tally.stored:
        status = 202
    elif tally.full:
        status = 503
        headers["Retry-After"] = str(door.queue.retry_after)
    else:
        status = 409
    return JSONResponse(body, status, headers, media_type=JSON)


def _failure(sop_class: str, uid: str, reason: int) -> dict[str, Any]:
    named = _reference(sop_class, uid) if uid else {}
    return named | {"00081197": {"vr": "US", "Value": [reason]}}


def _reference(sop_class: str, uid: str) -> dict[str, Any]:
    return {"00081150": _text("UI", sop_class), "00081155": _text("UI", uid)}


def _text(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
