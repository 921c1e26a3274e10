"""Bad input gives one typed error each, and nothing comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from tests.schemes.roi_watermark.roi_images import cut, sample

from medveil import errors
from medveil.imaging import reader
from medveil.imaging.image import MedicalImage, OpaqueFile
from medveil.imaging.roi import ROI, Polygon, Rectangle
from medveil.schemes.base import Part, Protected, Secret
from medveil.schemes.roi_watermark import RoiWatermark, carriers
from medveil.schemes.roi_watermark.secret import ImageSecret
from medveil.schemes.roi_watermark.share import HEADER_SIZE

IMAGE = cut("ct-thorax.dcm", slice(200, 264), slice(180, 250))
ONE, TWO = bytes(16), bytes(range(16))
Given = tuple[list[Part | bytes], Secret]


def protect(carrier: str = "png", **options: object) -> Protected:
    return RoiWatermark(carrier=carrier, **options).protect(IMAGE, roi=(Rectangle(0, 0, 40, 40),))  # type: ignore[arg-type]


def own() -> Given:
    made = protect()
    return list(made.parts), made.secret


def with_first(change: Callable[[bytes], bytes], carrier: str = "png", **options: object) -> Given:
    made = protect(carrier, **options)
    return [Part(1, change(made.parts[0].data)), made.parts[1]], made.secret


def other_share() -> Given:
    made = protect()
    return [made.parts[0], protect().parts[1]], made.secret


def swapped() -> Given:
    made = protect()
    return [Part(1, made.parts[1].data), Part(2, made.parts[0].data)], made.secret


def replayed() -> Given:
    old, new = protect(object_id=ONE), protect(object_id=ONE, object_version=2)
    return [new.parts[0], old.parts[1]], new.secret


def old_key() -> Given:
    old, new = protect(object_id=ONE), protect(object_id=ONE, object_version=2)
    return list(new.parts), old.secret


def future_key() -> Given:
    old, new = protect(object_id=ONE), protect(object_id=ONE, object_version=2)
    return list(old.parts), new.secret


def wrong_key() -> Given:
    return list(protect().parts), protect().secret


def wrong_k() -> Given:
    """A secret that is right in all but K, and whole in itself."""
    made = protect()
    forged = replace(ImageSecret.unpack(made.secret.data), key=bytes(32)).pack()
    return list(made.parts), Secret("roi-watermark", forged)


def as_jpeg(data: bytes) -> bytes:
    return bytes(imagecodecs.jpeg8_encode((imagecodecs.png_decode(data) >> 8).astype(np.uint8), level=95))


def resized(data: bytes) -> bytes:
    return bytes(imagecodecs.png_encode(np.repeat(imagecodecs.png_decode(data), 2, axis=1)))


def eight_bit(data: bytes) -> bytes:
    return bytes(imagecodecs.png_encode((imagecodecs.png_decode(data) >> 8).astype(np.uint8)))


def lossy_dicom(data: bytes) -> bytes:
    """Store a DICOM share again as a viewer's JPEG export would: 8 bits, lossy."""
    from medveil.imaging import dicom, dicom_writer

    pixels = dicom.decode(data).pixels
    jpeg = imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode((pixels[0] >> 8).astype(np.uint8), level=90))
    return dicom_writer.write_secondary_capture(MedicalImage(jpeg[None], 8))


RESTORES: dict[str, tuple[Callable[[], Given], type[errors.MedveilError]]] = {
    "missing share": (lambda: ([protect().parts[0]], protect().secret), errors.WrongKeyError),
    "missing share, right secret": (lambda: (own()[0][:1], own()[1]), errors.WrongKeyError),
    "share of another image": (other_share, errors.TamperedError),
    "swapped shares": (swapped, errors.TamperedError),
    "truncated": (lambda: with_first(lambda d: d[: len(d) // 2]), errors.TamperedError),
    "truncated bytes": (lambda: with_first(lambda d: d[:-1], "bytes"), errors.TamperedError),
    "truncated to nothing": (lambda: with_first(lambda _: b""), errors.FormatError),
    "truncated DICOM": (lambda: with_first(lambda d: d[: len(d) // 2], "dicom"), errors.TamperedError),
    "re-encoded as JPEG": (lambda: with_first(as_jpeg), errors.FormatError),
    "DICOM re-encoded with loss": (lambda: with_first(lossy_dicom, "dicom"), errors.FormatError),
    "resized": (lambda: with_first(resized), errors.FormatError),
    "reduced to 8 bits": (lambda: with_first(eight_bit), errors.FormatError),
    "wrong key": (wrong_key, errors.WrongKeyError),
    "wrong K": (wrong_k, errors.WrongKeyError),
    "key of the version before": (old_key, errors.StaleError),
    "key of a later version": (future_key, errors.StaleError),
    "replayed old share": (replayed, errors.StaleError),
    "header edited": (
        lambda: with_first(lambda d: d[:20] + bytes([d[20] ^ 1]) + d[21:], "bytes"),
        errors.TamperedError,
    ),
    "unknown version": (lambda: with_first(lambda d: d[:4] + b"\x07" + d[5:], "bytes"), errors.FormatError),
    "no part at all": (lambda: ([], protect().secret), errors.UnrecoverableError),
    "three parts": (lambda: ([*own()[0], protect().parts[0]], protect().secret), errors.InputError),
    "secret of another scheme": (lambda: (own()[0], Secret("sealed", b"x")), errors.WrongKeyError),
    "secret that is none": (lambda: (own()[0], Secret("roi-watermark", b"x" * 300)), errors.FormatError),
}


@pytest.mark.parametrize(("given", "error"), RESTORES.values(), ids=RESTORES)
def test_restore_refuses(given: Callable[[], Given], error: type[errors.MedveilError]) -> None:
    parts, secret = given()
    with pytest.raises(errors.MedveilError) as caught:
        RoiWatermark().restore(parts, secret)
    assert type(caught.value) is error
    message = str(caught.value)
    assert message[0].islower()
    assert not message.endswith(".")
    assert secret.data.hex() not in message


@pytest.mark.parametrize("index", [0, 1])
def test_a_missing_share_is_named(index: int) -> None:
    made = protect()
    with pytest.raises(errors.UnrecoverableError, match=f"share {2 - index} is missing"):
        RoiWatermark().restore([made.parts[index]], made.secret)
    with pytest.raises(errors.UnrecoverableError, match=f"share {2 - index} is missing"):
        RoiWatermark().restore([made.parts[index]] * 2, made.secret)


CT = sample("ct-thorax.dcm").pixels


def image_of(pixels: np.ndarray[object, np.dtype[np.generic]]) -> MedicalImage:
    return MedicalImage(pixels, 8 * pixels.dtype.itemsize)


PROTECTS: dict[str, tuple[Callable[[], object], ROI, type[errors.MedveilError]]] = {
    "region outside": (lambda: IMAGE, (Rectangle(0, 0, 65, 10),), errors.InputError),
    "second region outside": (lambda: IMAGE, (Rectangle(0, 0, 5, 5), Rectangle(9, 9, 10, 71)), errors.InputError),
    "polygon outside": (lambda: IMAGE, (Polygon(((0, 0), (90, 0), (0, 9))),), errors.InputError),
    "polygon without a pixel": (lambda: IMAGE, (Polygon(((1, 1), (1.2, 1), (1, 1.2))),), errors.InputError),
    "1-pixel image": (lambda: image_of(CT[:, 9:10, 9:10]), (), errors.UnsupportedError),
    "0 frames": (lambda: image_of(CT[:0]), (), errors.InputError),
    "float pixels": (lambda: image_of(CT.astype(np.float32)), (), errors.UnsupportedError),
    "32 bits": (lambda: image_of(CT.astype(np.int32)), (), errors.UnsupportedError),
    "no image": (lambda: OpaqueFile(b"%PDF-1.7", "a PDF document"), (), errors.UnsupportedError),
    "already protected, PNG": (lambda: reader.read(protect().parts[0].data), (), errors.InputError),
    "already protected, DICOM": (lambda: reader.read(protect("dicom").parts[1].data), (), errors.InputError),
    "already protected, bytes": (lambda: OpaqueFile(protect("bytes").parts[0].data, "?"), (), errors.InputError),
}


@pytest.mark.parametrize("profile", ["hardened", "paper"])
@pytest.mark.parametrize(("image", "region", "error"), PROTECTS.values(), ids=PROTECTS)
def test_protect_refuses(
    image: Callable[[], MedicalImage], region: ROI, error: type[errors.MedveilError], profile: str
) -> None:
    with pytest.raises(errors.MedveilError) as caught:
        RoiWatermark(profile=profile).protect(image(), roi=region)
    assert type(caught.value) is error


def test_an_empty_region_is_refused_where_it_is_made() -> None:
    with pytest.raises(errors.InputError):
        Rectangle(5, 5, 5, 9)


def test_profile_paper_needs_two_blocks() -> None:
    with pytest.raises(errors.InputError, match="one block"):
        RoiWatermark(profile="paper").protect(sample("us-breast-benign.png"), roi=(Rectangle(0, 0, 16, 16),))


def test_profile_paper_needs_room_for_the_hashes() -> None:
    thin = image_of(np.ascontiguousarray(CT[:, 100:101, :300]))
    with pytest.raises(errors.InputError, match="bits"):
        RoiWatermark(profile="paper").protect(thin, roi=tuple(Rectangle(0, x, 1, x + 1) for x in range(0, 300, 2)))


def test_a_region_too_large_for_a_secret() -> None:
    region = tuple(Rectangle(y, x, y + 1, x + 1) for y in range(64) for x in range(70))
    with pytest.raises(errors.LimitError):
        RoiWatermark().protect(IMAGE, roi=region)


def test_secrets_are_not_shown() -> None:
    made = protect()
    shown = repr(made) + repr(made.secret) + repr(ImageSecret.unpack(made.secret.data))
    own_secret = ImageSecret.unpack(made.secret.data)
    for value in (own_secret.key, own_secret.salt, *own_secret.share_macs):
        assert value.hex() not in shown
        assert repr(value) not in shown


def test_stray_pixels_in_padding_are_seen() -> None:
    made = protect()
    rows = imagecodecs.png_decode(made.parts[0].data).copy()
    rows[-1, -1] ^= 1
    again = bytes(imagecodecs.png_encode(rows))
    share = carriers.unpack(again)
    restored = RoiWatermark().restore([Part(1, again), made.parts[1]], made.secret)
    assert share.stray or share.record != carriers.unpack(made.parts[0].data).record
    assert [f.part for f in restored.findings if f.kind.value == "tamper"] == [1]
    assert len(made.parts[0].data) > HEADER_SIZE


def test_a_picture_that_claims_more_than_its_file_holds() -> None:
    """A PNG of 256 MiB of zeros in a quarter of a MiB is refused before it is decoded."""
    made = protect()
    bomb = bytes(imagecodecs.png_encode(np.zeros((1 << 14, 1 << 14), np.uint8), level=9))
    assert len(bomb) < 1 << 20
    with pytest.raises(errors.LimitError):
        RoiWatermark().restore([bomb, made.parts[1]], made.secret)
    with pytest.raises(errors.LimitError):
        carriers.unpack(zero_dicom(1 << 13))


def zero_dicom(side: int) -> bytes:
    """A share's wrapper with JPEG 2000 pixels that are all zero."""
    import io

    import pydicom
    from pydicom.encaps import encapsulate

    from medveil.imaging import dicom_writer

    plain = dicom_writer.write_secondary_capture(MedicalImage(np.zeros((1, 16, 16), np.uint8), 8))
    dataset = pydicom.dcmread(io.BytesIO(plain))
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = encapsulate([bytes(imagecodecs.jpeg2k_encode(np.zeros((side, side), np.uint8), level=0))])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()
