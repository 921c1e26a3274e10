"""Erasure coding against plain Python over GF(256), both kernels, every pattern of loss, and threads."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medveil.crypto import isal
from medveil.crypto.erasure import MAX_LENGTH, Erasure, erasure
from medveil.errors import InputError, LimitError, TamperedError, UnrecoverableError

KERNELS = [isal.best_kernel(), isal.PyeclibKernel()]
CODES = [(1, 1), (1, 2), (1, 4), (2, 2), (2, 3), (2, 4), (3, 5), (4, 6), (5, 5), (31, 32), (16, 32), (32, 32)]


def times(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


INVERSE = {a: b for a in range(1, 256) for b in range(1, 256) if times(a, b) == 1}


def slow_encode(data: bytes, k: int, n: int) -> list[bytes]:
    """The definition, byte by byte; k = 1 repeats the data."""
    size = -(-len(data) // k)
    padded = data + bytes(size * k - len(data))
    pieces = [padded[row * size : (row + 1) * size] for row in range(k)]
    if k == 1:
        return pieces * n
    for i in range(k, n):
        parity = bytearray(size)
        for j in range(k):
            for at in range(size):
                parity[at] ^= times(INVERSE[i ^ j], pieces[j][at])
        pieces.append(bytes(parity))
    return pieces


@pytest.fixture(params=KERNELS, ids=lambda kernel: type(kernel).__name__)
def kernel(request: pytest.FixtureRequest) -> isal.Kernel:
    return request.param


def test_fixed_vector(kernel: isal.Kernel) -> None:
    fragments = Erasure(2, 4, kernel=kernel).encode(b"medveil")
    assert [fragment.hex() for fragment in fragments] == ["6d656476", "65696c00", "9b9b163b", "6c99e1d9"]


@pytest.mark.parametrize(("k", "n"), CODES)
@pytest.mark.parametrize("length", [0, 1, 2, 31, 33, 100])
def test_the_definition(kernel: isal.Kernel, k: int, n: int, length: int) -> None:
    data = os.urandom(length)
    code = Erasure(k, n, kernel=kernel)
    fragments = code.encode(data)
    assert list(fragments) == slow_encode(data, k, n)
    assert {len(fragment) for fragment in fragments} == {code.fragment_length(length)}
    assert all(type(fragment) is bytes for fragment in fragments)


@pytest.mark.parametrize(("k", "n"), CODES)
def test_every_loss_is_repaired(kernel: isal.Kernel, k: int, n: int) -> None:
    code = Erasure(k, n, kernel=kernel)
    data = os.urandom(7 * k + 1)
    fragments = code.encode(data)
    size = code.fragment_length(len(data))
    for have in itertools.islice(itertools.combinations(range(n), k), 60):
        there = {number: fragments[number] for number in have}
        assert code.decode(there, len(data)) == data
        out = bytearray(k * size + 3)
        assert code.decode_into({i: memoryview(f) for i, f in there.items()}, len(data), out) == data
        wanted = (have[0] + 1) % n
        assert code.rebuild(there, wanted) == fragments[wanted]


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 8), st.integers(0, 6), st.data())
def test_round_trip_and_both_kernels_agree(data: bytes, k: int, parity: int, draw: st.DataObject) -> None:
    codes = [Erasure(k, k + parity, kernel=kernel) for kernel in KERNELS]
    fragments = codes[0].encode(data)
    assert codes[1].encode(memoryview(bytearray(data))) == fragments
    have = draw.draw(st.permutations(range(k + parity)))[: draw.draw(st.integers(k, k + parity))]
    for code in codes:
        assert code.decode({number: bytearray(fragments[number]) for number in have}, len(data)) == data
        for wanted in range(k + parity):
            assert code.rebuild({number: fragments[number] for number in have}, wanted) == fragments[wanted]


@pytest.mark.parametrize(("k", "n"), CODES)
def test_encode_into(kernel: isal.Kernel, k: int, n: int) -> None:
    code = Erasure(k, n, kernel=kernel)
    for length in (0, 1, 50, 64):
        data = os.urandom(length)
        out = [bytearray(b"\xaa" * code.fragment_length(length)) for _ in range(n)]
        code.encode_into(data, out)
        assert [bytes(one) for one in out] == list(code.encode(data))


def test_encode_in_place() -> None:
    """The data's own pieces may be the output of their rows."""
    code, data = Erasure(2, 3), bytearray(os.urandom(64))
    expected, parity = code.encode(bytes(data)), bytearray(32)
    view = memoryview(data)
    code.encode_into(view, [view[:32], view[32:], parity])
    assert (bytes(view[:32]), bytes(view[32:]), bytes(parity)) == expected


@pytest.mark.parametrize("code", [(0, 1), (3, 2), (1, 33), (-1, 2)])
def test_impossible_codes_are_refused(code: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        Erasure(*code)


def test_bad_fragments_are_refused(kernel: isal.Kernel) -> None:
    code = Erasure(2, 3, kernel=kernel)
    fragments = dict(enumerate(code.encode(b"twelve bytes")))
    for few in ({}, {1: fragments[1]}):
        with pytest.raises(UnrecoverableError):
            code.decode(few, 12)
        with pytest.raises(UnrecoverableError):
            code.rebuild(few, 0)
        with pytest.raises(UnrecoverableError):
            code.decode_into(few, 12, bytearray(12))
    for number in (-1, 3, 100):
        with pytest.raises(InputError):
            code.decode({0: fragments[0], number: fragments[1]}, 12)
        with pytest.raises(InputError):
            code.rebuild(fragments, number)
    for wrong in (b"", b"short", b"longer than it"):
        with pytest.raises(TamperedError):
            code.decode({0: fragments[0], 2: wrong}, 12)
        with pytest.raises(TamperedError):
            code.rebuild({0: fragments[0], 2: wrong}, 1)
    with pytest.raises(TamperedError):
        code.decode(fragments, 14)


def test_bad_buffers_are_refused() -> None:
    code = Erasure(2, 3)
    for out in (
        [bytearray(6)] * 2,
        [bytearray(6), bytearray(6), bytearray(5)],
        [bytearray(6), bytearray(6), memoryview(bytes(6))],
    ):
        with pytest.raises(InputError):
            code.encode_into(b"twelve bytes", out)
    with pytest.raises(InputError):
        code.decode_into(dict(enumerate(code.encode(b"twelve bytes"))), 12, bytearray(11))


def test_bombs_are_refused_before_allocation() -> None:
    code = Erasure(2, 3)
    with pytest.raises(LimitError):
        code.decode({0: b"x", 1: b"x"}, MAX_LENGTH + 1)
    with pytest.raises(TamperedError):
        code.decode({0: b"x", 1: b"x"}, MAX_LENGTH)
    with pytest.raises(InputError):
        code.fragment_length(-1)


def test_threads_share_a_code(kernel: isal.Kernel) -> None:
    """Many threads encode, lose and repair different chunks with one code; a race would show as other bytes."""
    code = Erasure(3, 6, kernel=kernel)
    chunks = [os.urandom(20000 + 7 * i) for i in range(160)]
    expected = [Erasure(3, 6, kernel=KERNELS[0]).encode(chunk) for chunk in chunks]

    def work(i: int) -> None:
        fragments = code.encode(chunks[i])
        assert fragments == expected[i]
        have = dict(list(enumerate(fragments))[i % 4 : i % 4 + 3])
        assert code.decode(have, len(chunks[i])) == chunks[i]
        assert code.rebuild(have, (i + 5) % 6) == fragments[(i + 5) % 6]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(160)))


def test_pyeclib_drivers_are_per_thread() -> None:
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(isal._driver, 2, 3).result()
    assert isal._driver(2, 3) is isal._driver(2, 3)
    assert isal._driver(2, 3) is not elsewhere


def test_headers_are_made_as_the_library_makes_them() -> None:
    for k, n, length in ((2, 3, 2), (2, 4, 1000), (5, 9, 5000)):
        for number, fragment in enumerate(isal._driver(k, n).encode(bytes(length))):
            assert isal._header(k, n, number, length // k) == fragment[:80]


def test_without_the_library_pyeclib_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isal, "_library_files", list)
    isal.best_kernel.cache_clear()
    try:
        assert isinstance(isal.best_kernel(), isal.PyeclibKernel)
        monkeypatch.setattr(isal, "_library_files", lambda: ["libisal-that-is-not-there.so"])
        isal.best_kernel.cache_clear()
        assert isinstance(isal.best_kernel(), isal.PyeclibKernel)
    finally:
        isal.best_kernel.cache_clear()


def test_views_of_words_count_in_bytes() -> None:
    words = np.arange(100, dtype=np.uint16)
    code = Erasure(2, 3)
    fragments = code.encode(memoryview(words))
    assert fragments == code.encode(words.tobytes())
    views = {number: memoryview(np.frombuffer(fragments[number], np.uint16)) for number in (1, 2)}
    assert code.decode(views, 200) == words.tobytes()
    assert code.rebuild(views, 0) == fragments[0]


def test_a_code_is_made_once() -> None:
    assert erasure(2, 3) is erasure(2, 3)


def test_import_is_lazy() -> None:
    code = "import sys, medveil.crypto.erasure; raise SystemExit('pyeclib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
