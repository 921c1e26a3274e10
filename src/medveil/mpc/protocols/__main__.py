"""`python -m medveil.mpc.protocols` prints the cost table that docs/mpc.md carries."""

from __future__ import annotations

import sys

from medveil.mpc.protocols.costs import markdown_table

if __name__ == "__main__":
    sys.stdout.write(markdown_table() + "\n")
