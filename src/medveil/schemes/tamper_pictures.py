"""A tamper map as something to look at: outlined on the restored picture (PNG), or as a DICOM segmentation.

The segmentation has two segments, what was changed and what could not be restored exactly, on the frames of the
restored DICOM file; it needs the extra `seg` (highdicom).
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medveil.errors import InputError, MissingExtraError, UnsupportedError
from medveil.imaging import dicom, raster, windowing
from medveil.imaging.image import MedicalImage
from medveil.schemes.base import Restored, TamperMap

_TOUCHED: Final = (255, 176, 0)
_LOST: Final = (220, 38, 127)


def overlay(restored: Restored, frame: int = 0) -> npt.NDArray[np.uint8]:
    """Return one frame as (rows, columns, 3) with changed areas outlined in amber, and lost ones in magenta.

    Grey is windowed as the file says. Raises InputError where there is no such frame, no image or no map.
    """
    image, found = restored.image, restored.tamper_map
    if not isinstance(image, MedicalImage) or found is None:
        raise InputError("there is no picture with a tamper map to show")
    if not 0 <= frame < image.frames:
        raise InputError(f"there is no frame {frame}: the image has {image.frames}, numbered from 0")
    shown = np.ascontiguousarray(_shown(image, frame))
    for flags, colour in ((found.touched[frame], _TOUCHED), (found.lost[frame], _LOST)):
        shown[_outline(flags)] = colour
    return shown


def overlay_png(restored: Restored, frame: int = 0) -> bytes:
    """Return `overlay` as a PNG file."""
    return raster.encode_png(overlay(restored, frame))


def _shown(image: MedicalImage, frame: int) -> npt.NDArray[np.uint8]:
    shown = windowing.to_display(image, frame)
    if shown.ndim == 2:
        shown = np.repeat(shown[:, :, None], 3, axis=2)
    return shown[:, :, :3].copy()


def _outline(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the flagged pixels that touch one that is not, or the edge of the picture."""
    ringed = np.pad(flags, 1)
    inner = ringed[:-2, 1:-1] & ringed[2:, 1:-1] & ringed[1:-1, :-2] & ringed[1:-1, 2:]
    edge: npt.NDArray[np.bool_] = flags & ~inner
    return edge


def segmentation(restored: Restored, source: bytes | None = None) -> bytes:
    """Return a DICOM Segmentation (PS3.3 A.51) of the tamper map over the restored DICOM file.

    source: the DICOM file to refer to where blocks were lost and the restored one is therefore not the original.
    Raises UnsupportedError where there is no DICOM file to refer to, or one that no segmentation can refer to (several
    frames without a Frame of Reference), or where nothing was changed, InputError where
    there is no map, MissingExtraError without highdicom.
    """
    image, found = restored.image, restored.tamper_map
    if not isinstance(image, MedicalImage) or found is None:
        raise InputError("there is no picture with a tamper map to segment")
    if found.clean:
        raise UnsupportedError("nothing was changed: there is nothing to segment")
    reference = source if source is not None else image.original
    if reference is None or not dicom.looks_like(reference):
        raise UnsupportedError("a segmentation refers to a DICOM file, and none came back whole: use the picture")
    try:
        import highdicom
    except ImportError:
        raise MissingExtraError("a DICOM segmentation", "seg") from None
    try:
        return _segment(highdicom, dicom.open_dataset(reference), found)
    except (AttributeError, ValueError) as error:
        raise UnsupportedError(f"no segmentation can refer to this file ({error}): use the picture") from None


def _segment(highdicom: Any, source: Any, found: TamperMap) -> bytes:
    codes = highdicom.sr.CodedConcept
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="medveil tamper map",
        version="1",
        family=codes("MAC", "99MEDVEIL", "Message authentication of pixel blocks"),
    )
    masks, descriptions = [], []
    for label, flags in (("changed in a part", found.touched), ("not restored exactly", found.lost)):
        if not flags.any():
            continue
        masks.append(flags)
        descriptions.append(
            highdicom.seg.SegmentDescription(
                segment_number=len(masks),
                segment_label=label,
                segmented_property_category=codes("309825002", "SCT", "Spatial and relational concept"),
                segmented_property_type=codes("47973001", "SCT", "Artifact"),
                algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
                algorithm_identification=algorithm,
            )
        )
    made = highdicom.seg.Segmentation(
        source_images=[source],
        pixel_array=np.stack(masks, axis=-1).astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="medveil",
        manufacturer_model_name="medveil",
        software_versions="0.1",
        device_serial_number="0",
        series_description="tamper map",
    )
    out = io.BytesIO()
    made.save_as(out)
    return out.getvalue()
