"""The configuration files: which three servers make a cluster, and who this side is."""

from __future__ import annotations

import hashlib
import ssl
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medveil.errors import ConfigError
from medveil.mpc import certificates

_MAX_FILE = 1 << 16


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Strict):
    """Paths of the authority's certificate and of this side's certificate and key."""

    ca: Path
    certificate: Path
    key: Path

    def context(self, *, server: bool) -> ssl.SSLContext:
        """Return the TLS context of this side."""
        return certificates.context(server=server, ca=self.ca, certificate=self.certificate, key=self.key)


class Cluster(_Strict):
    """Name and addresses (host:port) of the three parties; `tls` is the client's or the party's own."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    parties: Annotated[tuple[str, ...], Field(min_length=3, max_length=3)]
    tls: Tls

    def address(self, party: int) -> tuple[str, int]:
        """Return host and port of a party."""
        host, _, port = self.parties[party].rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigError(f"party {party}'s address {self.parties[party]!r} is not host:port")
        return host, int(port)

    @property
    def identity(self) -> str:
        """Return what both sides of a connection must agree on: name and authority, hashed."""
        return hashlib.sha256(self.name.encode() + b"\0" + self.tls.ca.read_bytes()).hexdigest()


class PartyConfig(_Strict):
    """One server: its number, its state folder, limits, and what its operator lets clients open."""

    party: Annotated[int, Field(ge=0, le=2)]
    state: Path
    cluster: Cluster
    listen: str = ""
    max_upload_bytes: Annotated[int, Field(gt=0)] = 4 << 30
    max_client_bytes: Annotated[int, Field(gt=0)] = 64 << 30
    max_jobs: Annotated[int, Field(gt=0)] = 64
    allow_reveal_weights: bool = True


def _read(path: Path) -> dict[str, object]:
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ConfigError(f"{path} is larger than a configuration file can be")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise ConfigError(f"{path} cannot be read ({e.strerror}): give the path of a configuration file") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path} is not TOML: {e}") from e


def _problems(path: Path, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    where = ".".join(str(x) for x in first["loc"])
    return ConfigError(f"{path}: {where or 'the file'}: {first['msg'].lower()}")


def _absolute(tls: object, base: Path) -> object:
    if not isinstance(tls, dict):
        return tls
    return {k: str(base / v) if isinstance(v, str) else v for k, v in tls.items()}


def load_cluster(path: Path) -> Cluster:
    """Return the cluster that a client's cluster.toml names; paths in it are relative to the file.

    Raises:
        ConfigError: the file cannot be read or says something invalid; the message names the place.
    """
    raw = _read(path)
    raw["tls"] = _absolute(raw.get("tls"), path.parent)
    try:
        return Cluster.model_validate(raw)
    except ValidationError as e:
        raise _problems(path, e) from e


def load_party(path: Path) -> PartyConfig:
    """Return a server's configuration; paths in it are relative to the file.

    Raises:
        ConfigError: the file cannot be read or says something invalid; the message names the place.
    """
    raw = _read(path)
    cluster = raw.get("cluster")
    if isinstance(cluster, dict):
        raw["cluster"] = {**cluster, "tls": _absolute(cluster.get("tls"), path.parent)}
    if isinstance(raw.get("state"), str):
        raw["state"] = str(path.parent / str(raw["state"]))
    try:
        return PartyConfig.model_validate(raw)
    except ValidationError as e:
        raise _problems(path, e) from e


def write_cluster(folder: Path, name: str, ports: tuple[int, int, int], host: str = "127.0.0.1") -> Path:
    """Write certificates, three party files and a client's cluster.toml for one machine; returns the latter."""
    certificates.make_certificates(folder / "certs", ["party-0", "party-1", "party-2", "client-local"])
    addresses = ", ".join(f'"{host}:{port}"' for port in ports)

    def tls(who: str) -> str:
        return f'ca = "certs/ca.pem"\ncertificate = "certs/{who}.pem"\nkey = "certs/{who}.key"\n'

    for party in range(3):
        (folder / f"party{party}.toml").write_text(
            f'party = {party}\nstate = "state{party}"\n\n[cluster]\nname = "{name}"\nparties = [{addresses}]\n\n'
            f"[cluster.tls]\n{tls(f'party-{party}')}"
        )
    path = folder / "cluster.toml"
    path.write_text(f'name = "{name}"\nparties = [{addresses}]\n\n[tls]\n{tls("client-local")}')
    return path
