"""kill -9 at writes of a grant, a revocation and a rotation: afterwards it was decided or not, and `resume` ends it.

As test_crash.py: a child is really killed before each file-system event and each SQLite statement that writes, in the
stores and in the state folder. Here some of the points of each story are taken, spread evenly;
`grants_crash_points.py FOLDER STORY 1` takes all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("grants_crash_points.py")
ROOT = SCRIPT.parent.parent.parent


@pytest.mark.parametrize(
    ("story", "step", "least"), [("grant", 9, 4), ("stop", 9, 4), ("rotate", 13, 4), ("reencrypt", 31, 4)]
)
def test_70_killed_while_granting_revoking_or_rotating(tmp_path: Path, story: str, step: int, least: int) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), str(tmp_path), story, str(step)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    told = json.loads(ran.stdout)
    assert told["wrong"] == []
    assert told["killed"] >= least
    assert told["decided"] > 0
