"""What a measure gets and gives, and how parts look to whoever keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MedveilError, UnsupportedError
from medveil.evaluation.subjects import Subject
from medveil.imaging.image import MedicalImage, Photometric
from medveil.metrics.uncertainty import Interval
from medveil.schemes.base import Part, Protected, Scheme

if TYPE_CHECKING:
    from medveil.evaluation.corpora import Corpus
    from medveil.evaluation.plan import Effort

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Bench:
    """One row before one corpus. detail: which attack, with options, for the measure that runs attacks. seed: of this
    task alone.
    """

    subject: Subject
    corpus: Corpus
    effort: Effort
    seed: int
    detail: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def sizeable(self, crop: int = 512) -> Pixels:
        """Return a part of the large picture, in which framing and records of a scheme are a small share; the first
        picture of the corpus where the scheme does not take it.
        """
        middle = (np.array(self.corpus.large.shape) - crop) // 2
        cut: Pixels = np.ascontiguousarray(
            self.corpus.large[middle[0] : middle[0] + crop, middle[1] : middle[1] + crop]
        )
        try:
            self.subject.make().protect(image_of(cut))
        except UnsupportedError:
            return np.ascontiguousarray(self.corpus.images[0])
        return cut

    @property
    def rng(self) -> np.random.Generator:
        """A fresh generator of the task's seed."""
        return np.random.default_rng(self.seed)


@dataclass(slots=True)
class Measured:
    """What came out.

    values: numbers, yes or no, short words, None where there is nothing to measure, or an interval as {value, low,
    high[, chance, n]}. curves: named (x, y) points. pictures: uint8 arrays by name. note: a sentence for people.
    """

    values: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    pictures: dict[str, Array] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A family of figures. title: for a report. about: what it says, and whether that is about security.

    per_corpus: whether it depends on the pictures; what does not is taken once.
    """

    name: str
    title: str
    about: str
    take: Callable[[Bench], Measured]
    per_corpus: bool = True


def interval(found: Interval, n: int, chance: float | None = None) -> dict[str, Any]:
    """Return an interval as a value of `Measured`."""
    return {"value": found.value, "low": found.low, "high": found.high, "chance": chance, "n": n}


def image_of(picture: Pixels) -> MedicalImage:
    """Return a picture as an image in memory."""
    return MedicalImage(np.ascontiguousarray(picture)[np.newaxis], 8, Photometric.MONOCHROME2)


def contents(part: Part) -> Pixels:
    """Return what a part holds as bytes: of a picture its pixels, since a picture file's framing is never random.

    Shares of black and white noise carry a bit a pixel; they come as those bits, packed. The middle is taken, behind
    the public record that stands in front and before what fills the end.
    """
    if part.media_type.startswith("image/"):
        pixels = picture_of(part)
        if len(np.unique(pixels)) <= 4:
            held = np.packbits((pixels > pixels.mean()).reshape(-1))
        else:
            held = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
    else:
        held = np.frombuffer(part.data, np.uint8)
    return held[4 * len(held) // 10 : 9 * len(held) // 10]


def picture_of(part: Part) -> Array:
    """Return the pixels of a part that is a picture. Raises InputError where it is none."""
    from medveil.imaging.reader import read

    try:
        return read(part.data).pixels
    except MedveilError as error:
        raise InputError(f"part {part.index} says that it is a picture, and is none: {error}") from None


def protect_all(scheme: Scheme, pictures: Sequence[Pixels]) -> list[Protected]:
    """Protect pictures one by one."""
    return [scheme.protect(image_of(picture)) for picture in pictures]


def changed(part: Part, at: int, by: int) -> Part:
    """Return a part with one byte changed by XOR."""
    data = bytearray(part.data)
    data[at] ^= by
    return Part(part.index, bytes(data), part.media_type, part.suffix)


def with_part(parts: Sequence[Part], other: Part) -> list[Part]:
    """Return the parts with one of them put in the place of its like."""
    return [other if part.index == other.index else part for part in parts]


def keyed(subject: Subject, key: bytes) -> Scheme:
    """Return an instance under that data set key where the scheme takes one, else as always."""
    from medveil.attacks.material import takes_data_set_key

    more: Mapping[str, Any] = (
        {"key": key} if takes_data_set_key(subject.load()) and "key" not in subject.options else {}
    )
    return subject.make(**more)
