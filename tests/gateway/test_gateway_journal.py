"""The log: one JSON object a line, of allowed fields only, and silence from libraries that quote what they read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from tests.conftest import ROOT

from medveil.gateway.journal import Journal


def test_writes_a_line_for_each_event() -> None:
    stream = io.StringIO()
    journal = Journal(stream)
    journal.write("instance refused", via="dicom", client="ct-1", status=0xA700, error=None)
    journal.write("finding", store="north\nsouth", kind="x" * 500)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert {key: first[key] for key in first if key != "time"} == {
        "event": "instance refused", "via": "dicom", "client": "ct-1", "status": 0xA700,
    }  # fmt: skip
    assert len(second["kind"]) == 64


@pytest.mark.parametrize("field", ["patient", "uid", "path", "message", "name"])
def test_takes_no_other_field(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Journal(io.StringIO()).write("event", **{field: "x"})


def test_libraries_and_dying_threads_quote_nothing() -> None:
    code = (
        "import logging, threading, warnings\n"
        "from medveil.gateway.journal import Journal, silence_libraries\n"
        "silence_libraries(Journal())\n"
        "for name in ('pynetdicom.dimse', 'pynetdicom', 'pydicom', 'uvicorn.error', 'asyncio', 'other'):\n"
        "    logging.getLogger(name).error('CANARY^NAME')\n"
        "    logging.getLogger(name).critical('CANARY^NAME')\n"
        "warnings.warn('invalid value CANARY^NAME')\n"
        "def die(): raise ValueError('CANARY^NAME')\n"
        "thread = threading.Thread(target=die); thread.start(); thread.join()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "CANARY" not in done.stdout + done.stderr
    assert json.loads(done.stderr)["error"] == "ValueError"
