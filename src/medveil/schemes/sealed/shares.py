"""Shares as they are offered: whose they are, whether they are whole, and what each says is matched by hash.

Nothing a share says is believed until it leads to the manifest. A share whose leaf list hashes to a root in the
manifest is that share, whatever its name and place, and its damage is located fragment by fragment. A share whose
leaf list does not is kept as a suspect: its fragments serve only where the result proves itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from medveil.crypto.hashing import HASH_SIZE
from medveil.errors import FormatError, ObjectMissingError, StoreError
from medveil.schemes.base import Finding, FindingKind
from medveil.schemes.sealed.format import HEADER_READ, LeafHasher, Manifest, ShareHeader, share_root

_READ_AHEAD: Final = 1 << 18


class ShareReader(Protocol):
    """Random access to one share object; `read` raises StoreError where the store fails."""

    @property
    def size(self) -> int:
        """Bytes of the share object as it is there."""
        ...

    def read(self, offset: int, length: int, /) -> bytes:
        """Return the `length` bytes from `offset` on; fewer only at the end."""
        ...


class BytesShare:
    """A share object in memory, or the end of a part file: `data` from `start` on."""

    __slots__ = ("_data", "_start", "size")

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = memoryview(data)
        self._start = start
        self.size = max(0, len(data) - start)

    def read(self, offset: int, length: int, /) -> bytes:
        """Return bytes; never raises."""
        begin = self._start + offset
        return bytes(self._data[begin : begin + length])


@dataclass(slots=True)
class Share:
    """One share that was offered and may be used. index: which it is. offered: where it stood.

    leaves: its leaf list where that leads to the manifest, else None. extra: its extra field, believed where
    `extra_proved`.
    """

    index: int
    offered: int
    reader: ShareReader
    leaves: bytes | None
    extra: bytes
    extra_proved: bool
    hasher: LeafHasher
    alive: bool = True
    _block: tuple[int, bytes] = (0, b"")

    def fragment(self, manifest: Manifest, number: int, findings: Findings) -> bytes | None:
        """Return the bytes at the place of fragment `number`, or None where they are not there."""
        layout = manifest.layout
        start, length = layout.place(number), layout.fragment(number)
        if not self.alive or start + length > self.reader.size:
            return None
        base, data = self._block
        if not base <= start <= start + length <= base + len(data):
            try:
                data = self.reader.read(start, min(max(length, _READ_AHEAD), self.reader.size - start))
            except StoreError as error:
                self.alive = False
                findings.add(Finding(_kind_of(error), f"share {self.index} cannot be read: {error}", part=self.offered))
                return None
            base, self._block = start, (start, data)
        found = data[start - base : start - base + length]
        return found if len(found) == length else None

    def proves(self, number: int, data: bytes) -> bool | None:
        """Whether `data` is what the manifest's root says of fragment `number`; None where that cannot be said."""
        if self.leaves is None:
            return None
        at = HASH_SIZE * (number + 1)
        return self.hasher.fragment(number, data) == self.leaves[at : at + HASH_SIZE]


@dataclass(slots=True)
class Findings:
    """Collects findings, each once, in the order of parts and chunks."""

    _found: dict[tuple[FindingKind, int | None, int | None, str | None], Finding] = field(default_factory=dict)

    def add(self, *findings: Finding) -> None:
        """Add findings that were not there yet."""
        for one in findings:
            self._found.setdefault((one.kind, one.part, one.chunk, one.place), one)

    def result(self) -> tuple[Finding, ...]:
        """Return all, sorted by part, then chunk."""
        return tuple(
            sorted(self._found.values(), key=lambda f: (f.part or 0, -1 if f.chunk is None else f.chunk, f.kind))
        )


def match_shares(
    manifest: Manifest,
    shares: Mapping[int, ShareReader],
    findings: Findings,
    *,
    expected: Collection[int] | None = None,
) -> dict[int, Share]:
    """Return the usable shares by what they are, not by where they stood; the rest becomes findings.

    shares: readers by 1-based place. expected: the places that should be filled, all n by default.
    """
    matched: dict[int, Share] = {}
    for offered in sorted(shares):
        share = _look(manifest, offered, shares[offered], findings)
        if share is None:
            continue
        if share.index != offered:
            message = f"the place of share {offered} holds share {share.index}: it was swapped or copied"
            findings.add(Finding(FindingKind.SWAPPED, message, part=offered))
        rival = matched.get(share.index)
        if rival is None or _rank(share) > _rank(rival):
            matched[share.index] = share
    for index in range(1, manifest.n + 1) if expected is None else sorted(expected):
        if index not in shares and index not in matched:
            findings.add(Finding(FindingKind.MISSING, f"share {index} is not there", part=index))
    return dict(sorted(matched.items()))


def _rank(share: Share) -> tuple[bool, bool]:
    return share.leaves is not None, share.offered == share.index


def _look(manifest: Manifest, offered: int, reader: ShareReader, findings: Findings) -> Share | None:
    layout, core = manifest.layout, manifest.core
    try:
        size = reader.size
        head = reader.read(0, min(HEADER_READ, size)) if size else b""
        whole = size >= layout.size
        leaves = reader.read(layout.leaves, HASH_SIZE * (layout.count + 1)) if whole else b""
    except StoreError as error:
        findings.add(Finding(_kind_of(error), f"share {offered} cannot be read: {error}", part=offered))
        return None
    index = _index_of(manifest, leaves)
    if index is None:
        header = _foreign(manifest, offered, head, findings)
        if header is None and size == 0:
            findings.add(Finding(FindingKind.TRUNCATED, f"share {offered} is empty", part=offered))
            return None
        if header is not None and not _ours(manifest, header):
            return None
    if size != layout.size:
        change = "shorter" if size < layout.size else "longer"
        message = f"share {offered} has {size} bytes where {layout.size} belong: it is {change} than it was"
        findings.add(Finding(FindingKind.TRUNCATED, message, part=offered))
    if index is None:
        if size >= layout.size:
            message = f"the leaf list of share {offered} was changed"
            findings.add(Finding(FindingKind.TAMPER, message, part=offered, place="leaf list"))
        claimed = header.index if header is not None and 1 <= header.index <= core.n else offered
        extra = header.extra if header is not None else b""
        return Share(claimed, offered, reader, None, extra, extra_proved=False, hasher=LeafHasher(core, claimed))
    hasher = LeafHasher(core, index)
    proved = hasher.header(head[: layout.header]) == leaves[:HASH_SIZE]
    if not proved:
        findings.add(
            Finding(FindingKind.TAMPER, f"the header of share {offered} was changed", part=offered, place="header")
        )
    return Share(index, offered, reader, leaves, ShareHeader.decode(head).extra if proved else b"", proved, hasher)


def _index_of(manifest: Manifest, leaves: bytes) -> int | None:
    if not leaves:
        return None
    root = share_root([leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)])
    return manifest.share_roots.index(root) + 1 if root in manifest.share_roots else None


def _foreign(manifest: Manifest, offered: int, head: bytes, findings: Findings) -> ShareHeader | None:
    """Say what a share is that the manifest does not know; returns its header where it has a readable one."""
    try:
        header = ShareHeader.decode(head)
    except FormatError:
        if head:
            message = f"what stands in the place of share {offered} is no share object"
            findings.add(Finding(FindingKind.TAMPER, message, part=offered, place="header"))
        return None
    if header.object_id != manifest.object_id:
        message = f"the place of share {offered} holds a share of another object"
        findings.add(Finding(FindingKind.FOREIGN, message, part=offered))
    elif header.version != manifest.version:
        message = f"share {offered} is of version {header.version} where version {manifest.version} belongs"
        findings.add(Finding(FindingKind.STALE, message, part=offered))
    return header


def _ours(manifest: Manifest, header: ShareHeader) -> bool:
    return header.object_id == manifest.object_id and header.version == manifest.version


def _kind_of(error: StoreError) -> FindingKind:
    return FindingKind.MISSING if isinstance(error, ObjectMissingError) else FindingKind.UNREACHABLE
