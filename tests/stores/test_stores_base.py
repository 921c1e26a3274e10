"""Names, payloads and ranges: what is refused before any input or output."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.errors import InputError, LimitError, StoreUnavailableError, UsageError
from medveil.stores.base import MAX_NAME, Source, Store, check_name, check_prefix, check_range, folders_of, is_name
from medveil.stores.memory import MemoryStore

SEGMENT = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)


class Untouchable(MemoryStore):
    """Fails the test if any input or output is tried."""

    def _touched(self, *_: object) -> None:
        pytest.fail("a bad name reached the store")

    _write = _read = _size = _remove = _touched  # type: ignore[assignment]


@given(st.lists(SEGMENT, min_size=1, max_size=6))
def test_accepts_names(segments: list[str]) -> None:
    name = "/".join(segments)
    assert check_name(name) == name
    assert is_name(name)
    assert check_prefix(name) == name
    assert check_prefix(f"{name}/") == f"{name}/"
    assert folders_of(name) == tuple("/".join(segments[:n]) for n in range(1, len(segments)))


@given(st.text(max_size=40))
def test_every_text_is_a_name_or_refused(text: str) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789")
    segments = text.split("/")
    good = all(s and s[0] in allowed and set(s) <= allowed | set("._-") for s in segments)
    assert is_name(text) is good
    if not good:
        with pytest.raises(UsageError):
            check_name(text)


@pytest.mark.parametrize("name", [None, 3, b"bytes", ("a",)])
def test_refuses_what_is_no_text(name: object) -> None:
    with pytest.raises(UsageError):
        check_name(name)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        check_prefix(name)  # type: ignore[arg-type]


def test_bad_names_cause_no_input_or_output() -> None:
    store: Store = Untouchable()
    for bad in ("../x", "", "A", "n" * (MAX_NAME + 1), "a\0"):
        for ask in (store.get, store.size, store.delete, lambda n: store.put(n, b"")):
            with pytest.raises((UsageError, LimitError)):
                ask(bad)


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(1, 30))
def test_a_source_yields_its_bytes_in_pieces(elements: list[bytes], piece: int) -> None:
    source = Source(elements, piece=piece)
    pieces = [bytes(p) for p in source]
    assert b"".join(pieces) == b"".join(elements)
    assert all(0 < len(p) <= piece for p in pieces)
    assert [bytes(p) for p in source] == pieces


def test_a_source_knows_whether_it_can_be_sent_again() -> None:
    assert Source(b"x").again
    assert Source([b"x"]).again
    assert not Source(iter([b"x"])).again
    assert not Source(b for b in [b"x"]).again
    assert Source(Source([b"x"])).again
    assert not Source(Source(iter([b"x"]))).again


def test_an_endless_source_is_stopped_at_its_announced_size() -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        for number in itertools.count():
            taken.append(number)
            yield bytes(1000)

    with pytest.raises(InputError, match="has more"):
        MemoryStore().put("object", endless(), size=5500)
    assert len(taken) == 6


@given(st.integers(0, 100), st.integers(0, 120), st.none() | st.integers(0, 120), st.integers(0, 120))
def test_ranges_are_exact_or_refused(total: int, offset: int, length: int | None, limit: int) -> None:
    data = bytes(range(total))
    expected = data[offset:] if length is None else data[offset : offset + length]
    if length is not None and len(expected) != length:
        with pytest.raises(StoreUnavailableError) as caught:
            check_range("s", "n", total, offset, length, limit)
        assert not caught.value.transient
    elif len(expected) > limit:
        with pytest.raises(LimitError):
            check_range("s", "n", total, offset, length, limit)
    else:
        assert check_range("s", "n", total, offset, length, limit) == len(expected)


@pytest.mark.parametrize("returned", [b"", b"123", b"12345"])
def test_a_careless_store_cannot_hand_over_the_wrong_count(returned: bytes) -> None:
    class Careless(MemoryStore):
        def _read(self, name: str, offset: int, length: int | None, limit: int) -> bytes:
            return returned

    with pytest.raises(StoreUnavailableError, match=f"{len(returned)} of 4 bytes"):
        Careless().get("object", length=4)


def test_a_careless_store_cannot_list_what_is_no_name() -> None:
    class Careless(MemoryStore):
        def _names(self, prefix: str) -> Iterator[str]:
            yield from ("good", "../bad", "UPPER", "", "n" * 201, "other")

    assert list(Careless().list()) == ["good", "other"]
    assert list(Careless().list("go")) == ["good"]
