"""What an adversary looks at: parts as pictures, and pictures brought to one form.

A part that is a picture is decoded; of any other part the bytes are laid out as a grey picture of the original's size,
which is what a cloud could show of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MedveilError
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read
from medveil.schemes.base import Part
from medveil.schemes.deep import container

Array = npt.NDArray[Any]
_REC601 = np.array([0.299, 0.587, 0.114])


def view(part: Part | bytes, shape: tuple[int, ...], *, bits: int | None = None) -> Array:
    """Return a part as a uint8 picture.

    shape: of the original picture, (rows, columns) or (rows, columns, channels). A decoded picture keeps its own
    size, of several frames the first; samples deeper than 8 bits give their top 8 of `bits` (default: of what the
    file says). Bytes that are no picture fill the original's rows and columns, from the start; where they are too few,
    each row is repeated if they make whole rows that divide the picture's, and all of them from the start if not.
    """
    data = part.data if isinstance(part, Part) else part
    if not isinstance(part, Part) or part.media_type.startswith("image/"):
        try:
            found = read(data)
        except MedveilError:
            pass
        else:
            return to_8_bit(_first(found), bits if bits is not None else found.bits_stored)
    rows, columns = shape[:2]
    if isinstance(part, Part) and part.media_type == container.MEDIA_TYPE:
        data = container.codes_in(data)
    if not data:
        raise InputError("an empty part: there is nothing to look at")
    held = len(data) // columns
    if held and len(data) == held * columns and rows % held == 0:  # fewer rows than the original: each stands for some
        return np.repeat(np.frombuffer(data, np.uint8).reshape(held, columns), rows // held, axis=0)
    return np.resize(np.frombuffer(data, np.uint8), (rows, columns))


def _first(image: MedicalImage) -> Array:
    frame: Array = image.pixels[0]
    return frame[..., :3] if frame.ndim == 3 else frame


def to_8_bit(pixels: Array, bits: int) -> Array:
    """Return the top 8 of `bits` significant bits of unsigned samples as uint8. Raises InputError for other types."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind != "u":
        raise InputError(f"samples of {pixels.dtype} are no picture: give unsigned ones")
    scaled = pixels >> (bits - 8) if bits > 8 else pixels
    return np.asarray(np.minimum(scaled, 255).astype(np.uint8))


def grey(picture: Array) -> Array:
    """Return a picture in grey, uint8 (rows, columns): luma of Rec. 601; three equal channels give that channel."""
    if picture.ndim == 2:
        return picture
    first = picture[..., 0]
    if (picture == first[..., None]).all():
        return np.ascontiguousarray(first)
    return np.asarray(np.rint(picture[..., :3] @ _REC601).astype(np.uint8))


def colour(picture: Array) -> Array:
    """Return a picture as uint8 (rows, columns, 3); a grey one in three equal channels."""
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)


def alike(original: Array, attacked: Array) -> tuple[Array, Array]:
    """Return an original and a reconstruction in one form: grey where either is grey, cropped to the original's size.

    Schemes pad to whole blocks, so a reconstruction may be larger. Raises InputError where it is smaller.
    """
    rows, columns = original.shape[:2]
    if attacked.shape[0] < rows or attacked.shape[1] < columns:
        raise InputError(f"a reconstruction of {attacked.shape} for a picture of {original.shape}: sizes do not fit")
    cut = attacked[:rows, :columns]
    if original.ndim == cut.ndim:
        return original, cut
    return grey(original), grey(cut)


def side_by_side(*rows: list[Array], gap: int = 4) -> Array:
    """Return pictures laid out in rows on white, uint8 (rows, columns, 3); pictures may differ in size."""
    lines = []
    for row in rows:
        tall = max(p.shape[0] for p in row)
        cells = [np.pad(colour(p), ((0, tall - p.shape[0]), (0, gap), (0, 0)), constant_values=255) for p in row]
        lines.append(np.concatenate(cells, axis=1))
    wide = max(line.shape[1] for line in lines)
    padded = [np.pad(x, ((0, gap), (0, wide - x.shape[1]), (0, 0)), constant_values=255) for x in lines]
    return np.concatenate(padded, axis=0)
