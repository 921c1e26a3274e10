"""Padmé against the paper's floating-free definition and its stated bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medveil.crypto.padme import padme
from medveil.errors import InputError


def by_the_paper(length: int) -> int:
    """Algorithm 1 of the PURBs paper, with its names, in exact arithmetic for small lengths."""
    exponent = math.floor(math.log2(length))
    significant = math.floor(math.log2(exponent)) + 1
    last_bits = exponent - significant
    mask = 2**last_bits - 1
    return (length + mask) & ~mask


def test_follows_the_paper() -> None:
    for length in (*range(2, 3000), 10**5, 10**6 + 1, 2**30 - 1, 2**30, 2**30 + 1):
        assert padme(length) == by_the_paper(length)


def test_fixed_values() -> None:
    assert [padme(n) for n in (0, 1, 2, 9, 100, 1000, 65537, 10**9)] == [0, 1, 2, 10, 104, 1024, 67584, 1006632960]


@given(st.integers(0, 2**60))
def test_bounds(length: int) -> None:
    padded = padme(length)
    assert length <= padded <= length * 1.12
    assert padme(padded) == padded


def test_few_sizes_remain() -> None:
    assert len({padme(n) for n in range(1 << 15, 1 << 16)}) <= 17


def test_negative_length_is_refused() -> None:
    with pytest.raises(InputError):
        padme(-1)
