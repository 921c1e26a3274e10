"""What every store must do; a new store adds a fixture that opens it, and no test code."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import pytest

from medveil.errors import (
    InputError,
    LimitError,
    ObjectExistsError,
    ObjectMissingError,
    StoreError,
    StoreUnavailableError,
    UsageError,
)
from medveil.stores.base import MAX_NAME, Store

BAD_NAMES = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent folder": "../secret",
    "parent folder inside": "a/../../secret",
    "current folder": "./a",
    "dot": ".",
    "empty segment": "a//b",
    "trailing slash": "a/",
    "NUL": "a\0b",
    "upper case": "Part-1",
    "hidden": ".medveil",
    "hidden inside": "a/.medveil/b",
    "backslash": "a\\b",
    "space": "a b",
    "line break": "a\n",
    "not ASCII": "thorax-ü",
    "percent": "a%2fb",
    "leading dash": "-rf",
    "drive": "c:",
    "query": "a?b",
}


def content(label: str, size: int) -> bytes:
    """Return bytes that differ everywhere and from label to label."""
    return hashlib.shake_256(label.encode()).digest(size)


def named(value: object) -> str:
    """Name a parameter alike in every process: the default of a memoryview holds its address."""
    return "memoryview" if isinstance(value, memoryview) else str(value)


class Conformance:
    """The suite; a subclass has a fixture `store` (empty, may be shared by the module) and perhaps `parts`.

    exact_write_once: whether two writers that race for one name are told apart for certain.
    large: bytes of the large object.
    """

    exact_write_once = True
    large = 20 << 20

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        raise NotImplementedError

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest) -> str:
        """A prefix of this test alone, since a server's store is shared by the tests."""
        return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]

    @pytest.mark.parametrize("size", [0, 1, 15, 65536, (1 << 20) + 1])
    def test_gives_back_what_was_put(self, store: Store, place: str, size: int) -> None:
        data = content(place, size)
        store.put(f"{place}/object", data)
        assert store.get(f"{place}/object") == data
        assert store.size(f"{place}/object") == size
        assert b"".join(store.stream(f"{place}/object", piece=10_007 if size < 100_000 else 1 << 20)) == data

    def test_takes_every_form_of_bytes(self, store: Store, place: str) -> None:
        data = content(place, 5000)
        forms = {
            "bytearray": bytearray(data),
            "view": memoryview(data),
            "words": memoryview(data).cast("I"),
            "list": [data[:1], b"", data[1:4000], memoryview(data)[4000:]],
            "generator": (data[start : start + 999] for start in range(0, 5000, 999)),
        }
        for form, payload in forms.items():
            store.put(f"{place}/{form}", payload)
            assert store.get(f"{place}/{form}") == data, form
        store.put(f"{place}/announced", iter([data]), size=5000)
        assert store.get(f"{place}/announced") == data

    def test_gives_ranges(self, store: Store, place: str) -> None:
        data = content(place, 70_000)
        store.put(f"{place}/object", data)
        for offset, length in [(0, 0), (0, 1), (69_999, 1), (65_530, 12), (0, 70_000), (70_000, 0)]:
            assert store.get(f"{place}/object", offset=offset, length=length) == data[offset : offset + length]
        assert store.get(f"{place}/object", offset=69_000) == data[69_000:]
        assert store.get(f"{place}/object", offset=70_000) == b""

    @pytest.mark.parametrize(("offset", "length"), [(0, 101), (100, 1), (99, 2), (5000, 1)])
    def test_a_range_past_the_end_is_no_silent_short_read(
        self, store: Store, place: str, offset: int, length: int
    ) -> None:
        store.put(f"{place}/object", content(place, 100))
        with pytest.raises(StoreUnavailableError, match="bytes"):
            store.get(f"{place}/object", offset=offset, length=length)

    @pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (-5, None)])
    def test_refuses_ranges_that_make_no_sense(self, store: Store, place: str, offset: int, length: int | None) -> None:
        with pytest.raises(UsageError):
            store.get(f"{place}/object", offset=offset, length=length)

    def test_hands_over_no_more_than_the_limit(self, store: Store, place: str) -> None:
        store.put(f"{place}/object", content(place, 1000))
        assert len(store.get(f"{place}/object", limit=1000)) == 1000
        with pytest.raises(LimitError):
            store.get(f"{place}/object", limit=999)
        with pytest.raises(LimitError):
            store.get(f"{place}/object", length=1000, limit=999)
        assert len(store.get(f"{place}/object", offset=1, limit=999)) == 999

    def test_writes_once(self, store: Store, place: str) -> None:
        store.put(f"{place}/object", b"first")
        for payload in (b"second", b"first", iter([b"third"]), b""):
            with pytest.raises(ObjectExistsError):
                store.put(f"{place}/object", payload)
        assert store.get(f"{place}/object") == b"first"

    def test_one_of_two_writers_wins(self, store: Store, place: str) -> None:
        outcomes: list[bytes | StoreError] = []
        start = threading.Barrier(4)

        def write(data: bytes) -> None:
            start.wait()
            try:
                store.put(f"{place}/object", data)
            except StoreError as error:
                outcomes.append(error)
            else:
                outcomes.append(data)

        threads = [threading.Thread(target=write, args=(content(f"{place}{i}", 3000),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [outcome for outcome in outcomes if isinstance(outcome, bytes)]
        assert store.get(f"{place}/object") in won
        assert all(isinstance(o, bytes | ObjectExistsError) for o in outcomes)
        if self.exact_write_once:
            assert len(won) == 1

    def test_lists_by_prefix(self, store: Store, place: str) -> None:
        names = {f"{place}/{leaf}" for leaf in ("a/1", "a/2", "a/b/c", "ab", "b", "a-1", "a.1")}
        for name in names:
            store.put(name, b"x")
        assert set(store.list(place)) == names
        assert set(store.list(f"{place}/")) == names
        assert set(store.list(f"{place}/a/")) == {f"{place}/a/1", f"{place}/a/2", f"{place}/a/b/c"}
        assert set(store.list(f"{place}/a")) == names - {f"{place}/b"}
        assert set(store.list(f"{place}/a/b/c")) == {f"{place}/a/b/c"}
        assert list(store.list(f"{place}/nothing/here")) == []
        assert names <= set(store.list())

    def test_deletes_and_deletes_again(self, store: Store, place: str) -> None:
        store.put(f"{place}/folder/object", b"x")
        store.delete(f"{place}/folder/object")
        store.delete(f"{place}/folder/object")
        store.delete(f"{place}/never/was")
        assert list(store.list(place)) == []
        store.put(f"{place}/folder/object", b"new")
        assert store.get(f"{place}/folder/object") == b"new"

    @pytest.mark.parametrize("name", ["object", "folder", "folder/object/inside", "folder2/object"])
    def test_says_what_is_missing(self, store: Store, place: str, name: str) -> None:
        store.put(f"{place}/folder/object", b"x")
        for ask in (store.get, store.size, lambda n: list(store.stream(n)), lambda n: store.get(n, length=3)):
            with pytest.raises(ObjectMissingError):
                ask(f"{place}/{name}")

    @pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
    def test_refuses_bad_names(self, store: Store, name: str) -> None:
        for ask in (store.get, store.size, store.delete, lambda n: store.put(n, b"x"), lambda n: list(store.stream(n))):
            with pytest.raises(UsageError):
                ask(name)

    def test_bounds_names(self, store: Store, place: str) -> None:
        longest = f"{place}/" + "n" * (MAX_NAME - len(place) - 1)
        store.put(longest, b"x")
        assert list(store.list(place)) == [longest]
        for ask in (store.get, store.size, store.delete, lambda n: store.put(n, b"x")):
            with pytest.raises(LimitError):
                ask(longest + "n")
        with pytest.raises(LimitError):
            list(store.list("n" * (MAX_NAME + 1)))
        with pytest.raises(UsageError):
            list(store.list("../"))

    def test_an_interrupted_upload_leaves_nothing(self, store: Store, place: str) -> None:
        def breaks() -> Iterator[bytes]:
            yield content(place, 3 << 20)
            raise OSError(5, "the scanner was unplugged")

        with pytest.raises(OSError, match="unplugged"):
            store.put(f"{place}/object", breaks())
        with pytest.raises(ObjectMissingError):
            store.get(f"{place}/object")
        assert list(store.list(place)) == []
        store.put(f"{place}/object", b"again")
        assert store.get(f"{place}/object") == b"again"

    @pytest.mark.parametrize(
        ("payload", "size"),
        [
            (b"1234", 3),
            (b"1234", 5),
            (b"1234", -1),
            ([b"12", b"34"], 3),
            ([b"12", b"34"], 5),
            ([], 1),
            ([b"12", "34"], None),
            ([b"12", None], 4),
            (memoryview(b"12345678")[::2], None),
        ],
        ids=named,
    )
    def test_stores_nothing_of_a_wrong_payload(self, store: Store, place: str, payload: object, size: int) -> None:
        with pytest.raises(InputError):
            store.put(f"{place}/object", payload, size=size)  # type: ignore[arg-type]
        assert list(store.list(place)) == []

    def test_streams_a_large_object(self, store: Store, place: str) -> None:
        pieces = [content(f"{place}{i}", 1 << 20) for i in range(self.large >> 20)]
        store.put(f"{place}/object", (piece for piece in pieces), size=self.large)
        assert store.size(f"{place}/object") == self.large
        read = list(store.stream(f"{place}/object", piece=4 << 20))
        assert max(map(len, read)) <= 4 << 20
        assert b"".join(read) == b"".join(pieces)
        assert store.get(f"{place}/object", offset=(9 << 20) - 3, length=6) == pieces[8][-3:] + pieces[9][:3]
        store.put(f"{place}/unannounced", iter(pieces))
        assert b"".join(store.stream(f"{place}/unannounced", offset=3)) == b"".join(pieces)[3:]

    def test_serves_threads(self, store: Store, place: str) -> None:
        failures: list[BaseException] = []

        def work(worker: int) -> None:
            try:
                for turn in range(5):
                    name = f"{place}/{worker}/{turn}"
                    data = content(name, 10_000 + worker)
                    store.put(name, data)
                    assert store.get(name, offset=worker) == data[worker:]
                    if turn % 2:
                        store.delete(name)
            except (StoreError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(set(store.list(place))) == 18

    def test_checks_itself_and_leaves_no_trace(self, store: Store) -> None:
        before = set(store.list())
        store.check()
        assert set(store.list()) == before

    def test_shows_only_its_names(self, store: Store) -> None:
        assert repr(store) == f"{type(store).__name__}(name={store.name!r}, provider={store.provider!r})"
        assert store.name
        assert store.provider
