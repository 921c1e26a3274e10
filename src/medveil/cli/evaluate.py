"""`medveil evaluate`: measure and attack every scheme alike, and write results, scorecard and report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from medveil.cli import terminal
from medveil.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from medveil.evaluation.plan import Plan
    from medveil.evaluation.results import Results
    from medveil.evaluation.scorecard import Row

REPORT = "report.html"
_WIDE = 170  # columns of a terminal that hold the words beside the marks
_MARKS = {"pass": "[green]✓[/]", "fail": "[red]✗[/]", "not measured": "[dim]?[/]"}


def evaluate(
    out: Annotated[Path, typer.Option("--out", help="Folder for results, evidence and report; goes on where it is.")],
    plan: Annotated[Path | None, typer.Option("--plan", help="A TOML plan; everything by default.")] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of image sets; else MEDVEIL_SHARED_DATA, else what the package carries."),
    ] = None,
    schemes: Annotated[
        str, typer.Option("--schemes", help="Names, separated by commas, or all; see also the plan.")
    ] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything: minutes on two cores.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the whole evaluation.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the plan, and say what it would do.")] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write scorecard and report anew from the results in OUT.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the results of another plan in OUT.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Measure every scheme alike: what it promises, what attacks get, what it costs, with pictures and evidence.

    Exit code 10: finished, and a scheme was seen to claim what it does not keep, or a cell is missing.
    """
    from medveil.evaluation import results as records
    from medveil.evaluation import run as running
    from medveil.evaluation import scorecard

    if report_only:
        found = records.read(out)
    else:
        root = data or (Path(given) if (given := os.environ.get("MEDVEIL_SHARED_DATA")) else None)
        chosen = _plan(plan, root, schemes=schemes, quick=quick, seed=seed)
        if check:
            _say_plan(chosen, list(running.tasks(chosen)), as_json=as_json)
            return
        _need_extra()
        command = _command(plan, data, schemes, quick=quick, seed=seed)
        with _bar(quiet=as_json) as tick:
            found = running.run(chosen, out, data=root, command=command, force=force, progress=tick)
    rows = scorecard.build(found)
    _write(found, rows, out)
    false, missing = scorecard.false_claims(rows), scorecard.missing(rows)
    broken = [f"{r.subject}, {r.detail or r.measure}: {r.note}" for r in records.unfinished(found.records)]
    code = terminal.exit_code([*false, *missing, *broken])
    result: dict[str, Any] = {
        "ok": not (false or missing or broken),
        "report": str(out / REPORT),
        "results": str(out / records.RESULTS),
        "table": str(out / records.TABLE),
        "false_claims": false,
        "not_measured": missing,
        "failed": broken,
        "scorecard": [
            {"scheme": row.subject, **{n: {"verdict": c.verdict.value, "text": c.text} for n, c in row.cells.items()}}
            for row in rows
        ],
        "exit": code,
    }

    def text() -> None:
        terminal.out.print(card(rows))
        for title, lines in (("false claims", false), ("not measured", missing), ("failed", broken)):
            for line in lines:
                terminal.out.print(f"{title}: {line}", markup=False)
        terminal.out.print(f"{out / REPORT}: open it in a browser; it needs no network", markup=False)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


def _plan(path: Path | None, data: Path | None, *, schemes: str, quick: bool, seed: int | None) -> Plan:
    """Return the plan of the options. Raises UsageError where they contradict, ConfigError for a plan with errors."""
    from medveil.evaluation import plan as plans
    from medveil.evaluation import subjects

    if path is not None and (quick or schemes != "all"):
        raise UsageError("a plan says what is measured: leave --quick and --schemes out, or the plan")
    if path is not None and not path.is_file():
        raise UsageError(f"there is no plan {path}: check the path")
    chosen = plans.read(path, data) if path is not None else plans.default(data, quick=quick)
    said = chosen.model_dump(mode="json")
    if schemes != "all":
        names = [name.strip() for name in schemes.split(",") if name.strip()]
        wanted = [s for name in names for s in (subjects.variants_of(name) if name in subjects.known() else [])]
        unknown = [name for name in names if name not in subjects.known()]
        said["schemes"] = [{"scheme": s.scheme, "label": s.label, "options": dict(s.options)} for s in wanted]
        said["schemes"] += [{"scheme": name} for name in unknown]  # the plan's check names all of them
    if seed is not None:
        said["seed"] = seed
    return plans.parse(said, data)


def _command(plan: Path | None, data: Path | None, schemes: str, *, quick: bool, seed: int | None) -> str:
    words = ["medveil evaluate"]
    words += [f"--plan {plan}"] if plan else []
    words += [f"--data {data}"] if data else []
    words += [f"--schemes {schemes}"] if schemes != "all" else []
    words += ["--quick"] if quick else []
    words += [f"--seed {seed}"] if seed is not None else []
    return " ".join([*words, "--out report"])


def _need_extra() -> None:
    """Raise MissingExtraError before hours of work, not after them."""
    from importlib.util import find_spec

    if not all(find_spec(name) for name in ("pyarrow", "jinja2", "scipy", "torch", "sklearn")):
        raise MissingExtraError("medveil evaluate", "evaluate")


class _bar:  # noqa: N801  # a context manager that is called like a function
    """Shows progress on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=terminal.err, disable=quiet, transient=True)
        self._task = self._bar.add_task("reading pictures", total=None)

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda what, done, total: self._bar.update(
            self._task, description=what[:44], completed=done, total=total
        )

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


def _say_plan(plan: Plan, tasks: list[Any], *, as_json: bool) -> None:
    rows = [s.label for s in plan.subjects()]
    result = {"ok": True, "schemes": rows, "corpora": [c.name for c in plan.corpora], "tasks": len(tasks)}
    said = f"the plan is valid: {len(rows)} schemes, {len(plan.corpora)} corpora, {len(tasks)} tasks"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(said))


def _write(found: Results, rows: list[Row], out: Path) -> None:
    from medveil.evaluation import report, scorecard
    from medveil.schemes.bundle import new_file

    with new_file(out / REPORT, force=True) as working:
        working.write_text(report.render(found, rows, out), encoding="utf-8")
    with new_file(out / "scorecard.md", force=True) as working:
        working.write_text(scorecard.as_markdown(rows), encoding="utf-8")


def card(rows: list[Row]) -> Table:
    """Return the scorecard for a terminal."""
    from medveil.evaluation.scorecard import COLUMNS

    wide = terminal.out.width >= _WIDE
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("scheme", style="bold", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.name, no_wrap=wide)
    for row in rows:
        cells = [row.cells[c.name] for c in COLUMNS]
        table.add_row(row.subject, *(_MARKS[c.verdict.value] + (f" {c.text}" if wide else "") for c in cells))
    return table


def add_to(app: typer.Typer) -> None:
    """Add this file's command."""
    app.command()(evaluate)
