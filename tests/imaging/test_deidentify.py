"""De-identification over the zoo: none of a file's names, numbers, dates and UIDs is left anywhere in its bytes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medveil.errors import InputError, MedveilError, UnsupportedError
from medveil.imaging import samples
from medveil.imaging.deidentify import Options, deidentify
from medveil.imaging.image import MedicalImage
from medveil.imaging.reader import read, read_any

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
IDENTIFYING = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "InstitutionName", "InstitutionAddress", "PatientAddress",
    "StationName", "DeviceSerialNumber",
)  # fmt: skip


def parsed(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data), force=True)


def elements(dataset: Dataset) -> Iterator[pydicom.DataElement]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def canaries(dataset: Dataset) -> set[str]:
    """Everything in a file that should be gone: people, numbers, places, dates, instance UIDs."""
    found: set[str] = set()
    for element in elements(dataset):
        values = [str(v).strip() for v in (element.value if element.VM > 1 else [element.value]) if v is not None]
        if element.VR == "PN":
            found.update(part for value in values for part in [value, *re.split(r"[\^=]", value)])
        elif element.VR in ("DA", "DT") or element.keyword in IDENTIFYING:
            found.update(values)
        elif element.VR == "UI" and element.keyword.endswith("InstanceUID"):
            found.update(v for v in values if not v.startswith("1.2.840.10008."))
    return {value for value in found if len(value) >= 6 and value not in ("00010101",)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("dates", "step"), [("remove", 1), ("shift", 5)])
def test_no_canary_survives_in_the_zoo(dates: str, step: int, shared_data: Path) -> None:
    cleaned = planted = 0
    for path in sorted(p for p in (shared_data / "dicom_zoo").rglob("*") if p.is_file())[::step]:
        original = path.read_bytes()
        try:
            result = deidentify(original, key=KEY, options=Options(dates=dates)).data
        except (InputError, UnsupportedError):
            continue
        wanted = canaries(parsed(original))
        pixels = parsed(result).get("PixelData", b"")  # run lengths may spell a short number by chance
        header = result.replace(pixels, b"") if pixels else result
        for value in wanted:
            assert value.encode("utf-8") not in (result if len(value) > 9 else header), (
                f"{path.name}: {value!r} is left"
            )
        planted += len(wanted)
        cleaned += 1
        before, after = read_any(original), read_any(result)
        if isinstance(before, MedicalImage):
            assert isinstance(after, MedicalImage)
            np.testing.assert_array_equal(before.pixels, after.pixels)
    assert cleaned > 210 // step
    assert planted > 1500 // step


def planted_file() -> bytes:
    """Return the CT sample with invented identities at the top level, in sequences, in free text and privately."""
    dataset = parsed(samples.load("ct-thorax.dcm"))
    dataset.preamble = b"CANARY-PREAMBLE".ljust(128, b"\0")
    dataset.PatientName, dataset.PatientID = "Canaryname^Given", "CANARYID7"
    dataset.PatientBirthDate, dataset.StudyDate = "19610203", "20190405"
    dataset.InstitutionName = "Canary Hospital"
    dataset.SeriesDescription = "follow-up"
    dataset.ContrastBolusAgent = "as asked by dr canaryname"  # not in the table as an identity
    item = Dataset()
    item.ReferencedSOPClassUID = dataset.SOPClassUID
    item.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    item.OperatorsName = "Canaryoperator"
    inner = Dataset()
    inner.PersonName = "Canaryinner"
    inner.StudyInstanceUID = dataset.StudyInstanceUID
    item.ReferencedSeriesSequence = [inner]
    dataset.ReferencedImageSequence = [item]
    block = dataset.private_block(0x0009, "CANARY CREATOR", create=True)
    block.add_new(0x01, "LO", "CANARYPRIVATE")
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_nested_private_and_free_text() -> None:
    original = planted_file()
    assert b"CANARY" in original.upper()
    result = deidentify(original, key=KEY)
    assert b"CANARY" not in result.data.upper()
    before, after = parsed(original), parsed(result.data)
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID
    reference = after.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == after.SOPInstanceUID  # still points at the same instance
    assert reference.ReferencedSOPClassUID == before.SOPClassUID
    assert after.PatientIdentityRemoved == "YES"
    assert "PS3.15" in after.DeidentificationMethod
    assert [code.CodeValue for code in after.DeidentificationMethodCodeSequence] == ["113100"]
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert not any(element.tag.is_private for element in elements(after))
    assert re.fullmatch(r"[A-Z2-7]{16}", after.PatientID)
    assert after.PatientID == str(after.PatientName)
    assert after.Rows == before.Rows
    assert after.RescaleIntercept == before.RescaleIntercept


def test_pseudonyms_are_keyed_and_consistent() -> None:
    original = planted_file()
    first, again, other = (parsed(deidentify(original, key=key).data) for key in (KEY, KEY, OTHER_KEY))
    assert first.PatientID == again.PatientID != other.PatientID
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.SOPInstanceUID.is_valid
    changed = parsed(original)
    changed.SOPInstanceUID = changed.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    stream = BytesIO()
    changed.save_as(stream, enforce_file_format=True)
    second = parsed(deidentify(stream.getvalue(), key=KEY).data)
    assert second.StudyInstanceUID == first.StudyInstanceUID
    assert second.PatientID == first.PatientID
    assert second.SOPInstanceUID != first.SOPInstanceUID


def test_dates_can_be_shifted_or_kept() -> None:
    from datetime import datetime

    original = planted_file()
    shifted = parsed(deidentify(original, key=KEY, options=Options(dates="shift")).data)
    moved = datetime.strptime("20190405", "%Y%m%d") - datetime.strptime(shifted.StudyDate, "%Y%m%d")
    birth = datetime.strptime("19610203", "%Y%m%d") - datetime.strptime(shifted.PatientBirthDate, "%Y%m%d")
    assert 1 <= moved.days <= 1826
    assert birth == moved  # intervals stay
    assert shifted.LongitudinalTemporalInformationModified == "MODIFIED"
    assert "113107" in [code.CodeValue for code in shifted.DeidentificationMethodCodeSequence]
    kept = parsed(deidentify(original, key=KEY, options=Options(dates="keep")).data)
    assert kept.StudyDate == "20190405"
    assert kept.LongitudinalTemporalInformationModified == "UNMODIFIED"


def test_options_are_retained_and_named() -> None:
    original = planted_file()
    options = Options(retain=frozenset({"uids", "institution", "device", "patient-characteristics"}))
    kept = parsed(deidentify(original, key=KEY, options=options).data)
    before = parsed(original)
    assert kept.SOPInstanceUID == before.SOPInstanceUID
    assert kept.InstitutionName == "Canary Hospital"
    assert kept.PatientSex == before.PatientSex
    codes = {code.CodeValue for code in kept.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113108", "113109", "113110", "113112"}
    assert b"CANARYID7" not in deidentify(original, key=KEY, options=options).data


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: deidentify(samples.load("ct-thorax.dcm"), key=b"short"), "16 random bytes"),
        (lambda: deidentify(b"", key=KEY), "not a DICOM file"),
        (lambda: deidentify(samples.load("xray-chest-1024.png"), key=KEY), "not a DICOM file"),
        (lambda: Options(dates="blur"), "choose one of"),
        (lambda: Options(retain=frozenset({"names"})), "choose from"),
    ],
)
def test_bad_calls(make: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()  # type: ignore[operator]


def test_a_dicomdir_is_refused(shared_data: Path) -> None:
    with pytest.raises(UnsupportedError, match="DICOMDIR"):
        deidentify((shared_data / "dicom_zoo/pydicom/dicomdirtests/DICOMDIR").read_bytes(), key=KEY)


def test_burned_in_text_is_pointed_out() -> None:
    ultrasound = deidentify(samples.load("us-doppler-8-frames.dcm"), key=KEY)
    assert "burned into" in ultrasound.cautions[0]
    assert deidentify(samples.load("ct-thorax.dcm"), key=KEY).cautions == ()
    assert deidentify(samples.load("mr-10-frames.dcm"), key=KEY).cautions == ()


def test_damaged_headers_are_cleaned_or_refused_whole() -> None:
    original = planted_file()
    rng = np.random.default_rng(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(60):
            data = bytearray(original[:4000] + original[-2000:])
            for _ in range(5):
                data[rng.integers(132, 4000)] = rng.integers(256)
            try:
                deidentify(bytes(data), key=KEY)
            except MedveilError:
                continue


def test_the_result_is_an_image_like_before() -> None:
    image = read(deidentify(samples.load("mr-10-frames.dcm"), key=KEY).data)
    assert image.pixels.shape == (10, 64, 64)
    assert image.pixel_span is not None
