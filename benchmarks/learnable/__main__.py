"""Measure the learnable schemes and write the results into docs/schemes/learnable.md.

    python -m benchmarks.learnable [--quick] [--print] [SECTION ...]

SECTION: figures, reproduced, schemes, keys, options, learned, learned-other, speed, epoch; all where none is named.
--quick: fewer images and steps. --print: only print, leave the page alone.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from benchmarks.learnable import figures, leakage, speed
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


def write(section: str, text: str) -> None:
    """Put a section between its marks on the page."""
    begin, end = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(f"{re.escape(begin)}.*?{re.escape(end)}", page, re.DOTALL)
    if found is None:
        raise SystemExit(f"{PAGE.name} has no marks for section {section}")
    PAGE.write_text(f"{page[: found.start()]}{begin}\n\n{text}\n\n{end}{page[found.end() :]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(SECTIONS)}")
    for section in options.sections or SECTIONS:
        with allow_insecure_randomness("experiment"):  # keys of the experiments are seeded
            text = run(section, quick=options.quick)
        print(text, end="\n\n", flush=True)
        if not options.only_print:
            write(section, text)


if __name__ == "__main__":
    main()
