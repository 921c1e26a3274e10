"""What a DICOM header says about showing its pixels: spacing, rescale, windows, palettes. Never patient data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BROKEN_VALUE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
MAX_LUT_ENTRIES = 1 << 16


def spacing(dataset: Dataset) -> tuple[float, float, float] | None:
    """Return millimetres between (frames, rows, columns), or None where the header does not say.

    Between frames: Spacing Between Slices, else Slice Thickness, else 1. For projection images Imager Pixel
    Spacing stands in for Pixel Spacing.
    """
    try:
        measures = _functional(dataset, "PixelMeasuresSequence")
        source = measures if measures is not None and "PixelSpacing" in measures else dataset
        pair = source.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
        if pair is None or len(pair) != 2:
            return None
        between = source.get("SpacingBetweenSlices") or source.get("SliceThickness") or 1.0
        values = (abs(float(between)), float(pair[0]), float(pair[1]))
    except _BROKEN_VALUE:
        return None
    return values if all(np.isfinite(v) and v > 0 for v in values) else None


def details(dataset: Dataset, syntax: str) -> dict[str, Any]:
    """Return plain data for writers and for `imaging.windowing`.

    Keys, each only where the header has it: transfer_syntax, sop_class, modality, burned_in (YES/NO),
    windows ((center, width, function), ...), frame_windows (the same a frame), rescale (slope, intercept),
    frame_rescale, rescale_type, modality_lut and voi_lut (first, bits, values uint16), presentation_lut_shape,
    palette {bits, first (3), tables (3 arrays)}, lossy (True where Lossy Image Compression says 01).
    """
    found: dict[str, Any] = {"transfer_syntax": syntax}
    for key, keyword in (
        ("sop_class", "SOPClassUID"), ("modality", "Modality"), ("burned_in", "BurnedInAnnotation"),
        ("presentation_lut_shape", "PresentationLUTShape"), ("rescale_type", "RescaleType"),
    ):  # fmt: skip
        value = _quiet_get(dataset, keyword)
        if value:
            found[key] = str.__str__(value)
    if _quiet_get(dataset, "LossyImageCompression") == "01":
        found["lossy"] = True
    for key, value in (
        ("windows", windows(dataset)),
        ("frame_windows", _frame_values(dataset, "FrameVOILUTSequence", windows)),
        ("rescale", rescale(dataset)),
        ("frame_rescale", _frame_values(dataset, "PixelValueTransformationSequence", rescale)),
        ("modality_lut", _lut(dataset, "ModalityLUTSequence")),
        ("voi_lut", _lut(dataset, "VOILUTSequence")),
        ("palette", palette(dataset)),
    ):
        if value:
            found[key] = value
    return found


def windows(dataset: Dataset) -> tuple[tuple[float, float, str], ...] | None:
    """Return the (center, width, function) triples of a data set or functional group item (PS3.3 C.11.2.1.2)."""
    try:
        centers, widths = dataset.get("WindowCenter"), dataset.get("WindowWidth")
        if centers is None or widths is None or centers == "" or widths == "":
            return None
        function = str(dataset.get("VOILUTFunction") or "LINEAR")
        pairs = zip(np.atleast_1d(np.asarray(centers, float)), np.atleast_1d(np.asarray(widths, float)), strict=False)
        triples = tuple((float(c), float(w), function) for c, w in pairs if np.isfinite(c) and np.isfinite(w))
    except _BROKEN_VALUE:
        return None
    return triples or None


def rescale(dataset: Dataset) -> tuple[float, float] | None:
    """Return (slope, intercept) of the modality transform (PS3.3 C.11.1), or None."""
    try:
        slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
        if slope is None or intercept is None:
            return None
        pair = (float(slope), float(intercept))
    except _BROKEN_VALUE:
        return None
    return pair if np.isfinite(pair).all() and pair[0] != 0 else None


def palette(dataset: Dataset) -> dict[str, Any] | None:
    """Return the red, green and blue look-up tables (PS3.3 C.7.6.3.1.5 and .6), or None where they are not whole.

    Segmented tables (C.7.9.2) are expanded by pydicom.
    """
    colours = ("Red", "Green", "Blue")
    if any(f"{c}PaletteColorLookupTableDescriptor" not in dataset for c in colours):
        return None
    tables, first, bits = [], [], 8
    try:
        for colour in colours:
            count, start, depth = (int(v) for v in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
            data = dataset.get(f"{colour}PaletteColorLookupTableData")
            if data is None:
                expanded = _expand_segments(dataset, colour, depth)
                if expanded is None:
                    return None
                data, depth = expanded
            tables.append(_words(bytes(data), count or MAX_LUT_ENTRIES, depth, _little(dataset)))
            first.append(start)
            bits = depth
    except _BROKEN_VALUE:
        return None
    if any(len(t) == 0 for t in tables):
        return None
    return {"bits": bits, "first": tuple(first), "tables": tuple(tables)}


def _words(data: bytes, count: int, bits: int, little: bool) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return LUT entries; 8-bit tables may be packed two a word or stand one a word (PS3.3 C.7.6.3.1.6)."""
    if bits == 8 and len(data) < 2 * count:
        return np.frombuffer(data, np.uint8)[:count].astype(np.uint16)
    values = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")[:count]
    return values.astype(np.uint16)


def _expand_segments(dataset: Dataset, colour: str, bits: int) -> tuple[bytes, int] | None:
    data = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
    if data is None:
        return None
    from pydicom.pixels.processing import _expand_segmented_lut

    order = "<" if _little(dataset) else ">"
    raw = np.frombuffer(bytes(data), np.uint8 if bits == 8 else f"{order}u2")
    values = _expand_segmented_lut(tuple(int(v) for v in raw), f"{order}H")
    return np.asarray(values, dtype=f"{order}u2").tobytes(), 16 if bits == 16 else bits


def _lut(dataset: Dataset, keyword: str) -> tuple[int, int, Any] | None:
    try:
        items = dataset.get(keyword)
        if not items:
            return None
        item = items[0]
        count, first, bits = (int(v) for v in item["LUTDescriptor"].value)
        count = count or MAX_LUT_ENTRIES
        data = item["LUTData"].value
        if isinstance(data, bytes):
            values = _words(data, count, bits, _little(dataset))
        else:
            values = np.asarray(data, dtype=np.int64).astype(np.uint16)[:count]
    except _BROKEN_VALUE:
        return None
    if int(dataset.get("PixelRepresentation") or 0) and first > 0x7FFF:
        first -= 0x10000
    return (first, bits, values) if len(values) else None


def _little(dataset: Dataset) -> bool:
    return bool(getattr(dataset, "original_encoding", (None, True))[1] is not False)


def _quiet_get(dataset: Dataset, keyword: str) -> Any:
    try:
        return dataset.get(keyword)
    except _BROKEN_VALUE:
        return None


def _functional(dataset: Dataset, keyword: str) -> Dataset | None:
    """Return the first item of a functional group, shared or of the first frame."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        sequence = dataset.get(groups)
        if sequence and sequence[0].get(keyword):
            item: Dataset = sequence[0][keyword].value[0]
            return item
    return None


def _frame_values(dataset: Dataset, keyword: str, read: Any) -> tuple[Any, ...] | None:
    """Return what `read` finds in a functional group, one value a frame; None where no frame has any."""
    try:
        shared = dataset.get("SharedFunctionalGroupsSequence")
        common = read(shared[0][keyword].value[0]) if shared and shared[0].get(keyword) else None
        frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        values = tuple(
            (read(frame[keyword].value[0]) or common) if frame.get(keyword) else common for frame in frames
        ) or ((common,) if common else ())
    except _BROKEN_VALUE:
        return None
    return values if any(values) else None
