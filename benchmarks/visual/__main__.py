"""Run the evaluation and write its results into docs/schemes/visual.md.

    python -m benchmarks.visual [--print] [SECTION ...]

SECTION: example, speed, quality, figures; all of them where none is named. --print: only print, leave the page alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import machine
from benchmarks.pages import measure
from benchmarks.visual import latency, quality, speed

PAGE = Path(__file__).resolve().parents[2] / "docs/schemes/visual.md"
FOLDER = PAGE.with_suffix("")
SECTIONS = ("example", "speed", "quality", "figures")


def run(section: str) -> str:
    """Return one section's results as Markdown; pictures go beside the page."""
    match section:
        case "example":
            return quality.example(FOLDER)
        case "speed":
            return f"On {machine()}.\n\n{speed.halftones()}\n\n{speed.protecting()}\n\n{speed.verifying()}"
        case "quality":
            return f"{quality.table_2()}\n\n{quality.thresholds()}"
        case _:
            return f"On {machine()}.\n\n{latency.figure_2(FOLDER)}\n\n{latency.figure_3(FOLDER)}"


if __name__ == "__main__":
    measure(__doc__, PAGE, SECTIONS, lambda section, _quick: run(section), quick=False)
