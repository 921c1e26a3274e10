"""`python -m medveil.mpc PARTY.toml` runs one server; `local` starts three of these.

With `--attached` it ends when its standard input does, that is, with the process that started it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from medveil.errors import MedveilError


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    from medveil.mpc.party import main

    if "--attached" in sys.argv[2:]:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        main(Path(sys.argv[1]))
    except MedveilError as e:
        sys.stderr.write(f"medveil: {e}\n")
        raise SystemExit(e.exit_code) from None
