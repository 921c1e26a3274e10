"""`medveil vault search` and `vault index`: finding studies in an archive whose index is encrypted."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.files import show
from medveil.cli.keys import Json
from medveil.cli.vault import Config, group, opened
from medveil.errors import UsageError


@group.command("search")
def search(
    config: Config,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help="As QIDO-RS, then free words: 'ModalitiesInStudy=CT&StudyDate=20240101-20240331 pneumonia'. "
            "With - it is read from standard input, where no other user of the machine sees it.",
        ),
    ],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most results.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="Results to leave out at the beginning.")] = 0,
    as_json: Json = False,
) -> None:
    """Find studies, best first. What the index's server learns from it is in docs/leakage.md."""
    if query == "-":
        query = sys.stdin.readline()
    with opened(config) as vault:
        report = vault.search(query, limit=limit, offset=offset)
    code = terminal.exit_code(report.findings)
    result = {
        "ok": True,
        "total": report.total,
        "exact_total": report.exact_total,
        "rows": report.rows,
        "hits": [{"score": round(hit.score, 4), "study": hit.study.key, **hit.study.attributes} for hit in report.hits],
        "findings": [f.as_dict() for f in report.findings],
        "exit": code,
    }

    def text() -> None:
        for hit in report.hits:
            said = hit.study.attributes
            listed = said.get("ModalitiesInStudy", [])
            modalities = "/".join(listed) if isinstance(listed, list) else str(listed)
            names = ("StudyDate", "PatientName", "PatientID", "StudyDescription")
            date, name, number, description = (str(said.get(one, "")) for one in names)
            score = f"{hit.score:6.2f}  " if hit.score else ""
            terminal.out.print(f"{score}{date:8}  {modalities:5}  {name} ({number})  {description}", markup=False)
            terminal.out.print(f"    {said.get('StudyInstanceUID') or hit.study.key}", markup=False)
        terminal.out.print(f"{len(report.hits)} of {'' if report.exact_total else 'at least '}{report.total}")
        show(report.findings)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


@group.command("index")
def index(
    config: Config,
    compact: Annotated[
        bool, typer.Option("--compact", help="Write the index anew under fresh keys, without what was removed.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make a lost or damaged index again from the stored objects.")
    ] = False,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="STUDY", help="Let search no longer find this study (its UID).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put into the index what is stored and not in it yet."""
    if compact and rebuild:
        raise UsageError("--rebuild makes a compact index already: give one of the two")
    with opened(config) as vault, terminal.progress("index", quiet=as_json) as tick:
        if remove is not None:
            vault.remove_from_index(remove)
        indexed = vault.rebuild_index(progress=tick) if rebuild else vault.index(progress=tick)
        epoch = vault.compact_index(progress=tick) if compact else None
    result = {"ok": True, "indexed": indexed, "epoch": epoch, "exit": 0}
    words = f"{indexed} objects indexed" + ("" if epoch is None else f"; written anew as epoch {epoch}")
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words))


def add_to(app: typer.Typer) -> None:
    """The commands of this file are in the group of `medveil vault`."""
    del app
