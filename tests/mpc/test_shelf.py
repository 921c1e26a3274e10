"""Sealed bundles: round trips, every damaged byte, swapped keys, no word in clear, no half-written file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medveil.errors import FormatError, InputError, LimitError, ObjectMissingError, TamperedError
from medveil.mpc.fixedpoint import FixedPoint
from medveil.mpc.shares import Share, join, random_words, split
from medveil.mpc.shelf import Shelf, check_entries


def bundle() -> dict[str, Share]:
    return {"a": split(np.arange(1000, dtype=np.uint64))[0], "b": split(np.ones((3, 5), np.uint32))[1]}


def test_round_trip_and_no_word_in_clear(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    data = bundle()
    shelf.put("x", data, {"epochs": 3})
    back, extra = shelf.get("x")
    assert extra == {"epochs": 3}
    for name, share in data.items():
        assert np.array_equal(back[name].first, share.first)
        assert np.array_equal(back[name].second, share.second)
    sealed = (tmp_path / "x.shares").read_bytes()
    for words in (data["a"].first, data["a"].second):
        for at in range(0, 1000, 50):
            assert words[at : at + 1].tobytes() not in sealed
    assert shelf.names() == ["x"]
    assert [p.suffix for p in tmp_path.iterdir() if p.suffix == ".partial"] == []


def test_many_chunks_and_empty_tensors(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    words = random_words((2_300_000,))
    shelf.put("big", {"a": Share(words, words[::-1].copy()), "none": split(np.zeros((0, 4), np.uint64))[0]})
    back, _ = shelf.get("big")
    assert np.array_equal(back["a"].first, words)
    assert back["none"].shape == (0, 4)
    raw = (tmp_path / "big.shares").read_bytes()
    (tmp_path / "big.shares").write_bytes(raw[: 16 << 20])
    with pytest.raises(TamperedError):
        shelf.get("big")


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("x", {"a": split(np.arange(4, dtype=np.uint64))[0]})
    path = tmp_path / "x.shares"
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises((TamperedError, LimitError, FormatError)):
            shelf.get("x")
    for cut in (0, 10, 60, len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(TamperedError):
            shelf.get("x")
    path.write_bytes(raw)
    other = Shelf(tmp_path / "other")
    (tmp_path / "other" / "x.shares").write_bytes(raw)
    with pytest.raises(TamperedError):
        other.get("x")
    path.rename(tmp_path / "y.shares")
    with pytest.raises(TamperedError):
        shelf.get("y")
    with pytest.raises(ObjectMissingError):
        shelf.get("nothing")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 300, "a b"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError):
        Shelf(tmp_path).path(name)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
@settings(max_examples=60)
def test_entries_from_strangers_never_crash(entries: object) -> None:
    with pytest.raises((FormatError, LimitError)):
        check_entries(entries, 1 << 20)


def test_entries_are_bounded() -> None:
    good = {"name": "a", "dtype": "uint64", "shape": [8, 8]}
    assert check_entries([good], 1024) == [("a", "uint64", (8, 8))]
    for bad, kind in (
        ([good, good], FormatError),
        ([{**good, "shape": [9, 8]}], LimitError),
        ([{**good, "shape": [-1]}], FormatError),
        ([{**good, "dtype": "object"}], FormatError),
    ):
        with pytest.raises(kind):
            check_entries(bad, 1024 if kind is LimitError else 1 << 20)


def test_shares_that_disagree_are_refused() -> None:
    a, b, c = split(np.arange(5, dtype=np.uint64))
    assert np.array_equal(join((a, b, c)), np.arange(5))
    with pytest.raises(InputError, match="disagree"):
        join((a, b, Share(c.first, c.second + np.uint64(1))))
    with pytest.raises(InputError, match="differ"):
        join((a, b, split(np.arange(6, dtype=np.uint64))[2]))
    assert "Share(shape=(5,)" in repr(a)


@given(st.lists(st.floats(-16383, 16383), min_size=1, max_size=20))
@settings(max_examples=50)
def test_fixed_point_rounds_to_half_a_unit(values: list[float]) -> None:
    fixed = FixedPoint()
    assert np.abs(fixed.decode(fixed.encode(values)) - np.array(values)).max() <= 2**-17


@pytest.mark.parametrize("value", [16384.0, -16385.0, float("nan"), float("inf")])
def test_fixed_point_refuses_what_does_not_fit(value: float) -> None:
    with pytest.raises(InputError, match="fixed-point range"):
        FixedPoint().encode([0.0, value])


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put("whole", bundle())
    (tmp_path / "half.0badc0de.partial").write_bytes(b"MVSH1")
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".partial"]
    assert Shelf(tmp_path).names() == ["whole"]
    assert not [p.name for p in tmp_path.iterdir() if p.suffix == ".partial"]
