"""``vault.toml``: one file that says what a vault is and where its parts go.

::

    [vault]
    dataset = "radiology"        # a label; the 16-byte id of the dataset is derived from it and the owner's root
    threshold = "2/4"            # any 2 of 4 parts restore
    mode = "keyed"               # keyed, two-factor, perfect
    codec = "archive"            # archive, ingest, none
    owner = "owner.key"          # the owner's key file; paths are relative to this file
    state = "state"              # the folder of this machine's local state
    deadline = 60.0              # seconds after which one call to a store counts as failed
    audit = true                 # log what is done, see docs/vault.md

    [[store]]
    type = "directory"
    name = "office"
    provider = "ourselves"
    path = "/srv/medveil"

    [search]                     # optional: ranked search, see docs/vault.md
    type = "sqlite"
    path = "index.sqlite"

Two parts of one object never go to one provider, so n parts need at least n providers. Keyless mode, in which any
k providers can read, is not offered here: a vault is for clouds that are not trusted.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, field_validator

from medveil.crypto.erasure import MAX_FRAGMENTS
from medveil.errors import ConfigError
from medveil.stores.config import parse_store
from medveil.stores.settings import Label, StoreConfig, Table
from medveil.vault.search.settings import SearchConfig, parse_search

MAX_CONFIG: Final = 1 << 20
"""Largest configuration file, in bytes."""

_THRESHOLD = re.compile(r"([1-9][0-9]?)/([1-9][0-9]?)")


class VaultTable(Table):
    """The table ``[vault]``; unknown keys are refused."""

    dataset: Label = "default"
    threshold: str = "2/4"
    mode: Literal["keyed", "two-factor", "perfect"] = "keyed"
    codec: Literal["archive", "ingest", "none"] = "archive"
    owner: Path = Path("owner.key")
    state: Path = Path("state")
    deadline: Annotated[float, Field(gt=0, le=86400)] = 60.0
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    orphan_age: Annotated[float, Field(ge=0)] = 7 * 86400.0
    audit: bool = True

    @field_validator("threshold")
    @classmethod
    def _check_threshold(cls, text: str) -> str:
        parse_threshold(text)
        return text


@dataclass(frozen=True, slots=True)
class VaultConfig:
    """A checked configuration with absolute paths.

    k, n: any k of n parts restore. deadline: seconds for one call to a store; workers: calls at once in all.
    orphan_age: seconds for which an object that belongs to nothing must have been seen before it is removed.
    audit: whether what is done is logged in the state folder.
    """

    dataset: str
    k: int
    n: int
    mode: str
    codec: str
    owner: Path
    state: Path
    deadline: float
    workers: int
    orphan_age: float
    stores: tuple[StoreConfig, ...]
    search: SearchConfig | None = None
    audit: bool = True


def parse_threshold(text: str) -> tuple[int, int]:
    """Return (k, n) of a text like ``2/4``. Raises ConfigError unless 1 <= k <= n <= 32."""
    match = _THRESHOLD.fullmatch(text)
    k, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= k <= n <= MAX_FRAGMENTS:
        raise ConfigError(
            f"threshold {text!r} is not one: write k/n with 1 <= k <= n <= {MAX_FRAGMENTS}, for example 2/4"
        )
    return k, n


def load_config(path: Path | str) -> VaultConfig:
    """Read and check a configuration file.

    Raises ConfigError where it cannot be read, is not TOML, has unknown or wrong keys, names a store twice, or has
    fewer providers than parts.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_CONFIG + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({(error.strerror or 'error').lower()}): give the vault's toml"
        ) from None
    if len(data) > MAX_CONFIG:
        raise ConfigError(f"{path} is larger than any configuration ({MAX_CONFIG} bytes)")
    try:
        tables = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return parse_config(tables, base=path.resolve().parent)


def parse_config(tables: Mapping[str, Any], *, base: Path) -> VaultConfig:
    """Check the tables of a configuration; relative local paths are taken from `base`. Raises as `load_config`."""
    unknown = sorted(set(tables) - {"vault", "store", "search"})
    if unknown:
        raise ConfigError(
            f"unknown table or key {unknown[0]!r}: there are [vault], [search] and one [[store]] for each store"
        )
    table = tables.get("vault", {})
    entries = tables.get("store", [])
    if not isinstance(table, Mapping) or not isinstance(entries, list):
        raise ConfigError("write one table [vault] and one [[store]] for each store")
    try:
        vault = VaultTable.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(f"[vault] is not valid: {_problems(error)}") from None
    stores = tuple(parse_store(_with_paths(entry, base)) for entry in entries)
    k, n = parse_threshold(vault.threshold)
    if vault.mode != "keyed" and k < 2:
        raise ConfigError(f"mode {vault.mode} needs a threshold of at least 2: any single provider would suffice")
    check_providers(stores, n)
    return VaultConfig(
        dataset=vault.dataset,
        k=k,
        n=n,
        mode=vault.mode,
        codec=vault.codec,
        owner=base / vault.owner.expanduser(),
        state=base / vault.state.expanduser(),
        deadline=vault.deadline,
        workers=vault.workers,
        orphan_age=vault.orphan_age,
        audit=vault.audit,
        stores=stores,
        search=None if "search" not in tables else parse_search(tables["search"], base),
    )


def check_providers(stores: Sequence[StoreConfig], n: int) -> None:
    """Refuse stores that share a name, and fewer providers than parts. Raises ConfigError that says which."""
    twice = [name for name, count in Counter(store.name for store in stores).items() if count > 1]
    if twice:
        raise ConfigError(f"two stores are called {twice[0]!r}: give each its own name")
    providers: dict[str, list[str]] = {}
    for store in stores:
        providers.setdefault(store.provider or store.name, []).append(store.name)
    if len(providers) < n:
        shared = "; ".join(f"{', '.join(names)} all belong to {who}" for who, names in providers.items() if names[1:])
        raise ConfigError(
            f"{n} parts need {n} different providers, and there are {len(providers)}: never two parts at one provider"
            f"{f' ({shared})' if shared else ''}; add stores of other providers or lower the threshold's n"
        )


def _with_paths(table: Any, base: Path) -> dict[str, Any]:
    """Return a store's table with its local paths made absolute."""
    if not isinstance(table, Mapping):
        raise ConfigError("a [[store]] is a table: write type, name and what that type needs")
    absolute = dict(table)
    for key, value in table.items():
        local = key.endswith("_file") or (key == "path" and table.get("type") == "directory")
        if local and isinstance(value, str):
            absolute[key] = str(base / Path(value).expanduser())
    return absolute


def _problems(error: ValidationError) -> str:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg'][:1].lower()}{problem['msg'][1:]}" for problem in found
    )
