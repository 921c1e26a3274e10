"""`python -m medveil.mpc PARTY.toml` runs one server; `local` starts three of these."""

from __future__ import annotations

import sys
from pathlib import Path

from medveil.errors import MedveilError

if __name__ == "__main__":
    from medveil.mpc.party import main

    try:
        main(Path(sys.argv[1]))
    except MedveilError as e:
        sys.stderr.write(f"medveil: {e}\n")
        raise SystemExit(e.exit_code) from None
