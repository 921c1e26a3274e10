"""`medveil vault recipient`, `grant`, `revoke`, `rotate`, and what a recipient does: `join`, `shared`, `fetch`."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.files import show
from medveil.cli.keys import Json, open_recipient, write_new
from medveil.cli.vault import Config, group, opened
from medveil.errors import InputError

if TYPE_CHECKING:
    from medveil.schemes.base import Finding
    from medveil.vault.grants import GrantedVault

recipient = typer.Typer(help="Recipients whose keys you pinned: add, list, invite.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(metavar="NAME", help="A pinned recipient.")]
RecipientKeyFile = Annotated[Path, typer.Option("--key", help="The recipient's key file.")]

_SPAN = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_SECONDS = {"d": 86400, "h": 3600, "m": 60}
_MAX_FILE = 1 << 16


@recipient.command("add")
def add(
    config: Config,
    name: Annotated[str, typer.Argument(help="What to call them.")],
    public: Annotated[Path, typer.Argument(help="The public file that they gave you.")],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="As they read it out to you: not from the same mail or cloud.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="They have a new key: withdraw what the old one was granted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pin a recipient's key under a name."""
    with opened(config) as vault:
        added = vault.grants.add_recipient(name, _bytes_of(public), fingerprint, replace=replace)
    result = {"ok": True, "name": added.name, "key": added.key_id, "fingerprint": added.fingerprint, "exit": 0}
    words = f"{added.name} is pinned: {added.fingerprint}\nnow: medveil vault recipient invite {config} {added.name}"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words, markup=False))


@recipient.command("list")
def list_(config: Config, as_json: Json = False) -> None:
    """List pinned recipients."""
    with opened(config) as vault:
        every = vault.grants.recipients()
    rows = [{"name": one.name, "key": one.key_id, "fingerprint": one.fingerprint, "added": one.added} for one in every]

    def text() -> None:
        for one in every:
            terminal.out.print(f"{one.name:20}  {one.fingerprint}  since {_date(one.added)}", markup=False)

    terminal.emit({"ok": True, "recipients": rows, "exit": 0}, as_json=as_json, text=text)


@recipient.command("invite")
def invite(
    config: Config,
    name: Who,
    out: Annotated[Path, typer.Option("--out", help="The invitation to write; it holds no secret.")],
    as_json: Json = False,
) -> None:
    """Write what a recipient needs to open this vault; they compare your fingerprint over another channel."""
    with opened(config) as vault:
        data = vault.grants.invitation(name)
        fingerprint = vault.owner_fingerprint
    write_new(out, data)
    result = {"ok": True, "invitation": str(out), "fingerprint": fingerprint, "exit": 0}
    words = f"wrote {out}: give it to {name} with the configuration of the stores, and read out your fingerprint"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(f"{words}\n{fingerprint}", markup=False))


@group.command("grant")
def grant(
    config: Config,
    name: Who,
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Study Instance UIDs, study keys that search shows, or object ids."),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 30d, 12h, or a date as 2027-12-31.")
    ] = None,
    begins: Annotated[str | None, typer.Option("--begins", help="When it begins; now if left out.")] = None,
    as_json: Json = False,
) -> None:
    """Let a recipient find and read studies, with all files that are put into them later."""
    with opened(config) as vault:
        report = vault.grants.grant(name, studies, expires=_moment(expires), not_before=_moment(begins))
    result = {"ok": True, "recipient": name, "studies": list(report.studies)}
    _finish(result, f"{len(report.studies)} studies granted to {name}", report.findings, as_json=as_json)


@group.command("grants")
def grants(
    config: Config,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only of this recipient.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="First bring to its end what was interrupted.")] = False,
    accept_clock: Annotated[
        bool, typer.Option("--accept-clock", help="This machine's time is right although it showed a later one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List what is granted to whom, and until when."""
    with opened(config) as vault:
        if accept_clock:
            vault.grants.accept_clock()
        findings = vault.grants.resume() if resume else ()
        every = vault.grants.list(name)
    rows = [
        {"recipient": e.recipient, "study": e.study, "begins": e.not_before, "expires": e.expires, "uid": e.label}
        for e in every
    ]

    def text() -> None:
        for e in every:
            until = "" if e.expires is None else f"until {_date(e.expires)}"
            since = "" if e.not_before is None else f"from {_date(e.not_before)}"
            terminal.out.print(f"{e.recipient:16}  {e.label or e.study}  {since} {until}", markup=False)
        show(findings)

    code = terminal.exit_code(findings)
    listed = {"ok": True, "grants": rows, "findings": [f.as_dict() for f in findings], "exit": code}
    terminal.emit(listed, as_json=as_json, text=text)
    terminal.finish(code)


@group.command("revoke")
def revoke(
    config: Config,
    name: Who,
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY...]", help="Only these; all of the recipient's if left out.")
    ] = None,
    level: Annotated[
        str, typer.Option("--level", help="stop, rotate (new keys from now on) or reencrypt (the old files as well).")
    ] = "stop",
    as_json: Json = False,
) -> None:
    """Withdraw grants, and say what this level cannot do."""
    from medveil.vault.grants import Level

    if level not in list(Level):
        raise InputError(f"there is no level {level!r} of revocation: choose stop, rotate or reencrypt")
    with opened(config) as vault, terminal.progress("reencrypt", quiet=as_json) as tick:
        report = vault.grants.revoke(name, studies or None, level=level, progress=tick)
    result = {
        "ok": True, "recipient": name, "studies": list(report.studies), "level": report.level.value,
        "limit": report.limit, "epoch": report.epoch, "reencrypted": report.reencrypted,
    }  # fmt: skip
    words = f"{len(report.studies)} grants of {name} withdrawn\nlimit of {report.limit}"
    _finish(result, words, report.findings, as_json=as_json)


@group.command("rotate")
def rotate(config: Config, as_json: Json = False) -> None:
    """Begin a new epoch: fresh keys for all that is put from now on, wrapped for every grant in force."""
    with opened(config) as vault, terminal.progress("rotate", quiet=as_json) as tick:
        report = vault.grants.rotate(progress=tick)
    result = {"ok": True, "epoch": report.epoch, "grants": report.grants}
    _finish(result, f"epoch {report.epoch}; {report.grants} grants wrapped", report.findings, as_json=as_json)


# ------------------------------------------------------------------------------------------------ a recipient's side


@group.command("join")
def join(
    config: Config,
    invitation: Annotated[Path, typer.Argument(help="The invitation that the owner gave you.")],
    key: RecipientKeyFile,
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="The owner's, as they read it out to you: not from the same mail.")
    ],
    as_json: Json = False,
) -> None:
    """As a recipient: begin on this machine."""
    from medveil.vault import Vault

    with Vault.join(config, _bytes_of(invitation), open_recipient(key), fingerprint) as vault:
        count = len(vault.list())
    result = {"ok": True, "studies": count, "exit": 0}
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(f"joined: {count} studies are granted"))


@group.command("shared")
def shared(
    config: Config,
    key: RecipientKeyFile,
    query: Annotated[str, typer.Argument(help="As for search; everything that is granted if left out.")] = "",
    as_json: Json = False,
) -> None:
    """As a recipient: find what is granted to you. No index is asked, so nobody sees what you look for."""
    with _granted(config, key) as vault:
        studies = {study.key: study for study in vault.list()}
        report = vault.search(query, limit=10_000)
    code = terminal.exit_code(report.findings)
    hits = [
        {
            "score": round(hit.score, 4), "study": hit.study.key, **hit.study.attributes,
            "objects": [
                {"object": one.object_id, "version": one.version, "size": one.size, **one.attributes}
                for one in studies[hit.study.key].instances
            ],
        }
        for hit in report.hits
    ]  # fmt: skip

    def text() -> None:
        for hit in report.hits:
            said = hit.study.attributes
            names = ("StudyDate", "PatientName", "PatientID", "StudyDescription")
            date, person, number, description = (str(said.get(one, "")) for one in names)
            terminal.out.print(f"{date:8}  {person} ({number})  {description}", markup=False)
            for one in studies[hit.study.key].instances:
                terminal.out.print(
                    f"    {one.object_id}  {one.size:>12,}  {one.attributes.get('name', '')}", markup=False
                )
        show(report.findings)

    result: dict[str, Any] = {"ok": True, "total": report.total, "hits": hits}
    result |= {"findings": [f.as_dict() for f in report.findings], "exit": code}
    terminal.emit(result, as_json=as_json, text=text)
    terminal.finish(code)


@group.command("fetch")
def fetch(
    config: Config,
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="Object id, its beginning, or SOP Instance UID.")],
    key: RecipientKeyFile,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
) -> None:
    """As a recipient: get a granted file, exactly as it was put."""
    with _granted(config, key) as vault, terminal.progress(target, quiet=as_json) as tick:
        report = vault.get(target, out, force=force, progress=tick)
    result = {"ok": True, "object": report.object_id, "version": report.version, "output": str(report.path)}
    _finish(result, f"{report.path}: exact", report.findings, as_json=as_json)


@contextmanager
def _granted(config: Path, key: Path) -> Iterator[GrantedVault]:
    from medveil.vault import Vault

    with Vault.open_granted(config, open_recipient(key)) as vault:
        yield vault


def _finish(result: dict[str, Any], words: str, findings: tuple[Finding, ...], *, as_json: bool) -> None:
    code = terminal.exit_code(findings)

    def text() -> None:
        terminal.out.print(words, markup=False)
        show(findings)

    whole = result | {"findings": [f.as_dict() for f in findings], "exit": code}
    terminal.emit(whole, as_json=as_json, text=text)
    terminal.finish(code)


def _moment(given: str | None) -> float | None:
    """Return Unix seconds of a span from now or of a day (UTC). Raises InputError."""
    if given is None:
        return None
    if match := _SPAN.fullmatch(given):
        return time.time() + int(match[1]) * _SECONDS[match[2]]
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InputError(f"{given!r} is no time: write 30d, 12h, or a date as 2027-12-31") from None


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "minutes")


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(_MAX_FILE)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def add_to(app: typer.Typer) -> None:
    """The commands of this file are in the group of `medveil vault`."""
    del app
    group.add_typer(recipient, name="recipient")
