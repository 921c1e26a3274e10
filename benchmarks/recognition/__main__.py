"""Run the papers' recognition experiments and write their results into docs/results.md.

    python -m benchmarks.recognition [SECTION ...] [--data DIR] [--work DIR]

SECTION: tables (the quick plans: about four hours of one core, resumed where it stopped), explain (Grad-CAM of plain,
SKK and smoothed models), figures (paper 001, figures 13 to 15), speed (an epoch and an encryption), chart (leakage
against utility, from the F1 that `tables` recorded; about a minute); all but tables where none is named. Results and
pictures are kept in docs/results/recognition/.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.recognition import chart, pictures, speed, tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/results.md"
KEPT = ROOT / "docs/results/recognition"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data", help="the folder of the image sets")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/recognition", help="where runs are kept and resumed")
    given = parser.parse_args()
    sections = {
        "tables": tables.write,
        "explain": pictures.explain,
        "figures": pictures.figures,
        "speed": speed.write,
        "chart": chart.write,
    }
    unknown = set(given.sections) - set(sections)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(sections)}")
    for name in given.sections or [s for s in sections if s != "tables"]:
        sections[name](given.data, given.work, PAGE, KEPT)


if __name__ == "__main__":
    main()
