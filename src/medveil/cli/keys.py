"""`medveil keygen`, and the options about keys that other commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medveil.cli import terminal
from medveil.errors import InputError, OutputExistsError

if TYPE_CHECKING:
    from medveil.crypto.envelope import RecipientPrivateKey
    from medveil.crypto.keyfile import OwnerKey

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
KeyFile = Annotated[Path, typer.Option("--key", help="The owner's key file.")]


def open_owner(path: Path) -> OwnerKey:
    """Open a key file with the passphrase from MEDVEIL_PASSPHRASE_FILE or the terminal."""
    from medveil.crypto.keyfile import load_key_file, read_passphrase

    if not path.is_file():
        raise InputError(f"there is no key file {path}: make one with medveil keygen --out {path}")
    return load_key_file(path, read_passphrase())


def open_recipient(path: Path) -> RecipientPrivateKey:
    """Open a recipient's key file with the passphrase from MEDVEIL_PASSPHRASE_FILE or the terminal."""
    from medveil.crypto.keyfile import load_recipient_key_file, read_passphrase

    if not path.is_file():
        raise InputError(f"there is no key file {path}: make one with medveil keygen --recipient --out {path}")
    return load_recipient_key_file(path, read_passphrase())


def keygen(
    out: Annotated[Path, typer.Option("--out", help="The key file to write; never overwritten.")],
    public: Annotated[
        Path | None, typer.Option("--public", help="Also write the public half, for recipients and for keyless checks.")
    ] = None,
    recipient: Annotated[
        bool, typer.Option("--recipient", help="A recipient's key: to read what owners grant, not to own an archive.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make an owner's (or a recipient's) key, protected by a passphrase (Argon2id).

    The passphrase comes from the file named by MEDVEIL_PASSPHRASE_FILE, or is asked for on the terminal.
    """
    from medveil.crypto.keyfile import OwnerKey, read_passphrase, save_key_file

    passphrase = read_passphrase(confirm=True)
    if recipient:
        _recipient_keygen(out, public, passphrase, as_json=as_json)
        return
    owner = OwnerKey.generate()
    save_key_file(out, owner, passphrase)
    if public is not None:
        write_new(public, owner.public.to_bytes())
    terminal.emit(
        {
            "ok": True,
            "key": str(out),
            "public": None if public is None else str(public),
            "fingerprint": owner.public.fingerprint,
        },
        as_json=as_json,
        text=lambda: terminal.out.print(
            f"wrote {out}\nfingerprint {owner.public.fingerprint}\n"
            "keep a copy in a safe place: without this file and its passphrase nothing can be restored"
        ),
    )


def _recipient_keygen(out: Path, public: Path | None, passphrase: bytes, *, as_json: bool) -> None:
    from medveil.crypto.envelope import RecipientPrivateKey
    from medveil.crypto.keyfile import save_key_file
    from medveil.vault.grants.recipients import fingerprint_of, public_file

    key = RecipientPrivateKey.generate()
    save_key_file(out, key, passphrase)
    if public is not None:
        write_new(public, public_file(key.public))
    fingerprint = fingerprint_of(key.public)
    result = {"ok": True, "key": str(out), "public": public and str(public), "fingerprint": fingerprint}
    words = f"wrote {out}\nfingerprint {fingerprint}: read it out to the owner, over the telephone or in person"
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print(words))


def write_new(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file that must not exist yet; private: for its owner alone (mode 0600). Raises OutputExistsError."""
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600 if private else 0o666)) as handle:
            handle.write(data)
    except FileExistsError:
        raise OutputExistsError(f"{path} exists already: choose another name") from None


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("keygen")(keygen)
