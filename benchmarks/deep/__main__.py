"""Train the public sample keys, or measure with them and write the tables into docs/schemes/deep.md.

    python -m benchmarks.deep samples [METHOD ...]
    python -m benchmarks.deep tables [--print] [SECTION ...]

SECTION: chest, brain, "known plaintext", "wrong keys", batches, statistics, pictures; all of them where none is named.
"""

from __future__ import annotations

import sys

from benchmarks.deep import samples
from benchmarks.measure import machine
from benchmarks.pages import write

PAGE = samples.ROOT / "docs" / "schemes" / "deep.md"


def main() -> None:
    command, *rest = sys.argv[1:] or ["help"]
    if command == "samples":
        samples.main(rest)
    elif command == "tables":
        from benchmarks.deep import tables

        only_print = "--print" in rest
        print(machine(), flush=True)
        for name in [r for r in rest if r != "--print"] or [*tables.SECTIONS]:
            text = tables.section(name, PAGE.with_suffix(""))
            print(f"## {name}\n\n{text}\n", flush=True)
            if not only_print:
                write(PAGE, name, text)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
