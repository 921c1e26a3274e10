"""The quick plans, run (or resumed) and written into the page as tables beside the papers' figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.pages import write as write_section
from medveil.recognition import plans
from medveil.recognition import tables as result_tables
from medveil.recognition.experiments import run_plan

PLANS = (
    "paper-001-table-2-quick",
    "paper-001-table-2-unfolded-quick",
    "paper-001-table-3-quick",
    "paper-000-figures-4-5-quick",
)


def write(data: Path, work: Path, page: Path, kept: Path) -> None:
    for name in PLANS:
        record = run_plan(plans.read(name), data, work / name, resume=True)
        publish(name, record, work / name, page, kept)


def publish(name: str, record: dict[str, Any], run: Path, page: Path, kept: Path) -> None:
    """Put a finished experiment's table on the page and keep its results and ROC picture."""
    kept.mkdir(parents=True, exist_ok=True)
    slim = {k: v for k, v in record.items() if k != "plan"}
    (kept / f"{name}.json").write_text(json.dumps(slim, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.copyfile(run / "roc.png", kept / f"{name}-roc.png")
    print(text := result_tables.markdown(record))
    write_section(page, name, text.partition("\n\n")[2].strip())
