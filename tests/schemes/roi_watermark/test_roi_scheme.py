"""Lossless on every form of image, region, carrier and option; the file comes back byte for byte."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schemes.roi_watermark.roi_images import cut, sample

from medveil.errors import MedveilError, UsageError
from medveil.imaging import reader, roi
from medveil.imaging.image import MedicalImage
from medveil.imaging.roi import ROI, Polygon, Rectangle
from medveil.imaging.samples import FOLDER, SAMPLES
from medveil.schemes import registry
from medveil.schemes.base import FindingKind, Part
from medveil.schemes.roi_watermark import RoiWatermark, carriers

REGIONS: dict[str, ROI] = {
    "whole": (),
    "rectangle": (Rectangle(3, 5, 33, 40),),
    "several": (Rectangle(0, 0, 16, 16), Rectangle(8, 8, 40, 40), Rectangle(39, 50, 41, 52)),
    "polygon": (Polygon(((2.5, 3), (40, 10.25), (20, 50))),),
}
FORMS = {
    "8 bit": cut("us-breast-benign.png", slice(60, 101), slice(80, 133)),
    "signed 16 bit": cut("ct-thorax.dcm", slice(200, 250), slice(180, 240)),
    "15 bit": cut("xray-chest-15-bit.dcm", slice(900, 948), slice(900, 964)),
    "colour": cut("us-doppler-8-frames.dcm", slice(100, 150), slice(120, 177)),
    "colour frames": cut("us-doppler-8-frames.dcm", slice(100, 145), slice(120, 173), slice(0, 3)),
    "12 bit frames": cut("mr-10-frames.dcm", slice(0, 64), slice(0, 64), slice(0, 10)),
}


def same(a: MedicalImage, b: object) -> None:
    assert isinstance(b, MedicalImage)
    assert a.pixels.dtype == b.pixels.dtype
    assert np.array_equal(a.pixels, b.pixels)
    assert (a.bits_stored, a.photometric, a.spacing) == (b.bits_stored, b.photometric, b.spacing)


@pytest.mark.parametrize("profile", ["hardened", "paper"])
@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
@pytest.mark.parametrize("image", FORMS.values(), ids=FORMS)
def test_lossless(image: MedicalImage, region: ROI, profile: str) -> None:
    scheme = RoiWatermark(profile=profile, carrier="bytes")
    protected = scheme.protect(image, roi=region)
    restored = scheme.restore(protected.parts, protected.secret)
    same(image, restored.image)
    expected = [FindingKind.UNVERIFIED] if profile == "paper" and region else []
    assert [f.kind for f in restored.findings] == expected
    assert restored.exact
    assert restored.tamper_map is not None
    assert restored.tamper_map.clean
    assert restored.tamper_map.touched.shape == image.pixels.shape[:3]


@pytest.mark.parametrize("name", [s.name for s in SAMPLES])
def test_every_carried_file_comes_back_byte_for_byte(name: str) -> None:
    image = sample(name)
    scheme = RoiWatermark()
    if image.pixels.dtype.kind == "f":
        pytest.skip("floats are refused, which test_roi_bad_input holds")
    protected = scheme.protect(image)
    restored = scheme.restore(protected.parts, protected.secret)
    same(image, restored.image)
    assert isinstance(restored.image, MedicalImage)
    assert restored.image.original == image.original == (FOLDER / name).read_bytes()
    assert restored.image.details.keys() == image.details.keys()


@pytest.mark.parametrize("carrier", carriers.CARRIERS)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("form", ["8 bit", "signed 16 bit", "12 bit frames"])
def test_carriers_and_split(carrier: str, split: bool, form: str) -> None:
    scheme = RoiWatermark(carrier=carrier, split=split)
    protected = scheme.protect(FORMS[form], roi=REGIONS["several"])
    restored = scheme.restore(protected.parts[::-1], protected.secret)
    same(FORMS[form], restored.image)
    assert restored.findings == ()
    assert scheme.verify(protected.parts) == ()
    assert scheme.verify(protected.parts, protected.secret) == ()


def test_dicom_shares_hold_no_patient_and_say_what_they_are() -> None:
    import pydicom

    image = sample("ct-thorax.dcm")
    source = pydicom.dcmread(io.BytesIO(image.original or b""))
    protected = RoiWatermark(carrier="dicom").protect(image)
    for part in protected.parts:
        share = pydicom.dcmread(io.BytesIO(part.data))
        assert share.SeriesDescription == carriers.WARNING
        assert share.BurnedInAnnotation == "YES"
        assert str(source.PatientID) not in str(share)
        assert share.StudyInstanceUID != source.StudyInstanceUID
        assert str(source.PatientName).encode() not in part.data
        assert str(source.StudyInstanceUID).encode() not in part.data


def test_shares_stored_again_without_loss_are_taken() -> None:
    image = sample("ct-thorax.dcm")
    scheme = RoiWatermark()
    protected = scheme.protect(image)
    smaller = [imagecodecs.png_encode(imagecodecs.png_decode(p.data), level=6) for p in protected.parts]
    restored = scheme.restore(smaller, protected.secret)
    same(image, restored.image)
    assert restored.findings == ()


def test_claims_narrow_with_the_options() -> None:
    assert RoiWatermark().claim.authenticated
    assert RoiWatermark().claim.secure
    assert not RoiWatermark(profile="paper").claim.secure
    assert not RoiWatermark(profile="paper").claim.authenticated
    wrapped = RoiWatermark(carrier="dicom")
    assert not wrapped.claim.authenticated  # a PACS may edit attributes, and then nothing is said:
    image = FORMS["8 bit"]
    protected = wrapped.protect(image)
    edited = protected.parts[0].data.replace(b"PROTECTED - not for diagnosis", b"PROTECTED - edited attribute.")
    assert edited != protected.parts[0].data
    restored = wrapped.restore([edited, protected.parts[1].data], protected.secret)
    same(image, restored.image)
    assert restored.findings == ()


def test_a_mask_is_a_region() -> None:
    image = sample("us-breast-benign.png")
    drawn = np.zeros(image.pixels.shape, np.uint8)
    rows, columns = np.ogrid[: image.rows, : image.columns]
    drawn[0] = (rows - 120) ** 2 / 4 + (columns - 100) ** 2 < 40**2
    region = roi.from_mask(MedicalImage(drawn, 8))
    scheme = RoiWatermark()
    protected = scheme.protect(image, roi=region)
    same(image, scheme.restore(protected.parts, protected.secret).image)


def test_two_protections_of_one_image_share_nothing() -> None:
    image = FORMS["8 bit"]
    scheme = RoiWatermark(carrier="bytes")
    first, second = scheme.protect(image), scheme.protect(image)
    for a, b in zip(first.parts, second.parts, strict=True):
        pixels_a, pixels_b = (np.frombuffer(p.data, np.uint8)[128:] for p in (a, b))
        assert (pixels_a == pixels_b).mean() < 0.02
    assert first.secret.data != second.secret.data


def test_parts_carry_nothing_of_the_header_in_clear() -> None:
    image = sample("mr-10-frames.dcm")
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(image.original or b""))
    for carrier in carriers.CARRIERS:
        for profile in ("hardened", "paper"):
            for part in RoiWatermark(carrier=carrier, profile=profile).protect(image).parts:
                for value in (dataset.PatientName, dataset.StudyInstanceUID, dataset.SOPInstanceUID):
                    if str(value):
                        assert str(value).encode() not in part.data


def test_without_the_file_only_pixels_come_back() -> None:
    image = sample("ct-thorax.dcm")
    scheme = RoiWatermark(keep_file=False)
    protected = scheme.protect(image)
    restored = scheme.restore(protected.parts, protected.secret)
    same(image, restored.image)
    assert isinstance(restored.image, MedicalImage)
    assert restored.image.original is None


def test_importing_it_loads_neither_numba_nor_an_extra() -> None:
    code = (
        "import sys; from medveil.schemes.roi_watermark import SCHEME; SCHEME();"
        "heavy = {'numba', 'highdicom', 'pydicom', 'imagecodecs', 'torch', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_lost_records_leave_the_pixels() -> None:
    scheme = RoiWatermark(carrier="bytes")
    for image in (sample("ct-thorax.dcm"), sample("us-doppler-8-frames.dcm")):
        protected = scheme.protect(image)
        cut_off = [p.data[:-1] + bytes([p.data[-1] ^ 1]) for p in protected.parts]
        restored = scheme.restore(cut_off, protected.secret)
        assert isinstance(restored.image, MedicalImage)
        assert np.array_equal(restored.image.pixels, image.pixels)
        assert restored.image.original is None
        assert [f.kind for f in restored.findings] == [FindingKind.TAMPER, FindingKind.TAMPER, FindingKind.LOST]
        assert not restored.exact


def test_registry_finds_it_and_swapped_parts_are_named() -> None:
    parts, secret = registry.protect(FORMS["8 bit"], "roi-watermark", profile="hardened")
    restored = registry.restore(parts, secret)
    same(FORMS["8 bit"], restored.image)
    findings = RoiWatermark().verify([Part(1, parts[1].data), Part(2, parts[0].data)])
    assert {f.kind for f in findings} == {FindingKind.SWAPPED}


def test_verify_without_a_secret_sees_accidents() -> None:
    image = FORMS["8 bit"]
    scheme = RoiWatermark(carrier="bytes")
    a, b = scheme.protect(image).parts
    other = scheme.protect(image).parts
    damaged = bytearray(a.data)
    damaged[400] ^= 1
    assert [f.kind for f in scheme.verify([bytes(damaged), b.data])] == [FindingKind.TAMPER]
    assert [f.kind for f in scheme.verify([a.data])] == [FindingKind.MISSING]
    assert [f.kind for f in scheme.verify([a, a])] == [FindingKind.MISSING]
    assert [f.kind for f in scheme.verify([a, other[1]])] == [FindingKind.FOREIGN]
    named = bytes(16)
    old = RoiWatermark(carrier="bytes", object_id=named).protect(image).parts
    new = RoiWatermark(carrier="bytes", object_id=named, object_version=2).protect(image).parts
    (stale,) = scheme.verify([old[0], new[1]])
    assert (stale.kind, stale.part) == (FindingKind.STALE, 1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_cut_of_a_real_image_with_any_rectangle(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["us-breast-malignant.png", "ct-thorax.dcm", "mr-brain-glioma.jpg"]))
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(2, 40))
    top, left = data.draw(st.integers(0, 100)), data.draw(st.integers(0, 100))
    image = cut(name, slice(top, top + rows), slice(left, left + columns))
    y, x = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    region = (Rectangle(y, x, data.draw(st.integers(y + 1, rows)), data.draw(st.integers(x + 1, columns))),)
    scheme = RoiWatermark(
        carrier=data.draw(st.sampled_from(carriers.CARRIERS)),
        split=data.draw(st.booleans()),
    )
    protected = scheme.protect(image, roi=region)
    same(image, scheme.restore(protected.parts, protected.secret).image)


def test_every_file_of_the_zoo(shared_data: Path) -> None:
    """What can be decoded to integers of 8 or 16 bits comes back; the rest is refused by one of our errors."""
    scheme, done = RoiWatermark(carrier="bytes"), 0
    for path in sorted((shared_data / "dicom_zoo").rglob("*.dcm")):
        if path.stat().st_size > 600_000:
            continue
        try:
            image = reader.read(path)
            if image.pixels.size > 400_000:
                continue
            protected = scheme.protect(image)
        except MedveilError:
            continue
        restored = scheme.restore(protected.parts, protected.secret)
        same(image, restored.image)
        assert isinstance(restored.image, MedicalImage)
        assert restored.image.original == path.read_bytes()
        done += 1
    assert done >= 60


@pytest.mark.parametrize(
    "options",
    [
        {"profile": "float"},
        {"carrier": "jpeg"},
        {"profile": "paper", "split": True},
        {"object_id": b"short"},
        {"object_version": 0},
    ],
)
def test_options_that_do_not_exist(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RoiWatermark(**options)  # type: ignore[arg-type]
