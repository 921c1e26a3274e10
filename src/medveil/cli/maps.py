"""Writes tamper maps: as a picture for a person, as a DICOM segmentation for a viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medveil.cli import terminal
from medveil.errors import UsageError

if TYPE_CHECKING:
    from medveil.schemes.bundle import Verified

_MOST_FRAMES = 16


def write_map(checked: Verified, target: Path, *, force: bool) -> Path | None:
    """Write the tamper map of a verified file; return where, or None where there is nothing to segment.

    A name that ends in .dcm gives a DICOM segmentation over the original (the extra `seg`); any other a PNG with the
    touched regions marked, of a stack the first frames that were touched, one under the other. A segmentation has no
    empty form, so a clean file gets none.

    Raises UsageError where the file is no picture, OutputExistsError without `force`, and what
    `tamper_pictures.segmentation` raises.
    """
    from medveil.imaging.image import MedicalImage
    from medveil.schemes.bundle import new_file

    if not isinstance(checked.image, MedicalImage) or checked.tamper_map is None:
        raise UsageError("this file is not a picture that can be shown: verify it without --map")
    as_segmentation = target.suffix.lower() == ".dcm"
    if as_segmentation and checked.tamper_map.clean:
        terminal.err.print(f"nothing was changed: {target} was not written")
        return None
    data = _segmentation(checked) if as_segmentation else _picture(checked)
    with new_file(target, force=force) as working:
        working.write_bytes(data)
    return target


def _segmentation(checked: Verified) -> bytes:
    from medveil.schemes.base import Restored
    from medveil.schemes.tamper_pictures import segmentation

    if checked.image is None:
        raise UsageError("this file is not a picture that can be shown: verify it without --map")
    return segmentation(Restored(checked.image, checked.findings, checked.tamper_map))


def _picture(checked: Verified) -> bytes:
    import numpy as np

    from medveil.cli.demo_page import overlay
    from medveil.imaging import raster
    from medveil.imaging.image import MedicalImage
    from medveil.imaging.windowing import to_display

    image, found = checked.image, checked.tamper_map
    if not isinstance(image, MedicalImage) or found is None:
        raise UsageError("this file is not a picture that can be shown: verify it without --map")
    frames = [int(f) for f in np.flatnonzero(found.touched.any(axis=(1, 2)))][:_MOST_FRAMES] or [0]
    pictures = [overlay(to_display(image, frame=f), found.touched[f]) for f in frames]
    return raster.encode_png(np.concatenate(pictures, axis=0))
