"""Where each compressed frame lies in a DICOM file: encapsulated pixel data (PS3.5, A.4)."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

# (7FE0,0010) with VR OB or OW, reserved bytes and undefined length: encapsulation is always explicit little endian.
_STARTS: Final = (b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff", b"\xe0\x7f\x10\x00OW\x00\x00\xff\xff\xff\xff")
_ITEM: Final = b"\xfe\xff\x00\xe0"

Place = tuple[int, int]


def frame_places(data: bytes, frames: int) -> tuple[Place, ...]:
    """Return (offset, length) of each frame in the file; what is not encapsulated DICOM is one place for all.

    Where fragments cannot be told apart by frame, each frame's place is all of them.
    """
    found = max(data.rfind(start) for start in _STARTS)
    if found < 0:
        return ((0, len(data)),) * frames
    table, fragments = _items(data, found + len(_STARTS[0]))
    if not fragments:
        return ((found, len(data) - found),) * frames
    begin, end = fragments[0][0], sum(fragments[-1])
    if len(fragments) == frames:
        return tuple(fragments)
    if len(table) == frames and table == sorted(table) and begin - 8 + table[-1] < end:
        edges = [begin - 8 + offset for offset in table] + [end]
        return tuple((low, high - low) for low, high in pairwise(edges))
    return ((begin, end - begin),) * frames


def _items(data: bytes, at: int) -> tuple[list[int], list[Place]]:
    """Return the basic offset table and the fragments as (offset, length)."""
    places: list[Place] = []
    while data[at : at + 4] == _ITEM:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > len(data):
            break
        places.append((at + 8, length))
        at += 8 + length
    if not places:
        return [], []
    start, size = places[0]
    return [int.from_bytes(data[i : i + 4], "little") for i in range(start, start + size - 3, 4)], places[1:]
