"""What stores that speak HTTP share: their settings, a client that verifies TLS, and what an answer's status means."""

from __future__ import annotations

import email.utils
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from medveil.errors import ConfigError, MissingExtraError
from medveil.stores.settings import StoreConfig, read_secret

if TYPE_CHECKING:
    import httpx

PASSING: Final = frozenset({408, 423, 425, 429, 500, 502, 503, 504})
"""Statuses of which another try may get rid."""


class HttpConfig(StoreConfig):
    """What a table of a store that speaks HTTP may say.

    url: its address. user with password_env or password_file for basic authentication, or token_env or token_file
    for a bearer token. client_cert_file with client_key_file: a certificate to show. ca_file: certificates to trust
    instead of the system's. insecure_http: allow a URL without TLS.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^/@?#\s]+(/[^?#\s]*)?$", max_length=1000)]
    user: str | None = None
    password_env: str | None = None
    password_file: Path | None = None
    token_env: str | None = None
    token_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    ca_file: Path | None = None
    insecure_http: bool = False
    connect_timeout: Annotated[float, Field(gt=0, le=600)] = 10.0
    idle_timeout: Annotated[float, Field(gt=0, le=600)] = 30.0


def open_client(config: HttpConfig) -> httpx.Client:
    """Return a client for a store's server: TLS verified, no redirects, no compression; connects on first use.

    Raises ConfigError where a secret, a certificate or TLS is missing, and MissingExtraError without httpx.
    """
    try:
        import httpx
    except ImportError:
        raise MissingExtraError(f"a store of type {config.type}", "clouds") from None
    who = f"store {config.name!r}"
    if config.url.startswith("http:") and not config.insecure_http:
        raise ConfigError(f"{who} has a URL without TLS: use https, or say insecure_http = true")
    password = read_secret(f"password of {who}", env=config.password_env, file=config.password_file)
    token = read_secret(f"token of {who}", env=config.token_env, file=config.token_file)
    if (password is None) != (config.user is None) or (password and token):
        raise ConfigError(f"{who} needs a user with a password, or a token, or neither")
    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    return httpx.Client(
        auth=(config.user, password.get_secret_value()) if config.user and password else None,
        headers=headers,
        verify=_context(config, who),
        follow_redirects=False,
        timeout=httpx.Timeout(config.idle_timeout, connect=config.connect_timeout),
    )


def _context(config: HttpConfig, who: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except OSError as error:
        raise ConfigError(f"{who}: ca_file cannot be used: {error.strerror or 'no certificate'}") from None
    if config.client_cert_file is not None:
        try:
            context.load_cert_chain(config.client_cert_file, config.client_key_file)
        except OSError as error:
            raise ConfigError(f"{who}: client_cert_file cannot be used: {error.strerror or 'no certificate'}") from None
    return context


def is_number(text: str) -> bool:
    """Whether a header's value is a plain number that is not absurdly long."""
    return text.isascii() and text.isdigit() and len(text) < 19


def retry_after(value: str) -> float | None:
    """Return the seconds to wait of a Retry-After header: a number, or a date (RFC 9110, section 10.2.3)."""
    if is_number(value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
