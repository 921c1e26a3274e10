"""Padmé: padding that hides an object's size at a small, bounded cost.

Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", PoPETs 2019(4), algorithm 1. A length of L bytes leaks only O(log log L) bits; the
cost is at most 12 % and falls with size.
"""

from __future__ import annotations

from medveil.errors import InputError


def padme(length: int) -> int:
    """Return the padded length, in bytes: at least `length`, at most 12 % more.

    Raises InputError for a negative length.
    """
    if length < 0:
        raise InputError(f"a length of {length} bytes cannot be padded")
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()  # bits below the kept mantissa
    mask = (1 << max(low_bits, 0)) - 1
    return (length + mask) & ~mask
