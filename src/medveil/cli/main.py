"""Assembles the commands and turns errors into messages and exit codes."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.errors import InputError, MedveilError

app = typer.Typer(
    name="medveil",
    help="Send medical images to clouds you do not trust, and still store, verify, restore and repair them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 exact and clean, 10 exact but with findings, 2 usage, 3 refused: not authentic or not "
    "allowed, 4 unrecoverable, 5 unsupported, 6 a store failed, 7 another writer was first, 8 another party failed.",
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        terminal.out.print(f"medveil {version('medveil')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Send medical images to clouds you do not trust, and still store, verify, restore and repair them."""


# One file a command group; each adds its commands to `app` when imported.
_GROUPS = (
    "keys",
    "files",
    "vault",
    "search",
    "audit",
    "grants",
    "backup",
    "demo",
    "attest",
    "visual",
    "mpc",
    "deep",
    "learnable",
    "attack",
    "train",
    "serve",
    "evaluate",
    "config",
)
for _group in _GROUPS:
    import_module(f"medveil.cli.{_group}").add_to(app)


_INTERRUPTED = "medveil: interrupted: nothing half-written was left; run the same command again to go on"


def run() -> None:
    """Run the command line; the console script's entry point."""
    as_json = "--json" in sys.argv[1:]
    try:
        app()
    except MedveilError as error:
        terminal.fail(error, as_json=as_json)
        raise SystemExit(error.exit_code) from None
    except SystemExit as ended:  # Typer turns an interruption into this, without a word
        if ended.code == terminal.INTERRUPTED:
            terminal.err.print(_INTERRUPTED)
        raise
    except KeyboardInterrupt:
        terminal.err.print(_INTERRUPTED)
        raise SystemExit(terminal.INTERRUPTED) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        refusal = InputError(f"cannot use {where}{error.strerror or error}: check the path, permissions and free space")
        terminal.fail(refusal, as_json=as_json)
        raise SystemExit(refusal.exit_code) from None
