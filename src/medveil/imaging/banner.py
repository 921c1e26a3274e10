"""A band of text under a picture, drawn with a 5 x 7 dot font of our own, so that no font file is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError

_GLYPH_ROWS, _GLYPH_COLUMNS = 7, 5

# One glyph: seven rows of five dots, a row as a number of 0 to 31 written in base 32 (0-9, then a-v).
_DOTS = {
    " ": "0000000", "!": "4444404", "-": "000e000", ".": "00000cc", ",": "0000648", ":": "0cc0cc0", "/": "1224889",
    "(": "2488842", ")": "8422248", "#": "aavavaa", "+": "044v440", "%": "op248j3",
    "0": "ehjlphe", "1": "4c4444e", "2": "eh1248v", "3": "v2421he", "4": "26aiv22", "5": "vgu11he", "6": "68guhhe",
    "7": "v124888", "8": "ehhehhe", "9": "ehhf12c",
    "A": "ehhvhhh", "B": "uhhuhhu", "C": "ehggghe", "D": "sihhhis", "E": "vgguggv", "F": "vgguggg",
    "G": "ehgnhhf", "H": "hhhvhhh", "I": "e44444e", "J": "72222ic", "K": "hikokih", "L": "ggggggv", "M": "hrllhhh",
    "N": "hhpljhh", "O": "ehhhhhe", "P": "uhhuggg", "Q": "ehhhlid", "R": "uhhukih", "S": "fgge11u", "T": "v444444",
    "U": "hhhhhhe", "V": "hhhhha4", "W": "hhhllla", "X": "hha4ahh", "Y": "hhha444", "Z": "v1248gv",
}  # fmt: skip


def height(columns: int, text: str) -> int:
    """Return the rows that the band of `text` takes under a picture of `columns`; 0 for an empty text.

    Raises InputError where the picture is narrower than one letter.
    """
    if not text.strip():
        return 0
    lines, scale = _layout(columns, text)
    return len(lines) * _line_height(scale)


def append(pixels: npt.NDArray[Any], text: str, *, white: int) -> npt.NDArray[Any]:
    """Return pixels (frames, rows + band, columns[, 3]) with `text` in value `white` on 0 below the picture.

    The first `rows` rows are the picture, untouched, in every frame. Letters outside the font become ``.``.
    """
    columns = pixels.shape[2]
    if height(columns, text) == 0:
        return pixels
    band = draw(columns, text)
    shown = (band * np.asarray(white, dtype=pixels.dtype)).astype(pixels.dtype)
    if pixels.ndim == 4:
        shown = np.repeat(shown[..., np.newaxis], pixels.shape[3], axis=-1)
    below = np.broadcast_to(shown, (pixels.shape[0], *shown.shape))
    return np.concatenate([pixels, below], axis=1)


def draw(columns: int, text: str) -> npt.NDArray[np.uint8]:
    """Return the band alone: uint8 (height, columns) of 0 and 1."""
    lines, scale = _layout(columns, text)
    band = np.zeros((height(columns, text), columns), dtype=np.uint8)
    for number, line in enumerate(lines):
        dots = np.concatenate([_glyph(letter) for letter in line], axis=1).repeat(scale, 0).repeat(scale, 1)
        top = number * _line_height(scale) + scale
        band[top : top + dots.shape[0], scale : scale + dots.shape[1]] = dots[:, : columns - scale]
    return band


def _glyph(letter: str) -> npt.NDArray[np.uint8]:
    rows = [int(row, 32) for row in _DOTS.get(letter, _DOTS["."])]
    dots = [[row >> (_GLYPH_COLUMNS - 1 - column) & 1 for column in range(_GLYPH_COLUMNS)] + [0] for row in rows]
    return np.asarray(dots, dtype=np.uint8)


def _line_height(scale: int) -> int:
    return (_GLYPH_ROWS + 2) * scale


def _layout(columns: int, text: str) -> tuple[list[str], int]:
    """Return the lines and the size of a dot: letters of about a fiftieth of the width, broken between words."""
    scale = max(1, columns // 300)
    room = (columns - scale) // ((_GLYPH_COLUMNS + 1) * scale)
    if room < 1:
        raise InputError(f"a picture of {columns} columns is too narrow for a line of text: leave the text out")
    lines, line = [], ""
    for word in text.upper().split():
        pieces = [word[at : at + room] for at in range(0, len(word), room)]
        for piece in pieces:
            if line and len(line) + 1 + len(piece) > room:
                lines.append(line)
                line = piece
            else:
                line = f"{line} {piece}" if line else piece
    return [*lines, line], scale
