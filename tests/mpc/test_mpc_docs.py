"""docs/mpc.md carries the cost table that the code declares, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from medveil.mpc.protocols.costs import COSTS, markdown_table

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_has_a_test() -> None:
    text = (ROOT / "docs" / "mpc.md").read_text("utf-8")
    _, _, rest = text.partition("\n## Faults\n")
    rows = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, function in named:
            assert f"def {function}(" in (ROOT / file).read_text("utf-8"), f"{file}::{function} does not exist"


def test_the_cost_table_is_the_codes() -> None:
    text = (ROOT / "docs" / "mpc.md").read_text("utf-8")
    _, _, rest = text.partition("<!-- costs: python -m medveil.mpc.protocols -->\n")
    table, _, _ = rest.partition("<!-- end of costs -->")
    assert table.strip() == markdown_table(), "run python -m medveil.mpc.protocols and paste its table into docs/mpc.md"
    assert len(COSTS) > 20
