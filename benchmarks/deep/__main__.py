"""Run with `python -m benchmarks.deep samples [METHOD ...]`."""

from __future__ import annotations

import sys

from benchmarks.deep import samples


def main() -> None:
    command, *rest = sys.argv[1:] or ["help"]
    if command == "samples":
        samples.main(rest)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
