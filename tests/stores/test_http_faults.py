"""What S3 and WebDAV servers do wrong, and the one typed error that comes of each."""

from __future__ import annotations

import contextlib
import email.utils
import time

import pytest
from tests.stores.misbehaving import (
    Behaviour,
    Misbehaving,
    cut,
    hang,
    in_turn,
    misbehaving,
    read_body,
    rubbish,
    say,
    trickle,
)

from medveil.errors import (
    LimitError,
    MedveilError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from medveil.stores.base import Store
from medveil.stores.registry import load
from medveil.stores.retry import Patience, RetryStore

pytest.importorskip("obstore")
pytest.importorskip("httpx")

DATA = bytes(range(10))
SECRET = "s3cr3t-value-that-must-not-show"  # noqa: S105 - a secret of nothing
LAST_MODIFIED = "Wed, 21 Oct 2015 07:28:00 GMT"
PARTIAL = {"Content_Range": "bytes 0-9/10", "Last_Modified": LAST_MODIFIED, "ETag": '"x"'}
KINDS = ("s3", "webdav")


def open_at(kind: str, server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("KEY", "access")
    monkeypatch.setenv("SECRET", SECRET)
    common = {"type": kind, "name": "cloud", "insecure_http": True, "idle_timeout": 5}
    own = {
        "s3": {"bucket": "vault", "endpoint": server.url, "access_key_env": "KEY", "secret_key_env": "SECRET"},
        "webdav": {"url": f"{server.url}/vault/", "user": "access", "password_env": "SECRET"},
    }[kind]
    found = load(kind)
    return found.from_config(found.Config.model_validate(common | own))


def s3_error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()


# (what the server does, the error, whether it may pass); a dictionary where the two kinds differ
GET: dict[str, tuple[Behaviour, type[MedveilError], bool | None]] = {
    "429": (say(429), StoreUnavailableError, True),
    "500": (say(500), StoreUnavailableError, True),
    "502": (say(502), StoreUnavailableError, True),
    "503": (say(503, s3_error("SlowDown")), StoreUnavailableError, True),
    "504": (say(504), StoreUnavailableError, True),
    "401": (say(401), StoreUnavailableError, False),
    "403": (say(403, s3_error("RequestTimeTooSkewed")), StoreUnavailableError, False),
    "404": (say(404, s3_error("NoSuchKey")), ObjectMissingError, None),
    "410": (say(410), StoreError, None),
    "418": (say(418), StoreError, None),
    "416": (say(416), StoreUnavailableError, False),
    "rubbish": (rubbish, StoreUnavailableError, True),
    "closed before the body": (cut(206, b"", 10, **PARTIAL), StoreUnavailableError, True),
    "closed in the body": (cut(206, DATA[:4], 10, **PARTIAL), StoreUnavailableError, True),
    "reset in the body": (cut(206, DATA[:4], 10, reset=True, **PARTIAL), StoreUnavailableError, True),
    "body shorter than its range": (say(206, DATA[:9], **PARTIAL), StoreUnavailableError, True),
    "body longer than its range": (say(206, DATA * 2, **PARTIAL), LimitError, None),
    "object shorter than asked": (
        say(206, DATA[:5], **PARTIAL | {"Content_Range": "bytes 0-4/5"}),
        StoreUnavailableError,
        False,
    ),
    "another range": (
        say(206, DATA, **PARTIAL | {"Content_Range": "bytes 5-14/20"}),
        StoreError,
        None,
    ),
    "no size": (say(206, DATA, **PARTIAL | {"Content_Range": "bytes 0-9/*"}), StoreError, None),
    "a negative size": (say(206, DATA, **PARTIAL | {"Content_Range": "bytes 0--9/-10"}), StoreError, None),
}


@pytest.mark.parametrize(("behaviour", "error", "transient"), GET.values(), ids=GET.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_get(
    kind: str,
    behaviour: Behaviour,
    error: type[MedveilError],
    transient: bool | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    with misbehaving(behaviour) as server, open_at(kind, server, monkeypatch) as store, pytest.raises(error) as caught:
        store.get("object", length=10)
    if transient is not None:
        assert isinstance(caught.value, StoreUnavailableError)
        assert caught.value.transient is transient
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"
    assert SECRET not in shown


PUT: dict[str, tuple[Behaviour, type[MedveilError], bool | None]] = {
    "429": (say(429), StoreUnavailableError, True),
    "503": (say(503), StoreUnavailableError, True),
    "403": (say(403), StoreUnavailableError, False),
    "507": (say(507), StoreFullError, None),
    "400": (say(400), StoreError, None),
    "rubbish": (rubbish, StoreUnavailableError, True),
}


@pytest.mark.parametrize(("behaviour", "error", "transient"), PUT.values(), ids=PUT.keys())
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [10, 9 << 20])
def test_put(
    kind: str,
    size: int,
    behaviour: Behaviour,
    error: type[MedveilError],
    transient: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with misbehaving(behaviour) as server, open_at(kind, server, monkeypatch) as store:
        with pytest.raises(error) as caught:
            store.put("object", bytes(size))
        with pytest.raises(error):
            store.check()
    if transient is not None:
        assert isinstance(caught.value, StoreUnavailableError)
        assert caught.value.transient is transient
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r}"


REDIRECTS = [301, 302, 303, 307, 308]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("method", ["put", "get", "size", "list", "delete", "check"])
def test_webdav_refuses_redirects(method: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        misbehaving(say(200, DATA)) as elsewhere,
        misbehaving(say(status, Location=f"{elsewhere.url}/stolen")) as server,
        open_at("webdav", server, monkeypatch) as store,
    ):
        calls = {
            "put": lambda: store.put("object", DATA),
            "get": lambda: store.get("object", length=10),
            "size": lambda: store.size("object"),
            "list": lambda: list(store.list()),
            "delete": lambda: store.delete("object"),
            "check": store.check,
        }
        with pytest.raises(StoreUnavailableError, match="redirect") as caught:
            calls[method]()
        assert not caught.value.transient
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", REDIRECTS)
def test_s3_takes_neither_credentials_nor_bytes_elsewhere(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore follows redirects of GET; see medveil.stores.s3 for what that means."""
    received: list[tuple[str, bool, bytes]] = []

    def behave(handler, number):  # type: ignore[no-untyped-def]
        body = read_body(handler)
        received.append((handler.command, "Authorization" in handler.headers, body))
        say(404)(handler, number)

    with (
        misbehaving(behave) as elsewhere,
        misbehaving(say(status, Location=f"{elsewhere.url}/stolen")) as server,
        open_at("s3", server, monkeypatch) as store,
    ):
        for size in (10, 9 << 20):
            with pytest.raises(StoreError):
                store.put("object", bytes(size))
        with pytest.raises(StoreError):
            store.get("object", length=10)
        assert all(not authorised and body == b"" for _, authorised, body in received)
        assert {command for command, _, _ in received} <= {"GET", "HEAD", "POST"}


S3_CODES: dict[str, tuple[int, type[MedveilError], str]] = {
    "ExpiredToken": (400, StoreUnavailableError, "credentials"),
    "InvalidAccessKeyId": (403, StoreUnavailableError, "credentials"),
    "NoSuchBucket": (404, StoreUnavailableError, "bucket"),
    "QuotaExceeded": (403, StoreFullError, "room"),
    "EntityTooLarge": (400, StoreFullError, "room"),
    "PreconditionFailed": (412, ObjectExistsError, "written once"),
}


@pytest.mark.parametrize("code", S3_CODES)
def test_codes_of_s3(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, error, message = S3_CODES[code]
    behaviour = say(status, s3_error(code))
    with (
        misbehaving(behaviour) as server,
        open_at("s3", server, monkeypatch) as store,
        pytest.raises(error, match=message),
    ):
        store.put("object", DATA)


def test_an_expired_token_is_seen_where_the_answer_has_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """HEAD has none; a put in parts begins with one."""
    behaviour = say(400, s3_error("ExpiredToken"))
    with misbehaving(behaviour) as server, open_at("s3", server, monkeypatch) as store:
        for ask in (lambda: store.put("object", bytes(9 << 20)), lambda: store.size("object")):
            with pytest.raises(StoreUnavailableError, match="ExpiredToken"):
                ask()


def test_a_server_with_conditional_writes_decides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def behave(handler, number):  # type: ignore[no-untyped-def]
        seen.append(handler.headers.get("If-None-Match"))
        say(200, ETag='"x"')(handler, number)

    with misbehaving(behave) as server, open_at("s3", server, monkeypatch) as store:
        store.put("object", DATA)
        assert seen == ["*"]
        assert server.requests == [("PUT", "/vault/object")]


def test_a_server_without_them_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = in_turn(say(501), say(404), say(200, ETag='"x"'), say(404), say(200, ETag='"y"'))
    with misbehaving(behaviour) as server, open_at("s3", server, monkeypatch) as store:
        store.put("one", DATA)
        store.put("two", DATA)
        assert [method for method, _ in server.requests] == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]


def refused_read(retry_after: str, monkeypatch: pytest.MonkeyPatch) -> StoreUnavailableError:
    behaviour = say(503, Retry_After=retry_after)
    with (
        misbehaving(behaviour) as server,
        open_at("webdav", server, monkeypatch) as store,
        pytest.raises(StoreUnavailableError) as caught,
    ):
        store.get("object", length=10)
    return caught.value


@pytest.mark.parametrize("date", [True, False])
def test_webdav_waits_as_long_as_the_server_asks(monkeypatch: pytest.MonkeyPatch, date: bool) -> None:
    value = email.utils.formatdate(time.time() + 30, usegmt=True) if date else "30"
    caught = refused_read(value, monkeypatch)
    assert caught.retry_after == pytest.approx(30, abs=3)


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e9", "Wed, 99 Foo 2015", "9" * 40])
def test_webdav_ignores_a_senseless_retry_after(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    assert refused_read(value, monkeypatch).retry_after is None


@pytest.mark.parametrize("kind", KINDS)
def test_patience_outlasts_a_bad_moment(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = in_turn(say(503), cut(206, DATA[:4], 10, reset=True, **PARTIAL), say(429), say(206, DATA, **PARTIAL))
    with misbehaving(behaviour) as server:
        with RetryStore(open_at(kind, server, monkeypatch), Patience(first_pause=0.001, longest_pause=0.01)) as store:
            assert store.get("object", length=10) == DATA
        assert len(server.requests) == 4


@pytest.mark.parametrize("behaviour", [hang, trickle(206, DATA, 0.2, **PARTIAL)], ids=["hangs", "trickles"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_hanging_or_trickling_server_is_cut_off(
    kind: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = Patience(attempts=2, deadline=0.3, first_pause=0.01)
    with misbehaving(behaviour) as server, RetryStore(open_at(kind, server, monkeypatch), patience) as store:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="hangs or is too slow"):
            store.get("object", length=10)
        assert time.monotonic() - begun < 5


# WebDAV only: what a listing can do


def multistatus(*hrefs: str) -> bytes:
    responses = "".join(
        f"<d:response><d:href>{href}</d:href><d:propstat><d:prop><d:resourcetype/>"
        "<d:getcontentlength>10</d:getcontentlength></d:prop></d:propstat></d:response>"
        for href in hrefs
    )
    return f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{responses}</d:multistatus>'.encode()


def test_webdav_lists_only_what_lies_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    hrefs = [
        "/vault/", "/vault/good", "/vault/g%6fod-2", "/vault/../etc/passwd", "/vault/%2e%2e/x", "/other/x",
        "/vault/a/b", "/vault/a%2fb", "/vault/UPPER", "/vault/_incoming", "/vault/.hidden", "", "/vault//x",
        "http://elsewhere/vault/absolute",
    ]  # fmt: skip
    with misbehaving(say(207, multistatus(*hrefs))) as server, open_at("webdav", server, monkeypatch) as store:
        assert set(store.list()) == {"good", "good-2", "absolute"}


LISTINGS: dict[str, tuple[bytes, type[MedveilError]]] = {
    "no XML": (b"<html><body>hello", StoreError),
    "empty": (b"", StoreError),
    "cut off": (multistatus("/vault/x")[:-20], StoreError),
    "a document type": (b'<!DOCTYPE x SYSTEM "http://elsewhere/x"><x/>', StoreError),
    "an entity bomb": (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;&b;&b;</x>',
        StoreError,
    ),
    "an endless field": (multistatus("/vault/" + "x" * 10_000), LimitError),
}


@pytest.mark.parametrize(("body", "error"), LISTINGS.values(), ids=LISTINGS.keys())
def test_webdav_refuses_listings(body: bytes, error: type[MedveilError], monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(say(207, body)) as server, open_at("webdav", server, monkeypatch) as store:
        for ask in (lambda: list(store.list()), lambda: store.size("object")):
            with pytest.raises(error):
                ask()


def test_webdav_takes_a_whole_answer_for_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may ignore Range (RFC 9110, section 14.2)."""
    with misbehaving(say(200, DATA * 100)) as server, open_at("webdav", server, monkeypatch) as store:
        assert store.get("object", offset=5, length=10) == (DATA * 2)[5:15]
        with pytest.raises(LimitError):
            store.get("object", limit=999)
        assert store.get("object", limit=1000) == DATA * 100


def test_webdav_refuses_changed_encodings(monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = say(200, DATA, Content_Encoding="gzip")
    with misbehaving(behaviour) as server, open_at("webdav", server, monkeypatch) as store:
        for length in (None, 10):
            with pytest.raises(StoreError, match="compression"):
                store.get("object", length=length)


@pytest.mark.parametrize("body", [b"rubbish", b"<a/>", b"", s3_error("X")], ids=["rubbish", "other", "empty", "error"])
def test_s3_listing_rubbish_is_an_error_or_empty(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with misbehaving(say(200, body)) as server, open_at("s3", server, monkeypatch) as store:
        found: list[str] = []
        with contextlib.suppress(StoreError):
            found = list(store.list())
        assert found == []
