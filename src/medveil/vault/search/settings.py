"""The table ``[search]`` of ``vault.toml``: where the index lies and what it may hold.

::

    [search]
    type = "sqlite"              # one file; may lie on a disk or share that is not trusted
    path = "index.sqlite"
    language = "english"         # of descriptions and reports, for the stemmer
    prefixes = false             # PatientName=ZWEI*: shows more, see docs/leakage.md
    padding = "bucket"           # "power": hides more of how frequent a term is, takes about half as much again

    [search]
    type = "postgresql"
    host = "db.example.org"      # or socket = "/run/postgresql"
    dbname = "medveil"
    user = "medveil"
    password_env = "INDEX_PASSWORD"
    sslrootcert = "/etc/medveil/ca.pem"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from medveil.errors import ConfigError
from medveil.stores.settings import Label, Table, read_secret
from medveil.vault.search.backend import Backend, SQLiteBackend
from medveil.vault.search.index import IndexOptions

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class SearchConfig(Table):
    """The table ``[search]``; unknown keys are refused."""

    type: Literal["sqlite", "postgresql"] = "sqlite"
    path: Path | None = None
    socket: Path | None = None
    host: Annotated[str, Field(max_length=255)] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    dbname: Label = "medveil"
    user: Label = "medveil"
    password_env: str | None = None
    password_file: Path | None = None
    sslmode: Literal["verify-full", "verify-ca", "require"] = "verify-full"
    sslrootcert: Path | None = None
    db_schema: Annotated[Label, Field(alias="schema")] = "medveil"
    timeout: Annotated[float, Field(gt=0, le=3600)] = 30.0
    language: Annotated[str, Field(pattern=r"^[a-z]{2,20}$")] = "english"
    prefixes: bool = False
    padding: Literal["bucket", "power"] = "bucket"

    @model_validator(mode="after")
    def _check_place(self) -> SearchConfig:
        if self.type == "sqlite" and self.path is None:
            raise ValueError('type "sqlite" needs a path')
        if self.type == "postgresql" and (self.host is None) == (self.socket is None):
            raise ValueError('type "postgresql" needs either host or socket')
        return self

    @property
    def options(self) -> IndexOptions:
        """How the index is made."""
        return IndexOptions(self.language, self.prefixes, self.padding)


def parse_search(table: Any, base: Path) -> SearchConfig:
    """Check the table; relative paths are taken from `base`. Raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError("[search] is a table: write its type and path")
    if "password" in table:
        raise ConfigError("[search] has a password in it: name a variable with password_env or a file instead")
    absolute = dict(table)
    for key in ("path", "socket", "password_file", "sslrootcert"):
        if isinstance(absolute.get(key), str):
            absolute[key] = base / Path(absolute[key]).expanduser()
    try:
        return SearchConfig.model_validate(absolute)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the table'}: {one['msg']}" for one in found)
        raise ConfigError(f"[search] is not valid: {said}") from None


def open_backend(config: SearchConfig) -> Backend:
    """Open the index's tables, which are made where they are missing.

    Raises StoreUnavailableError where the place cannot be reached, MissingExtraError, ConfigError for a password that
    is not where the table says.
    """
    if config.type == "sqlite" and config.path is not None:
        return SQLiteBackend(config.path)
    from medveil.vault.search.postgres import PostgresBackend

    secret = read_secret("password of the search index", env=config.password_env, file=config.password_file)
    arguments: dict[str, Any] = {
        "host": str(config.socket or config.host),
        "port": config.port,
        "dbname": config.dbname,
        "user": config.user,
    }
    if secret is not None:
        arguments["password"] = secret.get_secret_value()
    if config.host is not None and config.host not in _LOOPBACK:
        arguments |= {"sslmode": config.sslmode}
        arguments |= {} if config.sslrootcert is None else {"sslrootcert": str(config.sslrootcert)}
    return PostgresBackend(arguments, schema=config.db_schema, timeout=config.timeout)
