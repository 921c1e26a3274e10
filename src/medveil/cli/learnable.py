"""`medveil learnable encrypt`: a labelled folder or a series becomes an encrypted dataset to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.files import Force, parse_option
from medveil.cli.keys import Json, open_owner

learnable = typer.Typer(no_args_is_help=True, help="Encrypted pictures that networks can be trained on; one-way, weak.")


@learnable.command()
def encrypt(
    source: Annotated[
        Path, typer.Argument(metavar="DATASET", help="A folder with one folder a class, a known dataset, or a series.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    scheme: Annotated[str, typer.Option("--scheme", help="tanaka, skk, smoothed, ele, etc or patchwise.")] = "smoothed",
    block: Annotated[int | None, typer.Option("--block", help="Side of a block in pixels; smoothed: M.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="Any other option of the scheme.")
    ] = None,
    mode: Annotated[str, typer.Option("--mode", help="keep, grey (one channel) or rgb (three).")] = "keep",
    size: Annotated[int | None, typer.Option("--size", help="Resize to this many rows and columns first.")] = None,
    window: Annotated[
        bool, typer.Option("--window", help="Show deep or signed pixels in 8 bits first, through the file's window.")
    ] = False,
    broken: Annotated[str, typer.Option("--broken", help="Files that cannot be read: refuse or skip.")] = "refuse",
    names: Annotated[str, typer.Option("--names", help="File and group names: pseudonym or keep.")] = "pseudonym",
    key: Annotated[
        Path | None, typer.Option("--key", help="Take the ledger's secret from this owner's key file.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="The ledger's folder; by default in your state folder.")
    ] = None,
    insecure_again: Annotated[
        bool, typer.Option("--insecure-again", help="Encrypt images again that were encrypted under other options.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Discard what an interrupted run has done.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encrypt a dataset to train on; nothing is ever decrypted, so keep the originals.

    An interrupted run goes on when the same command is repeated. The same image is never encrypted under other
    options or fresh randomness: the ledger in your state folder remembers keyed digests of images.
    """
    from medveil.recognition.encryption import EncryptionPlan, encrypt_dataset
    from medveil.recognition.encryption_sources import Form
    from medveil.schemes.learnable.ledger import Ledger

    options = dict(parse_option(text) for text in option or [])
    if block is not None:
        options["block"] = block
    plan = EncryptionPlan(scheme, options, Form(mode, size, window), broken, names, insecure_again)
    with (
        Ledger.open(ledger, None if key is None else open_owner(key)) as remembered,
        terminal.progress(f"encrypting {source.name}", quiet=as_json, unit="images") as tick,
    ):
        report = encrypt_dataset(source, out, plan, remembered, force=force, restart=restart, progress=tick)

    def text() -> None:
        terminal.out.print(f"{report.out}: {report.written} pictures encrypted, {report.kept} kept from before")
        for note in report.notes:
            terminal.out.print(f"note: {note}")
        terminal.err.print(
            "note: this hides looks, not identity, and is one-way: see docs/schemes/learnable.md, and try "
            "medveil leakage on your images"
        )

    terminal.emit({"ok": True, **report.as_dict()}, as_json=as_json, text=text)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(learnable, name="learnable")
