"""docs/mpc.md carries the cost table that the code declares."""

from __future__ import annotations

from pathlib import Path

from medveil.mpc.protocols.costs import COSTS, markdown_table


def test_the_cost_table_is_the_codes() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "mpc.md").read_text("utf-8")
    _, _, rest = text.partition("<!-- costs: python -m medveil.mpc.protocols -->\n")
    table, _, _ = rest.partition("<!-- end of costs -->")
    assert table.strip() == markdown_table(), "run python -m medveil.mpc.protocols and paste its table into docs/mpc.md"
    assert len(COSTS) > 20
