"""What the objects of a vault are called in the stores: random ids and hashes, never a user's words.

::

    <dataset>/o/<object>/h-<version>-<hash>            head: manifest, envelopes, encrypted catalogue record
    <dataset>/o/<object>/s-<root>[-<attempt>]          share; its name is the Merkle root of its content
    <dataset>/o/<object>/c-<version>                   claim of a writer to the next version

dataset, object: 32 hex digits; version: 16 hex digits; hash (of the whole head), root: 64 hex digits; attempt: 16
hex digits, on a share that repair wrote because its plain name was taken by something else.

A name is never used for other bytes: object ids, keys and salts are random for each attempt, so roots and hashes
are; an upload of a dead process that lands late brings what its name says or nothing that anyone looks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

ATTEMPT_SIZE: Final = 8
"""Length of the random number in the name of a repaired share, in bytes."""

_HEAD = re.compile(r"h-([0-9a-f]{16})-([0-9a-f]{64})")
_SHARE = re.compile(r"s-([0-9a-f]{64})(?:-[0-9a-f]{16})?")
_CLAIM = re.compile(r"c-([0-9a-f]{16})")
_OBJECT = re.compile(r"([0-9a-f]{32})/o/([0-9a-f]{32})/([a-z0-9-]+)")


def objects_prefix(dataset: bytes) -> str:
    """Return the beginning of the names of all objects of a dataset."""
    return f"{dataset.hex()}/o/"


def object_prefix(dataset: bytes, object_id: bytes) -> str:
    """Return the beginning of the names of everything that belongs to one object."""
    return f"{dataset.hex()}/o/{object_id.hex()}/"


def head_name(dataset: bytes, object_id: bytes, version: int, content: bytes) -> str:
    """Return the name of a head with the hash `content` of its bytes: the same on every store."""
    return f"{object_prefix(dataset, object_id)}h-{version:016x}-{content.hex()}"


def share_name(dataset: bytes, object_id: bytes, root: bytes, attempt: bytes = b"") -> str:
    """Return the name of a share; `attempt` (8 B) where the plain name is taken by damaged bytes."""
    suffix = f"-{attempt.hex()}" if attempt else ""
    return f"{object_prefix(dataset, object_id)}s-{root.hex()}{suffix}"


def claim_name(dataset: bytes, object_id: bytes, version: int) -> str:
    """Return the name of the claim to a version."""
    return f"{object_prefix(dataset, object_id)}c-{version:016x}"


@dataclass(slots=True)
class Holdings:
    """What one store says that it holds of one object; nothing in it is verified.

    heads: (version, hash) -> name. shares: root -> names. claims: version -> name. foreign: anything else.
    """

    heads: dict[tuple[int, bytes], str] = field(default_factory=dict)
    shares: dict[bytes, list[str]] = field(default_factory=dict)
    claims: dict[int, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def add(self, leaf: str, name: str) -> None:
        """Sort a name in by its last segment."""
        if match := _HEAD.fullmatch(leaf):
            self.heads[int(match[1], 16), bytes.fromhex(match[2])] = name
        elif match := _SHARE.fullmatch(leaf):
            self.shares.setdefault(bytes.fromhex(match[1]), []).append(name)
        elif match := _CLAIM.fullmatch(leaf):
            self.claims[int(match[1], 16)] = name
        else:
            self.foreign.append(name)


def sort_names(names: Iterable[str]) -> dict[bytes, Holdings]:
    """Sort the listing of a dataset by object id; names of another form are left out."""
    found: dict[bytes, Holdings] = {}
    for name in names:
        if match := _OBJECT.fullmatch(name):
            found.setdefault(bytes.fromhex(match[2]), Holdings()).add(match[3], name)
    return found
