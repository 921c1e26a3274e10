"""Repair data: compressed copies of the ROI's blocks, laid into the free bits of blocks far away.

Each block has a field in either share's container (see `container_kernels`): 16 bytes of tag, then one *fragment*:
the number of the first record that starts in it (3 bytes, little endian, 0xFFFFFF for none), where it starts
(1 byte, 255 for none), and `fill` bytes of a stream of records, one for each ROI block in order. A reader that
lost fragments finds its place again at the next intact one.

Where exact copies of all blocks of the image fit into the free bits of one share, all are copied; otherwise only those
of the ROI. Where the exact copies of what is copied fit into the free bits of one share, each share carries them all
(mode DOUBLE): either cloud's share alone then holds an exact copy under encryption. Otherwise one stream runs through
both shares (mode SINGLE), and where even that is too small, blocks lose their lowest bits, as few as will do: such a
copy gives an approximate block and is reported as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import FormatError
from medveil.schemes.roi_watermark import copy_kernels

Array = npt.NDArray[Any]

TAG: Final = 16
FRAGMENT_HEADER: Final = 4
NONE, SINGLE, DOUBLE = 0, 1, 2
_ROTATIONS: Final = 32


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the copies lie: mode, bytes of a fragment, how far the carriers are rotated (one a stream), and what of."""

    mode: int
    fill: int
    rotations: tuple[int, int]
    whole: bool = False  # every block is copied, not only those of the ROI

    def copied(self, in_roi: Array) -> Array:
        """Return the indices of the copied blocks; in_roi: (N,) bool."""
        return np.arange(in_roi.size) if self.whole else np.flatnonzero(in_roi)

    def carriers(self, blocks: int) -> list[tuple[Array, Array]]:
        """Return for each stream the share (0 or 1) and block of every fragment, in order."""
        ring = np.arange(blocks)
        if self.mode == DOUBLE:
            return [(np.full(blocks, s), (ring + self.rotations[s]) % blocks) for s in (0, 1)]
        if self.mode == SINGLE:
            both = np.arange(2 * blocks)
            return [(both & 1, ((both >> 1) + self.rotations[0]) % blocks)]
        return []


def field_size(half: int) -> int:
    """Return the bytes of a block's field: 96 for 8-bit images (half = 4), 224 for 16-bit ones (half = 8)."""
    return 32 * (half - 1)


def lay(blocks: Array, in_roi: Array, half: int, *, signed: bool) -> tuple[Placement, Array]:
    """Compress blocks and lay the copies.

    blocks: (N, 256) words; in_roi: (N,) bool. Returns the placement and the fields, uint8 (2, N, field_size) with the
    tags' 16 bytes zero.
    """
    count, size = blocks.shape[0], field_size(half)
    fields = np.zeros((2, count, size), np.uint8)
    capacity = size - TAG - FRAGMENT_HEADER
    if count < 2:
        return Placement(NONE, 0, (0, 0)), fields
    bits, flip = 2 * half, (1 << (2 * half - 1)) if signed else 0
    room, exact = count * capacity, np.zeros(count, np.int64)
    records = np.empty(count * (copy_kernels.LONGEST_RECORD + 2), np.uint8)  # touched only as far as it is filled
    total = copy_kernels.write_all(blocks, bits, flip, exact, records)
    whole = total <= room
    chosen = np.arange(count) if whole else np.flatnonzero(in_roi)
    sizes, dropped = _fit(blocks, chosen, exact[chosen], bits, flip, 2 * room)
    starts = np.concatenate(([0], np.cumsum(sizes + 2)))
    total, lossless = int(starts[-1]), not dropped.any()
    mode = DOUBLE if total <= room and lossless else SINGLE
    fragments = count if mode == DOUBLE else 2 * count
    fill = -(-total // fragments)
    stream = np.zeros(fragments * fill, np.uint8)
    if lossless:
        kept = np.repeat(np.isin(np.arange(count), chosen, assume_unique=True), exact + 2)
        stream[:total] = records[: kept.size][kept]
    else:
        copy_kernels.write_stream(blocks, chosen, bits, flip, dropped, starts, sizes, stream)
    placement = Placement(mode, fill, _rotations(chosen, starts, count, fill, mode), whole)
    cut = _fragments(stream, starts[:-1], fragments, fill)
    for shares, carriers in placement.carriers(count):
        fields[shares, carriers, TAG : TAG + FRAGMENT_HEADER + fill] = cut
    return placement, fields


def _fit(blocks: Array, chosen: Array, exact: Array, bits: int, flip: int, room: int) -> tuple[Array, Array]:
    """Return record sizes and dropped bits, (M,) each: the fewest dropped bits that fit into `room` bytes.

    exact: the sizes with nothing dropped.
    """
    sizes, finer, level = exact.copy(), exact, 0
    room -= 2 * chosen.size
    while int(sizes.sum()) > room:
        finer, level = sizes.copy(), level + 1
        copy_kernels.measure(blocks, chosen, bits, flip, level, sizes)
    dropped = np.full(chosen.size, level, np.int64)
    if level:  # what room is left goes to the first blocks, which keep one bit more
        better = np.cumsum(np.maximum(finer - sizes, 0)) <= room - int(sizes.sum())
        sizes[better], dropped[better] = finer[better], level - 1
    return sizes, dropped


def _rotations(chosen: Array, starts: Array, count: int, fill: int, mode: int) -> tuple[int, int]:
    """Choose rotations that keep every record as far from its own block as can be."""
    step = 1 if mode == DOUBLE else 2
    first = (starts[:-1] // fill) // step
    last = ((starts[1:] - 1) // fill) // step
    candidates = sorted({i * count // _ROTATIONS for i in range(_ROTATIONS)})
    distances = []
    for rotation in candidates:
        ahead = (first + rotation - chosen) % count
        behind = (chosen - last - rotation) % count
        inside = ahead + (last - first) >= count  # the record passes over its own block
        distances.append(0 if inside.any() else int(min(ahead.min(), behind.min())))
    order = sorted(range(len(candidates)), key=lambda i: (-distances[i], i))
    best = candidates[order[0]]
    others = [
        candidates[i] for i in order if min((candidates[i] - best) % count, (best - candidates[i]) % count) * 8 >= count
    ]
    return best, (others or [best])[0] if mode == DOUBLE else 0


def _fragments(stream: Array, starts: Array, fragments: int, fill: int) -> Array:
    """Cut the stream and put the way back in front of each piece: (fragments, 4 + fill) uint8."""
    out = np.zeros((fragments, FRAGMENT_HEADER + fill), np.uint8)
    out[:, FRAGMENT_HEADER:] = stream.reshape(fragments, fill)
    edge = np.arange(fragments) * fill
    record = np.searchsorted(starts, edge)
    known = record < starts.size
    offset = np.where(known, starts[np.minimum(record, starts.size - 1)] - edge, fill)
    known &= offset < fill
    number = np.where(known, record, 0xFFFFFF)
    for i in range(3):
        out[:, i] = (number >> (8 * i)) & 255
    out[:, 3] = np.where(known, offset, 255)
    return out


@dataclass(frozen=True, slots=True)
class BlockCopy:
    """A copy that survived: the block's pixels ((256,) words) and how many low bits it lacks."""

    pixels: Array
    dropped: int


class CopyReader:
    """Reads copies back from the fields of blocks whose halves are intact."""

    def __init__(
        self, placement: Placement, fields: Array, intact: Array, chosen: Array, half: int, *, signed: bool
    ) -> None:
        """Take fields (2, N, field_size) uint8, intact (2, N) bool, chosen (M,) as given to `lay`."""
        self._bits, self._flip = 2 * half, (1 << (2 * half - 1)) if signed else 0
        self._dtype = np.uint8 if half == 4 else np.uint16
        self._number = {int(block): i for i, block in enumerate(chosen)}
        self._streams: list[tuple[Array, dict[int, tuple[int, int, int]]]] = []
        width = FRAGMENT_HEADER + placement.fill
        for shares, carriers in placement.carriers(fields.shape[1]):
            pieces = fields[shares, carriers, TAG : TAG + width]
            self._streams.append(_index(pieces, intact[shares, carriers], placement.fill, chosen.size))

    def copy_of(self, block: int) -> BlockCopy | None:
        """Return the best surviving copy of a block, or None."""
        number = self._number.get(block)
        best: BlockCopy | None = None
        for stream, records in self._streams:
            found = records.get(number) if number is not None else None
            if found is None or (best is not None and best.dropped <= found[2]):
                continue
            pixels = np.zeros(256, self._dtype)
            copy_kernels.decode(stream[found[0] : found[0] + found[1]], self._bits, self._flip, found[2], pixels)
            best = BlockCopy(pixels, found[2])
        return best


def _index(pieces: Array, intact: Array, fill: int, records: int) -> tuple[Array, dict[int, tuple[int, int, int]]]:
    """Find the records that lie wholly in intact fragments: number -> (start, length, dropped bits)."""
    stream = np.ascontiguousarray(pieces[:, FRAGMENT_HEADER:]).reshape(-1)
    numbers = pieces[:, 0].astype(np.int64) | pieces[:, 1].astype(np.int64) << 8 | pieces[:, 2].astype(np.int64) << 16
    offsets = pieces[:, 3]
    damaged = np.concatenate(([0], np.cumsum(~intact)))
    found: dict[int, tuple[int, int, int]] = {}
    for fragment in np.flatnonzero(intact & (offsets != 255)):
        number, at = int(numbers[fragment]), int(fragment) * fill + int(offsets[fragment])
        end = (int(fragment) + 1) * fill
        while at < end and number < records:
            past_header = (at + 1) // fill
            if past_header >= intact.size or damaged[past_header + 1] - damaged[fragment]:
                break
            word = int(stream[at]) | int(stream[at + 1]) << 8
            length, dropped = word & 0xFFF, word >> 12
            stop = at + 2 + length
            if stop > stream.size:
                raise FormatError("an authentic copy runs past its stream: the share was made by a broken program")
            if not damaged[(stop - 1) // fill + 1] - damaged[fragment]:
                found[number] = (at + 2, length, dropped)
            number, at = number + 1, stop
    return stream, found
