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
    composite: bool = False  # made of other operations, with no message of its own


COSTS: dict[str, Cost] = {}


def costs(
    *, rounds: int, bytes_sent: Callable[[int], int], note: str = "", name: str | None = None, composite: bool = False
) -> Callable[[F], F]:
    """Declare what the decorated operation costs."""

    def declare(function: F) -> F:
        key = name or function.__name__
        COSTS[key] = Cost(key, rounds, bytes_sent, note, composite)
        return function

    return declare


def free(size: int) -> int:
    """Return 0: the operation is local."""
    del size
    return 0


def sent_by(**counts: int) -> int:
    """Return the bytes of several operations, each given as its name and its number of elements."""
    return sum(COSTS[name].bytes_sent(count) for name, count in counts.items())


def markdown_table(size: int = 100_000) -> str:
    """Return every declared cost as the table of docs/mpc.md; bytes an element are taken at `size` elements."""
    import importlib

    for module in ("arithmetic", "boolean", "comparison", "conversion", "exponential", "truncation"):
        importlib.import_module(f"medveil.mpc.protocols.rep3.{module}")
    importlib.import_module("medveil.mpc.functions")
    lines = ["| operation | rounds | bytes an element, all parties | remarks |", "|---|---|---|---|"]
    for name in sorted(COSTS):
        cost = COSTS[name]
        lines.append(f"| `{name}` | {cost.rounds} | {cost.bytes_sent(size) / size:.2f} | {cost.note} |")
    return "\n".join(lines)
