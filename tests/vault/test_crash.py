"""kill -9 at every write of `put` and `repair`: afterwards an object is absent or complete, and the next put ends it.

A child process is forked for each point and really killed there. The points are every file-system event that Python
audits (open for writing, mkdir, link, unlink, rename, rmdir), in the stores and in the state folder, and every SQLite
statement that writes: each is the last moment before one thing changes. `crash_points.py` beside this file does the
forking, since this process may have threads. `new` and `update` take every point, the others every second or third;
`crash_points.py FOLDER STORY 1` takes all of any story.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("crash_points.py")
ROOT = SCRIPT.parent.parent.parent


def tell(work: str, story: str, step: int, environment: dict[str, str]) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), work, story, str(step)],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


@pytest.mark.parametrize(
    ("story", "step", "least"), [("new", 1, 60), ("update", 1, 80), ("degraded", 3, 15), ("repair", 2, 15)]
)
def test_killed_at_every_write(tmp_path: Path, story: str, step: int, least: int) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    told = tell(str(tmp_path), story, step, environment)
    assert told["wrong"] == []
    assert told["killed"] >= least
    assert told["absent"] > 0
    if story != "repair":  # both outcomes happen
        assert told["complete"] > 0
