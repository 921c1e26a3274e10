"""The real images: 512x512, 8 bit, from what the package carries and, where it is there, the shared data."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np

from medveil.imaging import reader, windowing
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI, Rectangle
from medveil.imaging.samples import FOLDER

SIDE = 512
# Table 2 of the paper: (x1, y1, x2, y2), 1-based inclusive, for its six images.
PAPER_ROIS = {
    "IM-0001-0004": (102, 118, 405, 453),
    "IM-0001-0010": (83, 70, 434, 469),
    "IM-0001-0012": (83, 55, 434, 486),
    "IM-0001-0014": (75, 66, 426, 481),
    "IM-0001-0019": (102, 1, 357, 480),
    "IM-0002-0022": (81, 17, 448, 448),
}


def paper_rois() -> list[tuple[str, ROI]]:
    return [(name, (Rectangle.from_paper(*corners),)) for name, corners in PAPER_ROIS.items()]


def _shared() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    for place in (os.environ.get("MEDVEIL_SHARED_DATA"), root.parent / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    return None


def _square(pixels: np.ndarray, top: int = -1, left: int = -1) -> np.ndarray:
    rows, columns = pixels.shape
    top = (rows - SIDE) // 2 if top < 0 else top
    left = (columns - SIDE) // 2 if left < 0 else left
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


@functools.cache
def grey8() -> dict[str, MedicalImage]:
    """Nine images where the shared data is there, else four; each is (1, 512, 512) of 8 bits."""
    chest = reader.read(FOLDER / "xray-chest-1024.png").pixels[0]
    found = {
        "CT thorax": _square(windowing.to_display(reader.read(FOLDER / "ct-thorax.dcm"))),
        "CT perfusion": _square(windowing.to_display(reader.read(FOLDER / "ct-perfusion-2-frames.dcm"))),
        "chest X-ray A": _square(chest),
        "chest CR": _square(windowing.to_display(reader.read(FOLDER / "xray-chest-15-bit.dcm"))),
    }
    data = _shared()
    if data is not None:
        zoo = data / "dicom_zoo"
        for name, path in (
            ("CT abdomen", zoo / "pydicom_older_tests/693_UNCR.dcm"),
            ("CT head", zoo / "pydicom_older_tests/explicit_VR-UN.dcm"),
            ("MR", zoo / "pydicom_older_tests/MR2_J2KR.dcm"),
        ):
            found[name] = _square(windowing.to_display(reader.read(path)))
        more = sorted((data / "chest_xray_nih/fullsize_1024").rglob("*.png"))
        for name, path in zip(("chest X-ray B", "chest X-ray C"), more[1:3], strict=False):
            pixels = reader.read(path).pixels[0]
            found[name] = _square(pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 0]))
    return {name: MedicalImage(pixels[None], 8) for name, pixels in found.items()}


@functools.cache
def deep() -> dict[str, MedicalImage]:
    """Images of more than 8 bits, 512x512."""
    thorax = reader.read(FOLDER / "ct-thorax.dcm").pixels
    radiograph = reader.read(FOLDER / "xray-chest-15-bit.dcm").pixels[0]
    return {
        "CT thorax, signed 16 bit": MedicalImage(thorax, 16),
        "chest CR, 15 bit": MedicalImage(_square(radiograph)[None], 15),
    }


@functools.cache
def large_regions() -> dict[str, tuple[MedicalImage, ROI]]:
    """COVID-19 chest X-rays with almost all of the picture as region, as Figure 9 of the paper."""
    data = _shared()
    if data is None:
        return {}
    out = {}
    for path in sorted((data / "chest_xray_covid_cc").rglob("*.*g"))[:6]:
        pixels = reader.read(path).pixels
        grey = np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 4 else pixels)
        rows, columns = (n // 16 * 16 for n in grey.shape[1:])
        out[path.stem] = (MedicalImage(grey, 8), (Rectangle(16, 16, rows - 16, columns - 16),))
    return out
