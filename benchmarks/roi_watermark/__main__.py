"""Run the evaluation and write its results into docs/schemes/roi-watermark.md.

    python -m benchmarks.roi_watermark [--quick] [--print] [SECTION ...]

SECTION: speed, tampering, attacks, sensitivity, statistics, figures, floats; all of them where none is named.
--quick: fewer keys and trials. --print: only print, leave the page alone.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import machine
from benchmarks.pages import measure
from benchmarks.roi_watermark import adversary, figures, floats, speed, tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "schemes" / "roi-watermark.md"
FOLDER = PAGE.with_suffix("")
SECTIONS = ("speed", "tampering", "attacks", "sensitivity", "statistics", "figures", "floats")


def run(section: str, *, quick: bool) -> str:
    """Return one section's results as Markdown; pictures go beside the page."""
    keys, trials, tampers, orbits = (64, 20, 500, 60) if quick else (1000, 100, 10_000, 500)
    FOLDER.mkdir(parents=True, exist_ok=True)
    match section:
        case "speed":
            return f"On {machine()}.\n\n{speed.protect_and_restore()}\n\n{speed.keystream()}"
        case "tampering":
            return f"{adversary.one_byte_tampers(tampers)}\n\n{adversary.wiped_areas()}"
        case "attacks":
            text, unseen = adversary.attack_table(trials)
            exact = tables.lossless_everywhere()
            yes_or_no = tables.tables_5_and_6(unseen.paper, unseen.most_blocks, unseen.hardened, exact)
            return f"{text}\n\n{yes_or_no}"
        case "sensitivity":
            parts = (tables.key_space(), tables.table_3(), tables.many_keys(keys), tables.plaintext_sensitivity())
            return f"Regions of Table 2: {figures.regions_used()}.\n\n" + "\n\n".join(parts)
        case "statistics":
            return tables.table_4()
        case "figures":
            return f"{figures.draw(FOLDER)}\n\n{figures.large()}"
        case _:
            return floats.report(orbits, FOLDER)


if __name__ == "__main__":
    measure(__doc__, PAGE, SECTIONS, lambda section, quick: run(section, quick=quick))
