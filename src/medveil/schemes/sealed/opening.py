"""`open_shares`: from k or more shares and a key back to the file, and where in the picture something was touched."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import BinaryIO, Final

import numpy as np

from medveil.crypto import envelope as envelopes_
from medveil.crypto.envelope import RecipientPrivateKey
from medveil.crypto.keyfile import OwnerKey
from medveil.crypto.stream import StreamKey
from medveil.errors import LimitError, TamperedError, UnrecoverableError, UnsupportedError, WrongKeyError
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.schemes.base import Finding, TamperMap
from medveil.schemes.sealed.codec import Grid, Kind, decode
from medveil.schemes.sealed.format import Manifest, Mode
from medveil.schemes.sealed.modes import recover_key
from medveil.schemes.sealed.payload import MAX_INDEX, Index, PixelInfo, digest
from medveil.schemes.sealed.records import MAX_ENVELOPES
from medveil.schemes.sealed.repair import Fragments, Outcome, Range, Solver
from medveil.schemes.sealed.shares import Findings, Share, ShareReader, match_shares
from medveil.schemes.sealed.source import PIXELS_TYPE, span_pixels
from medveil.schemes.sealed.tiles import CELL, TileTags, tile_key
from medveil.schemes.sealed.workers import ALONE, THREADS, ordered

MAX_MAP: Final = 1 << 31
"""Most pixels of an image that a tamper map is drawn of."""

_WINDOW: Final = 4
_WRONG: Final = "this key does not open the object: it is for another owner or recipient, or the envelope was altered"
_NAMED: Final = 8

Key = OwnerKey | RecipientPrivateKey


@dataclass
class Opened:
    """What opening gave. `original` holds the file where no sink was given; `lost` ranges of it are zeros.

    manifest and index describe it; `touched` and `lost` are ranges of the file.
    """

    manifest: Manifest
    index: Index
    findings: tuple[Finding, ...]
    touched: tuple[Range, ...] = ()
    lost: tuple[Range, ...] = ()
    original: bytes | None = field(default=None, repr=False)

    @cached_property
    def tamper_map(self) -> TamperMap | None:
        """Which pixels depend on changed or lost bytes; None where the file is no image or too large to draw."""
        pixels = self.index.pixels
        if pixels is None or pixels.shape[0] * pixels.shape[1] * pixels.shape[2] > MAX_MAP:
            return None
        return TamperMap(_drawn(pixels, self.touched), _drawn(pixels, self.lost), CELL)

    def image(self) -> MedicalImage | OpaqueFile:
        """Return the image, decoded again from the file. Raises UnrecoverableError where a sink took the file."""
        if self.original is None:
            raise UnrecoverableError("the file went to a sink: read it from there")
        index = self.index
        if index.media_type == PIXELS_TYPE and index.pixels is not None:
            return _in_memory(index.pixels, self.original, index.name)
        if index.pixels is None:
            reason = "protected as bytes"
            return OpaqueFile(self.original, reason, name=index.name, media_type=index.media_type)
        from medveil.imaging.reader import read_any

        return read_any(self.original, name=index.name, limit=max(1 << 30, 2 * len(self.original)))


def _in_memory(pixels: PixelInfo, data: bytes, name: str) -> MedicalImage:
    return MedicalImage(
        span_pixels(data, pixels.dtype, pixels.shape),
        pixels.stored,
        Photometric(pixels.photometric),
        pixels.spacing,
        name=name,
    )


def _drawn(pixels: PixelInfo, ranges: Sequence[Range]) -> np.ndarray[tuple[int, int, int], np.dtype[np.bool_]]:
    frames, rows, columns, _ = pixels.shape
    drawn = np.zeros((frames, rows, columns), np.bool_)
    flat = drawn.reshape(-1)
    for start, end in ranges:
        if pixels.offset >= 0:
            low, high = max(0, start - pixels.offset), min(pixels.length, end - pixels.offset)
            if low < high:
                flat[low // pixels.word : -(-high // pixels.word)] = True
            continue
        for frame, (offset, length) in enumerate(pixels.places):
            if start < offset + length and offset < end:
                drawn[frame] = True
    return drawn


def open_shares(
    manifest: Manifest,
    envelopes: Sequence[bytes],
    shares: Mapping[int, ShareReader],
    key: Key | None,
    sink: BinaryIO | None = None,
    *,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Collection[int] | None = None,
    findings: Findings | None = None,
) -> Opened:
    """Give the file back from k or more shares, by 1-based place, and say what is wrong with each of them.

    manifest: verified by its owner (`Manifest.verify`). envelopes: any that may be for `key`; key None is only for
    mode C. sink: takes the file, authenticated bytes only, front to back; the caller makes it visible after
    success. partial: give what is intact, zeros for what is lost. expected: places that should be filled, all n by
    default. findings: what was noticed before, to go on with.

    Raises WrongKeyError where no envelope opens, UnrecoverableError where too few shares are intact (naming the
    chunks), TamperedError, FormatError or LimitError where the authentic payload is not one of this program.
    """
    sealed = b"" if manifest.mode is Mode.KEYLESS else unseal_key(manifest, envelopes, key)
    return open_with(
        manifest, sealed, shares, sink, partial=partial, progress=progress, expected=expected, findings=findings
    )


def unseal_key(manifest: Manifest, envelopes: Sequence[bytes], key: Key | None) -> bytes:
    """Return what the envelope for this key holds. Raises WrongKeyError where none opens."""
    if key is None:
        raise WrongKeyError(f"an object in mode {manifest.mode.value} needs a key: only mode keyless opens without")
    private = key.recipient if isinstance(key, OwnerKey) else key
    for one in list(envelopes)[: 2 * MAX_ENVELOPES]:
        try:
            return envelopes_.open_(private, one, core=manifest.core_bytes)
        except (WrongKeyError, LimitError):
            continue
    raise WrongKeyError(_WRONG)


def open_with(
    manifest: Manifest,
    sealed: bytes,
    shares: Mapping[int, ShareReader],
    sink: BinaryIO | None = None,
    *,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Collection[int] | None = None,
    findings: Findings | None = None,
) -> Opened:
    """As `open_shares`, with what the envelope holds instead of a key."""
    opening = _Opening(manifest, sealed, shares, expected, findings or Findings())
    return opening.run(sink, partial=partial, progress=progress)


def read_tags(
    manifest: Manifest, envelopes: Sequence[bytes], shares: Mapping[int, ShareReader], key: Key | None
) -> TileTags:
    """Return the tile tags of an image for `compare_pixels`, reading only the chunks that hold them.

    Raises UnsupportedError where the object is no image, TamperedError where the tags do not lead to the manifest,
    else as `open_shares`.
    """
    sealed = b"" if manifest.mode is Mode.KEYLESS else unseal_key(manifest, envelopes, key)
    return tags_with(manifest, sealed, shares)


def tags_with(manifest: Manifest, sealed: bytes, shares: Mapping[int, ShareReader]) -> TileTags:
    """As `read_tags`, with what the envelope holds instead of a key."""
    return _Opening(manifest, sealed, shares, None, Findings()).tags()


class _Opening:
    """One object being opened."""

    def __init__(
        self,
        manifest: Manifest,
        sealed: bytes,
        shares: Mapping[int, ShareReader],
        expected: Collection[int] | None,
        findings: Findings,
    ) -> None:
        self._manifest = manifest
        self._layout = manifest.layout
        self._findings = findings
        matched = match_shares(manifest, shares, findings, expected=expected)
        if len(matched) < manifest.k:
            raise UnrecoverableError(
                f"{len(matched)} usable parts are there and {manifest.k} are needed, so chunks 0 to "
                f"{self._layout.count - 1} cannot be given back: bring back more parts"
            )
        self._dek, key = self._key(sealed, matched)
        self._solver = Solver(manifest, matched, key)
        self._early: dict[int, Outcome] = {}
        self._touched: list[Range] = []
        self._lost: list[int] = []
        self._index_size = 0

    def _key(self, sealed: bytes, matched: Mapping[int, Share]) -> tuple[bytes, StreamKey]:
        manifest = self._manifest
        proved = {index: share.extra for index, share in matched.items() if share.extra_proved}
        others = {index: share.extra for index, share in matched.items() if index not in proved and share.extra}
        return recover_key(manifest.core, manifest.core_bytes, manifest.commitment, sealed, proved | others)

    # ---------------------------------------------------------------------------------------------------- index

    def _chunk(self, number: int) -> Outcome:
        if number not in self._early:
            self._early[number] = self._solver.solve(number, self._solver.read(number, self._findings))
        return self._early[number]

    def _bytes(self, start: int, end: int) -> bytes | None:
        """Return payload bytes, or None where a chunk of them is lost."""
        pieces = []
        for number in range(start // self._layout.chunk, -(-end // self._layout.chunk)):
            plain = self._chunk(number).plain
            if plain is None:
                return None
            base = number * self._layout.chunk
            pieces.append(plain[max(0, start - base) : end - base])
        return b"".join(pieces)

    def index(self) -> Index:
        """Read the index, at the front or else its copy at the end."""
        total = self._manifest.padded_len
        head = self._bytes(0, 4) if total >= 4 else b""
        data = None
        if head is not None:
            size = self._size(head, total)
            data = self._bytes(4, 4 + size)
        if data is None and total >= self._layout.chunk:
            tail = self._bytes(total - 4, total)
            if tail is not None:
                size = self._size(tail, total)
                data = self._bytes(total - 4 - size, total - 4)
        if data is None:
            raise self._unrecoverable([number for number, one in self._early.items() if one.plain is None])
        self._index_size = 4 + len(data)
        index = Index.decode(data)
        if self._index_size + index.starts[0][-1] > total:
            raise TamperedError("the payload's segments reach beyond its end")
        return index

    def _size(self, head: bytes, total: int) -> int:
        size = int.from_bytes(head, "big")
        if len(head) != 4 or size > min(MAX_INDEX, total - 4):
            raise LimitError(f"the payload claims an index of {size} bytes: that is more than there can be")
        return size

    def _unrecoverable(self, chunks: Sequence[int]) -> UnrecoverableError:
        named = ", ".join(str(number) for number in chunks[:_NAMED])
        more = f" and {len(chunks) - _NAMED} more" if len(chunks) > _NAMED else ""
        return UnrecoverableError(
            f"fewer than {self._manifest.k} intact parts hold chunks {named}{more} of {self._layout.count}: "
            "bring back more parts, or ask for what is intact with a partial restore"
        )

    # ------------------------------------------------------------------------------------------------------ file

    def run(self, sink: BinaryIO | None, *, partial: bool, progress: Callable[[int, int], None] | None) -> Opened:
        """Write the file to `sink` and collect what was noticed."""
        index = self.index()
        out = io.BytesIO() if sink is None else sink
        lost: list[Range] = []

        def work(segment: _Segment) -> tuple[_Segment, bytes | memoryview]:
            return segment, segment.decoded()

        window = THREADS + 1 if index.length > ALONE else 1
        for segment, data in ordered(work, self._segments(index, progress), window=window):
            if segment.lost:
                lost.append((segment.offset, segment.offset + segment.length))
            if not self._lost:
                out.write(data)
            elif partial:
                out.write(data if not segment.lost else bytes(segment.length))
        if self._lost and not partial:
            raise self._unrecoverable(self._lost)
        touched = [
            place
            for start, end in self._touched
            for place in index.file_ranges(start - self._index_size, end - self._index_size)
        ]
        original = out.getvalue() if sink is None and isinstance(out, io.BytesIO) else None
        return Opened(
            self._manifest, index, self._findings.result(), tuple(_merged(touched)), tuple(_merged(lost)), original
        )

    def _outcomes(self) -> Iterator[Outcome]:
        def work(item: tuple[int, Fragments | None]) -> Outcome:
            number, fragments = item
            return self._early[number] if fragments is None else self._solver.solve(number, fragments)

        def items() -> Iterator[tuple[int, Fragments | None]]:
            for number in range(self._layout.count):
                yield number, None if number in self._early else self._solver.read(number, self._findings)

        for outcome in ordered(work, items(), window=_WINDOW if self._manifest.padded_len > ALONE else 1):
            self._findings.add(*outcome.findings)
            self._touched += outcome.touched
            if outcome.plain is None:
                self._lost.append(outcome.number)
            yield outcome

    def _segments(self, index: Index, progress: Callable[[int, int], None] | None) -> Iterator[_Segment]:
        """Cut the stream of chunks into segments; raw ones are passed on piece by piece."""
        number, at = 0, self._index_size  # the next segment, and where in the payload what is missing of it begins
        pieces: list[memoryview] = []
        broken = False
        coded, files = index.starts
        for outcome in self._outcomes():
            base = outcome.number * self._layout.chunk
            end = base + self._layout.plaintext(outcome.number)
            view = None if outcome.plain is None else memoryview(outcome.plain)
            while number < len(index.rows) and at < end:
                row = index.rows[number]
                segment_end = self._index_size + coded[number + 1]
                stop = min(end, segment_end)
                if row.kind is Kind.RAW and stop > at:
                    offset = files[number] + at - self._index_size - coded[number]
                    data = b"" if view is None else view[at - base : stop - base]
                    yield _Segment(offset, stop - at, row.kind, data, lost=view is None)
                elif row.kind is not Kind.TAGS:
                    broken = broken or view is None
                    if view is not None:
                        pieces.append(view[at - base : stop - base])
                at = stop
                if at == segment_end:
                    if row.kind not in (Kind.RAW, Kind.TAGS):
                        data = b"" if broken else pieces[0] if len(pieces) == 1 else b"".join(pieces)
                        grid = index.grid_of(number)
                        yield _Segment(files[number], row.decoded, row.kind, data, row.digest, grid, lost=broken)
                    pieces, broken = [], False
                    number += 1
            if progress is not None:
                progress(end, self._manifest.padded_len)
        if number < len(index.rows) and any(row.coded for row in index.rows[number:]):
            raise TamperedError("the payload ends before its last segment")

    # ------------------------------------------------------------------------------------------------------ tags

    def tags(self) -> TileTags:
        """Read the tags and check them against the manifest."""
        index = self.index()
        if index.grid is None or index.pixels is None:
            raise UnsupportedError("the object holds no image: there are no tiles to compare")
        parts = []
        for row, start in zip(index.rows, index.starts[0], strict=False):
            if row.kind is Kind.TAGS:
                data = self._bytes(self._index_size + start, self._index_size + start + row.coded)
                if data is None:
                    raise self._unrecoverable([number for number, one in self._early.items() if one.plain is None])
                parts.append(data)
        core = self._manifest.core
        key = tile_key(self._dek, core.object_id, core.version, core.salt)
        tags = TileTags(index.grid, index.pixels.dtype, index.pixels.shape[3], key, b"".join(parts), index.blind)
        if tags.root() != self._manifest.tile_root:
            raise TamperedError("the tile tags do not lead to the signed root")
        return tags


@dataclass(frozen=True, slots=True)
class _Segment:
    offset: int
    length: int
    kind: Kind
    coded: bytes | memoryview
    digest: bytes = b""
    grid: Grid | None = None
    lost: bool = False

    def decoded(self) -> bytes | memoryview:
        """Return the segment's part of the file. Raises TamperedError, LimitError."""
        if self.lost:
            return b""
        data = decode(self.kind, self.coded, self.length, self.grid)
        if self.kind is not Kind.RAW and digest(data) != self.digest:
            raise TamperedError("a segment of the payload decodes to other bytes than were sealed")
        return data


class Nowhere:
    """A sink that takes bytes and forgets them."""

    def write(self, data: bytes, /) -> int:
        """Take all of `data`."""
        return len(data)


def _merged(ranges: Sequence[Range]) -> Iterator[Range]:
    """Return ranges sorted and joined where they touch."""
    current: Range | None = None
    for start, end in sorted(ranges):
        if current is not None and start <= current[1]:
            current = (current[0], max(end, current[1]))
            continue
        if current is not None:
            yield current
        current = (start, end)
    if current is not None:
        yield current
