"""Run the measurements, one part after the other, and let each write its results into the documents.

    python -m benchmarks [PART ...] [-- OPTIONS]

PART: a folder of benchmarks/ that can be run; all but mpc and gateway where none is named (they take long;
`make bench-mpc` also installs a peer). OPTIONS go to each part; `python -m benchmarks.PART --help` tells them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALONE = {"mpc", "gateway"}


def parts() -> list[str]:
    """Return the parts that can be run."""
    return sorted(main.parent.name for main in HERE.glob("*/__main__.py"))


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"{__doc__}\nparts: {', '.join(parts())}")
        return 0
    at = arguments.index("--") if "--" in arguments else len(arguments)
    named, options = arguments[:at], arguments[at + 1 :]
    unknown = set(named) - set(parts())
    if unknown:
        print(f"there is no part {', '.join(sorted(unknown))}: choose of {', '.join(parts())}", file=sys.stderr)
        return 2
    failed = []
    for part in named or [p for p in parts() if p not in ALONE]:
        print(f"\n# {part}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}", *options], check=False).returncode:
            failed.append(part)
    if failed:
        print(f"these parts failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
