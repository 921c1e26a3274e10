"""Declared cost of every operation: rounds and payload bytes of all parties together, as functions of the shape.

The tests run each operation over a counting transport and compare; docs/mpc.md prints the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Cost:
    """`rounds` messages one after another, whatever the size, and `bytes_sent(size)` by all three parties."""

    name: str
    rounds: int
    bytes_sent: Callable[[int], int]
    note: str = ""


COSTS: dict[str, Cost] = {}


def costs(
    *, rounds: int, bytes_sent: Callable[[int], int], note: str = "", name: str | None = None
) -> Callable[[F], F]:
    """Declare what the decorated operation costs."""

    def declare(function: F) -> F:
        key = name or function.__name__
        COSTS[key] = Cost(key, rounds, bytes_sent, note)
        return function

    return declare


def free(size: int) -> int:
    """Return 0: the operation is local."""
    del size
    return 0
