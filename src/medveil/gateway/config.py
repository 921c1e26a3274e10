"""``gateway.toml``: one file that says where the gateway listens, whom it serves, and how much it holds.

::

    [gateway]
    vault = "vault.toml"             # paths are relative to this file
    state = "gateway-state"          # the queue and the ledger: keep it on a local disk

    [dicom]
    ae_title = "MEDVEIL"
    bind = "0.0.0.0"
    port = 11112
    certificate = "gateway.pem"      # with key and client_ca: TLS, and clients must show a certificate
    key = "gateway.key"
    client_ca = "hospital-ca.pem"

    [web]
    bind = "0.0.0.0"
    port = 8443
    certificate = "gateway.pem"
    key = "gateway.key"

    [[client]]                       # a modality: it may only send
    name = "ct-1"
    ae_title = "CT1"
    address = "10.1.2.3"
    may = ["store"]

    [[client]]                       # a radiologist: bound by the grants of a pinned recipient
    name = "dr-roe"
    token_sha256 = "..."             # medveil serve token --out dr-roe.token
    recipient = "dr-roe"
    may = ["query", "retrieve"]
"""

from __future__ import annotations

import datetime
import ipaddress
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from medveil.errors import ConfigError
from medveil.stores.settings import Label, Table

MAX_CONFIG: Final = 1 << 20
"""Largest configuration file, in bytes."""

AETitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
"""An application entity's title (PS3.5, VR AE): 1 to 16 printable characters, no backslash, no blank around."""
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", to_lower=True)]
"""A SHA-256 in hex."""
Port = Annotated[int, Field(ge=0, le=65535)]
Right = Literal["store", "query", "retrieve"]


class GatewayTable(Table):
    """The table ``[gateway]``. grace: seconds that a stop waits for transfers and the queue."""

    vault: Path = Path("vault.toml")
    state: Path = Path("gateway-state")
    grace: Annotated[float, Field(ge=0, le=3600)] = 30.0


class Listener(Table):
    """Where a service listens, and its TLS. client_ca: clients must show a certificate that it signed.

    insecure_plain: serve other machines without TLS; without TLS and without this, only this machine is served.
    """

    bind: str = "127.0.0.1"
    port: Port = 0
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    insecure_plain: bool = False

    @field_validator("bind")
    @classmethod
    def _address(cls, text: str) -> str:
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise ValueError("give the address of an interface, as 0.0.0.0 or 127.0.0.1") from None

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or neither")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca asks for TLS: give certificate and key too")
        if self.certificate is None and not self.insecure_plain and not ipaddress.ip_address(self.bind).is_loopback:
            raise ValueError(
                "patient data would travel unencrypted to other machines: give certificate and key, bind to 127.0.0.1, "
                "or say insecure_plain = true"
            )
        return self


class DicomTable(Listener):
    """The table ``[dicom]``. timeout: seconds for one PDU to arrive or leave, and of idling in an association."""

    port: Port = 11112
    ae_title: AETitle = "MEDVEIL"
    max_associations: Annotated[int, Field(ge=1, le=1000)] = 32
    max_pdu: Annotated[int, Field(ge=4096, le=1 << 20)] = 1 << 17
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0


class WebTable(Listener):
    """The table ``[web]``. timeout: seconds for a request's head, and for each piece of a body to come or go."""

    port: Port = 8443
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 128
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0


class AdminTable(Table):
    """The table ``[admin]``: health and metrics, on this machine only, without TLS."""

    bind: Literal["127.0.0.1", "::1"] = "127.0.0.1"
    port: Port = 9464


class QueueTable(Table):
    """The table ``[queue]``: what the gateway holds until it is sealed, and how much at once.

    max_bytes, max_instances: of the queue on disk; beyond, senders are told to come back. min_free: bytes of the disk
    that stay free. max_instance: largest instance. max_memory: bytes in flight in all transfers together. workers:
    instances that are sealed at once. retry_after: seconds that a refused sender is asked to wait. pace: whether
    sealing yields to arriving instances while the queue is less than half full.
    """

    max_bytes: Annotated[int, Field(ge=1 << 20)] = 20 << 30
    max_instances: Annotated[int, Field(ge=1)] = 200_000
    min_free: Annotated[int, Field(ge=0)] = 256 << 20
    max_instance: Annotated[int, Field(ge=1 << 10, le=1 << 31)] = 512 << 20
    max_memory: Annotated[int, Field(ge=1 << 20)] = 1 << 30
    workers: Annotated[int, Field(ge=1, le=64)] = 4
    retry_after: Annotated[int, Field(ge=1, le=3600)] = 30
    pace: bool = True


class ClientTable(Table):
    """A table ``[[client]]``: who it is, by what it is known, and what it may do.

    ae_title, address, certificate (SHA-256 of its TLS certificate): for DICOM, all that are given must match; for the
    web a certificate or a token. expires: a day from which its token counts no longer. recipient: the pinned
    recipient whose grants bind what it sees. all_studies: it belongs to the owner's side and sees everything.
    """

    name: Label
    ae_title: AETitle | None = None
    address: str | None = None
    certificate: Fingerprint | None = None
    token_sha256: Fingerprint | None = None
    expires: datetime.date | None = None
    recipient: Label | None = None
    all_studies: bool = False
    may: Annotated[tuple[Right, ...], Field(min_length=1)]

    @field_validator("address")
    @classmethod
    def _network(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            return str(ipaddress.ip_network(text))
        except ValueError:
            raise ValueError("give an address or a network, as 10.1.2.3 or 10.1.2.0/24") from None

    @model_validator(mode="after")
    def _known_by_something(self) -> Self:
        if self.ae_title is None and self.certificate is None and self.token_sha256 is None:
            raise ValueError("it is known by nothing: give ae_title, certificate or token_sha256")
        reads = {"query", "retrieve"} & set(self.may)
        if reads and (self.recipient is None) != self.all_studies:
            raise ValueError("it reads: name its recipient, whose grants bind it, or say all_studies = true")
        return self


class DestinationTable(Table):
    """A table ``[[destination]]``: where C-MOVE may send. ca: TLS, with the authority of its certificate."""

    ae_title: AETitle
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class GatewayConfig(Table):
    """A checked configuration; its paths are absolute."""

    gateway: GatewayTable = GatewayTable()
    dicom: DicomTable | None = None
    web: WebTable | None = None
    admin: AdminTable | None = None
    queue: QueueTable = QueueTable()
    client: tuple[ClientTable, ...] = ()
    destination: tuple[DestinationTable, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.dicom is None and self.web is None:
            raise ValueError("it listens nowhere: write a table [dicom] or [web]")
        for what, values in (
            ("clients are called", [one.name for one in self.client]),
            ("clients have the token_sha256", [one.token_sha256 for one in self.client]),
            ("destinations are called", [one.ae_title for one in self.destination]),
        ):
            twice = [value for value, count in Counter(v for v in values if v).items() if count > 1]
            if twice:
                raise ValueError(f"two {what} {twice[0]!r}: give each its own")
        if not self.client:
            raise ValueError("nobody may use it: write a table [[client]]")
        return self


@dataclass(frozen=True, slots=True)
class _Located:
    base: Path

    def __call__(self, path: Path) -> Path:
        return self.base / path.expanduser()


def load_config(path: Path | str) -> GatewayConfig:
    """Read and check a configuration file. Raises ConfigError, which names the key and shows no value."""
    path = Path(path)
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_CONFIG + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({(error.strerror or 'error').lower()}): give the gateway's toml"
        ) from None
    if len(data) > MAX_CONFIG:
        raise ConfigError(f"{path} is larger than any configuration ({MAX_CONFIG} bytes)")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        config = GatewayConfig.model_validate(tables)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the file'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigError(f"{path} is not valid: {problems}") from None
    return _absolute(config, _Located(path.resolve().parent))


def _absolute(config: GatewayConfig, located: _Located) -> GatewayConfig:
    """Return the configuration with its paths taken from the folder of its file."""

    def moved(table: Table, *names: str) -> Table:
        return table.model_copy(
            update={name: located(value) for name in names if (value := getattr(table, name)) is not None}
        )

    tls = ("certificate", "key", "client_ca")
    return config.model_copy(
        update={
            "gateway": moved(config.gateway, "vault", "state"),
            "dicom": None if config.dicom is None else moved(config.dicom, *tls),
            "web": None if config.web is None else moved(config.web, *tls),
            "destination": tuple(moved(one, "ca", "certificate", "key") for one in config.destination),
        }
    )
