"""Verifying a published log with nothing but its files and its key: no vault, no network, no database."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from medveil.errors import FormatError, TamperedError
from medveil.vault.audit import tiles
from medveil.vault.audit.events import Event
from medveil.vault.audit.note import Checkpoint, NoteKey
from medveil.vault.audit.tree import completed, leaf_hash, root, verify_inclusion

_PROOF: Final = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """A log that was verified. first, last: times of its entries. witnesses: name -> time of the cosignature."""

    origin: str
    size: int
    root: bytes
    first: datetime | None
    last: datetime | None
    backwards: int
    witnesses: dict[str, int]
    continues: tuple[int, ...] = ()


def verify_folder(
    folder: Path, key: NoteKey, *, witnesses: Sequence[NoteKey] = (), older: Sequence[bytes] = ()
) -> AuditReport:
    """Read every entry and every tile of a published log and check them against its signed checkpoint.

    witnesses: must all have cosigned. older: checkpoints of earlier days, which the log must continue.
    `backwards` counts entries whose time is before that of the one in front: a clock that was set back, not a proof of
    anything. Raises TamperedError, FormatError, ObjectMissingError, WrongKeyError where something is wrong.
    """
    files = tiles.TileFolder(folder)
    checkpoint = Checkpoint.parse(files.read(tiles.CHECKPOINT))
    checkpoint.verify(key)
    cosigned = {witness.name: checkpoint.witnessed(witness) for witness in witnesses}
    earlier = [Checkpoint.parse(one) for one in older]
    for one in earlier:
        one.verify(key)
        if one.size > checkpoint.size:
            raise TamperedError(
                f"the log has {checkpoint.size} entries and an older checkpoint has {one.size}: entries were removed"
            )
    nodes: dict[tuple[int, int], bytes] = {}
    times: list[datetime] = []
    for number, width in tiles.spans(checkpoint.size):
        data = files.read(tiles.tile_path("entries", number, width))
        for at, entry in enumerate(tiles.unpack_entries(data, width), start=number * tiles.WIDTH):
            times.append(Event.decode(entry).time)
            for level, index, digest in completed(at, leaf_hash(entry), lambda level, i: nodes[level, i]):
                nodes[level, index] = digest

    def node(level: int, index: int) -> bytes:
        return nodes[level, index]

    if root(checkpoint.size, node) != checkpoint.root:
        raise TamperedError("the entries of the log do not give its signed root: some were changed, removed or moved")
    for one in earlier:
        if root(one.size, node) != one.root:
            raise TamperedError(
                f"the log does not continue its checkpoint of {one.size} entries: history was rewritten"
            )
    _check_tiles(files, checkpoint.size, nodes)
    return AuditReport(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root,
        first=times[0] if times else None,
        last=times[-1] if times else None,
        backwards=sum(b < a for a, b in pairwise(times)),
        witnesses=cosigned,
        continues=tuple(one.size for one in earlier),
    )


def _check_tiles(files: tiles.TileFolder, size: int, nodes: dict[tuple[int, int], bytes]) -> None:
    """Check that the tiles of hashes, which other tools rely on, say the same as the entries."""
    level, count = 0, size
    while count:
        for number, width in tiles.spans(count):
            start = number * tiles.WIDTH
            held = tiles.unpack_hashes(files.read(tiles.tile_path(level, number, width)), width)
            if held != [nodes[level * tiles.HEIGHT, index] for index in range(start, start + width)]:
                raise TamperedError(f"tile {tiles.tile_path(level, number, width)} does not fit the entries: altered")
        level, count = level + 1, count // tiles.WIDTH


def pack_proof(number: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """Return the proof that an entry is in the log as one text (C2SP tlog-proof)."""
    lines = [_PROOF, f"index {number}", *(base64.b64encode(one).decode() for one in proof), ""]
    return "\n".join(lines).encode() + b"\n" + checkpoint


def verify_proof(text: bytes, entry: bytes, key: NoteKey) -> tuple[int, Checkpoint]:
    """Check that an entry is in the log; returns its number and the checkpoint. Raises FormatError, TamperedError."""
    front, gap, rest = text.partition(b"\n\n")
    lines = front.decode("utf-8", "replace").split("\n")
    if not gap or len(lines) < 2 or lines[0] != _PROOF or not lines[1].startswith("index "):
        raise FormatError("this is no proof of an entry in a log")
    digits = lines[1].removeprefix("index ")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19) or len(lines) > 66:
        raise FormatError("this is no proof of an entry in a log")
    try:
        proof = [base64.b64decode(line, validate=True) for line in lines[2:]]
    except ValueError:
        raise FormatError("a hash of a proof is malformed") from None
    checkpoint = Checkpoint.parse(rest)
    checkpoint.verify(key)
    verify_inclusion(leaf_hash(entry), int(digits), checkpoint.size, proof, checkpoint.root)
    return int(digits), checkpoint
