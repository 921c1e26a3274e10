"""Labelled images in memory: `load` reads any layout that `layouts` knows into arrays of one size and mode.

Images are uint8 (N, H, W, C) with C = 1 (grey) or 3. What was left out or converted on the way is in `notes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, LimitError, MedveilError, UnsupportedError
from medveil.imaging.resampling import resize
from medveil.recognition import layouts
from medveil.recognition.layouts import Entry
from medveil.recognition.reading import Picture, coloured, picture_of, to_grey

Mode = Literal["grey", "rgb"]
Broken = Literal["refuse", "skip"]
Progress = Callable[[int, int], None]

_MAX_BYTES = 16 << 30


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images.

    images: uint8 (N, H, W, C). labels: int64 (N,) indices into `classes`. groups: N names that a split must not cut
    (patient, or cluster of near-duplicates). names: N file names. splits: N of train, test, validation or "".
    sources: of an encrypted dataset, keyed digests of the plain images. notes: what was skipped or converted. facts:
    how the images were made (scheme and options of an encrypted dataset, `per_block`, and as `repeated_from` the rows
    and columns before their pixels were repeated).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    splits: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        n = len(self.labels)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] not in (1, 3):
            raise InputError(
                f"images are uint8 (N, H, W, 1 or 3), not {self.images.dtype} {self.images.shape}: "
                "window deeper pixels to 8 bits first"
            )
        if any(len(x) != n for x in (self.images, self.groups, self.names)) or (self.splits and len(self.splits) != n):
            raise InputError(f"{len(self.images)} images, {n} labels, {len(self.groups)} groups: one of each is needed")
        if n and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise InputError(f"labels lie outside of the {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Dataset({len(self)} images {self.images.shape[1:]}, classes {', '.join(self.classes)})"

    def take(self, chosen: npt.NDArray[Any] | Sequence[int]) -> Dataset:
        """Return some of the images, in that order."""
        index = np.asarray(chosen, np.int64)

        def pick(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(values[i] for i in index) if values else ()

        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            groups=pick(self.groups),
            names=pick(self.names),
            splits=pick(self.splits),
            sources=pick(self.sources),
        )

    def part(self, split: str) -> Dataset:
        """Return the images of a split that the folder itself names. Raises InputError where it names none."""
        chosen = [i for i, s in enumerate(self.splits) if s == split]
        if not chosen:
            raise InputError(
                f"the dataset has no split {split!r}: it has {', '.join(sorted(set(self.splits))) or 'none'}"
            )
        return self.take(chosen)

    def with_images(self, images: npt.NDArray[np.uint8], note: str) -> Dataset:
        """Return the same labels over other images (encrypted, restored, resized), with a note of what they are."""
        return replace(self, images=images, notes=(*self.notes, note))

    def resized(self, size: int) -> Dataset:
        """Return the images at size x size; the dataset itself where they have that size already."""
        if self.images.shape[1:3] == (size, size):
            return self
        return replace(self, images=np.stack([resize(image, size, size) for image in self.images]))

    def repeated(self, side: int) -> Dataset:
        """Return the images at side x side by repeating pixels (nearest neighbour), which makes no new values.

        Raises InputError where they are larger.
        """
        rows, columns = self.images.shape[1:3]
        if max(rows, columns) > side:
            raise InputError(f"images of {rows} x {columns} pixels are larger than {side}: repeating only enlarges")
        images = np.stack([_repeated(image, side, side) for image in self.images])
        return replace(self, images=images, facts={**self.facts, "repeated_from": [rows, columns]})

    def cells(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return for each row and each column the number of the cell it belongs to; the scheme fills cells alike.

        Cells are the blocks of smoothed pictures, else the pixels; of pictures that were enlarged, those of before.
        """
        block = 1
        if self.facts.get("scheme") == "learnable-smoothed":
            block = int(self.facts.get("options", {}).get("block", 1)) // int(self.facts.get("per_block", 1))
        sides = self.images.shape[1:3]
        before = self.facts.get("repeated_from", sides)
        rows, columns = (np.arange(n) * b // n // block for n, b in zip(sides, before, strict=True))
        return rows, columns

    def subset(self, per_class: int, seed: int) -> Dataset:
        """Return at most `per_class` images of each class, chosen at random by `seed`, in their old order."""
        rng = np.random.Generator(np.random.PCG64(seed))
        chosen = [rng.permutation(np.flatnonzero(self.labels == c))[:per_class] for c in range(len(self.classes))]
        return self.take(np.sort(np.concatenate(chosen)))

    def digest(self) -> str:
        """Return 16 hex digits over images, labels, classes and names: which data a result was made from."""
        h = blake2b(digest_size=8)
        h.update(repr((self.images.shape, self.classes, self.names)).encode())
        h.update(self.labels.tobytes())
        h.update(np.ascontiguousarray(self.images).tobytes())
        return h.hexdigest()


def load(
    path: Path | str,
    size: int | None = 64,
    mode: Mode | None = "grey",
    split: str = "all",
    *,
    broken: Broken = "refuse",
    window: bool = False,
    findings: Sequence[str] = (),
    label: str = "class",
    resolution: str | None = None,
    per_block: int = 1,
    progress: Progress | None = None,
) -> Dataset:
    """Return a dataset from a folder or .npz of any layout that is known (see `layouts`).

    size: rows and columns to resize to; None keeps the size, which must then be one for all. mode: grey (luma) or
    rgb; None keeps it, which must then be one for all. split: all, train, test or validation. broken: refuse a
    folder with files that cannot be read, or skip them and say so in `notes`. window: take pixels of more than 8
    bits through their window. findings, label, resolution: NIH findings, BreakHis types, BreakHis magnification.
    per_block: keep one pixel of each block of that side, which loses nothing of an image smoothed by such blocks.

    Raises InputError for folders without labels or with mixed sizes or modes, and for broken files; UnsupportedError
    for deep pixels; LimitError where the arrays would take more than 16 GiB.
    """
    root = Path(path)
    listing = layouts.recognise(root, findings=findings, label=label)
    entries = [e for e in listing.entries if split == "all" or e.split == split]
    if resolution is not None:
        entries = [e for e in entries if layouts.magnification(e.name) == resolution]
    if not entries:
        raise InputError(f"{root} has no images of split {split!r}" + (f" at {resolution}x" if resolution else ""))
    if size is not None and len(entries) * size * size * 3 > _MAX_BYTES:
        raise LimitError(f"{len(entries)} images of {size} x {size} need more than {_MAX_BYTES >> 30} GiB: take fewer")
    _check_per_block(listing.facts, per_block)
    gathering = _Gathering(size, mode, broken, window, per_block, encrypted=listing.layout == "encrypted")
    for number, entry in enumerate(entries, start=1):
        gathering.add(entry)
        if progress is not None:
            progress(number, len(entries))
    facts = {**listing.facts, **({"per_block": per_block} if per_block > 1 else {})}
    return gathering.dataset(root, facts)


def _check_per_block(facts: dict[str, Any], per_block: int) -> None:
    """Refuse to thin an encrypted dataset by other blocks than those it was smoothed by. Raises InputError."""
    if per_block > 1 and "scheme" in facts:
        block = int(facts["options"].get("block", 1)) if facts["scheme"] == "learnable-smoothed" else 1
        if block % per_block:
            raise InputError(
                f"one pixel of each block of {per_block} loses pixels of {facts['scheme']} with blocks of {block}: "
                f"pass --per-block {block}"
            )


class _Gathering:
    """Pictures on their way into one array."""

    def __init__(
        self, size: int | None, mode: Mode | None, broken: Broken, window: bool, per_block: int, *, encrypted: bool
    ) -> None:
        if size is not None and size < 1:
            raise InputError(f"a size of {size} pixels: give at least 1")
        if broken not in ("refuse", "skip"):
            raise InputError(f"broken files: refuse or skip, not {broken!r}")
        self.size, self.mode, self.broken, self.window, self.per_block = size, mode, broken, window, per_block
        self.pictures: list[Picture] = []
        self.entries: list[Entry] = []
        self.skipped: list[str] = []
        self.recoloured = 0
        self.encrypted, self.averaged = encrypted, 0
        self.before: set[tuple[int, ...]] = set()

    def add(self, entry: Entry) -> None:
        """Read one entry, or note that it cannot be read."""
        try:
            picture = picture_of(entry, window=self.window)
        except UnsupportedError:
            raise
        except MedveilError as error:
            if self.broken == "refuse":
                raise InputError(f"{entry.name} cannot be read ({error}): take it out, or skip broken files") from error
            self.skipped.append(entry.name)
            return
        self.pictures.append(self._fit(picture, entry))
        self.entries.append(entry)

    def _fit(self, picture: Picture, entry: Entry) -> Picture:
        if self.mode == "grey":
            self.recoloured += coloured(picture)
            picture = to_grey(picture)
        elif self.mode == "rgb" and picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, axis=2)
        elif self.mode is None and picture.ndim == 3 and not coloured(picture):
            picture = to_grey(picture)
        if self.per_block > 1:
            picture = one_per_block(picture[None], self.per_block)[0]
        if self.size is not None:
            self.averaged += self.encrypted and max(picture.shape[:2]) > self.size
            self.before.add(picture.shape[:2])
            picture = to_size(picture, self.size, self.size, encrypted=self.encrypted)
        first = self.pictures[0] if self.pictures else picture
        if picture.ndim != first.ndim:
            raise InputError(f"{entry.name} and {self.entries[0].name} are grey and colour: ask for one mode")
        if picture.shape != first.shape:
            raise InputError(
                f"{entry.name} has {picture.shape[0]} x {picture.shape[1]} pixels and {self.entries[0].name} "
                f"{first.shape[0]} x {first.shape[1]}: ask for one size"
            )
        return picture

    def dataset(self, root: Path, facts: dict[str, Any]) -> Dataset:
        """Return what was gathered."""
        if not self.pictures:
            raise InputError(f"no image of {root} could be read ({len(self.skipped)} files are broken)")
        images = np.stack(self.pictures)
        classes = tuple(sorted({e.label for e in self.entries}))
        notes = []
        if self.skipped:
            shown = ", ".join(self.skipped[:8]) + (" ..." if len(self.skipped) > 8 else "")
            notes.append(f"{len(self.skipped)} broken files skipped: {shown}")
        if self.recoloured and self.encrypted:
            notes.append(
                f"{self.recoloured} encrypted pictures of three channels were made grey, which averages what a network "
                "learns from: pass --mode keep"
            )
        elif self.recoloured:
            notes.append(f"{self.recoloured} pictures with real colour were made grey")
        if self.averaged:
            notes.append(
                f"{self.averaged} encrypted pictures were resized to {self.size}, which averages what a network learns "
                "from: pass --size 0, for smoothed ones with --per-block M, or resize before you encrypt"
            )
        if self.encrypted and not self.averaged and len(self.before) == 1 and self.before != {images.shape[1:3]}:
            facts = {**facts, "repeated_from": list(*self.before)}
        return Dataset(
            images if images.ndim == 4 else images[..., None],
            np.array([classes.index(e.label) for e in self.entries], np.int64),
            classes,
            tuple(e.group or f"={e.name}" for e in self.entries),
            tuple(e.name for e in self.entries),
            tuple(e.split or "" for e in self.entries),
            tuple(e.source or "" for e in self.entries) if any(e.source for e in self.entries) else (),
            tuple(notes),
            facts,
        )


def to_size(picture: Picture, rows: int, columns: int, *, encrypted: bool) -> Picture:
    """Return a picture at rows x columns for a network; an encrypted one is enlarged by repeating pixels.

    What would lie between two encrypted pixels is not what lies between their originals.
    """
    if encrypted and picture.shape[0] <= rows and picture.shape[1] <= columns:
        return _repeated(picture, rows, columns)
    return resize(picture, rows, columns)


def _repeated(picture: Picture, rows: int, columns: int) -> Picture:
    down, across = np.arange(rows) * picture.shape[0] // rows, np.arange(columns) * picture.shape[1] // columns
    return np.ascontiguousarray(picture[down[:, None], across])


def one_per_block(images: npt.NDArray[np.uint8], block: int) -> npt.NDArray[np.uint8]:
    """Return the upper left pixel of each block x block square of (N, H, W[, C]); the last squares may be cut.

    All pixels of a square of a block-smoothed image are equal, so nothing is lost and a network has block^2 less to do.
    """
    if not 1 <= block <= min(images.shape[1:3]):
        raise InputError(
            f"blocks of {block} pixels are larger than the images of {images.shape[1]} x {images.shape[2]}"
        )
    return np.ascontiguousarray(images[:, ::block, ::block])
