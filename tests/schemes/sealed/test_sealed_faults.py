"""The faults of format v1, one a row: what is done to the shares, and what must come of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.schemes.sealed.material import Object, flip, fragment_at, load, make

from medveil.errors import UnrecoverableError
from medveil.imaging.reader import read
from medveil.schemes.base import FindingKind, Part
from medveil.schemes.sealed import BytesShare, Sealed, check_shares, rebuild

CT = "pydicom_older_tests/CT_small.dcm"
Shares = dict[int, bytes]
Fault = Callable[[Object, Object, Object, Shares], Shares]


@pytest.fixture(scope="module")
def ct(shared_data: Path) -> Object:
    return make(load(shared_data, CT))


@pytest.fixture(scope="module")
def older(shared_data: Path, ct: Object) -> Object:
    return make(load(shared_data, CT), object_id=ct.manifest.object_id, version=0)


@pytest.fixture(scope="module")
def other(shared_data: Path) -> Object:
    return make(load(shared_data, "pydicom_older_tests/MR_small.dcm"))


def _middle(item: Object, chunk: int) -> int:
    start, end = fragment_at(item, chunk)
    return (start + end) // 2


def _swap_chunks(item: Object, data: bytes, one: int, two: int) -> bytes:
    a, b = fragment_at(item, one), fragment_at(item, two)
    out = bytearray(data)
    out[slice(*a)], out[slice(*b)] = data[slice(*b)], data[slice(*a)]
    return bytes(out)


def _drop_chunk(item: Object, data: bytes, chunk: int) -> bytes:
    start, end = fragment_at(item, chunk)
    return data[:start] + data[end:]


def _double_chunk(item: Object, data: bytes, chunk: int) -> bytes:
    start, end = fragment_at(item, chunk)
    return data[:end] + data[start:end] + data[end:]


def _leaves(item: Object) -> int:
    return item.manifest.layout.leaves


# name: (what is done, the findings as (kind, part, chunk or place), None standing for anything)
EXACT: dict[str, tuple[Fault, set[tuple[str, int | None, object]]]] = {
    "clean": (lambda a, o, x, s: s, set()),
    "one missing": (lambda a, o, x, s: {1: s[1], 3: s[3]}, {("missing", 2, None)}),
    "bit flip": (lambda a, o, x, s: s | {2: flip(s[2], _middle(a, 1))}, {("tamper", 2, 1)}),
    "bit flip in parity": (lambda a, o, x, s: s | {3: flip(s[3], _middle(a, 2))}, {("tamper", 3, 2)}),
    "flips in two shares at different chunks": (
        lambda a, o, x, s: s | {1: flip(s[1], _middle(a, 0)), 2: flip(s[2], _middle(a, 3))},
        {("tamper", 1, 0), ("tamper", 2, 3)},
    ),
    "flips in all shares at different chunks": (
        lambda a, o, x, s: {j: flip(s[j], _middle(a, j)) for j in s},
        {("tamper", 1, 1), ("tamper", 2, 2), ("tamper", 3, 3)},
    ),
    "header flipped": (lambda a, o, x, s: s | {1: flip(s[1], 30)}, {("tamper", 1, "header")}),
    "header magic flipped": (lambda a, o, x, s: s | {1: flip(s[1], 0)}, {("tamper", 1, "header")}),
    "leaf list flipped": (lambda a, o, x, s: s | {1: flip(s[1], _leaves(a) + 40)}, {("tamper", 1, "leaf list")}),
    "leaf lists of all flipped": (
        lambda a, o, x, s: {j: flip(s[j], _leaves(a) + 40) for j in s},
        {("tamper", j, "leaf list") for j in (1, 2, 3)},
    ),
    "leaf list and a chunk flipped": (
        lambda a, o, x, s: s | {1: flip(s[1], _leaves(a) + 40, _middle(a, 2))},
        {("tamper", 1, "leaf list"), ("tamper", 1, 2)},
    ),
    "leaf lists of all and chunks flipped": (
        lambda a, o, x, s: {j: flip(s[j], _leaves(a), _middle(a, j)) for j in s},
        {("tamper", j, "leaf list") for j in (1, 2, 3)} | {("tamper", j, j) for j in (1, 2, 3)},
    ),
    "truncated": (lambda a, o, x, s: s | {1: s[1][:-1]}, {("truncated", 1, None)}),
    "truncated to half": (lambda a, o, x, s: s | {2: s[2][: len(s[2]) // 2]}, {("truncated", 2, None)}),
    "truncated to its header": (lambda a, o, x, s: s | {2: s[2][:49]}, {("truncated", 2, None)}),
    "empty": (lambda a, o, x, s: s | {3: b""}, {("truncated", 3, None)}),
    "trailing bytes": (lambda a, o, x, s: s | {1: s[1] + b"more"}, {("truncated", 1, None)}),
    "chunks reordered": (
        lambda a, o, x, s: s | {2: _swap_chunks(a, s[2], 1, 2)},
        {("tamper", 2, 1), ("tamper", 2, 2)},
    ),
    "chunk dropped": (lambda a, o, x, s: s | {1: _drop_chunk(a, s[1], 1)}, {("truncated", 1, None)}),
    "chunk duplicated": (lambda a, o, x, s: s | {1: _double_chunk(a, s[1], 1)}, {("truncated", 1, None)}),
    "two swapped": (lambda a, o, x, s: {1: s[2], 2: s[1], 3: s[3]}, {("swapped", 1, None), ("swapped", 2, None)}),
    "all rotated": (
        lambda a, o, x, s: {1: s[2], 2: s[3], 3: s[1]},
        {("swapped", 1, None), ("swapped", 2, None), ("swapped", 3, None)},
    ),
    "a copy of another": (lambda a, o, x, s: s | {2: s[1]}, {("swapped", 2, None)}),
    "older version of one": (lambda a, o, x, s: s | {2: o.shares[1]}, {("stale", 2, None)}),
    "another object's share": (lambda a, o, x, s: s | {3: x.shares[2]}, {("foreign", 3, None)}),
    "noise": (lambda a, o, x, s: s | {3: bytes(range(256)) * 100}, {("tamper", 3, "header"), ("truncated", 3, None)}),
}

_SOMEWHERE = {"chunk dropped", "chunk duplicated", "noise"}  # more chunks are blamed, the kinds are what counts


@pytest.mark.parametrize("name", EXACT)
def test_exact_with_findings(name: str, ct: Object, older: Object, other: Object) -> None:
    fault, expected = EXACT[name]
    shares = fault(ct, older, other, dict(enumerate(ct.shares, start=1)))
    opened = ct.open(shares)
    assert opened.original == ct.original
    found = {(f.kind.value, f.part, f.place if f.place is not None else f.chunk) for f in opened.findings}
    assert found >= expected
    if name not in _SOMEWHERE:
        assert found == expected
    assert {part for _, part, _ in found} == {part for _, part, _ in expected}
    assert opened.tamper_map is not None
    assert not opened.tamper_map.lost.any()


@pytest.mark.parametrize("name", EXACT)
def test_found_without_a_key(name: str, ct: Object, older: Object, other: Object) -> None:
    fault, expected = EXACT[name]
    shares = fault(ct, older, other, dict(enumerate(ct.shares, start=1)))
    found = check_shares(ct.manifest, {index: BytesShare(data) for index, data in shares.items()})
    assert {(f.kind.value, f.part) for f in found} >= {(kind, part) for kind, part, _ in expected}
    assert {f.part for f in found if f.part} == {part for _, part, _ in expected}


@pytest.mark.parametrize("name", EXACT)
def test_rebuilt_without_a_key(name: str, ct: Object, older: Object, other: Object) -> None:
    """Whatever was done to it, the share is made again exactly, unless no leaf list is left to prove it by."""
    fault, _ = EXACT[name]
    shares = fault(ct, older, other, dict(enumerate(ct.shares, start=1)))
    readers = {index: BytesShare(data) for index, data in shares.items()}
    for wanted in (1, 2, 3):
        sink = io.BytesIO()
        try:
            findings = rebuild(ct.manifest, readers, {wanted: sink})
        except UnrecoverableError:
            assert name == "leaf lists of all and chunks flipped"
            continue
        assert sink.getvalue() == ct.shares[wanted - 1]
        assert FindingKind.REPAIRED in {f.kind for f in findings}


def test_too_few(ct: Object) -> None:
    with pytest.raises(UnrecoverableError, match="1 usable parts are there and 2 are needed, so chunks 0"):
        ct.open({2: ct.shares[1]})
    with pytest.raises(UnrecoverableError):
        ct.open({})


def test_two_of_two_with_one_missing(shared_data: Path) -> None:
    item = make(load(shared_data, CT), (2, 2))
    assert item.open().findings == ()
    with pytest.raises(UnrecoverableError):
        item.open({1: item.shares[0]})


def test_the_same_chunk_beyond_repair(ct: Object) -> None:
    """Only that chunk is refused: its name is said, and the rest comes back on request."""
    shares = {j: flip(ct.shares[j - 1], _middle(ct, 3)) for j in (1, 2)} | {3: ct.shares[2]}
    with pytest.raises(UnrecoverableError, match=r"hold chunks 3 of"):
        ct.open(shares)
    opened = ct.open(shares, partial=True)
    assert ("lost", None, 3) in {(f.kind.value, f.part, f.chunk) for f in opened.findings}
    assert {(f.part, f.chunk) for f in opened.findings if f.kind is FindingKind.TAMPER} == {(1, 3), (2, 3)}
    assert opened.original is not None
    assert len(opened.original) == len(ct.original)
    assert opened.lost
    position = 0
    for start, end in (*opened.lost, (len(ct.original), 0)):
        assert opened.original[position:start] == ct.original[position:start]
        assert not any(opened.original[start:end])
        position = end
    assert opened.tamper_map is not None
    assert opened.tamper_map.lost.any()
    assert not opened.tamper_map.lost.all()


def test_the_first_chunk_beyond_repair(ct: Object) -> None:
    """The index is lost with it; its copy at the end lets the rest be read."""
    shares = {j: flip(ct.shares[j - 1], _middle(ct, 0)) for j in (1, 2)} | {3: ct.shares[2]}
    with pytest.raises(UnrecoverableError, match=r"hold chunks 0 of"):
        ct.open(shares)
    opened = ct.open(shares, partial=True)
    assert opened.original is not None
    assert opened.original[-8000:] == ct.original[-8000:]


def test_both_copies_of_the_index_beyond_repair(ct: Object) -> None:
    last = ct.manifest.layout.count - 1
    shares = {j: flip(ct.shares[j - 1], _middle(ct, 0), _middle(ct, last)) for j in (1, 2)} | {3: ct.shares[2]}
    with pytest.raises(UnrecoverableError):
        ct.open(shares, partial=True)


def test_cut_everywhere(ct: Object) -> None:
    """All shares cut at one place: at a fragment's edge or in the middle, nothing shorter passes for the whole."""
    layout = ct.manifest.layout
    edges = [layout.place(i) for i in range(layout.count)] + [layout.leaves]
    for cut in sorted({edge + shift for edge in edges for shift in (-1, 0, 1)}):
        shares = {j: ct.shares[j - 1][:cut] for j in (1, 2, 3)}
        if cut < layout.leaves:
            with pytest.raises(UnrecoverableError):
                ct.open(shares)
        else:  # every fragment is there, and the AEAD says that they are right
            opened = ct.open(shares)
            assert opened.original == ct.original
            assert {(f.kind.value, f.part) for f in opened.findings} == {("truncated", j) for j in (1, 2, 3)}


def test_one_cut_everywhere(ct: Object) -> None:
    for cut in range(0, len(ct.shares[0]), 997):
        opened = ct.open({1: ct.shares[0][:cut], 2: ct.shares[1], 3: ct.shares[2]})
        assert opened.original == ct.original
        assert {f.part for f in opened.findings} == {1}


def test_order_does_not_matter(ct: Object) -> None:
    assert ct.open({3: ct.shares[2], 1: ct.shares[0], 2: ct.shares[1]}).findings == ()
    assert ct.open({3: ct.shares[2], 1: ct.shares[0]}).original == ct.original


@pytest.mark.parametrize("threshold", [(1, 1), (2, 3)])
def test_an_envelope_changed_in_every_part_is_reported(threshold: tuple[int, int], shared_data: Path) -> None:
    """No copy differs from it then, and the secret opens the object without it."""
    scheme = Sealed(threshold=threshold)
    image = read(shared_data / "dicom_zoo" / CT)
    made = scheme.protect(image)
    at = made.parts[0].data.index(made.manifest) + len(made.manifest) + 200
    parts = [Part(p.index, p.data[:at] + bytes([p.data[at] ^ 1]) + p.data[at + 1 :]) for p in made.parts]
    restored = scheme.restore(parts, made.secret)
    assert restored.image.original == image.original
    assert [(f.kind, f.part, f.place) for f in restored.findings] == [
        (FindingKind.TAMPER, p.index, "record") for p in parts
    ]
