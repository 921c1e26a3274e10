"""QIDO-RS (PS3.18, 10.6): studies through the encrypted index, series and instances of one study."""

from __future__ import annotations

from typing import Any, Final

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from medveil.errors import InputError, UnsupportedError
from medveil.gateway import matching
from medveil.gateway.matching import Attributes, Wish
from medveil.gateway.web import JSON, ROOT, Door, blocking

MOST: Final = 1000
"""Results of one answer at most; `offset` brings the next."""
_CONTROL: Final = frozenset({"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"})


async def studies(door: Door, request: Request) -> Response:
    """Search for studies."""
    client = door.client(request, "query")
    wish, limit, offset = _asked(request, "STUDY")
    try:
        found = await blocking(lambda: door.archive.search(client, wish.query(), limit=limit + 1, offset=offset))
    except UnsupportedError as error:
        raise InputError(str(error)) from None
    listed = [(dict(one.attributes), f"/studies/{one.attributes.get('StudyInstanceUID', '')}") for one in found]
    return _answer(door, request, listed, limit)


async def series(door: Door, request: Request) -> Response:
    """Search for series of a study."""
    client = door.client(request, "query")
    wish, limit, offset = _asked(request, "SERIES")
    study = await blocking(door.archive.study, client, wish.study)
    found = matching.series_of(study, wish)
    listed = [(one, f"/studies/{wish.study}/series/{one.get('SeriesInstanceUID', '')}") for one in found]
    return _answer(door, request, listed[offset:], limit)


async def instances(door: Door, request: Request) -> Response:
    """Search for instances of a study or series."""
    client = door.client(request, "query")
    wish, limit, offset = _asked(request, "IMAGE")
    study = await blocking(door.archive.study, client, wish.study)
    listed = [(one, _address(wish.study, one)) for _, one in matching.instances_of(study, wish)]
    return _answer(door, request, listed[offset:], limit)


def _address(study: str, attributes: Attributes) -> str:
    series_uid, uid = attributes.get("SeriesInstanceUID", ""), attributes.get("SOPInstanceUID", "")
    return f"/studies/{study}/series/{series_uid}/instances/{uid}"


def _asked(request: Request, level: str) -> tuple[Wish, int, int]:
    """Return what is asked for, with limit and offset. Raises InputError."""
    keys: dict[str, str] = {}
    limit, offset = MOST, 0
    for name, value in request.query_params.multi_items():
        if name in ("limit", "offset"):
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise InputError(f"{name} is no number")
            limit, offset = (min(int(value), MOST), offset) if name == "limit" else (limit, int(value))
        elif name not in _CONTROL:
            keyword = _keyword(name)
            keys[keyword] = f"{keys[keyword]}\\{value}" if keyword in keys else value.replace(",", "\\")
    for name, keyword in (("study", "StudyInstanceUID"), ("series", "SeriesInstanceUID")):
        if name in request.path_params:
            keys[keyword] = request.path_params[name]
    return Wish(level, keys), limit, offset


def _keyword(name: str) -> str:
    """Return the keyword of an attribute that is named by keyword or tag. Raises InputError."""
    keyword = keyword_for_tag(name) if len(name) == 8 and not set(name.lower()) - set("0123456789abcdef") else name
    if not keyword or tag_for_keyword(keyword) is None:
        raise InputError("an attribute of the search is not in the dictionary of DICOM")
    return keyword


def _answer(door: Door, request: Request, found: list[tuple[Attributes, str]], limit: int) -> Response:
    door.metrics.searches.labels("web").inc()
    base = f"{request.url.scheme}://{request.url.netloc}{ROOT}"
    listed = [as_json(attributes) | _retrieve_url(base + path) for attributes, path in found[:limit]]
    headers = {}
    if len(found) > limit:
        headers["Warning"] = f'299 medveil "more results than {limit}: ask with offset"'
    return JSONResponse(listed, 200, headers, media_type=JSON) if listed else Response(status_code=204)


def _retrieve_url(url: str) -> dict[str, Any]:
    return {"00081190": {"vr": "UR", "Value": [url]}}


def as_json(attributes: Attributes) -> dict[str, Any]:
    """Return attributes by keyword in the JSON model of DICOM (PS3.18 annex F), in the order of their tags."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        if tag_for_keyword(keyword) is not None:
            setattr(dataset, keyword, value)
    return dict(sorted(dataset.to_json_dict(suppress_invalid_tags=True).items()))
