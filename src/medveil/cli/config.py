"""`medveil config check`: says what a configuration means, or what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json

group = typer.Typer(help="Check and explain configuration files.", no_args_is_help=True)


@group.command("check")
def check(
    config: Annotated[Path, typer.Argument(metavar="VAULT.TOML", help="The vault's configuration.")],
    reach: Annotated[bool, typer.Option("--reach", help="Also try to reach each store.")] = False,
    as_json: Json = False,
) -> None:
    """Check a configuration and explain it in words; nothing is changed."""
    from medveil.stores.config import open_store
    from medveil.vault import load_config

    settings = load_config(config)
    lines = [
        f"{settings.n} parts of every object, any {settings.k} restore; {settings.n - settings.k} may be lost",
        f"mode {settings.mode}, codec {settings.codec}, dataset {settings.dataset}",
        f"owner key {settings.owner}{'' if settings.owner.is_file() else ' (not there yet: medveil keygen --out)'}",
        f"local state in {settings.state}{'' if settings.state.is_dir() else ' (not there yet: medveil vault init)'}",
    ]
    stores = []
    for table in settings.stores:
        stores.append({"name": table.name, "type": table.type, "provider": table.provider or table.name})
        if reach:
            store = open_store(table)
            try:
                store.check()
            finally:
                store.close()
        lines.append(f"store {table.name}: {table.type}, operated by {table.provider or table.name}")
    result = {"ok": True, "threshold": [settings.k, settings.n], "stores": stores, "reached": reach, "exit": 0}
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print("\n".join(lines)))


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="config")
