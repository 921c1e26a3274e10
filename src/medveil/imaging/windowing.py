"""From stored values to what a person looks at: rescale, value-of-interest window, inversion, 8 bits.

The grayscale pipeline of PS3.3 C.11: modality LUT or rescale (C.11.1), VOI LUT or window (C.11.2), then
MONOCHROME1 or an INVERSE presentation LUT shape turns black and white round. Only for showing: nothing here is
lossless, and no scheme works on its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError
from medveil.imaging.image import MedicalImage, Photometric

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

_PERCENTILES = (0.5, 99.5)
_SAMPLE = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """A value-of-interest window in units of the modality (Hounsfield in CT), PS3.3 C.11.2.1.2.

    function: LINEAR (width >= 1), LINEAR_EXACT or SIGMOID (width > 0). Raises InputError for other values.
    """

    center: float
    width: float
    function: str = "LINEAR"

    def __post_init__(self) -> None:
        """Refuse windows that the standard does not define."""
        if self.function not in FUNCTIONS:
            raise InputError(f"window function {self.function!r}: choose one of {', '.join(FUNCTIONS)}")
        if not np.isfinite([self.center, self.width]).all():
            raise InputError("a window whose center or width is not a finite number")
        least = "at least 1" if self.function == "LINEAR" else "more than 0"
        if self.width <= 0 or (self.function == "LINEAR" and self.width < 1):
            raise InputError(f"window width {self.width}: a {self.function} window needs {least}")


def modality_values(image: MedicalImage, frame: int = 0) -> npt.NDArray[np.float64]:
    """Return one grey frame through the modality LUT or rescale: float64 (rows, columns), for CT in Hounsfield units.

    Raises InputError for colour images and frames that are not there.
    """
    if image.samples != 1 or image.photometric is Photometric.PALETTE_COLOR:
        raise InputError("a colour image has no modality values: show it as it is")
    stored = _frame(image, frame)
    table = image.details.get("modality_lut")
    if table is not None:
        return _look_up(stored, table).astype(np.float64)
    slope, intercept = _of_frame(image, "frame_rescale", frame) or image.details.get("rescale") or (1.0, 0.0)
    return stored.astype(np.float64) * slope + intercept


def apply_window(values: npt.NDArray[Any], window: Window) -> npt.NDArray[np.float64]:
    """Return values mapped to 0..1 by the window's function; values outside it are 0 or 1 (PS3.3 C.11.2.1.2-3)."""
    x, c, w = np.asarray(values, dtype=np.float64), window.center, window.width
    if window.function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (x - c) / w)))
    if window.function == "LINEAR_EXACT":
        return np.clip((x - c) / w + 0.5, 0.0, 1.0)
    if w == 1:
        return (x > c - 0.5).astype(np.float64)
    return np.clip((x - (c - 0.5)) / (w - 1) + 0.5, 0.0, 1.0)


def auto_window(image: MedicalImage, frame: int = 0) -> Window:
    """Return the file's first window for the frame, or one between the 0.5 and 99.5 percentiles of its values."""
    for center, width, function in _of_frame(image, "frame_windows", frame) or image.details.get("windows") or ():
        if function in FUNCTIONS and width > 0 and (function != "LINEAR" or width >= 1):
            return Window(center, width, function)
    values = modality_values(image, frame)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    low, high = np.percentile(values[:: max(1, values.size // _SAMPLE)], _PERCENTILES)
    if high <= low:
        low, high = values.min(), values.max()
    if high <= low:
        high = low + 1.0
    return Window(float((low + high) / 2), float(high - low), "LINEAR_EXACT")


def to_display(
    image: MedicalImage, frame: int = 0, window: Window | tuple[float, float] | None = None
) -> npt.NDArray[np.uint8]:
    """Return one frame as a person should see it: uint8 (rows, columns), or (rows, columns, 3) for colour.

    window: a `Window` or (center, width); None takes the file's own window or VOI LUT, shows 8-bit pictures as
    they are, and chooses percentiles for everything else. Alpha is left out.
    Raises InputError for frames that are not there and for windows on colour.
    """
    if image.samples > 1 or image.photometric is Photometric.PALETTE_COLOR:
        if window is not None:
            raise InputError("a window on a colour image: windows are for grey values")
        return _colour(image, frame)
    if isinstance(window, tuple):
        window = Window(*window)
    grey = _grey(image, frame, window)
    inverse = image.photometric is Photometric.MONOCHROME1 or image.details.get("presentation_lut_shape") == "INVERSE"
    if inverse:
        grey = 1.0 - grey
    return np.rint(np.nan_to_num(grey) * 255.0).astype(np.uint8)


def _grey(image: MedicalImage, frame: int, window: Window | None) -> npt.NDArray[np.float64]:
    values = modality_values(image, frame)
    has_window = bool(_of_frame(image, "frame_windows", frame) or image.details.get("windows"))
    table = image.details.get("voi_lut")
    if window is None and table is not None and not has_window:
        finite = np.nan_to_num(values)
        return _look_up(np.rint(finite).astype(np.int64), table) / float((1 << table[1]) - 1)
    plain = (
        image.pixels.dtype == np.uint8
        and image.bits_stored == 8
        and not {"rescale", "modality_lut"} & set(image.details)
    )
    if window is None and not has_window and plain:
        return values / 255.0
    return apply_window(values, window or auto_window(image, frame))


def _colour(image: MedicalImage, frame: int) -> npt.NDArray[np.uint8]:
    if image.photometric is Photometric.PALETTE_COLOR:
        from medveil.imaging.dicom import apply_palette

        _frame(image, frame)
        image = apply_palette(image)
    pixels = _frame(image, frame)[..., :3]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind == "f":
        scaled = np.nan_to_num(pixels).astype(np.float64)
    else:
        scaled = pixels / float((1 << image.bits_stored) - 1)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8))


def _frame(image: MedicalImage, frame: int) -> npt.NDArray[Any]:
    if not 0 <= frame < image.frames:
        raise InputError(f"frame {frame} of an image of {image.frames}: frames are numbered from 0")
    return np.asarray(image.pixels[frame])


def _of_frame(image: MedicalImage, key: str, frame: int) -> Any:
    """Return the frame's own value, or the only one where it is shared by all frames."""
    values = image.details.get(key)
    if not values:
        return None
    return values[frame] if frame < len(values) else values[0] if len(values) == 1 else None


def _look_up(indices: npt.NDArray[Any], table: tuple[int, int, Any]) -> npt.NDArray[Any]:
    """Return LUT entries; inputs below the first or above the last entry take those (PS3.3 C.11.1.1.1)."""
    first, _, values = table
    entries = np.asarray(values)
    return np.asarray(entries[np.clip(indices.astype(np.int64) - first, 0, len(entries) - 1)])
