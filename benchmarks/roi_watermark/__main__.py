"""Run the evaluation and write its results into docs/schemes/roi-watermark.md.

    python -m benchmarks.roi_watermark [--quick] [--print]

--quick: fewer keys and trials. --print: only print, leave the page alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.roi_watermark import adversary, figures, floats, speed, tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "schemes" / "roi-watermark.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def run(*, quick: bool) -> str:
    """Return all results as Markdown; pictures go beside the page."""
    folder = PAGE.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    keys, trials, tampers, orbits = (64, 20, 500, 60) if quick else (1000, 200, 10_000, 500)
    attack_text, unseen = adversary.attack_table(trials)
    sections = [
        (
            f"`python -m benchmarks.roi_watermark{' --quick' if quick else ''}` on {machine()}. Regions of Table 2: "
            f"{figures.regions_used()}."
        ),
        "### Speed",
        speed.protect_and_restore(),
        speed.keystream(),
        "### Tampering and repair",
        adversary.one_byte_tampers(tampers),
        adversary.wiped_areas(),
        "### Attacks",
        attack_text,
        "### The paper's tables and figures",
        tables.key_space(),
        tables.table_3(),
        tables.many_keys(keys),
        tables.plaintext_sensitivity(),
        tables.table_4(),
        tables.tables_5_and_6(unseen.paper, unseen.most_blocks, unseen.hardened, tables.lossless_everywhere()),
        figures.draw(folder),
        figures.large(),
        "### Chaos in floating point",
        floats.report(orbits, folder),
    ]
    return "\n\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    text = run(quick=options.quick)
    print(text)
    if not options.only_print:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
