"""NIfTI volumes against nibabel's own reading, both versions, both byte orders, zipped and not."""

from __future__ import annotations

import builtins
import gzip
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from tests.conftest import find_shared_data

from medveil.errors import InputError, MissingExtraError
from medveil.imaging import nifti, samples
from medveil.imaging.image import MedicalImage, OpaqueFile, Photometric
from medveil.imaging.reader import read, read_any

DATA = find_shared_data()
FILES = sorted((DATA / "nifti").glob("*.ni*")) if DATA else [samples.path("mr-brain.nii")]


def unscaled(path: Path) -> np.ndarray:
    """Return nibabel's stored values with frames first: the reverse of NIfTI's x, y, z, t order."""
    proxy = nibabel.load(path).dataobj
    values = np.asarray(proxy.get_unscaled())
    return values.T.reshape(-1, values.shape[1], values.shape[0])


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_values_are_those_that_nibabel_reads(path: Path) -> None:
    image = read(path)
    expected = unscaled(path)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.pixels.dtype == expected.dtype.newbyteorder("=")
    assert image.original == path.read_bytes()
    zooms = nibabel.load(path).header.get_zooms()
    assert image.spacing is not None
    np.testing.assert_allclose(image.spacing, (zooms[2], zooms[1], zooms[0]), rtol=1e-6)
    span = image.pixel_span
    assert (span is None) == path.name.endswith(".gz")
    if span is not None:
        stored = np.frombuffer(image.original[span.offset : span.offset + span.length], span.dtype)
        np.testing.assert_array_equal(stored.reshape(image.pixels.shape), image.pixels)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
@pytest.mark.parametrize("compress", [False, True])
def test_written_files_read_back(path: Path, compress: bool) -> None:
    image = read(path)
    changed = image.pixels[::-1].copy()
    data = nifti.encode(image, pixels=changed, compress=compress)
    again = read(data)
    np.testing.assert_array_equal(again.pixels, changed)
    assert again.spacing == image.spacing
    assert again.details == image.details
    plain = gzip.decompress(data) if compress else data
    loaded = nibabel.load(path).__class__.from_bytes(plain)
    np.testing.assert_array_equal(loaded.affine, nibabel.load(path).affine)


def test_unchanged_pixels_give_the_same_file() -> None:
    image = read(samples.path("mr-brain.nii"))
    assert nifti.encode(image) == image.original


def test_other_images_become_nifti() -> None:
    for name in ("ct-thorax.dcm", "mr-10-frames.dcm", "us-doppler-8-frames.dcm"):
        image = read(samples.path(name))
        again = read(nifti.encode(image))
        np.testing.assert_array_equal(again.pixels, image.pixels)
        assert again.photometric == (Photometric.RGB if image.samples == 3 else Photometric.MONOCHROME2)
        if image.spacing:
            np.testing.assert_allclose(again.spacing, image.spacing, rtol=1e-6)
    volume = nibabel.Nifti1Image.from_bytes(nifti.encode(read(samples.path("mr-10-frames.dcm"))))
    assert volume.shape == (64, 64, 10)


def test_big_endian_version_two_and_floats() -> None:
    values = np.linspace(-1, 1, 6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    header = nibabel.Nifti2Header(endianness=">")
    header.set_data_dtype(np.float32)
    volume = nibabel.Nifti2Image(values, np.eye(4), header)
    stream = BytesIO()
    volume.to_stream(stream)
    image = read(stream.getvalue())
    np.testing.assert_array_equal(image.pixels, values.T)
    assert image.bits_stored == 32
    np.testing.assert_array_equal(read(gzip.compress(stream.getvalue())).pixels, values.T)


def test_pixels_that_do_not_fit_are_refused() -> None:
    image = read(samples.path("mr-brain.nii"))
    with pytest.raises(InputError, match="do not fit"):
        nifti.encode(image, pixels=image.pixels[:-1])
    with pytest.raises(InputError, match="do not fit"):
        nifti.encode(image, pixels=image.pixels.astype(np.float32))
    wide = MedicalImage(np.zeros((1, 1, 40_000), np.uint8), 8)
    with pytest.raises(InputError, match="do not fit"):
        nifti.encode(wide)


def test_without_nibabel_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "nibabel":
            raise ImportError(name)
        return real(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"medveil\[nifti\]"):
        read(samples.path("mr-brain.nii"))
    kept = read_any(samples.path("mr-brain.nii"))
    assert isinstance(kept, OpaqueFile)
    assert "medveil[nifti]" in kept.reason
