"""What `recognition.encryption` reads: the frames of a labelled folder or of a series, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MedveilError, UnsupportedError
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.reader import read
from medveil.imaging.resampling import resize
from medveil.imaging.windowing import to_display
from medveil.recognition import layouts
from medveil.recognition.layouts import Entry
from medveil.recognition.reading import coloured, picture_of, to_grey

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture to encrypt: (rows, columns) or (rows, columns, 3) of unsigned samples, and what it is called."""

    pixels: Array
    bits: int
    name: str
    grey_stored_as_colour: bool


@dataclass(frozen=True, slots=True)
class Form:
    """What is done to a picture before it is encrypted.

    mode: grey (luma, one channel), rgb (three) or keep. size: rows and columns to resize to, None keeps. window: show
    deep, signed or float pixels in 8 bits through the file's own window (lossy).
    """

    mode: str = "keep"
    size: int | None = None
    window: bool = False


def entries_of(source: Path) -> tuple[Entry, ...]:
    """Return the images of a labelled folder (`recognition.layouts`), or those of a series, without labels.

    A series is a file, or a folder with no folders of classes and no index. Raises InputError where there is nothing.
    """
    if source.is_file() and source.suffix != ".npz":
        return (Entry(source, source.name, ""),)
    if source.is_dir():
        inner = [p for p in source.iterdir() if not p.name.startswith(".")]
        indexed = any(
            p.name in ("manifest.csv", "manifest.json") or p.suffix in (".npz", ".csv", ".mat") for p in inner
        )
        if inner and not indexed and all(p.is_file() for p in inner):
            return tuple(Entry(p, p.name, "") for p in sorted(inner))
    listing = layouts.recognise(source)
    if listing.layout == "encrypted":
        raise InputError(f"{source} is encrypted already: an encrypted picture that is encrypted again learns nothing")
    return listing.entries


def frames_of(entry: Entry, form: Form) -> Iterator[Frame]:
    """Yield the frames of an entry in the wanted form.

    Raises InputError for a damaged file, UnsupportedError for pixels that need a window or a conversion first.
    """
    if entry.kind != "file":
        yield _formed(picture_of(entry), 8, entry.name, form)
        return
    image = read(entry.path)
    for number in range(image.frames):
        name = entry.name if image.frames == 1 else f"{entry.name}-{number + 1:05d}"
        pixels, bits = _samples(image, number, name, form)
        yield _formed(pixels, bits, name, form)


def _samples(image: MedicalImage, number: int, name: str, form: Form) -> tuple[Array, int]:
    if form.window or image.photometric in (Photometric.PALETTE_COLOR, Photometric.YBR_FULL):
        return to_display(image, frame=number), 8
    frame: Array = image.pixels[number]
    if frame.dtype not in (np.uint8, np.uint16):
        raise UnsupportedError(f"{name} has samples of {frame.dtype}: pass --window to show them in 8 bits (lossy)")
    return frame[..., :3] if frame.ndim == 3 else frame, image.bits_stored


def _formed(pixels: Array, bits: int, name: str, form: Form) -> Frame:
    as_colour = pixels.ndim == 3 and pixels.dtype == np.uint8 and not coloured(pixels)
    if form.mode == "grey" and pixels.ndim == 3:
        if pixels.dtype != np.uint8:
            raise UnsupportedError(f"{name} has colour of {bits} bits: pass --window to make it grey in 8 bits")
        pixels = to_grey(pixels)
    elif form.mode == "rgb" and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if form.size is not None:
        pixels = resize(pixels, form.size, form.size)
    return Frame(np.ascontiguousarray(pixels), bits, name, as_colour)


class Uniform:
    """Refuses pictures that differ from the first in size, channels or depth: a network would need them alike."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.first: Frame | None = None

    def check(self, frame: Frame) -> None:
        """Compare a frame with the first one. Raises InputError with the option that would make them alike."""
        if self.first is None:
            self.first = frame
            return
        one, other = self.first, frame
        if one.pixels.shape[:2] != other.pixels.shape[:2]:
            sizes = " and ".join(f"{f.name} {f.pixels.shape[0]} x {f.pixels.shape[1]}" for f in (one, other))
            raise InputError(
                f"pictures of different sizes ({sizes}): pass --size to resize all before they are encrypted, since "
                "resizing encrypted pictures destroys what a network learns from"
            )
        if one.pixels.ndim != other.pixels.ndim:
            raise InputError(f"{one.name} and {other.name} are grey and colour: pass --mode grey or --mode rgb")
        if one.bits != other.bits:
            raise InputError(f"{one.name} has {one.bits} bits and {other.name} {other.bits}: pass --window for 8 bits")


def broken_reason(entry: Entry, error: MedveilError) -> str:
    """Return what to say of a file that was left out."""
    return f"{entry.name}: {error}"
