"""`medveil vault`: an archive over several stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from medveil.cli import terminal
from medveil.cli.files import parse_roi, show
from medveil.cli.keys import Json, open_owner, write_new

if TYPE_CHECKING:
    from medveil.vault import Vault
    from medveil.vault.reports import ObjectReport

group = typer.Typer(help="An archive over several stores: put, get, verify, scrub, repair.", no_args_is_help=True)

Config = Annotated[Path, typer.Argument(metavar="VAULT.TOML", help="The vault's configuration.")]
Target = Annotated[
    str | None, typer.Argument(metavar="[OBJECT]", help="Object id, its beginning, or a name; all if left out.")
]
Keyless = Annotated[
    bool, typer.Option("--keyless", help="Check the parts only; needs the public key kept in the state folder.")
]

_EXAMPLE = """# A medveil vault. Any 2 of 4 parts restore; two parts of one object never go to one provider.
[vault]
dataset = "archive"          # a label of yours
threshold = "2/4"            # any 2 of 4 parts restore
owner = "owner.key"          # medveil keygen --out owner.key
state = "state"              # this machine's memory of what it has seen: keep it

# [search]                   # ranked search; needs pip install 'medveil[search]'
# type = "sqlite"            # or "postgresql" (docs/vault.md)
# path = "index.sqlite"      # encrypted; may lie on a disk that is not trusted

# One [[store]] for each place. Types: directory, s3, sftp, webdav (docs/vault.md).
[[store]]
type = "directory"
name = "north"
provider = "north"           # who operates it
path = "stores/north"

[[store]]
type = "directory"
name = "east"
provider = "east"
path = "stores/east"

[[store]]
type = "directory"
name = "south"
provider = "south"
path = "stores/south"

[[store]]
type = "directory"
name = "west"
provider = "west"
path = "stores/west"
"""


@group.command("example")
def example(config: Config) -> None:
    """Write an example configuration to edit; never overwrites."""
    write_new(config, _EXAMPLE.encode())
    terminal.out.print(f"wrote {config}: edit its stores, then run medveil vault init {config}")


@group.command("init")
def init(config: Config, as_json: Json = False) -> None:
    """Make the vault that a configuration describes: check its stores and begin its local state."""
    from medveil.vault import Vault, load_config

    settings = load_config(config)
    names = [store.name for store in settings.stores]
    with Vault.init(settings, open_owner(settings.owner)):
        terminal.emit(
            {"ok": True, "stores": names, "threshold": [settings.k, settings.n], "exit": 0},
            as_json=as_json,
            text=lambda: terminal.out.print(f"vault over {', '.join(names)}: any {settings.k} of {settings.n} restore"),
        )


@group.command("put")
def put(
    config: Config,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Files, or folders taken with all they hold.")
    ],
    roi: Annotated[
        list[str] | None, typer.Option(metavar="X1,Y1,X2,Y2", help="Region of interest; may be repeated.")
    ] = None,
    update: Annotated[
        str | None, typer.Option("--update", metavar="OBJECT", help="Make a new version of this object (one file).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Seal files and spread them. Interrupted, the same command goes on: what is stored already is skipped."""
    from medveil.cli.files import plan
    from medveil.errors import UsageError

    sources = [source for source, _ in plan(inputs, Path())]
    if update is not None and len(sources) != 1:
        raise UsageError(f"--update takes one file, and {len(sources)} were given")
    regions = parse_roi(roi or [])
    reports = []
    with opened(config) as vault:
        for number, source in enumerate(sources, start=1):
            with terminal.progress(f"{number}/{len(sources)} {source.name}", quiet=as_json) as tick:
                report = vault.put(source, object=update, roi=regions, progress=tick)
            reports.append(report)
            if not as_json:
                words = "was there already" if report.skipped else ("resumed" if report.resumed else "stored")
                terminal.out.print(f"{report.object_id}  {report.name}  version {report.version}, {words}")
                show(report.findings)
    found = [finding for report in reports for finding in report.findings]
    code = terminal.exit_code(found)
    entries = [
        {
            "object": r.object_id,
            "name": r.name,
            "version": r.version,
            "size": r.size,
            "stored_bytes": r.stored_bytes,
            "places": r.places,
            "skipped": r.skipped,
            "findings": [f.as_dict() for f in r.findings],
        }
        for r in reports
    ]
    terminal.emit({"ok": True, "files": entries, "exit": code}, as_json=as_json, text=lambda: None)
    terminal.finish(code)


@group.command("get")
def get(
    config: Config,
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="Object id, its beginning, or a name.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    version: Annotated[int | None, typer.Option(help="An earlier version.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Where too little is left, write what is intact.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Give the exact file back, and say what was wrong on the way."""
    with opened(config) as vault, terminal.progress(target, quiet=as_json) as tick:
        report = vault.get(target, out, version=version, partial=partial, force=force, progress=tick)
    code = terminal.exit_code(report.findings)
    result = {
        "ok": True,
        "object": report.object_id,
        "version": report.version,
        "name": report.name,
        "output": str(report.path),
        "exact": report.exact,
        "findings": [f.as_dict() for f in report.findings],
        "exit": code,
    }

    def text() -> None:
        terminal.out.print(f"{report.path}: {'exact' if report.exact else 'NOT exact: lost parts are zero'}")
        show(report.findings)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


@group.command("list")
def list_(config: Config, as_json: Json = False) -> None:
    """List what the vault holds."""
    with opened(config) as vault:
        entries = vault.list()
    rows = [
        {"object": e.object_id, "version": e.version, "name": e.name, "size": e.size, "time": e.time} for e in entries
    ]

    def text() -> None:
        table = Table(show_edge=False, pad_edge=False)
        for heading in ("object", "version", "name", "bytes", "put"):
            table.add_column(heading)
        for e in entries:
            when = "" if e.time is None else datetime.fromtimestamp(e.time, UTC).isoformat(" ", "seconds")
            size = "" if e.size is None else f"{e.size:,}"
            table.add_row(e.object_id, str(e.version), e.name or "", size, when)
        terminal.out.print(table)

    terminal.emit({"ok": True, "objects": rows, "exit": 0}, as_json=as_json, text=text)


@group.command("versions")
def versions(
    config: Config,
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="Object id, its beginning, or a name.")],
    as_json: Json = False,
) -> None:
    """List the versions of an object, newest first."""
    with opened(config) as vault:
        entries = vault.versions(target)
    rows = [
        {"version": e.version, "digest": e.digest, "previous": e.previous, "current": e.current, "parts": e.parts}
        for e in entries
    ]

    def text() -> None:
        for e in entries:
            mark = "current" if e.current else "       "
            terminal.out.print(
                f"{e.version:>6}  {mark}  parts {', '.join(map(str, e.parts))} of {e.n}  {e.digest[:16]}"
            )

    terminal.emit({"ok": True, "versions": rows, "exit": 0}, as_json=as_json, text=text)


@group.command("accept-rollback")
def accept_rollback(
    config: Config,
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="Object id, its beginning, or a name.")],
    version: Annotated[int | None, typer.Option(help="The version to go back to; default the newest offered.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the signed statement for other machines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign, as the owner, that an older version counts from now on."""
    with opened(config) as vault:
        statement = vault.accept_rollback(target, version)
    if out is not None:
        write_new(out, statement)
    done = {"ok": True, "statement": None if out is None else str(out), "exit": 0}
    terminal.emit(done, as_json=as_json, text=lambda: terminal.out.print(f"accepted: {target} goes back"))


@group.command("verify")
def verify(config: Config, target: Target = None, keyless: Keyless = False, as_json: Json = False) -> None:
    """Read and check everything, or one object: parts against the manifest, and with the key what they hold."""
    with opened(config, keyless=keyless) as vault, terminal.progress("verify", quiet=as_json) as tick:
        report = vault.verify(target, progress=tick)
    _finish(report.objects, {"level": report.level}, as_json=as_json)


@group.command("scrub")
def scrub(
    config: Config,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew instead of going on.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Remove old stored files that belong to nothing.")] = False,
    rate: Annotated[float | None, typer.Option(help="Read at most this many bytes a second.")] = None,
    as_json: Json = False,
) -> None:
    """Look for bit rot, lost parts and orphans without decrypting anything. Goes on where it was interrupted."""
    with opened(config) as vault, terminal.progress("scrub", quiet=as_json) as tick:
        report = vault.scrub(restart=restart, prune=prune, rate=rate, progress=tick)
    more = {
        "versions": report.versions,
        "bytes_read": report.bytes_read,
        "orphans": [list(o) for o in report.orphans],
        "removed": report.removed,
        "resumed": report.resumed,
    }
    _finish(report.objects, more, as_json=as_json, extra=report.findings)


@group.command("repair")
def repair(config: Config, target: Target = None, as_json: Json = False) -> None:
    """Rebuild lost and damaged parts from the others, and finish uploads that were interrupted."""
    from medveil.schemes.base import FindingKind

    with opened(config) as vault, terminal.progress("repair", quiet=as_json) as tick:
        report = vault.repair(target, progress=tick)
    if not as_json:
        terminal.out.print(f"{report.repaired} parts put back, {report.recovered} uploads finished")
    settled = {"repaired": report.repaired, "recovered": report.recovered}
    _finish(report.objects, settled, as_json=as_json, quiet=FindingKind.REPAIRED)


def _finish(
    objects: tuple[ObjectReport, ...],
    more: dict[str, Any],
    *,
    as_json: bool,
    extra: tuple[Any, ...] = (),
    quiet: str = "",
) -> None:
    """Print what was found about objects and end with the matching exit code."""
    found = [f for one in objects for f in one.findings]
    found += [f for f in extra if f not in found]
    errors = [one for one in objects if one.error is not None]
    code = terminal.exit_code([f for f in found if f.kind.value != quiet])
    if errors:
        code = max(one.error.exit_code for one in errors if one.error is not None)
    entries = [
        {
            "object": one.object_id,
            "version": one.version,
            "findings": [f.as_dict() for f in one.findings],
            "error": None if one.error is None else {"error": type(one.error).__name__, "message": str(one.error)},
        }
        for one in objects
    ]
    result = {"ok": code == 0, "objects": entries, "findings": [f.as_dict() for f in found], "exit": code, **more}

    def text() -> None:
        for one in objects:
            state = f"refused: {one.error}" if one.error else ("clean" if not one.findings else "findings")
            terminal.out.print(f"{one.object_id}  {'' if one.version is None else f'version {one.version}'}  {state}")
            show(one.findings)
        rest = [f for f in extra if not any(f in one.findings for one in objects)]
        show(rest)

    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


@contextmanager
def opened(config: Path, *, keyless: bool = False) -> Iterator[Vault]:
    """Open a vault for a `with` block."""
    from medveil.vault import Vault, load_config

    key = None if keyless else open_owner(load_config(config).owner)
    with Vault.open(config, key) as vault:
        yield vault


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="vault")
