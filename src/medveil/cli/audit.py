"""`medveil vault audit`: reading the audit log, proving entries of it, and verifying it without the vault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json, write_new
from medveil.cli.vault import Config, group, opened
from medveil.errors import InputError, UsageError

audit = typer.Typer(help="The audit log: show, publish, prove, verify.", no_args_is_help=True)

_MAX_FILE = 1 << 20


@audit.command("show")
def show(
    config: Config,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest entries.")] = 50,
    of: Annotated[str | None, typer.Option("--object", help="Only entries about this object.")] = None,
    as_json: Json = False,
) -> None:
    """Show the newest entries. Persons and objects are shown as the hashes that the log keeps."""
    with opened(config) as vault:
        log = vault.audit
        wanted = None if of is None else log.hash_of("subject", bytes.fromhex(vault.find(of)))
        every = [(n, e) for n, e in log.events(0 if wanted else -last) if wanted is None or e.subject == wanted]
        every = every[-last:]
        origin, key = log.origin, str(log.key)
    rows: list[dict[str, Any]] = [
        {
            "number": number, "time": event.time.isoformat(), "action": event.action.value,
            "outcome": event.outcome.value, "actor": event.actor, "subject": event.subject,
            "detail": dict(event.detail),
        }
        for number, event in every
    ]  # fmt: skip

    def text() -> None:
        for row in rows:
            said = " ".join(f"{key}={value}" for key, value in sorted(row["detail"].items()))
            line = f"{row['number']:>6}  {row['time']}  {row['action']:16} {row['outcome']:8} {row['subject']}  {said}"
            terminal.out.print(line, markup=False)
        terminal.out.print(f"key {key}", markup=False)

    result: dict[str, Any] = {"ok": True, "origin": origin, "key": key, "entries": rows, "exit": 0}
    terminal.emit(result, as_json=as_json, text=text)


@audit.command("publish")
def publish(config: Config, as_json: Json = False) -> None:
    """Write the log as C2SP tlog-tiles with a signed checkpoint, and DICOM audit messages beside it."""
    with opened(config) as vault:
        checkpoint = vault.audit.publish()
        folder, key = vault.audit.folder, str(vault.audit.key)
    result = {"ok": True, "folder": str(folder), "size": checkpoint.size, "root": checkpoint.root.hex(), "key": key}
    words = f"{checkpoint.size} entries in {folder}\nkey {key}"
    terminal.emit(result | {"exit": 0}, as_json=as_json, text=lambda: terminal.out.print(words, markup=False))


@audit.command("prove")
def prove(
    config: Config,
    number: Annotated[int, typer.Argument(help="Number of the entry.")],
    out: Annotated[Path, typer.Option("--out", help="The proof to write; the entry goes beside it as .json.")],
    as_json: Json = False,
) -> None:
    """Write one entry and the proof that it is in the log, for somebody who shall not see the rest."""
    from medveil.vault.audit.offline import pack_proof

    with opened(config) as vault:
        checkpoint = vault.audit.publish()
        entry, proof = vault.audit.inclusion(number, checkpoint.size)
    write_new(out, pack_proof(number, proof, checkpoint.signed(checkpoint.lines())))
    beside = out.with_name(out.name + ".json")
    write_new(beside, entry)
    result = {"ok": True, "proof": str(out), "entry": str(beside), "exit": 0}
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(f"wrote {out} and {beside}"))


@audit.command("verify")
def verify(
    place: Annotated[Path, typer.Argument(help="A published log's folder, a proof, or a vault's configuration.")],
    key: Annotated[str | None, typer.Option("--key", help="The log's key: text, or a file that holds it.")] = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", help="A witness's key that must have cosigned; may be repeated.")
    ] = None,
    older: Annotated[
        list[Path] | None, typer.Option("--older", help="An earlier checkpoint that the log must continue.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a log: every entry, every tile, the signature, and that older checkpoints are part of it.

    With a folder and --key nothing else is needed: no vault, no owner, no network.
    """
    from medveil.vault.audit.note import NoteKey
    from medveil.vault.audit.offline import verify_folder, verify_proof

    if place.is_dir() or key is not None:
        if key is None:
            raise UsageError("a log is checked with its key: give --key (vault audit show prints it)")
        known = NoteKey.parse(_text_of(key))
    else:
        with opened(place) as vault:
            vault.audit.publish()
            known, place = vault.audit.key, vault.audit.folder
    if place.is_file():
        entry = _bytes_of(place.with_name(place.name + ".json"))
        number, checkpoint = verify_proof(_bytes_of(place), entry, known)
        result: dict[str, Any] = {"ok": True, "number": number, "size": checkpoint.size, "exit": 0}
        words = f"entry {number} is in the log of {checkpoint.size} entries"
    else:
        report = verify_folder(
            place,
            known,
            witnesses=[NoteKey.parse(_text_of(one)) for one in witness or []],
            older=[_bytes_of(one) for one in older or []],
        )
        result = {
            "ok": True, "origin": report.origin, "size": report.size, "root": report.root.hex(),
            "first": report.first and report.first.isoformat(), "last": report.last and report.last.isoformat(),
            "backwards": report.backwards, "witnesses": report.witnesses, "continues": list(report.continues),
            "exit": 0,
        }  # fmt: skip
        words = f"{report.size} entries, unbroken since {report.first}"
        words += f", witnessed by {', '.join(report.witnesses)}" if report.witnesses else ""
        words += f"; the clock went back {report.backwards} times" if report.backwards else ""
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words))


@audit.command("cosign")
def cosign(
    folder: Annotated[Path, typer.Argument(help="A published log's folder.")],
    key: Annotated[str, typer.Option("--key", help="The log's key: text, or a file that holds it.")],
    witness: Annotated[Path, typer.Option("--state", help="This witness's folder; made where it is missing.")],
    name: Annotated[str, typer.Option("--name", help="What this witness is called, as example.org/witness.")],
    as_json: Json = False,
) -> None:
    """Act as a witness on another machine: check that a log continues what was cosigned before, and cosign it."""
    from medveil.vault.audit.note import NoteKey
    from medveil.vault.audit.witness import Witness

    acting = Witness(witness, name)
    line, size = acting.cosign(folder, NoteKey.parse(_text_of(key)))
    result = {"ok": True, "line": line, "size": size, "key": str(acting.key), "exit": 0}
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(f"{line}key {acting.key}", markup=False))


@audit.command("add-cosignature")
def add_cosignature(
    config: Config,
    line: Annotated[str, typer.Argument(help="The line that the witness gave.")],
    witness: Annotated[str, typer.Option("--witness", help="The witness's key.")],
    as_json: Json = False,
) -> None:
    """Add a witness's line to the published checkpoint."""
    from medveil.vault.audit.note import NoteKey

    with opened(config) as vault:
        checkpoint = vault.audit.add_cosignatures([line], [NoteKey.parse(_text_of(witness))])
    result = {"ok": True, "size": checkpoint.size, "signatures": len(checkpoint.signatures), "exit": 0}
    words = f"the checkpoint of {checkpoint.size} entries has {len(checkpoint.signatures)} signatures"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words))


def _text_of(given: str) -> str:
    """Return a key that was given as text or as the file that holds it."""
    return given if "+" in given else _bytes_of(Path(given)).decode("utf-8", "replace").strip()


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(_MAX_FILE)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def add_to(app: typer.Typer) -> None:
    """The commands of this file are in the group of `medveil vault`."""
    del app
    group.add_typer(audit, name="audit")
