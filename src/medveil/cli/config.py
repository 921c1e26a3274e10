"""`medveil config check`: says what a configuration means, or what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json

if TYPE_CHECKING:
    from medveil.gateway.config import ClientTable, GatewayConfig, Listener
    from medveil.vault import VaultConfig

group = typer.Typer(help="Check and explain configuration files.", no_args_is_help=True)


@group.command("check")
def check(
    config: Annotated[Path, typer.Argument(metavar="FILE.TOML", help="The configuration of a vault or a gateway.")],
    reach: Annotated[bool, typer.Option("--reach", help="Also try to reach each store.")] = False,
    as_json: Json = False,
) -> None:
    """Check a configuration and explain it in words; nothing is changed."""
    from medveil.vault import load_config

    if _is_gateways(config):
        from medveil.gateway import load_config as load_gateway

        gateway = load_gateway(config)
        settings = load_config(gateway.gateway.vault)
        lines = _explain_gateway(gateway, settings)
        extra: dict[str, Any] = {"clients": [one.name for one in gateway.client]}
    else:
        settings = load_config(config)
        lines, extra = [], {}
    lines += _explain_vault(settings)
    stores = [{"name": one.name, "type": one.type, "provider": one.provider or one.name} for one in settings.stores]
    if reach:
        _reach(settings)
    result = {"ok": True, "threshold": [settings.k, settings.n], "stores": stores, "reached": reach, "exit": 0} | extra
    terminal.emit(result, as_json=as_json, text=lambda: terminal.out.print("\n".join(lines)))


def _is_gateways(path: Path) -> bool:
    """Whether a file is a gateway's: it has a table that only such files have. Faults are left to the loaders."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool({"gateway", "dicom", "web", "client"} & set(tables))


def _explain_vault(settings: VaultConfig) -> list[str]:
    return [
        f"{settings.n} parts of every object, any {settings.k} restore; {settings.n - settings.k} may be lost",
        f"mode {settings.mode}, codec {settings.codec}, dataset {settings.dataset}",
        f"owner key {settings.owner}{'' if settings.owner.is_file() else ' (not there yet: medveil keygen --out)'}",
        f"local state in {settings.state}{'' if settings.state.is_dir() else ' (not there yet: medveil vault init)'}",
        *(f"store {one.name}: {one.type}, operated by {one.provider or one.name}" for one in settings.stores),
    ]


def _explain_gateway(gateway: GatewayConfig, settings: VaultConfig) -> list[str]:
    lines = []
    if gateway.dicom is not None:
        lines.append(f"DICOM as {gateway.dicom.ae_title} on {_where(gateway.dicom)}")
    if gateway.web is not None:
        lines.append(f"DICOMweb on {_where(gateway.web)}")
    if gateway.admin is not None:
        lines.append(f"health and metrics on {gateway.admin.bind}:{gateway.admin.port}")
    queue = gateway.queue
    lines.append(
        f"queue in {gateway.gateway.state}: at most {queue.max_instances} instances or {queue.max_bytes >> 20} MiB, "
        f"{queue.workers} sealed at once"
    )
    lines += [_explain_client(one) for one in gateway.client]
    lines += [f"C-MOVE may send to {one.ae_title} at {one.host}:{one.port}" for one in gateway.destination]
    if settings.search is None and any({"query", "retrieve"} & set(one.may) for one in gateway.client):
        lines.append("WILL NOT START: clients may query or retrieve, and the vault has no [search]")
    return lines


def _where(listener: Listener) -> str:
    if listener.certificate is None:
        security = "without TLS"
    else:
        security = "TLS" + (", clients' certificates checked" if listener.client_ca else "")
    return f"{listener.bind}:{listener.port} ({security})"


def _explain_client(one: ClientTable) -> str:
    known = [
        *([f"AE title {one.ae_title}"] if one.ae_title else []),
        *([f"address {one.address}"] if one.address else []),
        *(["its certificate"] if one.certificate else []),
        *([f"a token{f' until {one.expires}' if one.expires else ''}"] if one.token_sha256 else []),
    ]
    sees = "everything" if one.all_studies else f"what is granted to {one.recipient}" if one.recipient else "nothing"
    weak = "" if one.certificate or one.token_sha256 else " (an AE title proves nothing: for closed networks only)"
    return f"client {one.name} may {', '.join(one.may)}; known by {' and '.join(known)}{weak}; sees {sees}"


def _reach(settings: VaultConfig) -> None:
    from medveil.stores.config import open_store

    for table in settings.stores:
        store = open_store(table)
        try:
            store.check()
        finally:
            store.close()


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="config")
