"""The DICOMweb store on a real PACS: Orthanc."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator

import httpx
import pydicom
import pytest
from tests.conformance.store_suite import Conformance, content
from tests.integration.servers.orthanc import Orthanc

from medveil.errors import ConfigError, StoreError, StoreUnavailableError
from medveil.stores.base import Store
from medveil.stores.config import open_store
from medveil.stores.raw_data import place_of

pytestmark = pytest.mark.integration

SECRET = "ORTHANC_PASSWORD"  # noqa: S105 - the name of a variable


def open_pacs(server: Orthanc, **changes: object) -> Store:
    """Open the PACS as a user would, by a table and a variable."""
    table: dict[str, object] = {
        "type": "dicomweb",
        "name": "pacs",
        "url": server.dicomweb,
        "insecure_http": True,
        "user": server.user,
        "password_env": SECRET,
        "archive": "conformance",
        "delete": "orthanc",
        "retry": {"attempts": 2, "first_pause": 0.05},
    }
    return open_store({key: value for key, value in (table | changes).items() if value is not None})


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """A prefix of this test alone."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


@pytest.fixture(autouse=True)
def _password(orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, orthanc.password)


class TestOrthanc(Conformance):
    @pytest.fixture
    def store(self, orthanc: Orthanc) -> Iterator[Store]:
        with open_pacs(orthanc) as store:
            yield store

    def test_an_object_is_a_valid_instance(self, store: Store, orthanc: Orthanc, place: str) -> None:
        data = content(place, 1001)
        store.put(f"{place}/object", data)
        where = place_of("conformance", f"{place}/object")
        with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
            (found,) = client.post("/tools/lookup", content=where.instance).json()
            dataset = pydicom.dcmread(io.BytesIO(client.get(f"/instances/{found['ID']}/file").content))
        assert dataset.SOPClassUID.name == "Raw Data Storage"
        assert (dataset.StudyInstanceUID, dataset.PatientID) == (where.study, "conformance")
        assert data in dataset.EncryptedAttributesSequence[0].EncryptedContent

    def test_two_archives_in_one_pacs_are_apart(self, store: Store, orthanc: Orthanc, place: str) -> None:
        store.put(f"{place}/object", b"ours")
        with open_pacs(orthanc, archive="another") as other:
            assert list(other.list(place)) == []
            other.put(f"{place}/object", b"theirs")
            assert store.get(f"{place}/object") == b"ours"
            other.delete(f"{place}/object")
        assert list(store.list(place)) == [f"{place}/object"]

    def test_lists_more_than_a_page(self, store: Store, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("medveil.stores.dicomweb._PAGE", 3)
        names = {f"{place}/{number}" for number in range(7)}
        for name in names:
            store.put(name, b"x")
        assert set(store.list(f"{place}/")) == names

    def test_a_large_object_is_fetched_once_for_many_ranges(self, store: Store, orthanc: Orthanc, place: str) -> None:
        data = content(place, 3 << 20)
        store.put(f"{place}/object", data)
        assert store.get(f"{place}/object", offset=5, length=10) == data[5:15]
        # It is kept for a moment, and removing it drops what was kept.
        store.delete(f"{place}/object")
        assert list(store.list(place)) == []


CHANGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another mark": (lambda data: data.replace(b"MEDVEIL-OBJECT", b"SOMEBODY-ELSES"), "not what a PACS"),
    # Orthanc itself refuses to serve these.
    "cut short": (lambda data: data[:-2000], "refused"),
    "no DICOM": (lambda data: b"\0" * len(data), "refused"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES.keys())
def test_an_instance_that_is_not_ours_is_named(
    orthanc: Orthanc, place: str, change: Callable[[bytes], bytes], message: str
) -> None:
    data = content(place, 5001)
    with open_pacs(orthanc, archive="changed") as store:
        store.put(f"{place}/object", data)
        stored = orthanc.file_with(data)
        stored.write_bytes(change(stored.read_bytes()))
        with pytest.raises(StoreError, match=message):
            store.get(f"{place}/object")


def test_changed_bytes_come_as_they_are(orthanc: Orthanc, place: str) -> None:
    # A store does not know what its objects should be; the vault does, by their hashes.
    data, other = content(place, 5001), content(f"{place} changed", 5001)
    with open_pacs(orthanc, archive="changed") as store:
        store.put(f"{place}/object", data)
        stored = orthanc.file_with(data)
        stored.write_bytes(stored.read_bytes().replace(data, other))
        assert store.get(f"{place}/object") == other


REFUSED = {
    "another password": ({"password_env": "PACS_WRONG"}, "credentials"),
    "no password": ({"password_env": None, "user": None}, "credentials"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("method", ["put", "list", "check"])
def test_refuses_at_once(
    orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str, method: str
) -> None:
    monkeypatch.setenv("PACS_WRONG", "a-password-that-is-not-shown")
    store = open_pacs(orthanc, **changes)
    calls = {"put": lambda: store.put("object", b"x"), "list": lambda: list(store.list()), "check": store.check}
    with pytest.raises(StoreUnavailableError, match=message) as caught:
        calls[method]()
    assert not caught.value.transient
    for secret in (orthanc.password, "a-password-that-is-not-shown"):
        assert secret not in f"{caught.value!r} {store!r} {store.inner!r}"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("how", "message"), [("dicomweb", "knows no DELETE"), ("none", "removes nothing")])
def test_says_that_a_pacs_removes_nothing(orthanc: Orthanc, how: str, message: str) -> None:
    with open_pacs(orthanc, archive=f"kept-{how}", delete=how) as store:
        store.put("folder/object", b"x")
        with pytest.raises(StoreError, match=message):
            store.delete("folder/object")
        store.delete("folder/never-was")
        assert list(store.list()) == ["folder/object"]


def test_trusts_no_plain_http_unasked(orthanc: Orthanc) -> None:
    with pytest.raises(ConfigError, match="without TLS"):
        open_pacs(orthanc, insecure_http=None)
