"""From a table of ``vault.toml`` to an open store.

::

    [[stores]]
    type = "directory"
    name = "office"
    provider = "ourselves"
    path = "/srv/medveil"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from medveil.errors import ConfigError
from medveil.stores.base import Store
from medveil.stores.registry import load
from medveil.stores.retry import Patience, RetryStore
from medveil.stores.settings import StoreConfig

_LITERAL_SECRETS = {
    "password": "password",
    "passphrase": "passphrase",
    "secret": "secret_key",
    "secret_key": "secret_key",
    "secret_access_key": "secret_key",
    "access_key": "access_key",
    "access_key_id": "access_key",
    "token": "token",
    "session_token": "session_token",
}
"""Keys that people write a secret under -> the beginning of the keys that name its place."""


def parse_store(table: Mapping[str, Any]) -> StoreConfig:
    """Return the validated table of one store.

    Raises ConfigError for an unknown type or key, a missing or wrong value, or a secret written into the table;
    the message names the keys and never shows the values.
    """
    label = table.get("name", "without a name")
    kind = table.get("type")
    if not isinstance(kind, str):
        raise ConfigError(f'store {label!r} has no type: write type = "directory" or another')
    for key, place in _LITERAL_SECRETS.items():
        if key in table:
            raise ConfigError(
                f"store {label!r} has a secret under {key!r} in its table: name an environment variable with "
                f"{place}_env or a file with {place}_file instead"
            )
    try:
        return load(kind).Config.model_validate(dict(table))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the table'}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
            for problem in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigError(f"store {label!r} of type {kind!r} is not valid: {problems}") from None


def open_store(config: StoreConfig | Mapping[str, Any]) -> Store:
    """Open the store that a table describes, wrapped in patience (`RetryStore`) unless it is in memory.

    Raises ConfigError as `parse_store` does or where a named secret is not there, MissingExtraError where an
    optional package is needed, and StoreUnavailableError where a store that must exist does not.
    """
    if not isinstance(config, StoreConfig):
        config = parse_store(config)
    store = load(config.type).from_config(config)
    if config.type == "memory":
        return store
    return RetryStore(store, Patience(**config.retry.model_dump()))
