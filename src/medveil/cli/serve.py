"""`medveil serve`: the gateway, and what its administrator needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medveil.cli import terminal
from medveil.cli.keys import Json, open_owner, write_new

group = typer.Typer(help="Run services: the DICOM gateway.", no_args_is_help=True)


@group.command("gateway")
def gateway(
    config: Annotated[Path, typer.Option("--config", metavar="GATEWAY.TOML", help="The gateway's configuration.")],
) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C); its log goes to stderr, a JSON object a line."""
    from medveil.errors import MissingExtraError
    from medveil.gateway import load_config
    from medveil.vault import load_config as load_vault

    try:
        from medveil.gateway.service import Gateway
    except ImportError:
        raise MissingExtraError("the gateway", "gateway") from None

    settings = load_config(config)
    Gateway(settings, open_owner(load_vault(settings.gateway.vault).owner)).run()


@group.command("token")
def token(
    out: Annotated[Path, typer.Option("--out", help="The file to write the token to; it must not exist.")],
    as_json: Json = False,
) -> None:
    """Make a bearer token for a client of the gateway: the file is for the client, the hash for gateway.toml."""
    from medveil.gateway.access import hash_token, new_token

    secret = new_token()
    write_new(out, secret.encode() + b"\n", private=True)
    line = f'token_sha256 = "{hash_token(secret)}"'
    terminal.emit(
        {"ok": True, "token_sha256": hash_token(secret), "file": str(out), "exit": 0},
        as_json=as_json,
        text=lambda: terminal.out.print(line),
    )


@group.command("fingerprint")
def fingerprint(
    certificate: Annotated[Path, typer.Argument(metavar="CERT.PEM", help="A client's TLS certificate.")],
    as_json: Json = False,
) -> None:
    """Print the fingerprint of a client's certificate, for gateway.toml."""
    import hashlib

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from medveil.errors import InputError

    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        raise InputError(f"{certificate} holds no certificate in PEM form") from None
    digest = hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest()
    terminal.emit(
        {"ok": True, "certificate": digest, "exit": 0},
        as_json=as_json,
        text=lambda: terminal.out.print(f'certificate = "{digest}"'),
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(group, name="serve")
