"""Measure the learnable schemes and write the results into docs/schemes/learnable.md.

    python -m benchmarks.learnable [--quick] [--print] [SECTION ...]

SECTION: figures, reproduced, schemes, keys, options, learned, learned-other, speed, epoch; all where none is named.
--quick: fewer images and steps. --print: only print, leave the page alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.learnable import figures, leakage, speed
from benchmarks.pages import measure
from medveil.crypto.prg import allow_insecure_randomness

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "schemes" / "learnable.md"
SECTIONS = ("figures", "reproduced", "schemes", "keys", "options", "learned", "learned-other", "speed", "epoch")


def run(section: str, *, quick: bool) -> str:
    """Return one section's results as Markdown; pictures go beside the page."""
    match section:
        case "figures":
            return figures.draw()
        case "reproduced":
            return leakage.reproduced(quick=quick)
        case "schemes":
            return leakage.every_scheme(quick=quick)
        case "keys":
            return leakage.keys_and_puzzles(quick=quick)
        case "options":
            return leakage.every_option(quick=quick)
        case "learned" | "learned-other":
            return leakage.learned(quick=quick, other=section == "learned-other")
        case "speed":
            return speed.throughput()
        case _:
            return speed.share_of_epoch()


def seeded(section: str, quick: bool) -> str:
    """As `run`, with the keys of the experiments seeded."""
    with allow_insecure_randomness("experiment"):
        return run(section, quick=quick)


if __name__ == "__main__":
    measure(__doc__, PAGE, SECTIONS, seeded)
