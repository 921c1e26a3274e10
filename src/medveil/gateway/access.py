"""Who asks, and what it may see: clients of the configuration, bound by the grants of the vault.

A client is told by its TLS certificate, a bearer token (of which only the SHA-256 is kept), or its AE title and
address. An AE title alone proves nothing and is for closed networks: see docs/gateway.md.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from medveil.crypto.prg import SYSTEM
from medveil.errors import PolicyError
from medveil.gateway.config import ClientTable, Right

TOKEN_BYTES = 32


class UnknownClientError(PolicyError):
    """Nobody that the configuration knows, or a token that has expired."""


@dataclass(frozen=True, slots=True)
class Client:
    """One that may use the gateway. recipient: whose grants bind it; None: it sees everything (owner's side)."""

    name: str
    may: frozenset[Right]
    recipient: str | None

    def need(self, right: Right) -> None:
        """Raise PolicyError unless the client has the right."""
        if right not in self.may:
            raise PolicyError(f"client {self.name} may not {right}: its table in the configuration does not say so")


class Access:
    """The clients of a configuration."""

    def __init__(self, tables: Sequence[ClientTable]) -> None:
        self._tables = tuple(tables)

    def by_certificate(self, certificate: bytes) -> Client:
        """Return the client whose TLS certificate (DER) this is. Raises UnknownClientError."""
        fingerprint = hashlib.sha256(certificate).hexdigest()
        for table in self._tables:
            if table.certificate == fingerprint:
                return _client(table)
        raise UnknownClientError("no client of the configuration has this certificate")

    def by_token(self, token: str, *, today: datetime.date | None = None) -> Client:
        """Return the client whose bearer token this is. Raises UnknownClientError, also for one that has expired."""
        digest = hash_token(token)
        found: ClientTable | None = None
        for table in self._tables:
            if table.token_sha256 is not None and hmac.compare_digest(table.token_sha256, digest):
                found = table
        if found is None:
            raise UnknownClientError("no client of the configuration has this token")
        if found.expires is not None and (today or datetime.datetime.now(datetime.UTC).date()) >= found.expires:
            raise UnknownClientError("the token has expired: ask the administrator for another")
        return _client(found)

    def by_title(self, ae_title: str, address: str, certificate: bytes | None) -> Client:
        """Return the client of a DICOM association: all that its table gives must match. Raises UnknownClientError."""
        fingerprint = None if certificate is None else hashlib.sha256(certificate).hexdigest()
        for table in self._tables:
            if table.ae_title is None and table.certificate is None:
                continue
            if table.ae_title is not None and table.ae_title != ae_title.strip():
                continue
            if table.address is not None and not _inside(address, table.address):
                continue
            if table.certificate is not None and table.certificate != fingerprint:
                continue
            return _client(table)
        raise UnknownClientError("no client of the configuration has this AE title, address and certificate")


def _client(table: ClientTable) -> Client:
    return Client(table.name, frozenset(table.may), None if table.all_studies else table.recipient)


def _inside(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network)
    except ValueError:
        return False


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token in hex; enough for one of 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """Return a fresh bearer token: 256 random bits in hex."""
    return SYSTEM.bytes(TOKEN_BYTES).hex()
