"""Restoring and verifying whole trees of protected files, as `medveil protect FOLDER` makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from medveil.cli import terminal
from medveil.errors import InputError, MedveilError, OutputExistsError

if TYPE_CHECKING:
    from medveil.schemes.base import Finding


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one protected file of a tree."""

    bundle: str
    output: str | None = None
    findings: tuple[Finding, ...] = ()
    error: MedveilError | None = None
    skipped: bool = False

    @property
    def code(self) -> int:
        """The exit code that this file alone would give."""
        return self.error.exit_code if self.error else terminal.exit_code(self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        refusal = {"error": type(self.error).__name__, "message": str(self.error)} if self.error else {}
        return {
            "bundle": self.bundle,
            "output": self.output,
            "skipped": self.skipped,
            "findings": [f.as_dict() for f in self.findings],
            "exit": self.code,
            **refusal,
        }


def is_bundle(folder: Path) -> bool:
    """Whether a folder itself holds parts or a manifest."""
    from medveil.schemes.bundle import MANIFEST, part_files

    return (folder / MANIFEST).is_file() or bool(part_files(folder))


def bundles_of(folder: Path) -> tuple[Path, ...]:
    """Return the protected files under a folder that is none itself, in order.

    Raises InputError where there are none.
    """
    found = tuple(sorted(p for p in folder.rglob("*") if p.is_dir() and is_bundle(p)))
    if not found:
        raise InputError(f"{folder} holds no protected files: give a folder that protect wrote, or one that holds such")
    return found


def restore_tree(
    folder: Path, out: Path, one: Callable[[Path, Path], tuple[Finding, ...]], *, force: bool, resume: bool
) -> list[Outcome]:
    """Restore every protected file under `folder` to the same place under `out`; one that fails stops no other.

    Raises OutputExistsError before anything is written where an output is there and neither flag is set.
    """
    jobs = [(bundle, out / bundle.relative_to(folder)) for bundle in bundles_of(folder)]
    taken = [target for _, target in jobs if target.exists()]
    if taken and not (force or resume):
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise OutputExistsError(f"{taken[0]}{more} exists already: pass --resume to skip what is done, or --force")

    def run() -> Iterator[Outcome]:
        for bundle, target in jobs:
            name = str(bundle.relative_to(folder))
            if target.exists() and resume:
                yield Outcome(name, str(target), skipped=True)
                continue
            try:
                yield Outcome(name, str(target), one(bundle, target))
            except MedveilError as error:
                yield Outcome(name, error=error)

    return list(run())


def verify_tree(folder: Path, one: Callable[[Path], tuple[Finding, ...]]) -> list[Outcome]:
    """Verify every protected file under `folder`; one that fails stops no other."""
    outcomes = []
    for bundle in bundles_of(folder):
        name = str(bundle.relative_to(folder))
        try:
            outcomes.append(Outcome(name, findings=one(bundle)))
        except MedveilError as error:
            outcomes.append(Outcome(name, error=error))
    return outcomes


def report(outcomes: Sequence[Outcome], *, verb: str, as_json: bool) -> None:
    """Print what became of each file and end with the code of the worst: an error, then findings, then clean."""
    failed = [o for o in outcomes if o.error]
    noted = [o for o in outcomes if not o.error and o.findings]
    code = failed[0].code if failed else terminal.WITH_FINDINGS if noted else terminal.CLEAN
    result = {"ok": not failed, "files": [o.as_dict() for o in outcomes], "exit": code}

    def text() -> None:
        rest = len(outcomes) - len(failed) - len(noted)
        terminal.out.print(f"{len(outcomes)} files: {rest} {verb}, {len(noted)} with findings, {len(failed)} refused")
        if failed or noted:
            terminal.out.print(_table([*failed, *noted]))

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("file", "exit", "what"):
        table.add_column(heading)
    for outcome in outcomes:
        what = str(outcome.error) if outcome.error else "; ".join(f.message for f in outcome.findings[:3])
        more = f" and {len(outcome.findings) - 3} more" if len(outcome.findings) > 3 else ""
        table.add_row(outcome.bundle, str(outcome.code), what + more)
    return table
