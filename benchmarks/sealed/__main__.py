"""Measure the default scheme and write the results into docs/benchmarks.md.

    python -m benchmarks.sealed [--quick] [--print] [--mutations N] [SECTION ...]

SECTION: limit, slice, size, memory, localisation, mutations, peers; all of them where none is named.
--quick: smaller files and fewer tries. --print: only print, leave the page alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.pages import write
from benchmarks.sealed import figures, limit, peers

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
MUTATIONS = 100_000


def sections(*, quick: bool, mutations: int) -> dict[str, Callable[[], str]]:
    """Return what is measured, by name."""
    mib = 1 << 20
    return {
        "limit": lambda: limit.protect_one_large(64 * mib if quick else 256 * mib, runs=3 if quick else 7),
        "slice": lambda: figures.one_slice(11 if quick else 41),
        "size": figures.stored_size,
        "memory": lambda: figures.peak_memory((16 * mib, 128 * mib) if quick else (16 * mib, 128 * mib, 1024 * mib)),
        "localisation": lambda: figures.localisation(60 if quick else 400),
        "mutations": lambda: figures.mutations(2400 if quick else mutations),
        "peers": lambda: peers.compare(16 * mib if quick else 100 * mib, runs=1 if quick else 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--print", action="store_true", dest="only_print")
    parser.add_argument("--mutations", type=int, default=MUTATIONS)
    options = parser.parse_args()
    known = sections(quick=options.quick, mutations=options.mutations)
    unknown = set(options.sections) - set(known)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}: choose of {', '.join(known)}")
    print(f"On {machine()}.\n")
    for section in options.sections or known:
        text = known[section]()
        print(f"## {section}\n\n{text}\n", flush=True)
        if not options.only_print:
            write(PAGE, section, text)


if __name__ == "__main__":
    main()
