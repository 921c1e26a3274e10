"""What every command shares: results on stdout (text or JSON), progress and errors on stderr, exit codes.

Exit codes: 0 exact and clean, 10 exact but with findings, and those of `medveil.errors` for everything else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from medveil.errors import MedveilError

CLEAN = 0
WITH_FINDINGS = 10
INTERRUPTED = 130

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def emit(result: dict[str, Any], *, as_json: bool, text: Callable[[], None]) -> None:
    """Print a result: one JSON object on stdout, or whatever `text` prints for a person."""
    if as_json:
        sys.stdout.write(json.dumps(result, indent=2, sort_keys=True, default=str) + "\n")
    else:
        text()


def fail(error: MedveilError, *, as_json: bool) -> None:
    """Report a refusal on stderr (and as JSON on stdout where asked) without a traceback."""
    if as_json:
        body = {"ok": False, "error": type(error).__name__, "message": str(error), "exit": error.exit_code}
        sys.stdout.write(json.dumps(body, indent=2, sort_keys=True) + "\n")
    else:
        err.print(Text.assemble(("medveil: ", "bold red"), f"{error}"))


def exit_code(findings: Iterable[Any]) -> int:
    """Return 0 for a clean result and 10 for an exact one with findings."""
    return WITH_FINDINGS if tuple(findings) else CLEAN


def finish(code: int) -> None:
    """End the command with that exit code."""
    if code:
        raise typer.Exit(code)


def findings_table(findings: Iterable[Any]) -> Table:
    """Return findings as a table of kind, part, chunk and message."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("finding", style="bold yellow")
    table.add_column("part", justify="right")
    table.add_column("chunk", justify="right")
    table.add_column("what")
    for f in findings:
        part = f.place or ("" if f.part is None else str(f.part))
        table.add_row(f.kind.value, part, "" if f.chunk is None else str(f.chunk), f.message)
    return table


@contextmanager
def progress(description: str, *, quiet: bool = False, unit: str = "bytes") -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while inside; gives a callback(done, total) of bytes, or of another unit.

    Nothing is drawn where stderr is no terminal, so that scripts and logs stay clean.
    """
    if quiet or not err.is_terminal:
        yield lambda _done, _total: None
        return
    counts: tuple[ProgressColumn, ...] = (
        (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(), TextColumn(unit))
    )
    columns = (TextColumn("{task.description}"), BarColumn(), *counts, TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
