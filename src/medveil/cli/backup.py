"""`medveil vault backup` and `vault recover`: the owner's key as words on paper, and back."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json, open_owner
from medveil.cli.vault import group
from medveil.errors import InputError, OutputExistsError, UsageError

_MAX_FILE = 4096


@group.command("backup")
def backup(
    key: Annotated[Path, typer.Argument(help="The owner's key file.")],
    sheets: Annotated[str, typer.Option("--sheets", help="How many bring it back of how many, as 3/5.")] = "3/5",
    out: Annotated[
        Path | None, typer.Option("--out", help="A folder for one file a sheet; on the terminal if left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the owner's key as sheets of 33 words (SLIP-39); without the key file any k sheets bring it back.

    Print each sheet once, keep sheets in different hands, and delete the files.
    """
    from medveil.vault.backup import split
    from medveil.vault.config import parse_threshold

    if out is None and as_json:
        raise UsageError("with --json the words go to files: give --out")
    k, n = parse_threshold(sheets)
    owner = open_owner(key)
    written = split(owner, k, n)
    names: list[str] = []
    if out is not None:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, words in enumerate(written, start=1):
            path = out / f"sheet-{number}-of-{n}.txt"
            _write_private(path, f"{words}\n".encode())
            names.append(str(path))
    result = {"ok": True, "sheets": names, "threshold": [k, n], "fingerprint": owner.public.fingerprint, "exit": 0}

    def text() -> None:
        if out is None:
            for number, words in enumerate(written, start=1):
                terminal.out.print(f"sheet {number} of {n} (any {k} bring the key back):\n{words}\n", markup=False)
        else:
            terminal.out.print(f"{n} sheets in {out}: any {k} bring the key back; print them and delete the files")
        terminal.out.print(f"fingerprint {owner.public.fingerprint}")

    terminal.emit(result, as_json=as_json, text=text)


@group.command("recover")
def recover(
    out: Annotated[Path, typer.Option("--out", help="The key file to write; never overwritten.")],
    sheets: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="Files with a sheet's words each; else they are asked for."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the owner's key file again from the sheets of a backup, under a new passphrase.

    Words are read from files, from standard input (a sheet a line), or typed without echo: never from the command line.
    """
    from medveil.crypto.keyfile import read_passphrase, save_key_file
    from medveil.vault.backup import combine

    owner = combine(_from_files(sheets) if sheets else _typed())
    save_key_file(out, owner, read_passphrase(confirm=True))
    result = {"ok": True, "key": str(out), "fingerprint": owner.public.fingerprint, "exit": 0}
    words = f"wrote {out}\nfingerprint {owner.public.fingerprint}: compare it with the one that you know"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words))


def _from_files(paths: list[Path]) -> list[str]:
    read = []
    for path in paths:
        try:
            with path.open("rb") as handle:
                read.append(handle.read(_MAX_FILE).decode("utf-8", "replace"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; give files, never the words themselves") from None
    return read


def _typed() -> list[str]:
    if not sys.stdin.isatty():
        return [line for line in sys.stdin.read(1 << 16).splitlines() if line.strip()]
    import getpass

    found: list[str] = []
    while words := getpass.getpass(f"words of sheet {len(found) + 1} (nothing to end): ").strip():
        found.append(words)
    return found


def _write_private(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise OutputExistsError(f"{path} exists already: choose another folder") from None
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)


def add_to(app: typer.Typer) -> None:
    """The commands of this file are in the group of `medveil vault`."""
    del app
