"""Secret sharing against a slow field in plain Python, known answers, and the uniformity of k - 1 shares."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.crypto import shamir
from medveil.crypto.prg import allow_insecure_randomness, insecure_seeded
from medveil.errors import InputError, TamperedError, UnrecoverableError


def times(a: int, b: int) -> int:
    """Carry-less product modulo x^8 + x^4 + x^3 + x + 1."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def inverse(a: int) -> int:
    return next(b for b in range(1, 256) if times(a, b) == 1)


def slow_combine(points: dict[int, int]) -> int:
    """Lagrange at 0 for one byte."""
    total = 0
    for x, y in points.items():
        weight = 1
        for other in points:
            if other != x:
                weight = times(weight, times(other, inverse(other ^ x)))
        total ^= times(weight, y)
    return total


class Fixed:
    """Hands out given bytes; for known answers."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def bytes(self, n: int, /) -> bytes:
        drawn, self.data = self.data[:n], self.data[n:]
        assert len(drawn) == n
        return drawn


def test_field_of_aes() -> None:
    # FIPS 197, 4.2: {57} x {83} = {c1}; {57} x {13} = {fe}.
    assert shamir._TIMES[0x57][0x83] == 0xC1
    assert shamir._TIMES[0x57][0x13] == 0xFE
    for a, b in itertools.product(range(0, 256, 7), range(256)):
        assert shamir._TIMES[a][b] == times(a, b)
    assert all(times(a, shamir._INVERSE[a]) == 1 for a in range(1, 256))


def test_known_answers() -> None:
    # p(x) = 0x42 + 0x57 x over GF(2^8): p(1) = 15, p(2) = ec, p(3) = bb by hand; second byte 0 + 0x83 x.
    shares = shamir.split(b"\x42\x00", 2, 3, Fixed(b"\x57\x83"))
    assert [share.hex() for share in shares] == ["1583", "ec1d", "bb9e"]
    assert shamir.combine({1: bytes.fromhex("1583"), 3: bytes.fromhex("bb9e")}) == b"\x42\x00"
    shares = shamir.split_xor(b"\xf0\x0f", 3, Fixed(b"\x01\x02\x03\x04"))
    assert [share.hex() for share in shares] == ["0102", "0304", "f209"]


@given(st.binary(max_size=60), st.integers(1, 6), st.integers(0, 4), st.data())
def test_any_k_shares_suffice(secret: bytes, k: int, spare: int, data: st.DataObject) -> None:
    shares = shamir.split(secret, k, k + spare)
    chosen = data.draw(st.permutations(range(1, k + spare + 1)))[: data.draw(st.integers(k, k + spare))]
    given_shares = {x: shares[x - 1] for x in chosen}
    assert shamir.combine(given_shares) == secret
    for at in range(len(secret)):
        assert slow_combine({x: share[at] for x, share in given_shares.items()}) == secret[at]


@given(st.binary(max_size=60), st.integers(1, 8))
def test_xor_needs_all(secret: bytes, n: int) -> None:
    shares = shamir.split_xor(secret, n)
    assert shamir.combine_xor(shares[::-1]) == secret
    if n > 1 and len(secret) >= 16:
        assert shamir.combine_xor(shares[1:]) != secret


def test_255_shares() -> None:
    secret = bytes(range(256))
    shares = shamir.split(secret, 255, 255)
    assert shamir.combine(dict(enumerate(shares, 1))) == secret


def test_k_minus_1_shares_are_uniform_and_independent_of_the_secret() -> None:
    """Exhaustively for 2 of n: over all 256 coefficients each share takes each value once, whatever the secret."""
    for secret in (0x00, 0x5A, 0xFF):
        shares = shamir.split(bytes([secret]) * 256, 2, 5, Fixed(bytes(range(256))))
        for share in shares:
            assert sorted(share) == list(range(256))


def test_two_of_three_shares_are_jointly_uniform() -> None:
    """Exhaustively for 3 of n: over all 65536 coefficient pairs every pair of shares takes every value once."""
    first = bytes(np.repeat(np.arange(256, dtype=np.uint8), 256))
    second = bytes(np.tile(np.arange(256, dtype=np.uint8), 256))
    shares = shamir.split(b"\x37" * 65536, 3, 4, Fixed(first + second))
    for a, b in itertools.combinations(shares, 2):
        assert set(Counter(zip(a, b, strict=True)).values()) == {1}


def test_too_few_or_changed_shares_give_other_bytes() -> None:
    with allow_insecure_randomness("test"):
        shares = shamir.split(b"a secret of some length", 3, 5, insecure_seeded(1, "shamir"))
    assert shamir.combine({1: shares[0], 2: shares[1]}) != b"a secret of some length"
    changed = bytes([shares[0][0] ^ 1]) + shares[0][1:]
    assert shamir.combine({1: changed, 2: shares[1], 3: shares[2]}) != b"a secret of some length"


def test_bad_input() -> None:
    for k, n in ((0, 1), (3, 2), (1, 256), (-1, 3)):
        with pytest.raises(InputError):
            shamir.split(b"x", k, n)
    for n in (0, 256):
        with pytest.raises(InputError):
            shamir.split_xor(b"x", n)
    for x in (0, 256, -1):
        with pytest.raises(InputError):
            shamir.combine({x: b"a"})
    with pytest.raises(UnrecoverableError):
        shamir.combine({})
    with pytest.raises(UnrecoverableError):
        shamir.combine_xor([])
    with pytest.raises(TamperedError):
        shamir.combine({1: b"a", 2: b"ab"})
    with pytest.raises(TamperedError):
        shamir.combine_xor([b"a", b"ab"])
