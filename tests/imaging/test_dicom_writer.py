"""Files that medveil writes, read back by pydicom."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medveil.errors import InputError, UnsupportedError
from medveil.imaging import banner, samples
from medveil.imaging.dicom_writer import write_dicom_like, write_secondary_capture
from medveil.imaging.image import MedicalImage, Photometric
from medveil.imaging.reader import read, read_any

WARNING = "PROTECTED - NOT FOR DIAGNOSIS"


def parsed(data: bytes) -> pydicom.Dataset:
    assert data[128:132] == b"DICM"
    return pydicom.dcmread(BytesIO(data))


@pytest.mark.parametrize("annotation", ["", WARNING])
@pytest.mark.parametrize(
    ("name", "sop_class"),
    [
        ("ct-thorax.dcm", "1.2.840.10008.5.1.4.1.1.7"),
        ("xray-chest-15-bit.dcm", "1.2.840.10008.5.1.4.1.1.7"),
        ("mr-10-frames.dcm", "1.2.840.10008.5.1.4.1.1.7.3"),
        ("us-doppler-8-frames.dcm", "1.2.840.10008.5.1.4.1.1.7.4"),
        ("xray-chest-1024.png", "1.2.840.10008.5.1.4.1.1.7"),
        ("mr-brain-glioma.jpg", "1.2.840.10008.5.1.4.1.1.7"),
    ],
)
def test_secondary_captures(name: str, sop_class: str, annotation: str) -> None:
    image = read(samples.path(name))
    data = write_secondary_capture(image, annotation=annotation, description="share 1 of 4")
    assert data[:128] == bytes(128)
    dataset = parsed(data)
    assert dataset.SOPClassUID == sop_class == dataset.file_meta.MediaStorageSOPClassUID
    assert dataset.BurnedInAnnotation == ("YES" if annotation else "NO")
    assert dataset.PatientName == ""
    assert dataset.ImageType == ["DERIVED", "SECONDARY"]
    array = dataset.pixel_array.reshape(image.frames, -1, *image.pixels.shape[2:])
    np.testing.assert_array_equal(array[:, : image.rows], image.pixels)
    extra = banner.height(image.columns, annotation)
    assert array.shape[1] == image.rows + extra
    assert (extra > 0) == bool(annotation)
    again = read(data)
    np.testing.assert_array_equal(again.pixels[:, : image.rows], image.pixels)
    assert again.photometric == image.photometric
    assert again.bits_stored == image.bits_stored
    assert again.pixel_span is not None
    if annotation:
        band = again.pixels[:, image.rows :]
        assert len(np.unique(band)) == 2
        assert 0.02 < (band != 0).mean() < 0.5


def test_no_patient_data_and_new_uids() -> None:
    original = samples.load("xray-chest-15-bit.dcm")
    source = parsed(original)
    first, second = (write_secondary_capture(read(original)) for _ in range(2))
    for value in (source.PatientName, source.PatientID, source.StudyInstanceUID, source.SOPInstanceUID, "Philips"):
        assert str(value).encode() not in first
    assert parsed(first).SOPInstanceUID != parsed(second).SOPInstanceUID
    assert parsed(write_secondary_capture(read(original), study_uid="1.2.3")).StudyInstanceUID == "1.2.3"


@pytest.mark.parametrize(
    "image",
    [
        MedicalImage(np.zeros((1, 8, 8), np.float32), 32),
        MedicalImage(np.zeros((1, 8, 8), np.uint32), 32),
        MedicalImage(np.zeros((2, 8, 8), np.int16), 16),
        MedicalImage(np.zeros((2, 8, 8, 3), np.uint16), 16, Photometric.RGB),
        MedicalImage(np.zeros((1, 8, 8, 4), np.uint8), 8, Photometric.RGB),
        MedicalImage(np.zeros((1, 8, 8), np.uint8), 8, Photometric.PALETTE_COLOR),
    ],
    ids=["float", "32 bit", "signed frames", "16-bit colour frames", "alpha", "palette"],
)
def test_what_a_secondary_capture_cannot_hold(image: MedicalImage) -> None:
    with pytest.raises(UnsupportedError, match="secondary capture"):
        write_secondary_capture(image)


def test_the_band_can_be_read_by_a_person() -> None:
    band = banner.draw(300, "A1")
    rows = ["".join("#" if dot else "." for dot in row[1:12]) for row in band[1:8]]
    assert rows == [
        ".###....#..",
        "#...#..##..",
        "#...#...#..",
        "#####...#..",
        "#...#...#..",
        "#...#...#..",
        "#...#..###.",
    ]
    assert banner.height(80, WARNING) > banner.height(800, "X")
    assert banner.height(80, "   ") == 0
    with pytest.raises(InputError, match="too narrow"):
        banner.height(4, "X")


def test_every_image_of_the_zoo_can_be_written_like_itself(shared_data: Path) -> None:
    written = 0
    refused = []
    for path in sorted(p for p in (shared_data / "dicom_zoo").rglob("*") if p.is_file()):
        image = read_any(path)
        if not isinstance(image, MedicalImage) or image.media_type != "application/dicom":
            continue
        changed = image.pixels[:, ::-1].copy()
        try:
            again = read(write_dicom_like(path.read_bytes(), changed))
        except InputError:
            refused.append(path.name)
            continue
        np.testing.assert_array_equal(again.pixels, changed)
        assert (again.pixels.dtype, again.photometric) == (changed.dtype, image.photometric)
        written += 1
    assert written == 213
    assert refused == ["decimal_rescale.dcm", "SC_rgb_jpeg.dcm"]  # no SOP class; an invalid date


def test_a_derived_file_says_so_and_keeps_its_header() -> None:
    original = samples.load("ct-thorax.dcm")
    image = read(original)
    before = parsed(original)
    after = parsed(write_dicom_like(original, image.pixels // 2, derivation="restored, rows 3 to 9 approximate"))
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.ImageType[0] == "DERIVED"
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert after.DerivationDescription == "restored, rows 3 to 9 approximate"
    assert after.PatientID == before.PatientID
    assert after.StudyInstanceUID == before.StudyInstanceUID
    assert after.RescaleIntercept == before.RescaleIntercept
    np.testing.assert_array_equal(after.pixel_array, image.pixels[0] // 2)
    with pytest.raises(InputError, match="do not fit"):
        write_dicom_like(original, image.pixels.astype(np.uint16))
    with pytest.raises(InputError, match="not a DICOM file"):
        write_dicom_like(samples.load("xray-chest-1024.png"), image.pixels)


def test_writing_leaves_warning_filters_alone() -> None:
    before = list(warnings.filters)
    write_dicom_like(samples.load("ct-thorax.dcm"), read(samples.path("ct-thorax.dcm")).pixels)
    assert list(warnings.filters) == before
