"""docs/faults.md names tests that exist, one at least for each fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(
    r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs/faults.md").read_text("utf-8"), re.MULTILINE
)


def test_every_fault_is_listed() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 63


@pytest.mark.parametrize(("number", "fault", "outcome", "tests"), ROWS, ids=[row[0] for row in ROWS])
def test_its_tests_are_there(number: str, fault: str, outcome: str, tests: str) -> None:
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", tests)
    assert named, f"fault {number} ({fault}: {outcome}) has no test"
    for file, function in named:
        text = (ROOT / file).read_text("utf-8")
        assert not function or f"def {function}(" in text, f"{file} has no {function}"
