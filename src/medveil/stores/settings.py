"""What one store's table in ``vault.toml`` may say: the fields that all types share, and how secrets are found.

A secret itself is never in the table. It is named by an environment variable or by a file, and read when the store
is opened, so that neither the configuration nor what is printed of it can give it away.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from medveil.errors import ConfigError

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""A name that a user gives: letters, digits, '.', '_', '-'."""

_SECRET_FILE_LIMIT: Final = 64 << 10


class Table(BaseModel):
    """A table that refuses unknown keys and shows no values in its errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class RetryConfig(Table):
    """How patient to be with a store (see `medveil.stores.retry.Patience`, which has the same fields)."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 5
    deadline: Annotated[float, Field(gt=0, le=86400)] = 30.0
    budget: Annotated[float, Field(gt=0, le=86400)] = 120.0
    first_pause: Annotated[float, Field(gt=0, le=60)] = 0.2
    longest_pause: Annotated[float, Field(gt=0, le=3600)] = 20.0
    slowest: Annotated[int, Field(ge=1)] = 64 << 10
    hung: Annotated[int, Field(ge=1, le=1000)] = 8


class StoreConfig(Table):
    """What every store's table has.

    type: which store; name: what the user calls it; provider: who operates it (default: the name), since two parts
    of one object never go to one provider; retry: how patient to be.
    """

    type: str
    name: Label
    provider: Label | None = None
    retry: RetryConfig = RetryConfig()


def read_secret(what: str, *, env: str | None, file: Path | None) -> SecretStr | None:
    """Return the secret that an environment variable or a file holds, or None where neither is named.

    A file must belong to its owner alone (no permission for group or others); one trailing line break is left out.
    Raises ConfigError, which names the variable or file and never shows what is in it.
    """
    if env and file:
        raise ConfigError(f"the {what} is named twice, by a variable and by a file: keep one of them")
    if env:
        value = os.environ.get(env)
        if not value:
            raise ConfigError(f"the {what} should be in the environment variable {env}, which is not set")
        return SecretStr(value)
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(_SECRET_FILE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(f"the file of the {what}, {file}, cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"the file of the {what}, {file}, can be used by others: run chmod 600 on it")
    if len(data) > _SECRET_FILE_LIMIT:
        raise ConfigError(f"the file of the {what}, {file}, is too long to be one")
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError(f"the file of the {what}, {file}, is not text") from None
    if not text:
        raise ConfigError(f"the file of the {what}, {file}, is empty")
    return SecretStr(text)
