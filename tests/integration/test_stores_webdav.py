"""The WebDAV store on a real server: nginx, over TLS, with a password."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.store_suite import Conformance
from tests.integration.servers.nginx import Nginx

from medveil.errors import StoreFullError, StoreUnavailableError
from medveil.stores.base import Store
from medveil.stores.config import open_store

pytestmark = pytest.mark.integration

SECRET = "WEBDAV_PASSWORD"  # noqa: S105 - the name of a variable


def open_folder(server: Nginx, **changes: object) -> Store:
    """Open the served folder as a user would, by a table and a variable."""
    table: dict[str, object] = {
        "type": "webdav",
        "name": "archive",
        "url": server.url,
        "user": server.user,
        "password_env": SECRET,
        "ca_file": server.ca_file,
        "retry": {"attempts": 2, "first_pause": 0.05},
    }
    return open_store({key: value for key, value in (table | changes).items() if value is not None})


@pytest.fixture(autouse=True)
def _password(nginx: Nginx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, nginx.password)


class TestNginx(Conformance):
    # nginx looks and then renames, so a race for one name is not decided (see medveil.stores.webdav).
    exact_write_once = False

    @pytest.fixture
    def store(self, nginx: Nginx) -> Iterator[Store]:
        with open_folder(nginx) as store:
            yield store

    def test_leaves_nothing_unfinished(self, store: Store, nginx: Nginx, place: str) -> None:
        store.put(f"{place}/object", b"x")
        store.check()
        assert list((nginx.root / "_incoming").iterdir()) == []

    def test_removes_no_folder(self, store: Store, place: str) -> None:
        store.put(f"{place}/folder/object", b"x")
        store.delete(f"{place}/folder")
        assert list(store.list(place)) == [f"{place}/folder/object"]

    def test_says_that_an_object_is_too_large(self, store: Store, place: str) -> None:
        with pytest.raises(StoreFullError, match="limit"):
            store.put(f"{place}/object", bytes(65 << 20))
        assert list(store.list(place)) == []


REFUSED = {
    "another password": ({"password_env": "WEBDAV_WRONG"}, "credentials"),
    "no password": ({"password_env": None, "user": None}, "credentials"),
    "a redirect": ({"url": "moved"}, "redirects"),
    "a missing folder": ({"url": "missing"}, "no folder"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", ["put", "list", "check"])
def test_refuses_at_once(
    nginx: Nginx, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str, method: str
) -> None:
    monkeypatch.setenv("WEBDAV_WRONG", "a-password-that-is-not-shown")
    urls = {"moved": nginx.url.replace("vault", "moved"), "missing": nginx.url + "missing/"}
    store = open_folder(nginx, **{key: urls.get(str(value), value) for key, value in changes.items()})
    calls = {"put": lambda: store.put("object", b"x"), "list": lambda: list(store.list()), "check": store.check}
    with pytest.raises(StoreUnavailableError, match=message) as caught:
        calls[method]()
    assert not caught.value.transient
    for secret in (nginx.password, "a-password-that-is-not-shown"):
        assert secret not in f"{caught.value!r} {store!r} {store.inner!r}"  # type: ignore[attr-defined]


def test_trusts_no_unknown_certificate(nginx: Nginx) -> None:
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(StoreUnavailableError, match="did not answer"):
        open_folder(nginx, ca_file=None).check()


def test_credentials_do_not_reach_the_log(nginx: Nginx, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    with open_folder(nginx) as store:
        store.check()
    assert nginx.password not in caplog.text
    assert nginx.password not in nginx.access_log.read_text()
