"""`python -m benchmarks.search [speed|leakage|rewrap] [--studies N] [--servers]`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search")
    parser.add_argument("what", choices=("speed", "leakage", "rewrap"), nargs="?", default="speed")
    parser.add_argument("--studies", type=int, default=0, help="60000 for speed, 100000 for rewrap by default")
    parser.add_argument("--folder", type=Path, help="keep the SQLite index here, and only time it where it is kept")
    parser.add_argument("--servers", action="store_true", help="also on a real PostgreSQL, started for it")
    given = parser.parse_args()
    if given.what == "speed":
        from benchmarks.search import speed

        speed.main(given.studies or 60_000, given.folder, servers=given.servers)
    elif given.what == "leakage":
        from benchmarks.search import leakage

        leakage.main()
    else:
        from benchmarks.search import rewrap

        rewrap.main(given.studies or 100_000)


if __name__ == "__main__":
    main()
